"""`TensorBoardLogger`: the figures of a run as curves in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnnkit.errors import ArgumentError, MissingExtraError
from cnnkit.train._callbacks import Callback
from cnnkit.train._state import TrainState
from cnnkit.train._warn import warn
from cnnkit.types import PathLike

__all__ = ["TensorBoardLogger"]

# The axis of the curves; and what TensorBoard knows by itself, from the time of each point.
_LEFT_OUT = ("epoch", "seconds")


class TensorBoardLogger(Callback):
    """Write each epoch's figures as scalars that ``tensorboard --logdir`` shows.

    A scalar has the name that the figure has in the history ("val_loss", "lr"), and the epoch as
    its step; `seconds` are left out. A resumed run goes on with the curves, without double points.
    Give each run a folder of its own: a run that begins where another one was written takes that
    one's place on the screen.

    Args:
        log_dir: The folder of this run; made if it is not there.
        every: Write the learning rate after so many optimiser steps, too, as a run of its own in
            the folder "steps" below. None writes it once an epoch.

    Raises:
        MissingExtraError: The extra `tensorboard` is not installed.
        ArgumentError: `every` is not a positive int.

    Warns:
        CnnkitWarning: Nothing can be written, because the disk is full, say. The training goes on
            without this log.

    Example:
        >>> import tempfile
        >>> TensorBoardLogger(Path(tempfile.gettempdir()) / "runs" / "first").every is None
        True
    """

    def __init__(self, log_dir: PathLike, *, every: int | None = None) -> None:
        if every is not None and (
            isinstance(every, bool) or not isinstance(every, int) or every < 1
        ):
            raise ArgumentError(f"every must be a positive int or None, received {every!r}")
        _summary_writer()  # what is missing is missing now, not when the training begins
        self.log_dir = Path(log_dir)
        self.every = every
        self._by_epoch: Any = None
        self._by_step: Any = None
        self._written = 0

    def on_fit_start(self, state: TrainState) -> None:
        """Open the files; points that a killed run wrote after its last checkpoint are hidden."""
        self._guarded(self._close)  # of a run that raised
        self._guarded(lambda: self._open(state))

    def on_step_end(self, state: TrainState) -> None:
        """Write the learning rate, where that is wanted."""
        if self._by_step is not None and state.step % (self.every or 1) == 0:
            self._guarded(lambda: self._by_step.add_scalar("lr", state.lr, state.step))

    def on_epoch_end(self, state: TrainState) -> None:
        """Write the figures of the epoch, to the disk before a checkpoint says that it ended."""
        self._guarded(lambda: self._write(state))

    def on_fit_end(self, state: TrainState) -> None:
        """Write the row of an epoch that was cut short, if there is one, and close the files."""
        self._guarded(lambda: self._write(state))
        self._guarded(self._close)

    def _open(self, state: TrainState) -> None:
        rows = state.history.rows
        self._written = len(rows)
        following = int(rows[-1]["epoch"]) + 1 if rows else 0
        self._by_epoch = _summary_writer()(self.log_dir, purge_step=following)
        if self.every is not None:
            self._by_step = _summary_writer()(self.log_dir / "steps", purge_step=state.step + 1)

    def _write(self, state: TrainState) -> None:
        if self._by_epoch is None:
            return
        for row in state.history.rows[self._written :]:
            for name in (name for name in row if name not in _LEFT_OUT):
                self._by_epoch.add_scalar(name, row[name], int(row["epoch"]))
        self._written = len(state.history.rows)
        for writer in self._writers():
            writer.flush()

    def _close(self) -> None:
        writers, self._by_epoch, self._by_step = self._writers(), None, None
        for writer in writers:
            writer.close()

    def _writers(self) -> list[Any]:
        return [writer for writer in (self._by_epoch, self._by_step) if writer is not None]

    def _guarded(self, write: Callable[[], object]) -> None:
        """Go on without a log where there is no writing one."""
        try:
            write()
        except OSError as error:
            writers, self._by_epoch, self._by_step = self._writers(), None, None
            for writer in writers:  # their threads would wait for more
                with suppress(OSError):
                    writer.close()
            warn(
                f"nothing more could be written for TensorBoard to {self.log_dir} ({error}): the "
                "training goes on without this log; history and checkpoints have the figures"
            )


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard", "TensorBoardLogger") from error
    return SummaryWriter
