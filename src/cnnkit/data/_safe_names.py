"""Which names of an archive may become files: below the target, and one file each on every system.

What is refused is the same everywhere, so that an archive that was extracted on Linux does not
lose files on Windows or a Mac, where "Cats" and "cats", or "a." and "a", are one folder.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["NameBook", "UnsafeNameError", "is_litter", "safe_parts"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LITTER = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}


class UnsafeNameError(Exception):
    """A name that may not become a file; the text says why."""


def safe_parts(name: str) -> tuple[str, ...]:
    """Split the name of an entry into folders and file; empty for the archive's own root.

    A backslash separates as a slash does, for some programs on Windows write it so.

    Raises:
        UnsafeNameError: The name is absolute, leads out of the target, or holds control characters.

    Example:
        >>> safe_parts("./pets//cats/1.jpg")
        ('pets', 'cats', '1.jpg')
    """
    if _CONTROL.search(name):
        raise UnsafeNameError("control characters in the name")
    path = name.replace("\\", "/")
    if path.startswith("/"):
        raise UnsafeNameError("an absolute path")
    if re.match(r"[A-Za-z]:", path):
        raise UnsafeNameError("a path with a drive letter")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    # Windows drops dots and spaces at the end of a name, so ".. " is ".." there.
    if any(part.rstrip(" .") == "" for part in parts):
        raise UnsafeNameError("a path that leads upwards")
    return parts


def is_litter(part: str) -> bool:
    """Tell whether a file or folder is what Finder or Explorer leaves, and nobody packed."""
    return part.startswith("._") or part.lower() in _LITTER


class NameBook:
    """The names that were given away, to refuse two that some system takes for one."""

    def __init__(self) -> None:
        self._folders = {(): ()}
        self._files: set[tuple[str, ...]] = set()

    def add_folder(self, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Take down a folder and those above it; return the ones that are new, the outer first.

        Raises:
            UnsafeNameError: One is a file already, or differs only in case from another folder.
        """
        new = []
        ...
