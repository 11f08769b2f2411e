"""Which names of an archive may become files: below the target, and one file each on every system.

What is refused is the same everywhere (but for what Windows cannot write at all), so an archive
that was extracted on Linux does not lose files on Windows or a Mac, where "Cats" and "cats", or
"a." and "a", are one folder.
"""

from __future__ import annotations

import os
import re
import unicodedata

__all__ = ["NameBook", "UnsafeNameError", "is_litter", "safe_path"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
# Windows drops dots and spaces at the end of a name, so ".. " is ".." there.
_DROPPED = re.compile(r"[ .]+(?=/|$)")
_UPWARDS = re.compile(r"(^|/)[ .]+(/|$)")
_NOT_ON_WINDOWS = re.compile(
    r'[<>:"|?*]|(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.[^/]*)?(/|$)', re.IGNORECASE
)
_LITTER = re.compile(
    r"(^|/)(__macosx|\.ds_store|thumbs\.db|desktop\.ini|\._[^/]*)(/|$)", re.IGNORECASE
)
_ON_WINDOWS = os.name == "nt"
_LONGEST, _DEEPEST = 4096, 100  # characters and folders; Linux takes no longer path


class UnsafeNameError(Exception):
    """A name that may not become a file; the text says why."""


def safe_path(name: str) -> str:
    """Return the name of an entry as a plain relative path; empty for the archive's own root.

    A backslash separates as a slash does, for some programs on Windows write it so.

    Raises:
        UnsafeNameError: The name is absolute, leads out of the target, or cannot be a path.

    Example:
        >>> safe_path("./pets//cats/1.jpg")
        'pets/cats/1.jpg'
    """
    if _CONTROL.search(name):
        raise UnsafeNameError("control characters in a name")
    path = name.replace("\\", "/")
    if path.startswith("/"):
        raise UnsafeNameError("an absolute path")
    if _DRIVE.match(path):
        raise UnsafeNameError("a path with a drive letter")
    if len(path) > _LONGEST or path.count("/") > _DEEPEST:
        raise UnsafeNameError(f"a path of {len(path)} characters, {path.count('/')} levels deep")
    path = "/".join([part for part in path.split("/") if part not in ("", ".")])
    if _UPWARDS.search(path):
        raise UnsafeNameError("a path that leads upwards, or a name of dots and spaces alone")
    if _ON_WINDOWS and _NOT_ON_WINDOWS.search(path):
        raise UnsafeNameError("a name that Windows cannot write")
    return path


def is_litter(path: str) -> bool:
    """Tell whether a file is, or lies in, what Finder or Explorer leave and nobody meant to pack.

    Example:
        >>> is_litter("pets/__MACOSX/cats/1.jpg"), is_litter("pets/cats/1.jpg")
        (True, False)
    """
    return _LITTER.search(path) is not None


class NameBook:
    """The paths given away so far, to refuse two that some system takes for one.

    Example:
        >>> book = NameBook()
        >>> book.add_file("cats/1.jpg")
        ['cats']
        >>> book.add_file("cats/1.JPG")
        Traceback (most recent call last):
        cnnkit.data._safe_names.UnsafeNameError: a name that some systems take for 'cats/1.jpg'
    """

    def __init__(self) -> None:
        self._folders = {""}
        self._spelling: dict[str, str] = {}  # by what every system agrees on

    def add_folder(self, path: str) -> list[str]:
        """Take down a folder and those above it; return the new ones, the outer first."""
        new: list[str] = []
        while path not in self._folders:
            new.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(new):
            self._take(folder)
            self._folders.add(folder)
        return new[::-1]

    def add_file(self, path: str) -> list[str]:
        """Take down a file and the folders above it; return the folders that are new."""
        new = self.add_folder(path.rpartition("/")[0])
        self._take(path)
        return new

    def _take(self, path: str) -> None:
        key = _DROPPED.sub("", path.lower() if path.isascii() else _folded(path))
        other = self._spelling.get(key)
        if other == path:
            raise UnsafeNameError("a name that an earlier entry has already")
        if other is not None:
            raise UnsafeNameError(f"a name that some systems take for {other!r}")
        self._spelling[key] = path


def _folded(path: str) -> str:
    """Without case, and with accents in one form: a Mac writes another than Windows and Linux.

    Source: The Unicode Standard, section 3.13, canonical caseless matching.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
