"""`Comparison`: several settings on the same folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cnnkit.errors import TrainingError
from cnnkit.train._cross_validation import CrossValidation, aligned
from cnnkit.train._history import StopReason, default_mode

__all__ = ["Comparison"]


class Comparison:
    """What `cross_validate` returns of several settings; prints as a table.

    The best of several settings looks better than it is, the more so the more there are: it was
    chosen by the very figures that it is praised for. What it does on new images is measured on a
    test set that was put aside before, once, after the choice.

    Attributes:
        results: A `CrossValidation` for each setting, by name, in the order given.
        monitor: The figure that they are compared by.
        stop_reason: As of a `CrossValidation`; "finished" where all of them are.
    """

    def __init__(
        self,
        results: Mapping[str, CrossValidation],
        names: Sequence[str],
        monitor: str,
        stop_reason: StopReason,
    ) -> None:
        self.results = dict(results)
        self.monitor = monitor
        self.stop_reason: StopReason = stop_reason
        self._names = tuple(names)

    @property
    def best(self) -> CrossValidation:
        """The one with the best mean score, the first of equal ones, of those that are finished.

        Raises:
            TrainingError: None is finished, or none has a score that is a number.
        """
        ranked = self._ranked()
        if not ranked:
            raise TrainingError(
                "no setting has finished all its folds with a score that is a number"
                + (": call cross_validate again to go on" * (self.stop_reason != "finished"))
            )
        return ranked[0]

    def __str__(self) -> str:
        header = ["setting", self.monitor, "accuracy", "of each fold", "seconds"]
        rows = [_cells(result) for result in self.results.values()]
        missing = [name for name in self._names if name not in self.results]
        lines = aligned([header, *rows])
        if missing:
            lines.append(f"not begun ({self.stop_reason}): {', '.join(missing)}")
        ranked = self._ranked()
        if ranked:
            lines.append(f"best {self.monitor}: {ranked[0].name}" + self._margin(ranked))
        if len(ranked) > 1:
            lines.append(
                f"the best of {len(ranked)} was chosen by these folds, so it looks a little better "
                "than it is: measure it once, on a test set that was put aside before"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.results)}, monitor={self.monitor!r})"

    def _ranked(self) -> list[CrossValidation]:
        """The complete ones with a score, the best first."""
        sign = 1 if default_mode(self.monitor) == "min" else -1
        rated = [r for r in self.results.values() if r.complete and math.isfinite(r.score.mean)]
        return sorted(rated, key=lambda result: sign * result.score.mean)

    def _margin(self, ranked: Sequence[CrossValidation]) -> str:
        """How clear it is: the folds are the same, so their scores can be compared one by one."""
        if len(ranked) < 2:
            return ""
        best, second = ranked[:2]
        sign = 1 if default_mode(self.monitor) == "min" else -1
        pairs = zip(best.scores, second.scores, strict=True)
        won = sum(sign * one < sign * other for one, other in pairs)
        return f", better than {second.name} in {won} of {best.k} folds"


def _cells(result: CrossValidation) -> list[str]:
    shown = " ".join(f"{score:.4f}" for score in result.scores)
    unfinished = "" if result.complete else f" ({len(result.folds)} of {result.k})"
    return [
        result.name + unfinished,
        str(result.score),
        result.accuracy.percent(),
        shown,
        f"{result.seconds:.1f}",
    ]
