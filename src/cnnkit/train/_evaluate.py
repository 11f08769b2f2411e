"""`evaluate`: a model on a data set it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from torch import Tensor, nn

from cnnkit._allocator import memory_kept
from cnnkit.distributed import gather
from cnnkit.metrics import Report
from cnnkit.metrics._gather import DetailTally
from cnnkit.metrics._positive import checked_threshold, positive_class
from cnnkit.train._compute import Compute, Precision, resolve_precision
from cnnkit.train._count import count
from cnnkit.train._loss import default_loss, module_of, number_of_classes
from cnnkit.train._meeting import as_device_loader, meet, own_threshold, trained_on
from cnnkit.train._parallel import same_weights
from cnnkit.train._positions import in_known_order, paths_of
from cnnkit.types import LossFunction

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss: LossFunction | None = None,
    precision: Precision = "fp32",
    threshold: float | None = None,
    positive: str | None = None,
    max_mistakes: int = 10_000,
) -> Report:
    """Loss, accuracy, the figures of each class and the mistakes, exact over all samples.

    The model is moved to the loader's device, run in eval mode without gradients, and its mode is
    put back. Of several processes, each looks at its share with the main one's weights, and all
    return the same report.

    Args:
        model: Any module that returns logits (N, C), or (N,) with one logit a sample.
        loader: Of `make_loader`, or any iterable of batches ``(images, labels)``.
        loss: As for `fit`.
        precision: As for `fit`.
        threshold: For two classes, of one logit or two: from which probability on the answer is
            the positive class. By default the model's own `threshold` for one logit (that is one
            for class 1), the larger of two.
        positive: Of two classes, the name of the positive one; by default class 1.
        max_mistakes: How many of the mistakes the report keeps, the most confident ones.

    Returns:
        `Report`, which prints as a table. Its mistakes are indices into ``loader.dataset``,
        shuffled or not; where the order is not known (iterable data sets, lists of batches,
        loaders of other libraries) its `indices_into` says "loader".

    Raises:
        ModelError: The outputs do not match the classes, or are nan.
        ClassMismatchError: The model was trained on other classes than the loader's.
        ArgumentError: `positive` is none of two classes, `threshold` no probability, or the device
            does not have the `precision`.
        DataError: A label is outside the classes, or there are no batches.

    Example:
        >>> import torch
        >>> from cnnkit import data, models
        >>> ds = data.ArrayDataset(torch.zeros(6, 8, 8, dtype=torch.uint8), [0, 1] * 3)
        >>> report = evaluate(models.MLP(2, image_size=8), data.make_loader(ds, 4, device="cpu"))
        >>> report.samples, report.accuracy, sorted(m.index % 2 for m in report.mistakes)[:1]
        (6, 0.5, [...])
    """
    wrapped = as_device_loader(loader)
    classes = meet(model=trained_on(model), loader=wrapped)
    rule = _rule(model, classes or ("0", "1"), threshold, positive)
    model.to(wrapped.device)
    same_weights(model)
    loss_function = module_of(loss or default_loss(model), wrapped.device)
    details: DetailTally | None = None

    def note(logits: Tensor, labels: Tensor) -> None:
        nonlocal details
        if details is None:
            details = DetailTally(
                number_of_classes(logits),
                threshold=rule.threshold,
                threshold_for=rule.threshold_for,
                positive=rule.positive,
                max_mistakes=max_mistakes,
            )
        details.add(logits, labels)

    batches, places = in_known_order(wrapped)
    compute = Compute(wrapped.device, precision=resolve_precision(precision, wrapped.device))
    with memory_kept(wrapped.device), compute.autocast():
        tally = count(
            model,
            batches,
            loss_function,
            classes,
            threshold=rule.threshold,
            positive=rule.threshold_for,
            after_batch=note,
        )
    if details is not None:
        details.place(*places())
    # Of several processes, each has looked at its share; `count` refuses a loader without batches.
    looked = reduce(add, [part for part in gather(details) if part is not None])
    totals = tally.totals()
    return Report(
        totals.matrix,
        classes or tuple(str(label) for label in range(tally.num_classes)),
        totals.loss,
        positive=positive,
        threshold=rule.of_positive,
        details=looked.details(lambda indices: paths_of(wrapped.dataset, indices)),
    )


class _Rule(NamedTuple):
    """How two classes are told apart, by their labels."""

    threshold: float | None
    threshold_for: int
    positive: int

    @property
    def of_positive(self) -> float | None:
        """The threshold as a probability of the positive class."""
        other = self.threshold is not None and self.threshold_for != self.positive
        return 1 - self.threshold if other and self.threshold is not None else self.threshold


def _rule(
    model: nn.Module, classes: tuple[str, ...], threshold: float | None, positive: str | None
) -> _Rule:
    name = positive_class(classes, positive)
    label = 1 if name is None else classes.index(name)
    if threshold is not None:
        return _Rule(checked_threshold(threshold, classes), label, label)
    return _Rule(own_threshold(model), 1, label)  # a model's own is for class 1
