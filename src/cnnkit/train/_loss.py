"""The loss of a batch, and the denominator that makes batches add up exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, DataError, ModelError
from cnnkit.types import LossFunction

__all__ = ["GuardedLoss", "check_outputs", "denominator", "may_weigh_nothing"]


_WEIGHING = (nn.CrossEntropyLoss, nn.NLLLoss)  # what they divide by may be other than N
_REDUCED = (torch.bfloat16, torch.float16)


def denominator(loss: LossFunction | None, labels: Tensor) -> float | Tensor:
    """What the batch's mean loss was divided by: N, or the sum of the samples' class weights.

    The mean of a whole data set is the sum of (batch mean x denominator) over the sum of the
    denominators, for short batches too.
    """
    if not isinstance(loss, _WEIGHING):
        return labels.shape[0]  # len() of a tensor costs ten times as much
    counts: Tensor | None = None if loss.ignore_index < 0 else labels != loss.ignore_index
    if loss.weight is not None:
        weights = loss.weight.index_select(0, labels)
        counts = weights if counts is None else weights * counts
    return labels.shape[0] if counts is None else counts.sum()


def may_weigh_nothing(loss: LossFunction) -> bool:
    """Whether the loss may leave out all samples of a batch, whose mean is then 0 / 0."""
    if not isinstance(loss, _WEIGHING):
        return False
    return loss.ignore_index >= 0 or (loss.weight is not None and bool((loss.weight == 0).any()))


class GuardedLoss:
    """Calls a loss, and returns it with its denominator.

    Raises:
        ArgumentError: The loss does not return a mean, or takes no logits.
        DataError: When it is called: a label is outside the classes; the message says which.
    """

    def __init__(self, loss: LossFunction) -> None:
        reduction = getattr(loss, "reduction", "mean")
        if reduction != "mean":
            raise ArgumentError(
                f"the loss must return the mean of a batch, received reduction={reduction!r}: "
                'make it with reduction="mean"'
            )
        if isinstance(loss, nn.BCELoss):
            raise ArgumentError(
                "nn.BCELoss takes probabilities, and figures, reports and classifiers take logits: "
                "leave the sigmoid out of the model and use nn.BCEWithLogitsLoss"
            )
        self.loss = loss
        self._takes_floats = isinstance(loss, nn.BCEWithLogitsLoss)

    def __call__(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, float | Tensor]:
        if logits.dtype in _REDUCED:
            logits = logits.float()  # a loss in half precision would be exact to three digits
        given = labels.to(logits.dtype) if self._takes_floats else labels
        try:
            return self.loss(logits, given), denominator(self.loss, labels)
        except IndexError as error:
            lowest, highest = int(labels.min()), int(labels.max())
            number = number_of_classes(logits)
            if lowest >= 0 and highest < number:
                raise  # the loss's own
            raise DataError(
                f"labels {lowest} to {highest} do not fit a model with {number} outputs: "
                f"labels go from 0 to {number - 1}"
            ) from error


def check_outputs(logits: object, labels: Tensor, num_classes: int | None) -> None:
    """Refuse outputs and labels that do not match the classes, before a loss hides it.

    Raises:
        DataError: The labels are not one integer a sample.
        ModelError: The message says the shape that came and the one that is expected.
    """
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"expected the model to return a tensor of logits, received {type(logits).__name__}"
        )
    shape, number = logits.shape, labels.shape[0] if labels.ndim else 0
    if len(shape) == 2:
        fits = shape[0] == number and shape[1] >= 2 and num_classes in (None, shape[1])
    else:
        fits = len(shape) == 1 and shape[0] == number and num_classes in (None, 2)
    if not fits:
        expected = f"({number}, {'classes' if num_classes is None else num_classes})"
        if num_classes in (None, 2):
            expected += f", or ({number},) with one logit a sample"
        hint = "open the data with the classes= that the model was made for, or make it for these"
        if shape[1:] == (1,):
            hint = "squeeze the last dimension"
        elif len(shape) > 2 or shape[:1] != (number,):
            hint = "return one row of logits for each image of the batch"
        raise ModelError(
            f"the model's outputs do not match the classes: expected logits of shape {expected}, "
            f"received {tuple(shape)}: {hint}"
        )
    if labels.ndim != 1 or (labels.is_floating_point() and len(shape) == 2):
        raise DataError(
            f"expected labels as integers of shape ({len(labels)},), the index of each sample's "
            f"class, received {labels.dtype} of shape {tuple(labels.shape)}"
            + ("; one-hot labels become such with labels.argmax(1)" if labels.ndim == 2 else "")
        )


def number_of_classes(logits: Tensor) -> int:
    """How many classes logits of this shape tell apart: (N, C) C, (N,) two."""
    return 2 if logits.ndim == 1 else logits.shape[1]


def default_loss(model: nn.Module) -> LossFunction:
    """The model's own `loss`, or cross-entropy, which is binary for logits (N,)."""
    own: LossFunction | None = getattr(model, "loss", None)
    return own if callable(own) else _cross_entropy


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.ndim == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return nn.functional.cross_entropy(logits, labels)


def module_of(loss: LossFunction, device: torch.device) -> LossFunction:
    """A loss that is a module, with its class weights on the device."""
    return loss.to(device) if isinstance(loss, nn.Module) else loss
