"""What downloading and extracting both need of the disk: a checksum, room to work, a clean-up."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from cnnkit.errors import ArgumentError
from cnnkit.types import PathLike

__all__ = ["checked_sha256", "new_parents", "remove_tree", "sha256_of"]

_BLOCK = 1 << 20


def sha256_of(path: PathLike) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it.

    Args:
        path: A file; a GB takes about a second.

    Returns:
        64 lower-case hexadecimal digits.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "pets.zip").write_bytes(b"cats and dogs")
        ...     sha256_of(Path(folder, "pets.zip"))[:8]
        '7301df9b'
    """
    digest = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with Path(path).open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(view[:size])
    return digest.hexdigest()


def checked_sha256(sha256: str | None) -> str | None:
    """Return a checksum as `sha256_of` would write it, or say what is wrong with it."""
    if sha256 is None:
        return None
    digest = sha256.strip().lower()
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ArgumentError(
            f"sha256 must be 64 hexadecimal digits, as `sha256sum FILE` prints them; got {sha256!r}"
        )
    return digest


@contextlib.contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; when the block raises, take those away again."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in made:  # the deepest first; one that something else lies in stays
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, or a file; that it is not there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
