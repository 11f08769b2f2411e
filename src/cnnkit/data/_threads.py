"""Reading many files at once: Pillow releases Python's lock while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cnnkit._progress import progress_bar
from cnnkit.errors import ArgumentError

__all__ = ["in_threads"]

_A_TASK = 8  # calls handed to a thread at once: handing over costs as much as a tenth of a decode
_AT_ONCE = 16  # tasks waiting for each thread: an error need not wait for the rest of the folder


def in_threads(
    work: Callable[[int], None], number: int, workers: int | None, what: str, progress: bool
) -> None:
    """Call `work` for 0 … number - 1; the first error ends it."""
    threads = (os.cpu_count() or 1) if workers is None else workers
    if threads < 1:
        raise ArgumentError(f"workers must be at least 1, received {workers}")
    size = max(1, min(_A_TASK, number // (4 * threads)))

    def task(start: int) -> int:
        positions = range(start, min(start + size, number))
        for position in positions:
            work(position)
        return len(positions)

    starts = range(0, number, size)
    with progress_bar(number, what, progress) as bar:
        if threads == 1 or number == 1:
            for start in starts:
                bar.update(task(start))
            return
        step = threads * _AT_ONCE
        with ThreadPoolExecutor(threads) as pool:
            for first in range(0, len(starts), step):
                for done in pool.map(task, starts[first : first + step]):
                    bar.update(done)
