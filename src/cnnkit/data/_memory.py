"""How much memory there is, asked before much of it is taken."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["available_memory", "readable_bytes"]

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, or None where the system does not tell."""
    found = [size for size in (_of_machine(), _of_container()) if size is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: ask as POSIX does
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _of_container() -> int | None:
    """What a container may still take (cgroup v2); the machine's figure does not know of it."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text()) - _file_cache()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def _file_cache() -> int:
    """What is counted as used, but given back when memory is asked for: pages of files."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0


def readable_bytes(number: float) -> str:
    """Bytes in the unit that reads best.

    Example:
        >>> readable_bytes(3 * 2**20), readable_bytes(800)
        ('3.0 MiB', '800 B')
    """
    if number < 1024:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        number /= 1024
        if number < 1024 or unit == "TiB":
            break
    return f"{number:.1f} {unit}"
