"""In which order a loader visits its samples: a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnkit.device import Part, derived_seed, parts_of
from cnnkit.errors import ArgumentError

__all__ = ["BatchOrder"]


class BatchOrder:
    """Batches of positions for each epoch.

    Args:
        length: How many samples there are.
        batch_size: How many positions a batch has; the last one may have fewer.
        shuffle: Draw a new order each epoch. A shuffled order never ends in a batch of one, with
            which batch normalisation cannot train: it joins the one before.
        weights: float64 (N,); each epoch draws `length` positions with these chances instead,
            with replacement.
        seed: Of the order.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        weights: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError(f"batch_size must be a positive int, received {batch_size!r}")
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle or weights is not None
        self.weights = weights
        self.seed = seed

    def shares(
        self, epoch: int, start: int = 0, at_once: int = 1
    ) -> Iterator[tuple[Tensor, list[int], list[Part] | None]]:
        """This process's positions of the batches of this epoch from batch `start` on.

        A few at a time: thousands of tensors at once would set Python looking for cycles among
        them.

        Args:
            epoch: From 0.
            start: The first batch that is wanted.
            at_once: How many batches are given together.

        Yields:
            Positions of so many batches, int64 (n,); how many each batch has of them; and which
            parts of the batches they are, where one process alone has whole ones, None.
        """
        positions, size, last = self.positions(epoch), self.batch_size, len(self) - 1
        totals = [size] * last + [self.length - size * last]
        parts = parts_of(totals, size)
        for first in range(start, len(totals), at_once):
            group, begin = slice(first, first + at_once), first * size
            if parts is None:
                sizes = totals[group]
                yield positions[begin : begin + sum(sizes)], sizes, None
                continue
            mine = parts[group]
            starts = [number * size + part.start for number, part in enumerate(mine, first)]
            rows = [positions[at : at + part.size] for at, part in zip(starts, mine, strict=True)]
            yield torch.cat(rows), [part.size for part in mine], mine

    def __len__(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        joined = rest == 1 and self.shuffle and full > 0  # batches of one stay where all are
        return full + (rest > 0 and not joined)

    def positions(self, epoch: int) -> Tensor:
        """All positions of this epoch in their order, int64 (N,)."""
        if not self.shuffle:
            return torch.arange(self.length)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, epoch))
        if self.weights is not None:
            return torch.multinomial(
                self.weights, self.length, replacement=True, generator=generator
            )
        return torch.randperm(self.length, generator=generator)
