"""`TrainState`: where a run stands, as callbacks see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cnnkit.train._history import History, Row, StopReason

__all__ = ["TrainState"]


@dataclass
class TrainState:
    """Where a run stands; every callback is handed this one object.

    Attributes:
        model: The model that is trained.
        optimizer: Of the run.
        scheduler: torch's own scheduler, or None.
        history: Rows of the epochs that have ended.
        epochs: How many there are to be.
        epoch: The one that is running or has just ended, from 1; 0 before the first.
        batch: How many of its batches are done.
        step: Optimiser steps since the beginning of the run.
        stop_reason: Why the run is to end after the present epoch; set it with `stop`.

    Example:
        >>> from cnnkit.train import Callback
        >>> class AtNinety(Callback):
        ...     def on_epoch_end(self, state):
        ...         if state.row["val_acc"] >= 0.9:
        ...             state.stop()
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: Any
    history: History
    epochs: int
    epoch: int = 0
    batch: int = 0
    step: int = 0
    stop_reason: StopReason | None = None

    @property
    def row(self) -> Row:
        """Figures of the epoch that has just ended; what a callback adds to it is recorded."""
        return self.history.rows[-1]

    @property
    def lr(self) -> float:
        """The learning rate of the next step (of the first parameter group)."""
        return float(self.optimizer.param_groups[0]["lr"])

    def stop(self, reason: StopReason = "early") -> None:
        """Let this epoch be the last."""
        self.stop_reason = reason
