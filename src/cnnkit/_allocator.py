"""Memory that a step frees and the next one takes again, kept in between on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["memory_kept"]

# glibc gives the memory of large tensors back to the system when they are freed. The next step asks
# for it again, and the system finds and clears each page anew: a quarter of a step, or a third.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters
_NEVER, _GIB, _MIB = -1, 1 << 30, 1 << 20
_WORTH_GIVING_BACK = 128 * _MIB  # less would only be asked for again by the next run
# Whoever has set one of these has decided.
_DECIDED = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "GLIBC_TUNABLES",
)

_lock = threading.Lock()
_inside = 0  # runs that want it, of all threads


@contextmanager
def memory_kept(device: torch.device) -> Iterator[None]:
    """Inside, freed memory stays with the process; afterwards much of it goes back to the system.

    On the CPU with glibc, and nowhere else. Afterwards the allocator is as in a process that has
    freed a block of 32 MiB, the largest that its own rule goes up to.

    Args:
        device: Where tensors come and go.

    Example:
        >>> with memory_kept(torch.device("cpu")):
        ...     total = sum(float(torch.zeros(1 << 20).sum()) for _ in range(3))
        >>> total
        0.0
    """
    global _inside
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    before = _resident()
    with _lock:
        _inside += 1
        if not libc.mallopt(_MMAP_THRESHOLD, _GIB):
            libc.mallopt(_MMAP_THRESHOLD, 32 * _MIB)  # the most that it took before 2.35
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                libc.mallopt(_MMAP_THRESHOLD, 32 * _MIB)
                libc.mallopt(_TRIM_THRESHOLD, 64 * _MIB)
                if _resident() - before > _WORTH_GIVING_BACK:
                    libc.malloc_trim(0)


def _resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _DECIDED):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
