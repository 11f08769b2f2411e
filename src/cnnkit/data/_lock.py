"""One process at a time: an advisory lock of the operating system on a file beside the target.

The system lets go of such a lock when its process dies, however it dies, so a killed run never
blocks the next one; a lock that is the mere existence of a file would.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["lock_path", "locked"]

_logger = logging.getLogger("cnnkit")

_POLL_SECONDS = 0.05
# What some network file systems say that have no locks at all.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def lock_path(path: Path) -> Path:
    """Return where the lock of `path` lies while it is held."""
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which need not exist; wait, as long as it takes, while another does.

    It holds between processes and between threads. It does not nest.

    Args:
        path: What is going to be written. Its folder must exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder, "pets.zip")):
        ...     lock_path(Path(folder, "pets.zip")).name
        '.pets.zip.lock'
    """
    file = lock_path(path)
    descriptor = _acquire(file)
    try:
        yield
    finally:
        _release(file, descriptor)


def _acquire(file: Path) -> int:
    told = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Who held it before has removed its file: a lock on that one is worth nothing.
            if _try_lock(descriptor, file) and _is_still(file, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not told:
            _logger.info("waiting for another process, which holds %s", file)
            told = True
        time.sleep(_POLL_SECONDS)


def _release(file: Path, descriptor: int) -> None:
    if sys.platform == "win32":
        # An open file cannot be removed there; one that another process has open, it will remove.
        os.close(descriptor)
        with contextlib.suppress(OSError):
            file.unlink()
    else:
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # closing alone would not do: a forked child shares it
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _try_lock(descriptor: int, file: Path) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            _logger.warning("%s: no locks here (%s); do not run two of these at once", file, error)
            return True
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _is_still(file: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    return False
