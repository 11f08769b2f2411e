"""Ctrl-C and SIGTERM: noted, so that a run ends between two steps and not within one."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cnnkit.distributed import is_main, note_termination
from cnnkit.train._history import StopReason

__all__ = ["Interrupt", "came_while_reading", "interruptible", "is_lost_worker"]

_LOG = logging.getLogger(__name__)
_REASONS: dict[int, StopReason] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupt:
    """Whether the run was asked to end.

    Attributes:
        reason: "interrupted", "terminated", or None.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._process = os.getpid()
        self._replaced: dict[int, Any] = {}

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler: the second Ctrl-C raises."""
        if os.getpid() != self._process:
            _in_a_child(number)
            return
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = _REASONS[number]
        if hasattr(signal, "SIGCHLD"):
            # The signal may end a loader's processes too: torch would raise here in mid-step.
            self._replace(signal.SIGCHLD, _nothing)
        if number == signal.SIGTERM:
            note_termination()
        if is_main():
            _LOG.warning("ending after this batch; Ctrl-C once more stops at once")

    def begin(self) -> None:
        """Take the two signals, but one that is ignored, as `nohup` ignores Ctrl-C."""
        for number in _REASONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._replace(number, self.note)

    def end(self) -> None:
        """Put back what they did before."""
        for number, handler in self._replaced.items():
            # None is a handler that was not set from Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _replace(self, number: int, handler: Any) -> None:
        before = signal.signal(number, handler)
        self._replaced.setdefault(number, before)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Set in the place of another handler; python complains of signals on their way to none."""


def _in_a_child(number: int) -> None:
    """A forked process, a loader's worker say, has this handler as well."""
    if number == signal.SIGTERM:  # whoever waits for its end must not wait in vain
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    # A Ctrl-C reaches every process of a terminal; the parent decides when it is over.


def is_lost_worker(error: BaseException) -> bool:
    """Whether torch's loader says that a process of its own has ended."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def came_while_reading(error: BaseException) -> bool:
    """Whether it said so when it was asked for a batch, and not in the middle of something."""
    return str(error).startswith("DataLoader worker (pid(s)")


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the two signals inside; put back afterwards what they did before.

    Only the main thread can: in another one they do what they did.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    try:
        interrupt.begin()
        yield interrupt
    finally:
        interrupt.end()
