"""The marker in an extracted folder: which archive its files came from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cnnkit._files import atomic_path
from cnnkit.types import PathLike

__all__ = ["Marker", "read_marker", "write_marker"]

_NAME = ".cnnkit-source.json"  # hidden, so that it is never taken for data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marker:
    """Where the files of a folder came from.

    Args:
        sha256: Checksum of the archive.
        source: The archive's path, or its URL without the query, for people to read.
        key: Checksum of the whole path or URL, which may hold a token.
        size: Of a local archive, in bytes.
        mtime_ns: Of a local archive: its time of change, in nanoseconds. With the same size and
            time it need not be read again to know that it is the same.
    """

    sha256: str
    source: str
    key: str
    size: int | None = None
    mtime_ns: int | None = None


def read_marker(folder: PathLike) -> Marker | None:
    """Return the marker of an extracted folder; None where there is none that can be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_marker(folder, Marker(sha256="ab12", source="pets.zip", key="cd34"))
        ...     read_marker(folder).source
        'pets.zip'
    """
    try:
        return Marker(**json.loads(Path(folder, _NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_marker(folder: PathLike, marker: Marker) -> None:
    """Write the marker of an extracted folder, in the place of any other."""
    with atomic_path(Path(folder, _NAME)) as file:
        file.write_text(json.dumps(dataclasses.asdict(marker), indent=1), encoding="utf-8")
