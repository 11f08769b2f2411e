"""`find_lr`: a learning rate to begin with, from a short trial that leaves no trace."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cnnkit._allocator import memory_kept
from cnnkit._progress import Bar, progress_bar
from cnnkit.device import DeviceDataLoader
from cnnkit.distributed import all_reduce_sum
from cnnkit.errors import ArgumentError, DataError, ModelError, TrainingError
from cnnkit.train._compute import Compute, Precision, by_rule, resolve_precision
from cnnkit.train._figures import TrainFigures
from cnnkit.train._loop import UnsoundLossError, train_epoch
from cnnkit.train._loss import default_loss, module_of
from cnnkit.train._lr_curve import LRCurve, ceiling, curve_of
from cnnkit.train._meeting import as_device_loader
from cnnkit.train._optimizers import OptimizerChoice, make_optimizer
from cnnkit.train._parallel import parallel
from cnnkit.train._random import seeded
from cnnkit.train._schedules import Schedule
from cnnkit.train._step import Step, make_step
from cnnkit.train._untouched import untouched
from cnnkit.train._update import Updates
from cnnkit.types import LossFunction

__all__ = ["find_lr"]

_MEMORY = 0.8  # of the running mean in which an explosion is seen: one bad batch is none


def find_lr(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    optimizer: OptimizerChoice = "sgd",
    loss: LossFunction | None = None,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    precision: Precision = "fp32",
    accumulate: int = 1,
    clip_norm: float | None = None,
    progress: bool = True,
    seed: int | None = 0,
) -> LRCurve:
    """Try learning rates from a very small to a very large one, and suggest one to begin with.

    A copy of the model takes one optimiser step at each rate: the loss first stays, then falls,
    then explodes, where the trial ends. The suggestion is a tenth of the rate with the lowest
    loss. It is a place to begin, for this model, optimiser and batch size, and no optimum.

    It leaves no trace. Weights, buffers, gradients, mode and device of the model, the optimiser,
    the order of the loader and the random states of torch, Python and numpy are what they were:
    training after it equals training without it, bit for bit.

    Args:
        model: As for `fit`.
        loader: The training loader, as for `fit`; gone over again where it has too few batches.
        optimizer: As for `fit`. An instance is copied with its state; its groups keep the
            proportions of their learning rates, and those reported are of the first one.
        loss: As for `fit`.
        lowest: The first learning rate, above 0.
        highest: The last one, where nothing explodes before.
        steps: Optimiser steps, 10 or more. Where the loss falls slowly, more of them show it.
        precision: As for `fit`.
        accumulate: As for `fit`: batches a step.
        clip_norm: As for `fit`.
        progress: Show a bar where the extra `progress` is installed.
        seed: Of dropout and of a loader that draws from torch's global generator. None goes on
            from its present state.

    Returns:
        Learning rates, losses and the suggestion, which is None where the loss never fell.

    Raises:
        ArgumentError: An argument makes no sense; the loader can be gone over only once.
        ModelError: The model cannot be copied, or its outputs do not match the classes.
        DataError: There is no batch, or a label is outside the classes.
        TrainingError: The loss is no number from the beginning.

    Source:
        Smith (2017), "Cyclical Learning Rates for Training Neural Networks", section 3.3, for the
        trial; Howard & Gugger (2020), "Deep Learning for Coders with fastai and PyTorch",
        chapter 5, for the tenth.

    Example:
        >>> import torch
        >>> from cnnkit import data, models
        >>> labels = torch.arange(64) % 2
        >>> images = (labels * 200).to(torch.uint8).reshape(-1, 1, 1).expand(-1, 8, 8)
        >>> loader = data.make_loader(data.ArrayDataset(images, labels), 16, device="cpu")
        >>> curve = find_lr(models.MLP(2, image_size=8), loader, progress=False)
        >>> curve.suggestion is not None and 0.001 < curve.suggestion <= 1
        True
    """
    _check(lowest, highest, steps, accumulate, clip_norm)
    with untouched(as_device_loader(loader)) as twin, seeded(seed, twin.device):
        trial, trial_loss, choice = _copies(model, loss, optimizer)
        trial.to(twin.device).train()
        made = make_optimizer(choice, trial, None if isinstance(choice, Optimizer) else lowest)
        if choice is optimizer:
            _check_trains_the_copy(made, trial)
        resolved = resolve_precision(precision, twin.device)
        layout = by_rule(trial, twin.device, resolved)
        compute = Compute(twin.device, precision=resolved, memory_format=layout)
        updates = Updates(
            made, Schedule(), accumulate=accumulate, clip_norm=clip_norm, scaler=compute.scaler
        )
        loss_function = module_of(trial_loss or default_loss(trial), twin.device)
        step = make_step(trial, loss_function, twin.classes)
        step = parallel(compute.stepping(step), trial)
        lrs = [lowest * (highest / lowest) ** (i / (steps - 1)) for i in range(steps)]
        with (
            memory_kept(twin.device),
            compute.applied(trial),
            progress_bar(steps, "find_lr", progress) as bar,
        ):
            losses = _Trial(updates, lrs, bar).run(step, twin, compute)
    return curve_of(lrs[: len(losses)], losses)


class _Trial:
    """Steps at one learning rate after the other, and the loss that each met."""

    def __init__(self, updates: Updates, lrs: list[float], bar: Bar) -> None:
        self.updates, self.lrs, self.bar = updates, lrs, bar
        self.groups = updates.optimizer.param_groups
        first = float(self.groups[0]["lr"])
        self.shares = [float(group["lr"]) / first if first else 1.0 for group in self.groups]
        self.losses: list[float] = []
        self.figures = TrainFigures()
        self._running = 0.0
        self._start = self._lowest = math.inf
        self._set(lrs[0])

    def run(self, step: Step, loader: DeviceDataLoader, compute: Compute) -> list[float]:
        """Go over the loader as often as it takes.

        Raises:
            DataError: There is nothing in it.
            TrainingError: The first loss is no number.
        """
        epoch = 0
        while True:
            self.figures = TrainFigures()
            try:
                going = train_epoch(
                    step,
                    compute.batches(loader.batches(epoch)),
                    self.updates,
                    self.figures,
                    after_batch=lambda: None,
                    after_step=self._after_step,
                )
            except UnsoundLossError:
                going = False
            if not going and not self.losses:
                raise TrainingError(
                    "the loss is no number before any step was taken: look for images, weights or "
                    "class weights that are none"
                )
            if not going:
                return self.losses
            if not self.losses:
                raise DataError(
                    "the loader yielded no batch that has a loss: it is empty, or class weights or "
                    "ignored labels leave nothing of it"
                )
            epoch += 1

    def _after_step(self) -> bool:
        """Record the loss of the batches of this step; True where the trial is over."""
        loss = self._loss_of_step()
        if loss is None:
            return False
        if not math.isfinite(loss):
            return True
        self.losses.append(loss)
        self.bar.update()
        self._running = _MEMORY * self._running + (1 - _MEMORY) * loss
        mean = self._running / (1 - _MEMORY ** len(self.losses))  # as if it had not begun at 0
        if len(self.losses) == 1:
            self._start = mean
        self._lowest = min(self._lowest, mean)
        if len(self.losses) == len(self.lrs) or mean > ceiling(self._lowest, self._start):
            return True
        self._set(self.lrs[len(self.losses)])
        return False

    def _loss_of_step(self) -> float | None:
        """Mean over the samples of all processes; an accelerator is waited for, as it must be."""
        losses, weights = self.figures.take()
        sums = torch.stack([(losses * weights).sum(), weights.sum()])
        total, weight = all_reduce_sum(sums).tolist()
        return total / weight if weight else None

    def _set(self, lr: float) -> None:
        for group, share in zip(self.groups, self.shares, strict=True):
            group["lr"] = lr * share


def _copies(model: nn.Module, loss: Any, optimizer: Any) -> tuple[Any, Any, Any]:
    """Copies that belong together: the optimiser's is over the parameters of the model's.

    Raises:
        ModelError: One of them cannot be copied.
    """
    try:
        copies: tuple[Any, Any, Any] = copy.deepcopy((model, loss, optimizer))
    except Exception as error:  # whatever a module's own copying raises
        raise ModelError(
            f"find_lr trains a copy of the {type(model).__name__}, which cannot be copied with "
            f"copy.deepcopy: {error}"
        ) from error
    return copies


def _check_trains_the_copy(made: Optimizer, trial: nn.Module) -> None:
    """Refuse a function that takes its parameters from elsewhere than its argument.

    Raises:
        ArgumentError: It does.
    """
    own = {id(parameter) for parameter in trial.parameters()}
    if any(id(p) not in own for group in made.param_groups for p in group["params"]):
        raise ArgumentError(
            "find_lr trains a copy of the model, and the optimizer function returned an optimiser "
            "over other parameters than those that it was called with: let it use its argument, or "
            "pass the optimiser itself"
        )


def _check(
    lowest: float, highest: float, steps: int, accumulate: int, clip_norm: float | None
) -> None:
    if not 0 < lowest < highest < math.inf:
        raise ArgumentError(
            f"expected 0 < lowest < highest, received lowest={lowest} and highest={highest}"
        )
    for name, number, least in (("steps", steps, 10), ("accumulate", accumulate, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ArgumentError(f"{name} must be an int of {least} or more, received {number!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise ArgumentError(f"clip_norm must be positive, received {clip_norm}")
