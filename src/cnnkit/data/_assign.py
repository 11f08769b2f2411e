"""Which sample goes to which side of a split: pure functions of labels, sizes and a seed.

Permutations are the sort order of PCG64's raw bits, the one stream that numpy promises never to
change (NEP 19), so that a seed gives the same split in years to come.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "Ints", "folds", "proportional_table", "shuffled", "sides_by_class", "sides_of"]

Ints: TypeAlias = "npt.NDArray[np.int64]"
Bits: TypeAlias = np.random.PCG64

_OUTSIDE = 1e9  # more than all squared distances on a path, and little enough to keep their digits


def shuffled(n: int, bits: Bits) -> Ints:
    """A random order of `n` things, int64 (n,)."""
    return np.argsort(bits.random_raw(n), kind="stable")


def sides_of(sizes: list[int], bits: Bits) -> Ints:
    """The side of each sample, int64 (N,), where nothing but the sides' sizes matters."""
    sides = np.empty(sum(sizes), dtype=np.int64)
    sides[shuffled(len(sides), bits)] = np.repeat(np.arange(len(sizes)), sizes)
    return sides


def sides_by_class(labels: Ints, sizes: list[int], bits: Bits) -> Ints:
    """The side of each sample, int64 (N,), with each class shared out in proportion.

    Args:
        labels: int64 (N,).
        sizes: Of the sides, N together; each at least the number of classes.
        bits: Where chance comes from.
    """
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    present = present[shuffled(len(present), bits)]  # no class is favoured where remainders tie
    table = np.zeros((len(counts), len(sizes)), dtype=np.int64)
    table[present] = proportional_table(counts[present], np.array(sizes))
    order = _by_class(labels, bits)
    sides = np.empty_like(labels)
    sides[order] = np.repeat(np.tile(np.arange(len(sizes)), len(counts)), table.ravel())
    return sides


def folds(n: int, k: int, bits: Bits, labels: Ints | None = None) -> Ints:
    """The fold of each sample, int64 (n,): sizes differ by at most one, with labels in each class.

    Dealt out in turn, class after class: any run of a class is spread evenly over the folds.
    """
    order = shuffled(n, bits) if labels is None else _by_class(labels, bits)
    result = np.empty(n, dtype=np.int64)
    result[order] = np.arange(n) % k
    return result


def _by_class(labels: Ints, bits: Bits) -> Ints:
    """Positions of all samples, class after class, in random order within each."""
    order = shuffled(len(labels), bits)
    small = np.int16 if labels.max(initial=0) < 2**15 else np.int64  # int16 sorts by radix: 10×
    return order[np.argsort(labels[order].astype(small), kind="stable")]


def proportional_table(counts: Ints, sizes: Ints) -> Ints:
    """How many samples of each class go to each side: whole numbers close to the proportional ones.

    All classes and sides get exactly what they have room for, and every class at least one place
    on every side. Under these conditions the table is the one with the fewest samples beyond the
    two whole numbers next to the proportional share, and of these the nearest in squares: each
    entry is off by less than one wherever that is possible.

    A minimum-cost flow between classes and sides, by successive shortest paths: the rows start as
    the best ones on their own, then samples move along the cheapest chains of sides until the
    sides' sizes are right.

    Args:
        counts: Samples of each class, (K,), each at least S.
        sizes: Samples of each side, (S,), each at least K, with the same sum.

    Returns:
        int64 (K, S).
    """
    assert counts.sum() == sizes.sum()
    assert counts.min() >= len(sizes)
    assert sizes.min() >= len(counts)  # without room for all there is no end to the moving
    exact = counts[:, None] * sizes / counts.sum()
    floor = counts[:, None] * sizes // counts.sum()
    ceiling = floor + (counts[:, None] * sizes % counts.sum() > 0)

    def cost(table: Any) -> Any:
        outside = np.maximum(floor - table, 0) + np.maximum(table - ceiling, 0)
        return (table - exact) ** 2 + _OUTSIDE * outside

    def prices() -> tuple[Any, Any]:
        """What one sample more, and one fewer, costs in each place."""
        now = cost(table)
        return cost(table + 1) - now, np.where(table > 1, cost(table - 1) - now, np.inf)

    table: Ints = np.maximum(floor, 1)
    while (gap := counts - table.sum(1)).any():
        more, fewer = prices()
        for change, price in ((1, more), (-1, fewer)):
            rows = np.flatnonzero(np.sign(gap) == change)
            table[rows, price[rows].argmin(1)] += change
    while (excess := table.sum(0) - sizes).any():
        more, fewer = prices()
        moves = fewer[:, :, None] + more[:, None, :]  # (K, from side, to side)
        chain = _cheapest_chain(moves.min(0), excess)
        giver, taker = chain[0][0], chain[-1][1]
        # Rows of one price can move together, which makes thousands of equal classes one step.
        number = min(excess[giver], -excess[taker]) if len(chain) == 1 else 1
        for a, b in chain:
            rows = np.flatnonzero(moves[:, a, b] == moves[:, a, b].min())[:number]
            table[rows, a] -= 1
            table[rows, b] += 1
    return table


def _cheapest_chain(price: Any, excess: Ints) -> list[tuple[int, int]]:
    """The steps (from side, to side) by which a side with too many gives to one with too few.

    Args:
        price: Of moving one sample from a side to another, (S, S).
        excess: Samples beyond its size of each side, (S,).
    """
    sides = len(excess)
    via = np.full((sides, sides), -1)
    for middle in range(sides):
        detour = price[:, middle, None] + price[None, middle, :]
        shorter = detour < price - 1e-6  # by more than rounding beside _OUTSIDE
        price, via = np.where(shorter, detour, price), np.where(shorter, middle, via)
    wanted = np.where((excess[:, None] > 0) & (excess[None, :] < 0), price, np.inf)
    giver, taker = divmod(int(wanted.argmin()), sides)

    def steps(a: int, b: int) -> list[tuple[int, int]]:
        middle = int(via[a, b])
        return [(a, b)] if middle < 0 else steps(a, middle) + steps(middle, b)

    return steps(giver, taker)
