"""The loop itself: forward, loss, backward, step, and what an epoch adds up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cnnkit.device import stands_in
from cnnkit.distributed import alone, any_of_us, gather, world_size
from cnnkit.errors import ModelError, TrainingError
from cnnkit.models._base import evaluating, hook_overridden
from cnnkit.train._count import count
from cnnkit.train._figures import TrainFigures
from cnnkit.train._step import Step
from cnnkit.train._update import Updates
from cnnkit.types import Batch, LossFunction

__all__ = ["UnsoundLossError", "overrides_validation", "train_epoch", "validate"]

_VALIDATION = ("validation_step", "validation_epoch_end")


class UnsoundLossError(TrainingError):
    """The loss of a batch is nan or infinite: there is nothing to learn from it."""

    def __init__(self, value: float) -> None:
        super().__init__(f"the loss became {value}")
        self.value = value


def train_epoch(
    step: Step,
    batches: Iterable[Batch],
    updates: Updates,
    figures: TrainFigures,
    *,
    after_batch: Callable[[], object],
    after_step: Callable[[], bool],
) -> bool:
    """Train on each batch once, adding up `figures`.

    Nothing in the loop waits for an accelerator. On the CPU a loss can be read for nothing, and
    one that is no number ends the epoch before it reaches the weights.

    Args:
        step: What makes a loss of a batch.
        batches: On the device.
        updates: What makes optimiser steps of losses.
        figures: Of this epoch.
        after_batch: Called after each batch.
        after_step: Called after each optimiser step; True ends the epoch there.

    Returns:
        Whether the epoch was trained to its end.

    Raises:
        UnsoundLossError: On the CPU, the loss of a batch is nan or infinite.
    """
    several = world_size() > 1
    for batch in batches:
        loss, logits, weight = step(batch)
        value, weight = _read(loss), _read(weight)
        other = several and stands_in(batch)
        if other or (not isinstance(weight, Tensor) and weight == 0):
            # The samples of another process, or such that nothing is left of it: 0 / 0.
            value, weight, loss = 0.0, 0 * weight, 0 * (loss if logits is None else logits).sum()
        if other:
            logits = None
        unsound = isinstance(value, float) and not math.isfinite(value)
        if any_of_us(unsound) if several else unsound:
            raise UnsoundLossError(_first_of(value if unsound else None))
        stepped = updates.add(loss, weight)
        figures.add(value, weight, logits, batch[1])
        after_batch()
        if stepped and after_step():
            return False
    return not (updates.finish() and after_step())


def _first_of(own: float | Tensor | None) -> float:
    """The loss that is no number, of the first process that has one."""
    return float(next(one for one in gather(own) if one is not None))


def overrides_validation(model: nn.Module) -> bool:
    """Whether the model brings validation hooks of its own.

    Raises:
        ModelError: A module that does not derive from `ImageClassificationBase` has one of two.
    """
    missing = [hook for hook in _VALIDATION if not hasattr(model, hook)]
    if len(missing) == 1:
        raise ModelError(
            f"{type(model).__name__} has no {missing[0]}: define both {' and '.join(_VALIDATION)}, "
            "or derive it from ImageClassificationBase, which has them"
        )
    return any(hook_overridden(model, hook) for hook in _VALIDATION)


def validate(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: LossFunction,
    classes: tuple[str, ...] | None,
    *,
    threshold: float | None = None,
    gives_shares: bool = False,
    after_batch: Callable[[Tensor, Tensor], object],
) -> tuple[dict[str, float], Tensor | None]:
    """Figures on the validation set: exact sums, or those of the model's own hooks as given.

    Of several processes each counts its share. Hooks are given whole batches, by each process all
    of them, unless the loader `gives_shares` of its own.

    Returns:
        The figures, and the matrix of counts where the logits were seen.
    """
    if overrides_validation(model):
        # The model may derive from an article's own base class instead of ours.
        own_step: Any = getattr(model, _VALIDATION[0])
        own_end: Any = getattr(model, _VALIDATION[1])
        with evaluating(model):
            if gives_shares:
                mine = [own_step(batch) for batch in batches]
                outputs = [output for some in gather(mine) for output in some]
            else:  # what becomes of a batch's figures only the model knows: no batch is shared
                with alone():
                    outputs = [own_step(batch) for batch in batches]
        result: Mapping[str, Any] = own_end(outputs)
        return {name: float(torch.as_tensor(value)) for name, value in result.items()}, None
    totals = count(
        model, batches, loss, classes, threshold=threshold, after_batch=after_batch
    ).totals()
    return {"val_loss": totals.loss, "val_acc": totals.accuracy}, totals.matrix


def _read(value: float | Tensor) -> float | Tensor:
    """A number where it lies on the CPU; on an accelerator reading it would wait.

    There it is kept for the epoch, without what it was computed from.
    """
    if not isinstance(value, Tensor):
        return value
    return value.item() if value.is_cpu else value.detach()
