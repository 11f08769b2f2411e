"""What an epoch adds up: a loss sum and a matrix of counts, both on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cnnkit._logits import decided
from cnnkit.errors import ArgumentError, DataError
from cnnkit.metrics._functional import count_pairs, same_number
from cnnkit.metrics._room import Room

__all__ = ["Tally", "Totals"]

_ROWS_AT_ONCE = 4096  # counted together
_LOGITS_AT_ONCE = 1 << 22  # fewer rows where there are thousands of classes: 16 MiB


class Totals(NamedTuple):
    """An epoch's figures, read from the device once."""

    loss: float
    matrix: Tensor

    @property
    def accuracy(self) -> float:
        """Share of right predictions; nan without any."""
        total = int(self.matrix.sum())
        return int(self.matrix.diagonal().sum()) / total if total else float("nan")


class Tally:
    """Adds up losses and predictions of batches without waiting for the device.

    Tallies of parts, of several processes say, are added with ``+``. A nan among the logits is not
    looked for, which would wait for the device, and is counted as a class: the loss, which is nan
    as well, says it.

    Args:
        num_classes: C.
        threshold: For two classes, as `predicted_classes` takes it.
        positive: The label that the threshold is for.

    Example:
        >>> tally = Tally(2)
        >>> tally.add_loss(torch.tensor(0.5), 3)
        >>> tally.add_predictions(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 0, 1]))
        >>> totals = tally.totals()
        >>> totals.loss, round(totals.accuracy, 3)
        (0.5, 0.667)
        >>> (tally + tally).totals().matrix
        tensor([[4, 0],
                [2, 0]])
    """

    def __init__(
        self, num_classes: int, *, threshold: float | None = None, positive: int = 1
    ) -> None:
        self.num_classes = num_classes
        self.threshold = threshold
        self.positive = positive
        self._losses: list[Tensor] = []
        self._weights: list[float | Tensor] = []
        rows = min(_ROWS_AT_ONCE, _LOGITS_AT_ONCE // max(1, num_classes))
        self._room = Room(max(1, rows))
        self._fitting: tuple[torch.Size, torch.Size] | None = None  # of the batch before
        self._matrix: Tensor | None = None
        self._outside: Tensor | None = None

    def add_loss(self, loss: Tensor, weight: float | Tensor) -> None:
        """Add a batch's mean loss and the denominator that it was divided by."""
        self._losses.append(loss.detach())
        self._weights.append(weight)

    def add_predictions(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch's logits, (N, C) or (N,), and its labels, (N,).

        Raises:
            DataError: The logits are of another number of classes, or not as many as the labels.
        """
        shapes = logits.shape, labels.shape
        if shapes != self._fitting:
            self._check_shapes(logits, labels)
            self._fitting = shapes
        self._room.add(logits, labels, self._count)

    @property
    def last(self) -> tuple[Tensor, Tensor] | None:
        """Logits and labels that were added last, until others are."""
        return self._room.last

    def totals(self) -> Totals:
        """Loss and matrix of everything added. The one place that waits for the device.

        Raises:
            DataError: A label was outside the classes.
        """
        self._room.empty(self._count)
        matrix = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        if self._matrix is not None and self._outside is not None:
            matrix = self._matrix.cpu()
            if int(self._outside):
                raise DataError(
                    f"{int(self._outside)} labels are outside the {self.num_classes} classes: "
                    f"labels go from 0 to {self.num_classes - 1}"
                )
        if not self._losses:
            return Totals(float("nan"), matrix)
        losses = torch.stack(self._losses).cpu().double()
        weights = torch.stack([torch.as_tensor(w) for w in self._weights]).cpu().double()
        # A batch that weighs nothing has no mean loss (0 / 0), and nothing to add.
        return Totals(float((losses * weights)[weights != 0].sum() / weights.sum()), matrix)

    def __add__(self, other: Tally) -> Tally:
        """Both together, on the device of the first.

        Raises:
            ArgumentError: They count other classes, or decide by another threshold.
        """
        if not isinstance(other, Tally):
            return NotImplemented
        if self._rule() != other._rule():
            raise ArgumentError(
                "tallies add up where they count alike: (classes, threshold, positive) are "
                f"{self._rule()} and {other._rule()}"
            )
        both = Tally(self.num_classes, threshold=self.threshold, positive=self.positive)
        for part in (self, other):
            part._room.empty(part._count)
            held = [*both._losses, both._matrix]
            device = next((tensor.device for tensor in held if tensor is not None), None)
            both._losses += [loss.to(device) for loss in part._losses]
            both._weights += [w.to(device) if isinstance(w, Tensor) else w for w in part._weights]
            if part._matrix is not None and part._outside is not None:
                both._put(part._matrix.to(device), part._outside.to(device))
        return both

    def _check_shapes(self, logits: Tensor, labels: Tensor) -> None:
        shape = logits.shape
        if labels.shape != shape[:1]:
            same_number("logits", logits, labels)  # which says what is wrong
        if (shape[-1] if len(shape) > 1 else 2) != self.num_classes:
            raise DataError(
                f"expected logits of {self.num_classes} classes, received {tuple(shape)}"
            )

    def _rule(self) -> tuple[int, float | None, int]:
        return self.num_classes, self.threshold, self.positive

    def _count(self, logits: Tensor, labels: Tensor) -> None:
        predicted = decided(logits, self.threshold, self.positive)
        outside = (labels < 0) | (labels >= self.num_classes)
        matrix = count_pairs(predicted, labels.masked_fill(outside, 0), self.num_classes)
        self._put(matrix, outside.sum())

    def _put(self, matrix: Tensor, outside: Tensor) -> None:
        self._matrix = matrix if self._matrix is None else self._matrix + matrix
        self._outside = outside if self._outside is None else self._outside + outside
