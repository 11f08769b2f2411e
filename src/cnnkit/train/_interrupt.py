"""Ctrl-C and SIGTERM: noted, so that a run ends between two steps and not within one."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cnnkit.train._history import StopReason

__all__ = ["Interrupt", "interruptible"]

_LOG = logging.getLogger(__name__)
_REASONS: dict[int, StopReason] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupt:
    """Whether the run was asked to end.

    Attributes:
        reason: "interrupted", "terminated", or None.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler: the second Ctrl-C raises."""
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = _REASONS[number]
        _LOG.warning("ending after this batch; Ctrl-C once more stops at once")


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the two signals inside; put back afterwards what they did before.

    Only the main thread can: in another one they do what they did.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}
    try:
        for number in _REASONS:
            before[number] = signal.signal(number, interrupt.note)
        yield interrupt
    finally:
        for number, handler in before.items():
            # None is a handler that was not set from Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
