"""A progress bar where tqdm is installed, and nothing where it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cnnkit.distributed import is_main

__all__ = ["progress_bar"]


class Bar(Protocol):
    """What a loop tells its bar."""

    def update(self, n: float | None = 1) -> Any: ...

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> Any: ...


class _NoBar:
    def update(self, n: float | None = 1) -> None: ...

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None: ...


@contextmanager
def progress_bar(
    total: int | None, description: str, enabled: bool = True, *, unit: str = "it"
) -> Iterator[Bar]:
    """A bar that disappears when it is done; refreshed at most four times a second.

    Of several processes the main one shows it.
    It is shown in a notebook or a terminal, where the extra `progress` is installed. Bytes, of the
    unit "B", are shown as kB, MB or GB.
    """
    if not enabled or not (_in_notebook() or sys.stderr.isatty()) or not is_main():
        yield _NoBar()
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield _NoBar()
        return
    with tqdm(
        total=total,
        desc=description,
        leave=False,
        mininterval=0.25,
        unit=unit,
        unit_scale=unit == "B",
    ) as bar:
        yield bar


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and "IPKernelApp" in running.config
