"""Loss and predictions of a model over batches, added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add

from torch import Tensor, nn

from cnnkit.device import stands_in
from cnnkit.distributed import gather
from cnnkit.errors import DataError
from cnnkit.metrics import Tally
from cnnkit.models._base import evaluating
from cnnkit.train._loss import GuardedLoss, check_outputs, number_of_classes
from cnnkit.types import Batch, LossFunction

__all__ = ["count"]


def count(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: LossFunction,
    classes: tuple[str, ...] | None,
    *,
    threshold: float | None = None,
    positive: int = 1,
    after_batch: Callable[[Tensor, Tensor], object] = lambda logits, labels: None,  # noqa: ARG005
) -> Tally:
    """Add up loss and predictions over batches, in eval mode and without gradients.

    Of several processes each counts its share, and each is given the sum.

    Raises:
        DataError: There was no batch.
    """
    tally: Tally | None = None
    num_classes = None if classes is None else len(classes)
    guarded = GuardedLoss(loss)
    with evaluating(model):
        for batch in batches:
            if stands_in(batch):
                continue  # another process counts its samples
            images, labels = batch
            logits = model(images)
            check_outputs(logits, labels, num_classes)
            if tally is None:
                number = number_of_classes(logits)
                tally = Tally(number, threshold=threshold, positive=positive)
            tally.add_loss(*guarded(logits, labels))
            tally.add_predictions(logits, labels)
            after_batch(logits, labels)
    tallies = [one for one in gather(tally) if one is not None]
    if not tallies:
        raise DataError("the loader yielded no batch: there is nothing to evaluate on")
    return reduce(add, tallies)
