"""`extract`: an archive from anywhere becomes a folder, or nothing at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from pathlib import Path

from cnnkit.data._archive import Entry, read_entries
from cnnkit.data._disk import new_parents, remove_tree
from cnnkit.data._limits import DEFAULT_LIMITS, Budget, Limits
from cnnkit.data._lock import locked
from cnnkit.data._safe_names import NameBook, UnsafeNameError, is_litter, safe_path
from cnnkit.errors import ArchiveError, ArgumentError, DataError, NotFoundError
from cnnkit.types import PathLike

__all__ = ["Limits", "check_not_worked_in", "check_vacant", "extract"]

_logger = logging.getLogger("cnnkit")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
# What a file system says to a name that it cannot take.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST)


def extract(archive: PathLike, target: PathLike, *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Extract a zip, tar, tar.gz, tar.bz2 or tar.xz, whoever made it.

    The files are written to a folder beside `target`, which gets its name when all is well. When
    something is not, or the process is killed, `target` is as it was; what a killed process left
    beside it is cleared away by the next call.

    Refused are names that lead out of `target`, links and devices, encrypted and overlapping
    entries, names that are equal or that some system takes for equal (case, accents, trailing
    dots), archives that are truncated or whose checksums do not fit, and those that hold more
    than `limits`. ``__MACOSX``, ``._*``, ``.DS_Store``, ``Thumbs.db`` and ``desktop.ini`` are left
    out. Only content is taken over: no owners, permissions or times.

    Args:
        archive: The file; what it is, its content says, not its name.
        target: A folder that is not there yet, or is empty; folders above it are made.
        limits: What the archive may hold at most.

    Returns:
        `target`, as a path.

    Raises:
        NotFoundError: There is no file at `archive`.
        ArchiveError: It is no archive, is broken, or is unsafe to extract; the entry is named.
        DataError: `target` is not empty, is no folder, or is the one that this program works in.

    Example:
        >>> import tempfile, zipfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with zipfile.ZipFile(Path(folder, "pets.zip"), "w") as pets:
        ...         pets.writestr("cats/1.jpg", b"...")
        ...         pets.writestr("__MACOSX/cats/._1.jpg", b"...")
        ...     root = extract(Path(folder, "pets.zip"), Path(folder, "pets"))
        ...     sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
        ['cats', 'cats/1.jpg']
    """
    archive, begun = Path(archive), time.monotonic()
    if not archive.exists():
        raise NotFoundError(f"expected an archive, but there is nothing at {archive}")
    if not archive.is_file():
        raise ArgumentError(f"expected an archive, but {archive} is a folder")
    goal = Path(target).resolve()  # a link may lead to another disk: the work is done there
    check_vacant(goal)
    with new_parents(goal), locked(goal):
        check_vacant(goal)  # again: it may have been filled while this process waited
        room = goal.with_name(f".{goal.name}.cnnkit-extracting")
        remove_tree(room)  # the lock is ours, so whoever filled it was killed
        room.mkdir()
        try:
            files = _unpack(archive, room, limits)
            if goal.exists():
                goal.rmdir()  # Windows renames to no folder that exists, not even an empty one
            room.replace(goal)
        except BaseException:
            remove_tree(room)
            raise
    _logger.info(
        "%s: %d files in %.1f s, now in %s", archive, files, time.monotonic() - begun, goal
    )
    return Path(target)


def check_vacant(folder: Path) -> None:
    """Make sure that a new folder may take the place of `folder`.

    Raises:
        DataError: It is there and not empty, no folder, or the root of a disk.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"expected a new or empty folder to extract to, but {folder} is a file")
    names = sorted(path.name for path in folder.iterdir())
    if names:
        more = ", …" if len(names) > 3 else ""
        raise DataError(
            f"expected a new or empty folder to extract to, but {folder} holds "
            f"{', '.join(map(repr, names[:3]))}{more}"
        )
    if os.path.ismount(folder):
        raise DataError(f"{folder} is the root of a disk; extract to a folder in it")
    check_not_worked_in(folder)


def check_not_worked_in(folder: Path) -> None:
    """Make sure that the folder may be put away: relative paths would lead nowhere afterwards.

    Raises:
        DataError: This program works in it.
    """
    with contextlib.suppress(FileNotFoundError):  # it works in a folder that is gone already
        if Path.cwd().is_relative_to(folder):
            raise DataError(
                f"{folder} is the folder that this program works in, and would be replaced: "
                "extract to a folder in it, or work in another"
            )


def _unpack(archive: Path, room: Path, limits: Limits) -> int:
    """Write the entries of an archive below `room`; return the number of files."""
    budget, book, files = Budget(archive, limits), NameBook(), 0
    with contextlib.closing(read_entries(archive, budget)) as entries:
        for entry in entries:
            try:
                path = safe_path(entry.name)
                if is_litter(path):
                    continue
                if not path and not entry.is_folder:
                    raise UnsafeNameError("a file without a name")
                new = book.add_folder(path) if entry.is_folder else book.add_file(path)
            except UnsafeNameError as error:
                raise ArchiveError(
                    f"{archive}: entry {entry.name!r} is refused: {error}"
                ) from error
            try:
                for folder in new:
                    budget.spend_file()
                    (room / folder).mkdir()
                if not entry.is_folder:
                    budget.spend_file()
                    _write(entry, f"{room}{os.sep}{path}")
                    files += 1
            except OSError as error:
                if error.errno not in _BAD_NAME:
                    raise
                raise ArchiveError(
                    f"{archive}: entry {entry.name!r} cannot be written here: {error.strerror}"
                ) from error
    if not files:
        raise ArchiveError(f"{archive} holds no files")
    return files


def _write(entry: Entry, path: str) -> None:
    # Not Path.open: with 60,000 small files it costs as much as all the rest.
    descriptor = os.open(path, _NEW_FILE, 0o666)
    try:
        for chunk in entry.chunks:
            written = os.write(descriptor, chunk)
            while written < len(chunk):
                written += os.write(descriptor, memoryview(chunk)[written:])
    finally:
        os.close(descriptor)
