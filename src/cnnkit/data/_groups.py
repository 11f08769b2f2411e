"""Which group of samples goes to which side of a split: whole groups, as well shared out as can be.

Exact sizes would be a packing problem. This is greedy: groups from large to small, each to the side
that needs its classes most, then repairs where a side is left without a group or a class. Where the
repairs do not do, the groups that bring each class to each side are searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cnnkit.data._assign import Bits, Ints, shuffled

__all__ = ["GroupSides", "NoChoiceError", "sides_by_group"]

_MOST_STEPS = 20_000  # of the search, below a second: the rare case that needs more is given up


class NoChoiceError(Exception):
    """No choice of whole groups brings every class to every side."""


def sides_by_group(
    groups: Ints, labels: Ints, sizes: Sequence[float], bits: Bits, *, keep_classes: bool
) -> Ints:
    """The side of each sample, int64 (N,), with the samples of a group on one side.

    Args:
        groups: Of each sample, int64 (N,), every number from 0 to G - 1 in use; G is at least the
            number of sides.
        labels: Of each sample, int64 (N,); all zero where only the sides' sizes matter.
        sizes: Of the sides, N together; met as closely as whole groups allow.
        bits: Decides between groups of one size.
        keep_classes: Bring every class to every side. A class is left out somewhere only where the
            search for a way takes too long.

    Raises:
        NoChoiceError: Every class is to be kept, and there is no way.
    """
    parts = GroupSides(groups, labels, sizes)
    by_chance = shuffled(len(parts.members), bits)
    largest_first = by_chance[np.argsort(-np.bincount(groups)[by_chance], kind="stable")]
    parts.put_all(largest_first.tolist())
    smallest_first = largest_first[::-1].tolist()
    parts.fill_empty_sides(smallest_first)
    if keep_classes:
        parts.bring_back_classes(smallest_first)
        if parts.lacks_a_class():
            found = GroupSides(groups, labels, sizes)
            if found.cover(largest_first.tolist()):
                found.put_all(largest_first.tolist())
                parts = found
    return np.array(parts.side_of)[groups]


class GroupSides:
    """Groups on sides, and how far each side is from what it should hold.

    The distance is chi-squared: for each class, and for all samples together, the square of what a
    side lacks over what it should have. Plain lists, because groups have few classes each.
    """

    def __init__(self, groups: Ints, labels: Ints, sizes: Sequence[float]) -> None:
        counts = np.bincount(labels)
        pairs, samples = np.unique(groups * len(counts) + labels, return_counts=True)
        owners, kinds = np.divmod(pairs, len(counts))
        # One more row than classes: of all samples together.
        row_of_all = len(counts)
        starts = np.flatnonzero(np.diff(owners, prepend=-1)).tolist()
        kinds_list, samples_list = kinds.tolist(), samples.tolist()
        self.members: list[list[tuple[int, int]]] = []  # of each group: (class, samples)
        for start, stop in zip(starts, [*starts[1:], len(pairs)], strict=True):
            own = samples_list[start:stop]
            self.members.append(
                [*zip(kinds_list[start:stop], own, strict=True), (row_of_all, sum(own))]
            )
        shares = np.array(sizes) / sum(sizes)
        self.wanted: list[list[float]] = (
            np.append(counts, counts.sum())[:, None] * shares
        ).tolist()
        self.lacking: list[list[float]] = [list(row) for row in self.wanted]
        # Groups with this class there, and in the last column those that are nowhere yet.
        self.holders = [[0] * (len(sizes) + 1) for _ in self.wanted]
        for members in self.members:
            for kind, _ in members:
                self.holders[kind][-1] += 1
        self.side_of = [-1] * len(self.members)
        self.sides = range(len(sizes))

    def gain(self, group: int, side: int) -> float:
        """By how much the distance shrinks if the group comes to this side."""
        return sum(
            n * (2 * self.lacking[kind][side] - n) / self.wanted[kind][side]
            for kind, n in self.members[group]
        )

    def loss(self, group: int) -> float:
        """By how much the distance grows if the group leaves its side."""
        side = self.side_of[group]
        return sum(
            n * (2 * self.lacking[kind][side] + n) / self.wanted[kind][side]
            for kind, n in self.members[group]
        )

    def put(self, group: int, side: int) -> None:
        """Bring a group to a side, from where it was; -1 is nowhere."""
        for place, sign in ((self.side_of[group], -1), (side, 1)):
            for kind, n in self.members[group]:
                self.holders[kind][place] += sign
                if place >= 0:
                    self.lacking[kind][place] -= sign * n
        self.side_of[group] = side

    def put_all(self, groups: list[int]) -> None:
        """Bring each group that is nowhere yet to the side that gains most, one after another."""
        for group in groups:
            if self.side_of[group] < 0:
                self.put(group, max(self.sides, key=lambda side: self.gain(group, side)))

    def spares(self, group: int) -> bool:
        """Whether its side loses no class when the group leaves."""
        side = self.side_of[group]
        return all(self.holders[kind][side] > 1 for kind, _ in self.members[group])

    def fill_empty_sides(self, groups: list[int]) -> None:
        """Give each side without a group the one that costs the least, if classes allow it."""
        for side in self.sides:
            if self.holders[-1][side] == 0:
                movable = [g for g in groups if self.holders[-1][self.side_of[g]] > 1]
                kind_ones = [g for g in movable if self.spares(g)] or movable
                self.put(max(kind_ones, key=lambda g: self.gain(g, side) - self.loss(g)), side)

    def bring_back_classes(self, groups: list[int]) -> None:
        """Move groups to sides that lack one of their classes, where no other class is lost."""
        for kind in range(len(self.wanted) - 1):
            for side in self.sides:
                if self.holders[kind][side] > 0 or self.wanted[kind][side] == 0:
                    continue
                movable = [
                    g
                    for g in groups
                    if any(kind == own for own, _ in self.members[g]) and self.spares(g)
                ]
                if movable:
                    best = max(movable, key=lambda g: self.gain(g, side) - self.loss(g))
                    self.put(best, side)

    def lacks_a_class(self) -> bool:
        """Whether a class is not on every side."""
        return self._scarcest() is not None

    def cover(self, groups: list[int]) -> bool:
        """Bring just so many groups to sides that each has every class, by trying.

        Args:
            groups: All of them, none on a side yet; of those that gain as much, the first is tried
                first.

        Returns:
            False where the search was given up.

        Raises:
            NoChoiceError: There is no way.
        """
        with_kind: list[list[int]] = [[] for _ in self.wanted]
        for group in groups:
            for kind, _ in self.members[group]:
                with_kind[kind].append(group)
        tried: list[tuple[int, Iterator[int]]] = []  # sides, and the groups still to try on each
        chosen: list[int] = []
        for _ in range(_MOST_STEPS):
            if len(tried) == len(chosen):
                scarcest = self._scarcest()
                if scarcest is None:
                    return True
                tried.append(self._choices(with_kind[scarcest], scarcest))
            side, choices = tried[-1]
            group = next(choices, -1)
            if group >= 0:
                self.put(group, side)
                chosen.append(group)
                continue
            tried.pop()
            if not tried:
                raise NoChoiceError
            self.put(chosen.pop(), -1)
        return False

    def _scarcest(self) -> int | None:
        """Of the classes that a side lacks, the one with the fewest groups to spare.

        Tried first, it shows early that a way leads nowhere.
        """
        spare = {}
        for kind, (*there, nowhere) in enumerate(self.holders[:-1]):
            if 0 in there and any(self.wanted[kind]):
                spare[kind] = nowhere - there.count(0)
        return min(spare, key=lambda kind: spare[kind], default=None)

    def _choices(self, groups: list[int], kind: int) -> tuple[int, Iterator[int]]:
        """A side that lacks this class, and those of these groups that might bring it there."""
        empty = [side for side in self.sides if not self.holders[kind][side]]
        side = max(empty, key=lambda side: self.lacking[kind][side])
        if self.holders[kind][-1] < len(empty):
            return side, iter(())  # one of these sides would stay without
        free = [group for group in groups if self.side_of[group] < 0]
        return side, iter(sorted(free, key=lambda group: -self.gain(group, side)))
