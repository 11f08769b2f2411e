"""Reading many files at once: Pillow releases Python's lock while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cnnkit._progress import progress_bar
from cnnkit.errors import ArgumentError

__all__ = ["in_threads"]

_AT_ONCE = 64  # calls waiting for each thread: an error need not wait for the rest of the folder


def in_threads(
    work: Callable[[int], None], number: int, workers: int | None, what: str, progress: bool
) -> None:
    """Call `work` for 0 … number - 1; the first error ends it."""
    threads = (os.cpu_count() or 1) if workers is None else workers
    if threads < 1:
        raise ArgumentError(f"workers must be at least 1, received {workers}")
    if threads == 1 or number == 1:
        with progress_bar(number, what, progress) as bar:
            for position in range(number):
                work(position)
                bar.update()
        return
    step = threads * _AT_ONCE
    with progress_bar(number, what, progress) as bar, ThreadPoolExecutor(threads) as pool:
        for start in range(0, number, step):
            chunk = range(start, min(start + step, number))
            for _ in pool.map(work, chunk):
                bar.update()
