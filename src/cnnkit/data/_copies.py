"""What a survey says about copies: across parts, under two labels, within a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cnnkit.data._duplicates import Copies
from cnnkit.data._report import Finding, Severity, counted
from cnnkit.data._survey import Survey

__all__ = ["findings_on_copies", "picture_numbers"]

_ACROSS = (
    "in more than one part: figures on the second flatter. Remove one of each, or split "
    "the whole again with groups=check(ds).groups"
)
_LABELS = "under more than one label: one of them is wrong. Look at each"


def findings_on_copies(survey: Survey, copies: Copies) -> Iterator[Finding]:
    """The same bytes first, which is certain; then near copies, which pixels confirm."""
    parts, labels = survey.part_numbers(), _label_numbers(survey)
    same = _grouped(copies.exact)
    yield from _finding(
        survey, "error", "same image across parts", _ACROSS, same, _several(parts), parts
    )
    yield from _finding(
        survey, "error", "same image, other label", _LABELS, same, _several(labels), labels
    )
    twice = [row for group in same for row in _within(group, parts)]
    yield from _finding(survey, "warning", "same image twice", "more than once in one part", twice)
    # Only what the bytes have not told yet: groups of several files.
    near = [group for group in _grouped(copies.near) if _several(copies.exact)(group)]
    yield from _finding(
        survey, "warning", "near copy across parts", _ACROSS, near, _several(parts), parts
    )
    yield from _finding(
        survey, "warning", "near copy, other label", _LABELS, near, _several(labels), labels
    )
    within = [row for group in near for row in _within(group, parts) if _several(copies.exact)(row)]
    yield from _finding(
        survey,
        "note",
        "near copy within a part",
        "more than once in one part, saved anew, resized or brightened",
        within,
    )
    signatures = survey.signatures
    features = int((signatures.readable & ~signatures.comparable).sum()) if signatures.near else 0
    kinds = (copies.plain, "image", "with too little detail"), (features, "sample", "of features")
    if copies.plain or features:
        shown = " and ".join(f"{counted(n, noun)} {what}" for n, noun, what in kinds if n)
        yield Finding("note", "not compared", f"{shown}: only equal bytes of these are found")


def picture_numbers(copies: Copies) -> list[int]:
    """A number for each sample, equal for copies; unreadable ones are each on their own."""
    numbers = copies.near.copy()
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(numbers) + np.arange(len(alone))
    return [int(number) for number in numbers]


def _finding(
    survey: Survey,
    severity: Severity,
    kind: str,
    what: str,
    groups: list[NDArray[np.int64]],
    concerns: Callable[[NDArray[np.int64]], bool] = lambda group: True,  # noqa: ARG005
    differing: NDArray[np.int64] | None = None,
) -> Iterator[Finding]:
    concerned = [group for group in groups if concerns(group)]
    if not concerned:
        return
    if differing is not None:
        concerned = [_one_of_each_first(group, differing[group]) for group in concerned]
    are = "picture is" if len(concerned) == 1 else "pictures are"
    yield Finding(
        severity,
        kind,
        f"{len(concerned):,} {are} {what}",
        tuple(tuple(survey.sample(place) for place in group.tolist()) for group in concerned),
    )


def _several(numbers: NDArray[np.int64]) -> Callable[[NDArray[np.int64]], bool]:
    """Whether the samples of a group have more than one of these numbers."""

    def differ(group: NDArray[np.int64]) -> bool:
        of_group = numbers[group]
        return bool((of_group != of_group[0]).any())

    return differ


def _within(group: NDArray[np.int64], parts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The group part by part, where a part has several of it."""
    rows = [group[parts[group] == part] for part in np.unique(parts[group])]
    return [row for row in rows if len(row) > 1]


def _one_of_each_first(group: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """So that the few that are shown are those that differ."""
    turn = [int((numbers[:place] == number).sum()) for place, number in enumerate(numbers)]
    return group[np.argsort(turn, kind="stable")]


def _grouped(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The places of each number that occurs more than once, in the order of the first of each."""
    order = np.argsort(numbers, kind="stable")
    order = order[np.searchsorted(numbers[order], 0) :]  # without the unreadable, at -1
    starts = np.flatnonzero(np.diff(numbers[order])) + 1
    groups = [group for group in np.split(order, starts) if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def _label_numbers(survey: Survey) -> NDArray[np.int64]:
    """A number for each sample's class, equal for the same name in any part."""
    known: dict[str, int] = {}
    numbers = [
        known.setdefault(part.label_name(position), len(known))
        for part in survey.parts
        for position in range(len(part))
    ]
    return np.array(numbers, np.int64)
