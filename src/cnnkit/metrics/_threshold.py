"""Where to draw the line between two classes, by what it gives on a validation set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError
from cnnkit.metrics._curves import Levels, levels_of

__all__ = ["Objective", "ThresholdChoice", "choose_threshold"]

#: What a threshold may be chosen for.
Objective = Literal["f1", "accuracy", "balanced_accuracy", "precision", "recall"]


class ThresholdChoice(NamedTuple):
    """A threshold, what it was chosen for, and what it gives on the set that it was chosen on.

    Attributes:
        threshold: Probability from which on a sample is taken for positive.
        optimised: The figure that is largest there, in words, with the conditions.
        value: That figure.
        precision: Of what is taken for positive, the share that is; nan where nothing is.
        recall: Of the positives, the share that is found.
        f1: Harmonic mean of the two.
        accuracy: Share that is right.
    """

    threshold: float
    optimised: str
    value: float
    precision: float
    recall: float
    f1: float
    accuracy: float


def choose_threshold(
    scores: Tensor | Sequence[float],
    labels: Tensor | Sequence[int],
    optimise: Objective = "f1",
    *,
    min_precision: float | None = None,
    min_recall: float | None = None,
) -> ThresholdChoice:
    """The threshold with the largest figure, among those that meet the conditions.

    Choose it on a validation set: on the test set it would make the test's figures too good.
    "At least 99 % precision, and then as much recall as there is" is
    ``choose_threshold(…, "recall", min_precision=0.99)``. The threshold lies halfway between two
    neighbouring scores, so that rounding does not move a sample across it.

    Args:
        scores: Probabilities of the positive class, float (N,) in [0, 1].
        labels: (N,): 1 for a positive, 0 for a negative.
        optimise: "f1", "accuracy", "balanced_accuracy" (mean of the recalls of both classes),
            "precision" or "recall". Where several thresholds give the same, the one with the
            largest F1.
        min_precision: Only thresholds with at least this precision.
        min_recall: Only thresholds with at least this recall.

    Raises:
        ArgumentError: The choice is none of these, or a condition is no share.
        DataError: There are no samples of one class, a score is no probability, or no threshold
            meets the conditions.

    Example:
        >>> scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
        >>> choice = choose_threshold(scores, labels)
        >>> round(choice.threshold, 3), choice.optimised, choice.value
        (0.225, 'f1', 0.8)
        >>> choose_threshold(scores, labels, "recall", min_precision=0.9).recall
        0.5
    """
    if optimise not in get_args(Objective):
        raise ArgumentError(f"optimise must be one of {get_args(Objective)}, received {optimise!r}")
    conditions = {"precision": min_precision, "recall": min_recall}
    for name, least in conditions.items():
        if least is not None and not 0 <= least <= 1:
            raise ArgumentError(f"min_{name} must be between 0 and 1, received {least}")
    levels = levels_of(scores, labels)
    _check_usable(levels)
    lines, figures = _figures(levels)
    meets = torch.ones(len(lines), dtype=torch.bool)
    for name, least in conditions.items():
        if least is not None:
            meets &= figures[name] >= least  # an undefined precision meets nothing
    wanted = " and ".join(f"{n} of at least {v:g}" for n, v in conditions.items() if v is not None)
    if not bool(meets.any()):
        enough = figures["recall"] >= (min_recall or 0)
        highest = float(figures["precision"].nan_to_num(0)[enough].max())
        raise DataError(
            f"no threshold gives a {wanted}: the largest precision "
            f"{'with that recall ' if min_recall else ''}is {highest:.4g}; ask for less"
        )
    values = figures[optimise].where(meets, -math.inf).nan_to_num(nan=-math.inf, neginf=-math.inf)
    equal = values == values.max()
    best = int(figures["f1"].where(equal, -1).argmax())
    at_best = {name: float(figure[best]) for name, figure in figures.items()}
    return ThresholdChoice(
        threshold=lines[best],
        optimised=optimise + (f" with a {wanted}" if wanted else ""),
        value=at_best[optimise],
        precision=at_best["precision"],
        recall=at_best["recall"],
        f1=at_best["f1"],
        accuracy=at_best["accuracy"],
    )


def _check_usable(levels: Levels) -> None:
    if not levels.positives or not levels.negatives:
        raise DataError(
            "choosing a threshold needs samples of both classes, received "
            f"{levels.positives} positives and {levels.negatives} negatives"
        )
    low, high = float(levels.thresholds[-1]), float(levels.thresholds[0])
    if low < 0 or high > 1:
        raise DataError(
            f"a threshold is a probability, but the scores go from {low:g} to {high:g}: give "
            "probabilities(logits)[:, 1]"
        )


def _figures(levels: Levels) -> tuple[list[float], dict[str, Tensor]]:
    """The thresholds that there are to choose from, and what each gives."""
    scores = levels.thresholds.tolist()
    lines = [_between(high, low) for high, low in pairwise(scores)]
    lines.append(_between(scores[-1], 0.0))  # below all of them
    true, false = levels.true_positives, levels.false_positives
    if scores[0] < 1:  # a line above all scores is possible
        zero = torch.zeros(1, dtype=torch.float64)
        lines.insert(0, _between(1.0, scores[0]))
        true, false = torch.cat([zero, true]), torch.cat([zero, false])
    positives, negatives = levels.positives, levels.negatives
    return lines, {
        "f1": 2 * true / (true + false + positives),
        "accuracy": (true + negatives - false) / (positives + negatives),
        "balanced_accuracy": (true / positives + (negatives - false) / negatives) / 2,
        "precision": true / (true + false),
        "recall": true / positives,
    }


def _between(high: float, low: float) -> float:
    """Halfway, or the higher one where float32, in which it is compared, knows nothing between."""
    middle = (high + low) / 2
    return middle if float(np.float32(middle)) > low else high
