"""Labels given beside the images: a table of file names and class names, or a list of names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from cnnkit.data._scan import natural_key
from cnnkit.errors import DataError, NotFoundError
from cnnkit.types import PathLike

__all__ = ["numbered", "read_label_file"]


def read_label_file(
    csv_file: PathLike, root: PathLike | None, *, path: str, label: str, suffix: str
) -> tuple[list[Path], list[str]]:
    """File paths and class names of the rows of a table; see `ImageFolder.from_csv`.

    Raises:
        NotFoundError: There is no such table.
        DataError: A column is missing, or a row is too short.
    """
    table = Path(csv_file)
    if not table.is_file():
        raise NotFoundError(f"expected a csv file, but there is none at {table}")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        try:
            reader = csv.DictReader(stream)
            columns, rows = list(reader.fieldnames or []), list(reader)
        except UnicodeDecodeError as error:
            raise DataError(f"{table} is not in UTF-8: {error}; save it in that encoding") from None
    missing = [column for column in (path, label) if column not in columns]
    if missing:
        raise DataError(f"{table} has no column {missing}; its columns are {columns}")
    for number, row in enumerate(rows, start=1):
        if not row[path] or not row[label]:
            raise DataError(f"row {number} of {table} has no {path!r} or no {label!r}: {row}")
    folder = table.parent if root is None else Path(root)
    return [folder / (row[path] + suffix) for row in rows], [row[label] for row in rows]


def numbered(
    labels: Sequence[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Class names, in natural order where none are given, and each label as an index into them."""
    names = tuple(sorted(set(labels), key=natural_key)) if classes is None else tuple(classes)
    numbers = {name: number for number, name in enumerate(names)}
    unknown = sorted(set(labels) - set(names), key=natural_key)
    if unknown:
        raise DataError(f"the labels {unknown} are not among the classes {names}")
    return names, [numbers[label] for label in labels]
