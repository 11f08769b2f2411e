"""`Step`: how a batch becomes a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn

from cnnkit.errors import ModelError
from cnnkit.models._base import hook_overridden
from cnnkit.train._loss import GuardedLoss, check_outputs, may_weigh_nothing
from cnnkit.types import Batch, LossFunction

__all__ = ["Step", "Stepped", "make_step"]

#: The loss, the logits, and what the loss was divided by; logits None where a hook keeps them.
Stepped: TypeAlias = "tuple[Tensor, Tensor | None, float | Tensor]"
Step: TypeAlias = "Callable[[Batch], Stepped]"


def make_step(model: nn.Module, loss: LossFunction, classes: tuple[str, ...] | None) -> Step:
    """How a batch becomes a loss: the model's own `training_step`, or forward and `loss`."""
    num_classes = None if classes is None else len(classes)

    def own_step(batch: Batch) -> Stepped:
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

    if hook_overridden(model, "training_step"):
        return own_step  # which may never ask for the loss
    guarded, careful = GuardedLoss(loss), may_weigh_nothing(loss)

    def step(batch: Batch) -> Stepped:
        images, labels = batch
        logits = model(images)
        check_outputs(logits, labels, num_classes)
        value, weight = guarded(logits, labels)
        if careful and isinstance(weight, Tensor):
            weight = weight.item()  # waits for an accelerator: a batch that weighs 0 is left out
        return value, logits, weight

    return step
