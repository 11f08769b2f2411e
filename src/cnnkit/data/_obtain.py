"""`obtain`: a path, URL or share link becomes a folder of extracted files, once.

The files get their name together with the marker that tells which archive they are from, so a
folder with a marker is whole, whatever was killed when.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from cnnkit.data._disk import checked_sha256, new_parents, remove_tree
from cnnkit.data._extract import check_not_worked_in, check_vacant, extract
from cnnkit.data._fetch import is_url
from cnnkit.data._limits import DEFAULT_LIMITS, Limits
from cnnkit.data._lock import locked
from cnnkit.data._marker import read_marker, write_marker
from cnnkit.data._origin import LocalArchive, RemoteArchive, download_path
from cnnkit.data._top_folder import find_top_folder
from cnnkit.errors import DataError
from cnnkit.types import PathLike

__all__ = ["cache_folder", "find_top_folder", "obtain"]

_Origin: TypeAlias = "LocalArchive | RemoteArchive"


def obtain(
    source: PathLike,
    root: PathLike | None = None,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: bool = True,
) -> Path:
    """Extract an archive from wherever it is; the same again is a no-op.

    A local archive is recognised by its checksum, and not read again while its size and time of
    change stay the same. A URL is recognised by itself, without the network, or by `sha256`. A
    downloaded archive is removed when it is extracted.

    Args:
        source: Path of an archive, http(s) URL, or Google Drive link.
        root: The folder to extract to, new or empty; by default one in `cache_folder`, where a
            changed archive takes the place of the old one. In a `root` of yours that is refused.
        sha256: Expected checksum of the archive, in hexadecimal.
        headers: As for `fetch`.
        limits: As for `extract`.
        progress: Show a bar while downloading.

    Returns:
        The folder that holds the files.

    Raises:
        NotFoundError: There is nothing at the path `source`.
        ArgumentError: `source` is a folder, or another argument is off.
        DataError: `root` holds another archive, or something else.
        DownloadError: The URL could not be fetched.
        ChecksumError: The archive is not that of `sha256`.
        ArchiveError: It is no archive, is broken, or is unsafe to extract.

    Example:
        >>> import tempfile, zipfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with zipfile.ZipFile(Path(folder, "pets.zip"), "w") as pets:
        ...         pets.writestr("cats/1.jpg", b"...")
        ...     root = obtain(Path(folder, "pets.zip"), Path(folder, "pets"))
        ...     root == obtain(Path(folder, "pets.zip"), Path(folder, "pets"))
        True
    """
    sha256 = checked_sha256(sha256)
    origin: _Origin
    if isinstance(source, str) and is_url(source):
        origin = RemoteArchive(source, sha256, headers, progress)
    else:
        origin = LocalArchive(Path(source), sha256)
    folder = cache_folder() / origin.label if root is None else Path(root)
    goal = folder.resolve()  # a link may lead to another disk: the work is done there
    if _is_there(origin, goal, replace=root is None):
        _tidy(origin, goal)
    else:
        with new_parents(goal), locked(goal):
            # Another process may have done it while this one waited.
            if not _is_there(origin, goal, replace=root is None):
                _bring(origin, goal, limits)
    return folder


def cache_folder() -> Path:
    """Return the folder for archives that were given no other; it may be removed at any time.

    It is ``$CNNKIT_CACHE``, or else ``cnnkit`` in the user's cache folder: ``$XDG_CACHE_HOME`` or
    ``~/.cache`` on Linux, ``~/Library/Caches`` on a Mac, ``%LOCALAPPDATA%`` on Windows.
    """
    chosen = os.environ.get("CNNKIT_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "cnnkit")


def _is_there(origin: _Origin, goal: Path, *, replace: bool) -> bool:
    """Tell whether `goal` holds the archive already; refuse what may not be replaced."""
    marker = read_marker(goal)
    if marker is None:
        check_vacant(goal)
    if origin.is_that_of(marker):
        newer = origin.newer_marker()
        if newer not in (None, marker):
            with contextlib.suppress(OSError):  # it may be read-only, and costs only time
                write_marker(goal, newer)
        return True
    if marker is not None and not replace:
        raise DataError(
            f"{goal} holds what was extracted from {marker.source} with the sha256 "
            f"{marker.sha256}; {origin.name} is not that archive, or no longer; remove that folder "
            "or give another root"
        )
    return False


def _bring(origin: _Origin, goal: Path, limits: Limits) -> None:
    """Extract beside `goal`, mark, and put the result in the place of what is there."""
    if goal.exists():
        check_not_worked_in(goal)
    room, old = goal.with_name(f".{goal.name}.cnnkit-new"), _old(goal)
    remove_tree(room)
    remove_tree(old)
    with origin.at_hand(goal) as (archive, marker):
        try:
            extract(archive, room, limits=limits)
            write_marker(room, marker)
            if goal.exists():
                goal.replace(old)
            room.replace(goal)
        finally:
            remove_tree(room)
    remove_tree(old)


def _tidy(origin: _Origin, goal: Path) -> None:
    """Remove what an earlier run left that was killed after its last rename."""
    for path in (_old(goal), download_path(goal, origin.key)):
        if path.exists():
            with locked(goal):
                remove_tree(path)


def _old(goal: Path) -> Path:
    return goal.with_name(f".{goal.name}.cnnkit-old")
