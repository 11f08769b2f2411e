"""The loop itself: forward, loss, backward, step, and what an epoch adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cnnkit.errors import DataError, ModelError
from cnnkit.metrics import Tally
from cnnkit.models._base import evaluating, hook_overridden
from cnnkit.train._loss import check_outputs, guarded_loss, number_of_classes
from cnnkit.types import Batch, LossFunction

__all__ = ["Step", "make_step", "train_epoch", "validate"]

_VALIDATION = ("validation_step", "validation_epoch_end")

#: A batch -> (loss, logits, what the loss was divided by); logits None where a hook keeps them.
Step: TypeAlias = "Callable[[Batch], tuple[Tensor, Tensor | None, float | Tensor]]"


def make_step(model: nn.Module, loss: LossFunction, classes: tuple[str, ...] | None) -> Step:
    """How a batch becomes a loss: the model's own `training_step`, or forward and `loss`."""
    num_classes = None if classes is None else len(classes)

    def step(batch: Batch) -> tuple[Tensor, Tensor | None, float | Tensor]:
        images, labels = batch
        logits = model(images)
        check_outputs(logits, labels, num_classes)
        value, weight = guarded_loss(loss, logits, labels)
        return value, logits, weight

    def own_step(batch: Batch) -> tuple[Tensor, Tensor | None, float | Tensor]:
        result: Any = model.training_step(batch)  # type: ignore[operator]
        value, logits = result if isinstance(result, tuple) else (result, None)
        if not isinstance(value, Tensor) or value.ndim != 0:
            raise ModelError(
                "training_step must return the loss as a scalar tensor, or (loss, logits), "
                f"received {type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))}"
            )
        if logits is not None:
            check_outputs(logits, batch[1], num_classes)
        return value, logits, len(batch[1])

    return own_step if hook_overridden(model, "training_step") else step


def train_epoch(
    step: Step,
    batches: Iterable[Batch],
    optimizer: Optimizer,
    *,
    scheduler: LRScheduler | None = None,
    clip_norm: float | None = None,
    threshold: float | None = None,
    after_batch: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Train on each batch once and return the epoch's figures.

    Nothing in the loop waits for the device; the figures are read once, at the end.
    """
    tally: Tally | None = None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        loss, logits, weight = step(batch)
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if tally is None:
            tally = Tally(2 if logits is None else number_of_classes(logits), threshold=threshold)
        tally.add_loss(loss, weight)
        if logits is not None:
            tally.add_predictions(logits, batch[1])
        after_batch()
    if tally is None:
        raise DataError("the training loader yielded no batch: there is nothing to train on")
    totals = tally.totals()
    figures = {"train_loss": totals.loss}
    if int(totals.matrix.sum()):  # a training_step that returns the loss alone has no accuracy
        figures["train_acc"] = totals.accuracy
    return figures


def count(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: LossFunction,
    classes: tuple[str, ...] | None,
    *,
    threshold: float | None = None,
) -> Tally:
    """Add up loss and predictions over batches, in eval mode and without gradients."""
    tally: Tally | None = None
    num_classes = None if classes is None else len(classes)
    with evaluating(model):
        for images, labels in batches:
            logits = model(images)
            check_outputs(logits, labels, num_classes)
            if tally is None:
                tally = Tally(number_of_classes(logits), threshold=threshold)
            tally.add_loss(*guarded_loss(loss, logits, labels))
            tally.add_predictions(logits, labels)
    if tally is None:
        raise DataError("the loader yielded no batch: there is nothing to evaluate on")
    return tally


def own_threshold(model: nn.Module) -> float | None:
    """The threshold of a model with one logit, where it has one."""
    return getattr(model, "threshold", None) if getattr(model, "binary", False) else None


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
) -> dict[str, float]:
    """Figures on the validation set: exact sums, or those of the model's own hooks as given."""
    if overrides_validation(model):
        # The model may derive from an article's own base class instead of ours.
        own_step: Any = getattr(model, _VALIDATION[0])
        own_end: Any = getattr(model, _VALIDATION[1])
        with evaluating(model):
            outputs = [own_step(batch) for batch in batches]
        result: Mapping[str, Any] = own_end(outputs)
        return {name: float(torch.as_tensor(value)) for name, value in result.items()}
    totals = count(model, batches, loss, classes, threshold=threshold).totals()
    return {"val_loss": totals.loss, "val_acc": totals.accuracy}
