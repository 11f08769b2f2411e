"""`evaluate`: a model on a data set it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from cnnkit.metrics import Report
from cnnkit.train._loop import count, own_threshold
from cnnkit.train._loss import default_loss, module_of
from cnnkit.train._meeting import as_device_loader, meet, trained_on
from cnnkit.types import LossFunction

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss: LossFunction | None = None,
    threshold: float | None = None,
) -> Report:
    """Loss, accuracy and the figures of each class, exact over all samples.

    The model is moved to the loader's device, run in eval mode without gradients, and its mode is
    put back.

    Args:
        model: Any module that returns logits (N, C), or (N,) with one logit a sample.
        loader: Of `make_loader`, or any iterable of batches ``(images, labels)``.
        loss: As for `fit`.
        threshold: For two classes, of one logit or two: from which probability on the answer is
            class 1. By default the model's own `threshold` for one logit, the larger of two.

    Returns:
        `Report`, which prints as a table.

    Raises:
        ModelError: The outputs do not match the classes.
        ClassMismatchError: The model was trained on other classes than the loader's.

    Example:
        >>> import torch
        >>> from cnnkit import data, models
        >>> ds = data.ArrayDataset(torch.zeros(6, 8, 8, dtype=torch.uint8), [0, 1] * 3)
        >>> report = evaluate(models.MLP(2, image_size=8), data.make_loader(ds, 4, device="cpu"))
        >>> report.samples, report.accuracy
        (6, 0.5)
    """
    wrapped = as_device_loader(loader)
    classes = meet(model=trained_on(model), loader=wrapped)
    model.to(wrapped.device)
    if threshold is None:
        threshold = own_threshold(model)
    loss_function = module_of(loss or default_loss(model), wrapped.device)
    tally = count(model, wrapped, loss_function, classes, threshold=threshold)
    names = classes or tuple(str(label) for label in range(tally.num_classes))
    totals = tally.totals()
    return Report(totals.matrix, names, totals.loss)
