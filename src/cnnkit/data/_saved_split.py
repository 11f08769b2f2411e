"""A split as JSON: which samples of which data set are where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cnnkit.errors import ClassMismatchError, DataError, NotFoundError, SavedFileError
from cnnkit.types import LabelledDataset, PathLike

__all__ = ["parts_from_text", "read_text", "text_of_parts"]

_KIND, _FORMAT = "cnnkit.Split", 1
_PARTS = ("train", "val", "test")


def text_of_parts(parts: Sequence[LabelledDataset | None], total: int) -> str:
    """JSON of the parts (train, val, test) of a data set of `total` samples."""
    train = parts[0]
    assert train is not None
    saved: dict[str, Any] = {
        "kind": _KIND,
        "format": _FORMAT,
        "total": total,
        "classes": list(train.classes),
    }
    for name, part in zip(_PARTS, parts, strict=True):
        saved[name] = None if part is None else part.indices.tolist()
    return json.dumps(saved)


def read_text(source: PathLike) -> tuple[str, str]:
    """The text of a saved split, and what to call it in a message: its path, or "the text"."""
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source, "the text"
    if not Path(source).is_file():
        raise NotFoundError(f"expected a saved split, but there is no file {source}")
    return Path(source).read_text(encoding="utf-8"), str(source)


def parts_from_text(whole: LabelledDataset, text: str, name: str) -> list[LabelledDataset | None]:
    """The parts (train, val, test) of this data set that were saved as `text`."""
    saved = _checked(text, name)
    if len(whole) != saved["total"]:
        raise DataError(
            f"{name} splits {saved['total']} samples, but the data set has {len(whole)}: open the "
            "one that was split, with no file more or fewer"
        )
    if list(whole.classes) != saved["classes"]:
        raise ClassMismatchError(
            f"{name} splits the classes {saved['classes']}, but the data set has "
            f"{list(whole.classes)}"
        )
    position_of = {index: position for position, index in enumerate(whole.indices.tolist())}
    owner: dict[int, str] = {}
    for part in _PARTS:
        for index in saved[part] or ():
            if index not in position_of:
                raise SavedFileError(
                    f"{name}: sample {index} of {part} is not in the data set of {len(whole)}"
                )
            if index in owner:
                raise SavedFileError(
                    f"{name}: sample {index} is in {owner[index]} and again in {part}"
                )
            owner[index] = part
    return [
        None
        if saved[part] is None
        else whole.subset(torch.tensor([position_of[i] for i in saved[part]], dtype=torch.int64))
        for part in _PARTS
    ]


def _checked(text: str, name: str) -> dict[str, Any]:
    """What `text_of_parts` wrote, with its form checked."""
    try:
        saved = json.loads(text)
    except ValueError as error:
        raise SavedFileError(f"{name} is no JSON of a split: {error}") from error
    if not isinstance(saved, dict) or saved.get("kind") != _KIND:
        raise SavedFileError(f"{name} was not written by Split.to_json")
    if saved.get("format") != _FORMAT:
        raise SavedFileError(
            f"{name} has format {saved.get('format')!r}, this cnnkit reads {_FORMAT}: upgrade"
        )
    for key in ("total", "classes", *_PARTS):
        if key not in saved:
            raise SavedFileError(f"{name} lacks {key!r}")
    for part in _PARTS:
        indices = saved[part]
        if part != "train" and indices is None:
            continue
        if not isinstance(indices, list) or not all(type(index) is int for index in indices):
            raise SavedFileError(f"{name}: {part} is no list of whole numbers")
    return saved
