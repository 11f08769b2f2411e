"""Finding the images of a folder tree: one folder a class."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnkit._images import IMAGE_EXTENSIONS
from cnnkit.errors import ClassMismatchError, CnnkitWarning, DataError, NotFoundError

__all__ = ["image_paths", "natural_key", "scan"]

_LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # hidden names are left out as well
_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key by which "2.png" comes before "10.png".

    Example:
        >>> sorted(["10.png", "2.png"], key=natural_key)
        ['2.png', '10.png']
    """
    # Every second part of the split is a number, so text never meets a number when keys compare.
    parts: list[str | int] = [*_DIGITS.split(name)]
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts, name


def _path_key(path: str) -> tuple[list[str | int], str]:
    """The same order on every system: a backslash sorts after capital letters, "/" before them."""
    return natural_key(path.replace(os.sep, "/"))


def scan(
    root: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """Class names and (path, label) of every image, in natural order.

    Args:
        root: A folder that holds one folder a class; images may lie deeper inside these.
        classes: Fixes names and labels; a missing one keeps its label.

    Raises:
        NotFoundError: There is nothing at `root`.
        DataError: It is no folder, has no class folders, or none of them holds an image.
        ClassMismatchError: A folder with images is not among `classes`.
    """
    if not root.exists():
        raise NotFoundError(f"expected a folder of class folders, but there is nothing at {root}")
    if not root.is_dir():
        raise DataError(
            f"expected a folder of class folders, but {root} is a file; "
            "a zip is opened with ImageFolder.from_zip"
        )
    entries = [entry for entry in os.scandir(root) if _counts(entry.name)]
    above = frozenset(_identity(folder) for folder in (root, *root.resolve().parents))
    folders = [entry for entry in entries if entry.is_dir() and _identity(entry.path) not in above]
    folders.sort(key=lambda entry: natural_key(entry.name))
    loose = sum(_is_image(entry.name) and entry.is_file() for entry in entries)
    if not folders:
        raise DataError(
            f"{root} has no class folders (it holds {loose} images directly): expected one folder "
            f"a class, such as {root / 'cats'} and {root / 'dogs'}"
        )
    found = {f.name: sorted(_images(f.path, above), key=_path_key) for f in folders}
    empty = [name for name, paths in found.items() if not paths]
    if len(empty) == len(found):
        raise DataError(
            f"none of the class folders {empty} in {root} holds an image; supported are "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}"
        )
    if loose:
        warnings.warn(
            f"{loose} images directly in {root} are in no class folder, and are left out",
            CnnkitWarning,
            stacklevel=3,
        )
    if empty:
        warnings.warn(
            f"class folders without an image in {root} are left out: {empty}",
            CnnkitWarning,
            stacklevel=3,
        )
    names = tuple(name for name in found if found[name]) if classes is None else tuple(classes)
    unknown = [name for name, paths in found.items() if paths and name not in names]
    if unknown:
        raise ClassMismatchError(
            f"the folders {unknown} in {root} are not among the given classes {names}"
        )
    labels = {name: label for label, name in enumerate(names)}
    return names, [(path, labels[name]) for name, paths in found.items() for path in paths]


def image_paths(folder: Path) -> list[str]:
    """Every image in a folder and below it, in natural order, but for what `scan` leaves out."""
    above = frozenset(_identity(parent) for parent in folder.resolve().parents)
    return sorted(_images(str(folder), above), key=_path_key)


def _images(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Paths of the images below a folder; a symbolic link back to a parent is not followed."""
    pending = [(folder, above | {_identity(folder)})]
    while pending:
        path, parents = pending.pop()
        for entry in os.scandir(path):
            if not _counts(entry.name):
                continue
            if entry.is_dir():
                identity = _identity(entry.path)
                if identity not in parents:
                    pending.append((entry.path, parents | {identity}))
            elif _is_image(entry.name) and (entry.is_file() or entry.is_symlink()):
                yield entry.path  # a link to nothing as well: reading it says so


def _identity(folder: str | Path) -> tuple[int, int]:
    stat = Path(folder).stat()
    return stat.st_dev, stat.st_ino


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _LITTER


def _is_image(name: str) -> bool:
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in IMAGE_EXTENSIONS
