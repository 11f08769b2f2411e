"""Everything cnnkit raises on purpose, and the one category of its warnings.

Each error is also the builtin a caller would expect, so ``except ValueError`` keeps working::

    CnnkitError(Exception)
    ├── ArgumentError(ValueError)        an argument that makes no sense
    ├── DataError(ValueError)            labels, shapes, folders or splits that cannot be used
    │   ├── ClassMismatchError           two things that meet do not have the same classes
    │   └── ImageReadError(OSError)      a file that is not a readable image
    ├── NotFoundError(FileNotFoundError) a path that is not there
    ├── DownloadError(OSError)           a URL that could not be fetched
    │   └── ChecksumError(ValueError)    what arrived is not what was asked for
    ├── ArchiveError(ValueError)         an archive that is none, is broken, or is unsafe to extract
    ├── ModelError(ValueError)           a model that does not fit its data, weights or name
    │   └── ImageTooSmallError           the image does not survive the layers
    ├── TrainingError(RuntimeError)      a run that cannot go on
    ├── SavedFileError(ValueError)       a saved file that is broken, unsafe, or of another kind
    └── MissingExtraError(ImportError)   an optional package that is not installed

    CnnkitWarning(UserWarning)           something that runs, but probably not as meant
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ArgumentError",
    "ChecksumError",
    "ClassMismatchError",
    "CnnkitError",
    "CnnkitWarning",
    "DataError",
    "DownloadError",
    "ImageReadError",
    "ImageTooSmallError",
    "MissingExtraError",
    "ModelError",
    "NotFoundError",
    "SavedFileError",
    "TrainingError",
]


class CnnkitError(Exception):
    """Base of every error that cnnkit raises on purpose."""


class ArgumentError(CnnkitError, ValueError):
    """An argument that makes no sense, on its own or together with the others."""


class DataError(CnnkitError, ValueError):
    """Labels, shapes, folders or splits that cannot be used."""


class ClassMismatchError(DataError):
    """Two things that meet (data sets, a model, a classifier) do not have the same classes."""


class ImageReadError(DataError, OSError):
    """A file that is not a readable image."""


class NotFoundError(CnnkitError, FileNotFoundError):
    """A path that is not there."""


class DownloadError(CnnkitError, OSError):
    """A URL that could not be fetched."""


class ChecksumError(DownloadError, ValueError):
    """What arrived is not what was asked for."""


class ArchiveError(CnnkitError, ValueError):
    """An archive that is none, is broken, or is unsafe to extract."""


class ModelError(CnnkitError, ValueError):
    """A model that does not fit its data, its weights or its name."""


class ImageTooSmallError(ModelError):
    """The image does not survive the layers."""


class TrainingError(CnnkitError, RuntimeError):
    """A training run that cannot go on."""


class SavedFileError(CnnkitError, ValueError):
    """A saved file that is broken, unsafe, or of another kind."""


class MissingExtraError(CnnkitError, ImportError):
    """An optional package that is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f'pip install "cnnkit[{extra}]"'
        )


class CnnkitWarning(UserWarning):
    """Something that runs, but probably not as it was meant."""
