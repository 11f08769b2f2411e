"""Files that are either the old whole or the new whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnkit.types import PathLike

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary name to write to; it takes the place of `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` stays as it was. Folders above
    `path` are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())  # the rename must not reach the disk before the content
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
