"""Files that are either the old whole or the new whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnkit.types import PathLike

__all__ = ["TEMPORARY", "atomic_path"]

TEMPORARY = ".cnnkit.tmp"  # how the name ends of what is being written


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary name to write to; it takes the place of `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` stays as it was. Folders above
    `path` are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Short, for a name may be as long as the file system allows; and of this block alone.
    temporary = target.with_name(f".{secrets.token_hex(8)}{TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())  # the rename must not reach the disk before the content
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
