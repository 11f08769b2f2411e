"""The reports of the folds as one: every sample, predicted by the model that did not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cnnkit.metrics import Report
from cnnkit.metrics._details import Details, Scores
from cnnkit.metrics._mistakes import MistakeTable

__all__ = ["merged", "placed"]

_MOST_MISTAKES = 10_000  # as `evaluate` keeps


def placed(report: Report, positions: Tensor) -> Report:
    """The same report with mistakes that say where they stand in the whole data set.

    Args:
        report: Of a part, whose mistakes are positions in it.
        positions: Where each sample of the part stands in the whole, int64 (n,).
    """
    details = report.details
    if details is not None:
        mistakes = replace(details.mistakes, index=positions[details.mistakes.index])
        details = replace(details, mistakes=mistakes, indices_into="dataset")
    return Report(
        report.confusion_matrix,
        report.classes,
        report.loss,
        positive=report.positive,
        threshold=report.threshold,
        details=details,
    )


def merged(reports: Sequence[Report], weights: Sequence[float], classes: Sequence[str]) -> Report:
    """One report of disjoint parts: counts are added, and nothing is a mean of means.

    Args:
        reports: Of the parts, their mistakes `placed`.
        weights: What the mean loss of each was divided by.
        classes: Class names, for a report of no parts.
    """
    if not reports:
        return Report(torch.zeros(len(classes), len(classes), dtype=torch.int64), classes)
    matrix = torch.stack([report.confusion_matrix for report in reports]).sum(0)
    # A part that weighs nothing has no mean loss, and nothing to add.
    losses = [r.loss * weight for r, weight in zip(reports, weights, strict=True) if weight]
    first = reports[0]
    thresholds = {report.threshold for report in reports}
    return Report(
        matrix,
        first.classes,
        sum(losses) / sum(weights) if losses else float("nan"),
        positive=first.positive,
        threshold=first.threshold if len(thresholds) == 1 else None,
        details=_details(reports),
    )


def _details(reports: Sequence[Report]) -> Details | None:
    known = [report.details for report in reports if report.details is not None]
    if len(known) < len(reports):
        return None
    supports = torch.stack([report.support for report in reports]).double()  # (folds, C)
    own = torch.stack([details.own_probability for details in known])
    mistakes = MistakeTable.empty()
    for details in known:
        mistakes = mistakes + details.mistakes
    return Details(
        label_ranks=torch.stack([details.label_ranks for details in known]).sum(0),
        # nan where a part has no sample of the class: it has no say.
        own_probability=(own.nan_to_num() * supports).sum(0) / supports.sum(0),
        mistakes=mistakes.most_confident(_MOST_MISTAKES),
        indices_into="dataset",
        scores=_scores([details.scores for details in known]),
    )


def _scores(parts: Sequence[Scores | None]) -> Scores | None:
    known = [scores for scores in parts if scores is not None]
    if len(known) < len(parts):
        return None
    positives, negatives = (
        # A file has them as doubles with a float's digits: those of every part shall be equal.
        torch.cat([getattr(scores, name).float() for scores in known]).sort().values
        for name in ("positives", "negatives")
    )
    return Scores(positives, negatives)
