"""Saved files of tensors and plain data: no code in one is run, and a broken one is refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cnnkit._files import atomic_path
from cnnkit.errors import ClassMismatchError, CnnkitError, ModelError, NotFoundError, SavedFileError
from cnnkit.types import PathLike

__all__ = ["load_saved", "reading", "save_whole"]


def save_whole(path: PathLike, kind: str, newest: int, parts: dict[str, Any]) -> None:
    """Write tensors and plain data under a temporary name that is renamed when it is whole."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save({"kind": kind, "format": newest, **parts}, stream)


def load_saved(path: PathLike, kind: str, newest: int, *, mmap: bool = False) -> dict[str, Any]:
    """Read what `save_whole` wrote.

    Args:
        path: The file.
        kind: What it must say it is, the name of the class that writes it.
        newest: The newest format that is understood.
        mmap: Map the tensors into memory instead of reading them; their checksums, which would
            read every byte, are then not compared.

    Raises:
        NotFoundError: There is no such file.
        SavedFileError: It is no such file, is cut or altered, holds code, or is of a newer format.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"expected a saved {kind}, but there is no file at {file}")
    try:
        with zipfile.ZipFile(file) as archive:
            altered = None if mmap else archive.testzip()
        if altered is not None:
            raise SavedFileError(f"{file} was altered or damaged: the checksum of {altered} fails")
        saved = torch.load(file, map_location="cpu", mmap=mmap, weights_only=True)
    except pickle.UnpicklingError as error:
        raise SavedFileError(
            f"{file} holds more than tensors and plain data, which could be code: it is refused; "
            f"{kind}.save writes files that can be opened"
        ) from error
    except CnnkitError:
        raise
    except Exception as error:  # zip, pickle and mmap errors of many classes
        raise SavedFileError(
            f"{file} is not a whole saved {kind}: it is cut, or {kind}.save did not write it"
        ) from error
    if not isinstance(saved, dict) or saved.get("kind") != kind:
        raise SavedFileError(f"{file} is not a saved {kind}: {kind}.save writes one")
    with reading(file, kind):
        if saved["format"] > newest:
            raise SavedFileError(
                f"{file} has format {saved['format']}, this cnnkit reads up to {newest}: upgrade"
            )
    return saved


@contextmanager
def reading(file: PathLike, kind: str) -> Iterator[None]:
    """Inside, a part that is missing or of another kind is an error that names the file.

    Raises:
        ModelError, ClassMismatchError: As they came, with the file's name.
        SavedFileError: In the place of whatever else a part's reader raised.
    """
    try:
        yield
    except (SavedFileError, ModelError, ClassMismatchError) as error:
        if str(file) in str(error):
            raise
        raise type(error)(f"{file}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise SavedFileError(
            f"{file} is a saved {kind} with a part that is missing or wrong: "
            f"{type(error).__name__}: {error}"
        ) from error
