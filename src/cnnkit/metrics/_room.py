"""Room for the logits and labels of several batches, which are looked at together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["Room"]

Look: TypeAlias = "Callable[[Tensor, Tensor], None]"
_Place: TypeAlias = "tuple[Tensor, Tensor]"

_PLACES = 256  # kept: as many batches as are counted together where they are small


class Room:
    """Copies logits and labels to one place, and has them looked at when that is full.

    A look costs several small operations, as much as a small model's own forward, so that batches
    share one. They are copied because small tensors that stay among the large ones of a step break
    up the memory that those take again and again: it made a step of TwoLayerCNN on the CPU slower
    by a fifth. And whoever gave them may write the next batch over them.

    Args:
        rows: How many fit, 1 or more.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._kind: tuple[Any, ...] | None = None  # of the logits that it is for
        self._logits = self._labels = torch.empty(0)
        self._used = 0
        self._last: _Place | None = None
        # By first and last row; each filling takes the same, and cutting costs as much as copying.
        self._places: dict[tuple[int, int], _Place] = {}

    def add(self, logits: Tensor, labels: Tensor, look: Look) -> None:
        """Add a batch of logits and as many labels; `look` at those before where they do not fit.

        Args:
            logits: (N, C) or (N,).
            labels: (N,).
            look: Called with logits and labels, int64, of the batches so far.
        """
        number = labels.shape[0]
        if number > self.rows:
            for part in zip(logits.split(self.rows), labels.split(self.rows), strict=True):
                self.add(*part, look)
            return
        if self._used + number > self.rows:
            self.empty(look)
        kind = logits.dtype, logits.device, logits.ndim
        if kind != self._kind:
            self.empty(look)
            self._make(logits, kind)
        where = self._used, self._used + number
        self._last = place = self._places.get(where) or self._cut(where)
        place[0].copy_(logits.detach())
        place[1].copy_(labels)
        self._used += number

    def empty(self, look: Look) -> None:
        """Have what is here looked at."""
        used, self._used = self._used, 0
        if used:
            look(self._logits[:used], self._labels[:used])

    @property
    def last(self) -> tuple[Tensor, Tensor] | None:
        """Logits and labels that were added last, until others are."""
        return self._last

    def _make(self, logits: Tensor, kind: tuple[Any, ...]) -> None:
        self._kind, self._places = kind, {}
        self._logits = logits.new_empty((self.rows, *logits.shape[1:]))
        # A binary loss takes labels that are floats; as classes they are whole numbers.
        self._labels = torch.empty(self.rows, dtype=torch.int64, device=logits.device)

    def _cut(self, where: tuple[int, int]) -> _Place:
        place = self._logits[slice(*where)], self._labels[slice(*where)]
        if len(self._places) < _PLACES:
            self._places[where] = place
        return place
