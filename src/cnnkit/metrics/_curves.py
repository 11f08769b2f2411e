"""What every threshold gives: ROC and precision-recall curves of two classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cnnkit.errors import DataError

__all__ = ["PRCurve", "ROCCurve", "precision_recall_curve", "roc_curve"]


class ROCCurve(NamedTuple):
    """Receiver operating characteristic, a point a threshold.

    Attributes:
        false_positive_rate: Share of the negatives that are taken for positive, rising, float64
            (n,); nan where there are no negatives.
        true_positive_rate: Share of the positives that are found, rising, float64 (n,); nan where
            there are no positives.
        thresholds: Scores from which on a sample is taken for positive, falling, float64 (n,). The
            first one is inf: nothing is.
        area: Under the curve: the chance that a positive scores higher than a negative, a tie
            counting half. nan where one of the two is missing.
    """

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    thresholds: Tensor
    area: float


class PRCurve(NamedTuple):
    """Precision and recall, a point a threshold.

    Attributes:
        precision: Float64 (n + 1,); the last one is 1, where nothing is taken for positive.
        recall: Falling, float64 (n + 1,); the last one is 0. nan where there are no positives.
        thresholds: Scores from which on a sample is taken for positive, rising, float64 (n,).
        area: The average precision: the sum of (rise of recall) x precision. A straight line
            between the points would promise too much. nan where there are no positives.
    """

    precision: Tensor
    recall: Tensor
    thresholds: Tensor
    area: float


class Levels(NamedTuple):
    """What each distinct score gives as a threshold, from the highest score down."""

    thresholds: Tensor  # float64 (n,)
    true_positives: Tensor  # float64 (n,), counts
    false_positives: Tensor
    positives: int
    negatives: int


def roc_curve(scores: Tensor | Sequence[float], labels: Tensor | Sequence[int]) -> ROCCurve:
    """False and true positive rates of all thresholds, no point left out.

    Args:
        scores: Float (N,): the probability of the positive class, or any figure that rises with it.
        labels: (N,): 1 for a positive, 0 for a negative.

    Raises:
        DataError: Scores and labels differ in number, a score is nan, or a label is neither.

    Example:
        >>> curve = roc_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> curve.area
        0.75
        >>> curve.true_positive_rate.tolist()
        [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    levels = levels_of(scores, labels)
    zero = torch.zeros(1, dtype=torch.float64)
    false = torch.cat([zero, levels.false_positives])
    true = torch.cat([zero, levels.true_positives])
    # Of counts, which are exact, and divided once: an area of 1 is 1.
    area = float(torch.trapezoid(true, false)) / (levels.positives * levels.negatives or math.nan)
    return ROCCurve(
        false / (levels.negatives or math.nan),
        true / (levels.positives or math.nan),
        torch.cat([torch.full_like(zero, math.inf), levels.thresholds]),
        area,
    )


def precision_recall_curve(
    scores: Tensor | Sequence[float], labels: Tensor | Sequence[int]
) -> PRCurve:
    """Precision and recall of all thresholds, no point left out.

    Args:
        scores: Float (N,): the probability of the positive class, or any figure that rises with it.
        labels: (N,): 1 for a positive, 0 for a negative.

    Raises:
        DataError: Scores and labels differ in number, a score is nan, or a label is neither.

    Source: J. Davis and M. Goadrich, "The relationship between precision-recall and ROC curves",
    ICML 2006, on why the area is no trapezoid.

    Example:
        >>> curve = precision_recall_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> round(curve.area, 4)
        0.8333
        >>> curve.recall.tolist()
        [1.0, 1.0, 0.5, 0.5, 0.0]
    """
    levels = levels_of(scores, labels)
    precision = levels.true_positives / (levels.true_positives + levels.false_positives)
    recall = levels.true_positives / (levels.positives or math.nan)
    rises = levels.true_positives.diff(prepend=torch.zeros(1, dtype=torch.float64))
    area = float((rises * precision).sum()) / (levels.positives or math.nan)
    end = torch.tensor([1.0], dtype=torch.float64)
    return PRCurve(
        torch.cat([precision.flip(0), end]),
        torch.cat([recall.flip(0), 1 - end]),
        levels.thresholds.flip(0),
        area,
    )


def levels_of(scores: Tensor | Sequence[float], labels: Tensor | Sequence[int]) -> Levels:
    """Count what is taken for positive at each distinct score; equal scores go together."""
    values, truth = _doubles(scores), _doubles(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DataError(
            "expected a score and a label for each sample, received scores of shape "
            f"{tuple(values.shape)} and labels of shape {tuple(truth.shape)}: scores are those of "
            "the positive class, such as probabilities(logits)[:, 1]"
        )
    if bool(values.isnan().any()):
        raise DataError(
            f"{int(values.isnan().sum())} of {len(values)} scores are nan: the model's weights "
            "have diverged, train it again with a smaller learning rate"
        )
    strange = (truth != 0) & (truth != 1)
    if bool(strange.any()):
        raise DataError(
            "labels of two classes are 1 for a positive and 0 for a negative, received "
            f"{truth[strange][0].item()}: compare them, labels == positive"
        )
    falling, order = values.sort(descending=True)
    # Compared, not subtracted: two infinite scores are equal, and their difference is nan.
    last_of_equals = torch.ones(len(falling), dtype=torch.bool)
    last_of_equals[:-1] = falling[1:] != falling[:-1]
    ends = last_of_equals.nonzero()[:, 0]
    true = truth[order].cumsum(0)[ends]
    positives = int(truth.sum())
    return Levels(falling[ends], true, ends + 1 - true, positives, len(truth) - positives)


def _doubles(values: Tensor | Sequence[float]) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu().double()  # there is no float64 on every device
    return torch.as_tensor(values, dtype=torch.float64)
