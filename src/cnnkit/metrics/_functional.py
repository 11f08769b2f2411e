"""Figures as pure functions of tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cnnkit._logits import check_logits, check_no_nan, decided
from cnnkit._logits import probabilities as probabilities
from cnnkit.errors import ArgumentError, DataError

__all__ = [
    "ClassFigures",
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "precision_recall_f1",
    "predicted_classes",
    "probabilities",
    "top_k_accuracy",
]


class ClassFigures(NamedTuple):
    """Precision, recall and F1 (float64) and support (int64) of each class, all (C,)."""

    precision: Tensor
    recall: Tensor
    f1: Tensor
    support: Tensor


def predicted_classes(
    logits: Tensor, threshold: float | None = None, *, positive: int = 1
) -> Tensor:
    """The class that each row of logits says, int64 (N,).

    Args:
        logits: Float (N, C): the largest one, the first of equal ones. Float (N,) with one logit
            a sample: class 1 where its probability is at least a half.
        threshold: For two classes, of one logit or two: the positive class where its probability
            is at least this, between 0 and 1.
        positive: Label of the positive class, 0 or 1; of no effect without a threshold.

    Raises:
        ArgumentError: The threshold is no probability, or there are more than two classes.
        DataError: The logits have another shape. (N, 1) is refused: its argmax is always 0.
        ModelError: A logit is nan.

    Example:
        >>> predicted_classes(torch.tensor([[0.1, 2.0], [3.0, 0.0]]))
        tensor([1, 0])
        >>> predicted_classes(torch.tensor([0.5, 2.0]), threshold=0.8)
        tensor([0, 1])
    """
    check_logits(logits)
    check_no_nan(logits)
    return decided(logits, threshold, positive)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the samples whose predicted class is the label.

    Args:
        logits: Float (N, C), or (N,) with one logit a sample.
        labels: int64 (N,).

    Returns:
        Float scalar tensor between 0 and 1; nan without samples.

    Raises:
        DataError: Logits and labels differ in number.
        ModelError: A logit is nan.

    Example:
        >>> accuracy(torch.tensor([[0.1, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]))
        tensor(0.5000)
    """
    same_number("logits", logits, labels)
    return (predicted_classes(logits) == labels).float().mean()


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of the samples whose label is among the k largest logits.

    Of equal logits the later class counts as the larger one, as in scikit-learn. (The predicted
    class is the first of equal ones, so with ties the figure for k=1 may differ from `accuracy`.)

    Args:
        logits: Float (N, C).
        labels: int64 (N,), 0 to C - 1.
        k: Between 1 and C.

    Returns:
        Float scalar tensor between 0 and 1; nan without samples.

    Raises:
        ArgumentError: k is not between 1 and C.
        DataError: Logits and labels differ in number, or a label is outside the classes.
        ModelError: A logit is nan.

    Example:
        >>> logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
        >>> top_k_accuracy(logits, torch.tensor([1, 2]), k=2)
        tensor(0.5000)
    """
    same_number("logits", logits, labels)
    if logits.ndim != 2 or not 1 <= k <= logits.shape[1]:
        raise ArgumentError(
            f"k must be between 1 and the number of classes, received k={k} "
            f"for logits of shape {tuple(logits.shape)}"
        )
    check_no_nan(logits)
    _check_classes("labels", labels, logits.shape[1])
    return (label_ranks(logits, labels.long()) < k).float().mean()


def label_ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the label by their logits (N, C), int64 (N,)."""
    own = logits.gather(1, labels[:, None])
    classes = torch.arange(logits.shape[1]).to(logits.device)
    before = (logits > own) | ((logits == own) & (classes > labels[:, None]))
    return before.sum(dim=1)


def confusion_matrix(predicted: Tensor, true: Tensor, num_classes: int) -> Tensor:
    """Counts of predictions: row i, column j is how often true class i was predicted as j.

    Args:
        predicted: int64 (N,), 0 to num_classes - 1.
        true: int64 (N,), likewise.
        num_classes: C.

    Returns:
        int64 (C, C), on the device of the arguments.

    Raises:
        DataError: They differ in number, are no integers, or a class is outside the C.

    Example:
        >>> confusion_matrix(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    same_number("predictions", predicted, true)
    _check_classes("predicted classes", predicted, num_classes)
    _check_classes("true classes", true, num_classes)
    return count_pairs(predicted.long(), true.long(), num_classes)


def count_pairs(predicted: Tensor, true: Tensor, num_classes: int) -> Tensor:
    """`confusion_matrix` without looking at the values, which would wait for the device."""
    cells = true * num_classes + predicted
    counts = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=cells.device)
    return counts.scatter_add_(0, cells, torch.ones_like(cells)).view(num_classes, num_classes)


def precision_recall_f1(matrix: Tensor, *, zero_division: float = math.nan) -> ClassFigures:
    """Precision, recall, F1 and support of each class from a matrix of counts.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN).

    Args:
        matrix: int (C, C) with a row a true class.
        zero_division: What a figure is whose denominator is 0: a class never predicted has no
            precision, one without samples no recall. By default nan.

    Returns:
        `ClassFigures` with `precision`, `recall`, `f1` and `support`.

    Raises:
        DataError: The matrix is not square.

    Example:
        >>> precision_recall_f1(torch.tensor([[3, 1], [0, 0]])).recall
        tensor([0.7500,    nan], dtype=torch.float64)
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"expected a (C, C) matrix of counts, received {tuple(matrix.shape)}")
    counts = matrix.cpu().double()  # there is no float64 on every device, and C x C is small
    hits, predicted, support = counts.diagonal(), counts.sum(dim=0), counts.sum(dim=1)

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole > 0, part / whole, zero_division)

    return ClassFigures(
        precision=ratio(hits, predicted),
        recall=ratio(hits, support),
        f1=ratio(2 * hits, predicted + support),
        support=support.long(),
    )


def balanced_accuracy(matrix: Tensor) -> float:
    """Mean recall of the classes that have samples; nan without samples.

    Args:
        matrix: int (C, C) with a row a true class.

    Example:
        >>> balanced_accuracy(torch.tensor([[90, 10], [5, 5]]))
        0.7
    """
    return float(precision_recall_f1(matrix).recall.nanmean())


def _check_classes(name: str, classes: Tensor, num_classes: int) -> None:
    if classes.is_floating_point() or classes.is_complex():
        raise DataError(
            f"{name} must be integers, received {classes.dtype}; "
            "predicted_classes(logits) makes them of logits"
        )
    if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= num_classes):
        raise DataError(
            f"{name} must be 0 to {num_classes - 1}, received "
            f"{int(classes.min())} to {int(classes.max())}"
        )


def same_number(name: str, values: Tensor, labels: Tensor) -> None:
    """Refuse labels that are not one for each row."""
    if labels.ndim != 1 or len(values) != len(labels):
        raise DataError(
            f"expected one label for each row of {name}, received {name} of shape "
            f"{tuple(values.shape)} and labels of shape {tuple(labels.shape)}: "
            "give both of the same samples, in the same order"
        )
