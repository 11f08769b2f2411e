"""How much an archive may hold, and the count that is kept while it is extracted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cnnkit.errors import ArchiveError, ArgumentError

__all__ = ["DEFAULT_LIMITS", "Budget", "LimitError", "Limits"]


class LimitError(ArchiveError):
    """An archive that may be whole and well meant, but holds more than the limits allow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold at most, counted on what is written, not on what it announces.

    The defaults let real data sets through (ImageNet: 1.4 million files, 150 GB, as small as the
    archive; uncompressed BMP and CSV: up to 100 times the archive) and refuse bombs, which reach
    1,000 times the archive with Deflate and far more otherwise.

    Args:
        max_bytes: Sum of all files, in bytes.
        max_files: Number of files and folders.
        max_ratio: Sum of all files, divided by the size of the archive.

    Raises:
        ArgumentError: One of them is not above zero.

    Example:
        >>> Limits(max_files=1000)
        Limits(max_bytes=1099511627776, max_files=1000, max_ratio=500)
    """

    max_bytes: int = 1 << 40
    max_files: int = 10_000_000
    max_ratio: float = 500

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ArgumentError(
                    f"{field.name} must be above 0, got {getattr(self, field.name)!r}"
                )


DEFAULT_LIMITS = Limits()


class Budget:
    """What may still be written of one archive."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._size = archive.stat().st_size
        self._ceiling = min(limits.max_bytes, limits.max_ratio * self._size)
        self._bytes = self._files = 0

    def spend_bytes(self, count: int) -> None:
        """Count bytes that are about to be written."""
        self._bytes += count
        self._check(self._bytes)

    def foresee(self, total: int) -> None:
        """Refuse the sum that an archive itself announces, before the first byte is written."""
        self._check(total)

    def spend_file(self) -> None:
        """Count a file or folder that is about to be made."""
        self._files += 1
        if self._files > self._limits.max_files:
            raise LimitError(
                f"{self._archive} holds more than max_files={self._limits.max_files:,} files and "
                "folders; if you trust it, pass limits=Limits(max_files=…)"
            )

    def _check(self, total: int) -> None:
        if total <= self._ceiling:
            return
        if total > self._limits.max_bytes:
            raise LimitError(
                f"{self._archive} holds more than max_bytes={self._limits.max_bytes:,}; if you "
                "trust it, pass limits=Limits(max_bytes=…)"
            )
        raise LimitError(
            f"{self._archive} has {self._size:,} bytes and holds more than "
            f"max_ratio={self._limits.max_ratio:g} times as many, which bombs do; if you trust it, "
            "pass limits=Limits(max_ratio=…)"
        )
