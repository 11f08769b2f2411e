"""From logits and labels, batch by batch, to the `Details` of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cnnkit._logits import check_no_nan, decided, probabilities
from cnnkit.errors import ArgumentError
from cnnkit.metrics._details import Details, IndicesInto, Scores
from cnnkit.metrics._functional import label_ranks
from cnnkit.metrics._mistakes import MistakeTable
from cnnkit.metrics._room import Room

__all__ = ["DetailTally"]

_LOGITS_AT_ONCE = 1 << 20  # looked at together, with one wait for the device
_TOP = 5  # classes whose probabilities are kept of a mistake


class DetailTally:
    """Gathers ranks, scores and mistakes; of the mistakes the most confident only.

    Tallies of parts are added with ``+``, those of several processes after `place`.

    Args:
        num_classes: C.
        threshold: For two classes, as `predicted_classes` takes it.
        threshold_for: Label of the class that the threshold is for.
        positive: Label of the positive class, whose scores are kept where there are two classes.
        max_mistakes: How many mistakes are kept.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        threshold: float | None = None,
        threshold_for: int = 1,
        positive: int = 1,
        max_mistakes: int = 10_000,
    ) -> None:
        if isinstance(max_mistakes, bool) or not isinstance(max_mistakes, int) or max_mistakes < 0:
            raise ArgumentError(f"max_mistakes must be an int, 0 or more, received {max_mistakes}")
        self.num_classes = num_classes
        self.threshold = threshold
        self.threshold_for = threshold_for
        self.positive = positive
        self.max_mistakes = max_mistakes
        self.samples = 0
        self.indices_into: IndicesInto = "loader"
        self._placed = False
        self._room = Room(max(1, _LOGITS_AT_ONCE // num_classes))
        self._ranks = torch.zeros(num_classes, dtype=torch.int64)
        self._support = torch.zeros(num_classes, dtype=torch.int64)
        self._own = torch.zeros(num_classes, dtype=torch.float64)
        self._mistakes = MistakeTable.empty()
        self._scores: list[tuple[Tensor, Tensor]] = []  # of the positive class, and whether it is

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch's logits, (N, C) or (N,), and its labels, (N,).

        Raises:
            ModelError: A logit is nan.
        """
        self._room.add(logits, labels, self._look)

    def place(self, order: Tensor | None, into: IndicesInto = "dataset") -> None:
        """Say where each sample that came stands in the data set, int64 (N,), so far as is known.

        An order of another length than what came is not theirs, and not used.

        Args:
            order: Of all samples so far.
            into: "loader" where several processes have looked at parts of one.
        """
        self._room.empty(self._look)
        if order is not None and len(order) == self.samples:
            self._mistakes = replace(self._mistakes, index=order[self._mistakes.index])
            self.indices_into, self._placed = into, True

    def details(
        self, paths_of: Callable[[Sequence[int]], list[str] | None] | None = None
    ) -> Details:
        """Everything gathered.

        Args:
            paths_of: The files of samples of the data set, by their indices.
        """
        self._room.empty(self._look)
        mistakes = self._mistakes.most_confident(self.max_mistakes)
        if paths_of is not None and self.indices_into == "dataset":
            mistakes = replace(mistakes, paths=paths_of(mistakes.index.tolist()))
        return Details(
            label_ranks=self._ranks,
            own_probability=self._own / self._support,  # 0 / 0 is nan
            mistakes=mistakes,
            indices_into=self.indices_into,
            scores=self._sorted_scores(),
        )

    def __add__(self, other: DetailTally) -> DetailTally:
        """Both together.

        Raises:
            ArgumentError: They decide in another way, or only one has been placed.
        """
        if not isinstance(other, DetailTally):
            return NotImplemented
        if self._rule() != other._rule():
            raise ArgumentError(
                f"tallies add up where they count alike, received {self._rule()} and "
                f"{other._rule()}"
            )
        self._room.empty(self._look)
        other._room.empty(other._look)
        both = self._empty()
        theirs = other._mistakes
        known: set[tuple[IndicesInto, bool]] = {
            (part.indices_into, part._placed) for part in (self, other) if part.samples
        }
        if len(known) > 1:
            raise ArgumentError("the indices of these tallies count different things: place both")
        both.indices_into, both._placed = next(iter(known), ("loader", False))
        if not both._placed:  # the others came after these
            theirs = replace(theirs, index=theirs.index + self.samples)
        both.samples = self.samples + other.samples
        both._ranks = self._ranks + other._ranks
        both._support = self._support + other._support
        both._own = self._own + other._own
        both._mistakes = self._mistakes + theirs
        both._scores = self._scores + other._scores
        return both

    def _rule(self) -> dict[str, Any]:
        names = ("num_classes", "threshold", "threshold_for", "positive", "max_mistakes")
        return {name: getattr(self, name) for name in names}

    def _empty(self) -> DetailTally:
        return DetailTally(**self._rule())

    def _look(self, logits: Tensor, labels: Tensor) -> None:
        """Look at some batches together; the one place that waits for the device."""
        # Labels outside are refused by `Tally`, which counts them all; here they do no harm.
        labels = labels.clamp(0, self.num_classes - 1)
        chances = probabilities(logits)
        check_no_nan(chances, self.samples)
        predicted = decided(logits, self.threshold, self.threshold_for)
        columns = torch.stack([-logits, logits], dim=1) if logits.ndim == 1 else logits
        self._ranks += torch.bincount(
            label_ranks(columns, labels).cpu(), minlength=self.num_classes
        )
        own = chances.gather(1, labels[:, None])[:, 0]
        self._support += torch.bincount(labels.cpu(), minlength=self.num_classes)
        self._own.index_add_(0, labels.cpu(), own.cpu().double())
        if self.num_classes == 2:
            positive = labels == self.positive
            self._scores.append((chances[:, self.positive].cpu(), positive.cpu()))
        self._note_mistakes(chances, labels, predicted)
        self.samples += len(labels)

    def _note_mistakes(self, chances: Tensor, labels: Tensor, predicted: Tensor) -> None:
        wrong = (predicted != labels).nonzero()[:, 0]
        true, said, rows = labels[wrong], predicted[wrong], chances[wrong]
        top = rows.float().topk(min(_TOP, self.num_classes), dim=1)
        self._mistakes += MistakeTable(
            index=wrong.cpu() + self.samples,
            true=true.cpu(),
            predicted=said.cpu(),
            probability=rows.gather(1, said[:, None])[:, 0].float().cpu(),
            true_probability=rows.gather(1, true[:, None])[:, 0].float().cpu(),
            top_classes=top.indices.cpu(),
            top_probabilities=top.values.cpu(),
        )
        if len(self._mistakes) > 2 * self.max_mistakes:
            self._mistakes = self._mistakes.most_confident(self.max_mistakes)

    def _sorted_scores(self) -> Scores | None:
        if not self._scores:
            return None
        scores = torch.cat([some for some, _ in self._scores])
        positive = torch.cat([which for _, which in self._scores])
        return Scores(scores[positive].sort().values, scores[~positive].sort().values)
