"""One fold of a cross-validation, and figures over several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from cnnkit.metrics import Report
from cnnkit.preprocess import Preprocess
from cnnkit.train._history import History, Row

__all__ = ["Fold", "MeanSd"]


class MeanSd(NamedTuple):
    """Mean and standard deviation over the folds; nan where a fold has no figure.

    Attributes:
        mean: Of the folds.
        sd: Of single folds around it, with k - 1 in the denominator; nan for a single fold.
    """

    mean: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanSd:
        """Of these values.

        Example:
            >>> MeanSd.of([1.0, 2.0, 3.0])
            MeanSd(mean=2.0, sd=1.0)
        """
        if not values:
            return cls(math.nan, math.nan)
        mean = sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        return cls(mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else math.nan)

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.sd:.4f}"

    def percent(self) -> str:
        """As percentages."""
        return f"{self.mean:.1%} ± {self.sd:.1%}"


@dataclass(frozen=True, eq=False)
class Fold:
    """A finished fold.

    Attributes:
        number: From 1.
        history: Of its run.
        report: On its validation part; mistakes are indices into the data set that was given.
        indices: Its validation part, int64 (n,), likewise.
        preprocess: With the normalisation that its training part measured.
        loss_weight: What the report's mean loss was divided by: samples, or their class weights.
    """

    number: int
    history: History
    report: Report
    indices: Tensor
    preprocess: Preprocess | None
    loss_weight: float

    @property
    def score(self) -> float:
        """The monitored figure of the weights that the fold ended with; nan where it has none."""
        rows, kept = self.history.rows, self.history.restored
        if kept is None:
            return self._figure(rows[-1] if rows else None)
        return self._figure(next((row for row in rows if row["epoch"] == kept), None))

    @property
    def best_score(self) -> float:
        """The monitored figure of the best epoch."""
        return self._figure(self.history.best)

    @property
    def last_score(self) -> float:
        """The monitored figure of the last epoch."""
        return self._figure(self.history.rows[-1] if self.history.rows else None)

    @property
    def seconds(self) -> float:
        """Spent on its epochs."""
        return sum(row.get("seconds", 0.0) for row in self.history.rows)

    def _figure(self, row: Row | None) -> float:
        return (row or {}).get(self.history.monitor or "", math.nan)
