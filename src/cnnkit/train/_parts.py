"""What a training run is made of, and what it knows of the epoch that is running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from cnnkit.device import DeviceDataLoader
from cnnkit.train._callbacks import Callbacks
from cnnkit.train._checkpoint import CheckpointFolder
from cnnkit.train._compute import Compute
from cnnkit.train._figures import TrainFigures
from cnnkit.train._schedules import Schedule
from cnnkit.train._step import Step
from cnnkit.train._update import Updates
from cnnkit.types import LossFunction

__all__ = ["Epoch", "OnCheckpointError", "Parts"]

OnCheckpointError = Literal["warn", "stop"]


@dataclass
class Parts:
    """What a run is made of; `fit` makes it from its arguments."""

    model: nn.Module
    train: DeviceDataLoader
    val: DeviceDataLoader | None
    classes: tuple[str, ...] | None
    loss: LossFunction
    step: Step
    updates: Updates
    schedule: Schedule
    compute: Compute
    callbacks: Callbacks
    checkpoints: CheckpointFolder | None
    checkpoint_every: int | None
    on_checkpoint_error: OnCheckpointError
    restore_best: bool
    evaluate_first: bool
    progress: bool
    seed: int | None
    settings: dict[str, Any]


@dataclass
class Epoch:
    """An epoch that is being trained."""

    figures: TrainFigures
    rate: float
    started: float
    random: dict[str, Any] | None  # the states before its first batch was asked for
    resumed: dict[str, Any] | None = None  # those of the batch at which it goes on
    rates: list[float] = field(default_factory=list)  # on an accelerator, of each batch from there
