"""What a report knows of single samples, beside the counts; and how it is gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from cnnkit.errors import DataError
from cnnkit.metrics._curves import precision_recall_curve, roc_curve
from cnnkit.metrics._mistakes import MistakeTable, numbers

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Details", "IndicesInto", "Scores"]

#: What the index of a mistake counts: the samples of the data set, or those the loader yielded.
IndicesInto = Literal["dataset", "loader"]


@dataclass(frozen=True)
class Scores:
    """Probability of the positive class for every sample, each group sorted.

    Args:
        positives: Of the samples that are positive, float (P,).
        negatives: Of the others, float (N,).
    """

    positives: Tensor
    negatives: Tensor

    def columns(self) -> tuple[Tensor, Tensor]:
        """Scores and labels (1 for positive) as the curves take them."""
        labels = torch.cat([torch.ones(len(self.positives)), torch.zeros(len(self.negatives))])
        return torch.cat([self.positives, self.negatives]), labels

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-like."""
        return {"positives": numbers(self.positives), "negatives": numbers(self.negatives)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> Self:
        """The inverse of `to_dict`."""
        double = torch.float64
        positives, negatives = (
            torch.as_tensor(values[name], dtype=double) for name in ("positives", "negatives")
        )
        return cls(positives, negatives)


@dataclass(frozen=True)
class Details:
    """What `cnnkit.train.evaluate` tells a `Report` beside the counts.

    Args:
        label_ranks: How often so many classes came before the label by their logits, int64 (C,):
            the first number is the hits at the first place.
        own_probability: Mean probability of its own class over the samples of each, float64 (C,);
            nan where there are none.
        mistakes: Wrong predictions, the most confident first.
        indices_into: What their indices count.
        scores: For two classes: those of every sample.
        areas: Under the ROC curve, and the average precision; of the scores unless given.
    """

    label_ranks: Tensor
    own_probability: Tensor
    mistakes: MistakeTable = field(default_factory=MistakeTable.empty)
    indices_into: IndicesInto = "dataset"
    scores: Scores | None = None
    areas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.scores is not None and self.areas is None:
            columns = self.scores.columns()
            areas = roc_curve(*columns).area, precision_recall_curve(*columns).area
            object.__setattr__(self, "areas", areas)  # as a frozen dataclass sets its own fields

    def check(self, num_classes: int) -> None:
        """Refuse what does not belong to so many classes.

        Raises:
            DataError: Another number of classes, or a label outside of them.
        """
        shapes = tuple(self.label_ranks.shape), tuple(self.own_probability.shape)
        labels = [self.mistakes.true, self.mistakes.predicted, self.mistakes.top_classes]
        outside = any(bool(((some < 0) | (some >= num_classes)).any()) for some in labels)
        if shapes != ((num_classes,), (num_classes,)) or outside:
            raise DataError(
                f"expected details of {num_classes} classes, received ranks and probabilities of "
                f"shapes {shapes}" + (" and mistakes with other labels" if outside else "")
            )

    def suspects(self) -> MistakeTable:
        """The mistakes whose label is probably wrong, most probably first."""
        table = self.mistakes
        # At least as sure of the other class as of the samples that are labelled with it.
        sure = table.probability >= self.own_probability[table.predicted]
        rows = (sure & (table.probability > table.true_probability)).nonzero()[:, 0]
        margin = (table.probability - table.true_probability)[rows]
        return table.rows(rows[margin.argsort(descending=True, stable=True)])

    def without_samples(self) -> Details:
        """Without what grows with the number of samples: mistakes and scores."""
        return replace(self, mistakes=MistakeTable.empty(), scores=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like; an undefined probability is None."""
        own = [None if value != value else value for value in numbers(self.own_probability)]
        return {
            "label_ranks": self.label_ranks.tolist(),
            "own_probability": own,
            "indices_into": self.indices_into,
            "mistakes": self.mistakes.to_dict(),
            "scores": None if self.scores is None else self.scores.to_dict(),
            "areas": None
            if self.areas is None
            else [None if area != area else area for area in self.areas],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        own = [float("nan") if value is None else value for value in values["own_probability"]]
        areas = values["areas"]
        if areas is not None:
            roc, precision = (float("nan") if area is None else float(area) for area in areas)
            areas = roc, precision
        return cls(
            label_ranks=torch.as_tensor(values["label_ranks"], dtype=torch.int64),
            own_probability=torch.as_tensor(own, dtype=torch.float64),
            mistakes=MistakeTable.from_dict(values["mistakes"]),
            indices_into=values["indices_into"],
            scores=None if values["scores"] is None else Scores.from_dict(values["scores"]),
            areas=areas,
        )
