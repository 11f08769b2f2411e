"""What a survey says about classes, files and sizes; `_copies` has what it says about copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnnkit.data._report import Finding, counted
from cnnkit.data._survey import Part, Survey

__all__ = ["findings_on_classes", "findings_on_images"]

IMBALANCED = 10  # times as many images of the largest class as of the smallest
FEW = 10  # images of a class, below which its figures say little
ONE_COLOUR = 2  # levels between the darkest and the brightest; what JPEG leaves of none
ODD_SCALE = 4  # times the usual width and height, or less than one over it
ODD_ASPECT = 4
_NAMED = 5  # classes in a message
_GREY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}


def findings_on_classes(parts: list[Part]) -> Iterator[Finding]:
    """Class maps that differ, empty parts, classes that are missing, rare or outnumbered."""
    maps = {part.name: part.classes for part in parts if part.classes is not None}
    if len(set(maps.values())) > 1:
        shown = ", ".join(f"{name} has {_listed(classes)}" for name, classes in maps.items())
        yield Finding(
            "error",
            "classes differ",
            f"{shown}; a label would mean another class in each. Open the others with "
            "classes= of the first",
        )
    for part in parts:
        if len(part) == 0:
            yield Finding("error", "empty", f"{part.name} has no samples")
    counts = {part.name: part.counts() for part in parts if len(part)}
    missing = {
        name: tuple(cls for cls, number in of.items() if number == 0) for name, of in counts.items()
    }
    if any(missing.values()):
        shown = "; ".join(f"{name} has none of {_listed(c)}" for name, c in missing.items() if c)
        yield Finding("warning", "class missing", f"{shown}. It is not learnt, or not measured")
    yield from _imbalance(counts)
    few = [
        f"{number} of {cls!r} in {name}"
        for name, of in counts.items()
        for cls, number in of.items()
        if 0 < number < FEW
    ]
    if few:
        shown = ", ".join(few[:_NAMED]) + (", …" if len(few) > _NAMED else "")
        yield Finding("note", "few images", f"{shown}; figures of such a class say little")


def _imbalance(counts: dict[str, dict[str, int]]) -> Iterator[Finding]:
    worst = max(counts, key=lambda name: _ratio(counts[name]), default=None)
    if worst is None or _ratio(counts[worst]) < IMBALANCED:
        return
    there = {cls: number for cls, number in counts[worst].items() if number}
    rare, common = min(there, key=there.__getitem__), max(there, key=there.__getitem__)
    yield Finding(
        "warning",
        "imbalance",
        f"{worst} has {counted(there[rare], 'image')} of {rare!r} and {there[common]:,} of "
        f"{common!r}, {_ratio(there):.0f} times as many. Accuracy says little then: look at recall "
        "of each class, and weigh the loss (class_weights) or the sampling (balanced=True)",
    )


def _ratio(counts: dict[str, int]) -> float:
    there = [number for number in counts.values() if number]
    return max(there) / min(there) if there else 1.0


def findings_on_images(survey: Survey) -> Iterator[Finding]:
    """Files that cannot be read, images of one colour, odd sizes, several modes."""
    if survey.reasons:
        places = sorted(survey.reasons)
        yield Finding(
            "error",
            "unreadable",
            f"{counted(len(places), 'image')} cannot be read. Remove or replace them, or open the "
            'folder with on_corrupt="skip"',
            tuple((survey.sample(place, survey.reasons[place]),) for place in places),
        )
    signatures = survey.signatures
    constant = np.flatnonzero(signatures.readable & (signatures.spread <= ONE_COLOUR)).tolist()
    if constant:
        number = counted(len(constant), "image")
        yield Finding(
            "warning",
            "one colour",
            f"{number} of a single colour: nothing can be learnt from such",
            tuple((survey.sample(place),) for place in constant),
        )
    yield from _odd_sizes(survey)
    yield from _modes(survey)


def _odd_sizes(survey: Survey) -> Iterator[Finding]:
    sizes = survey.signatures.sizes
    sized = np.flatnonzero(survey.signatures.readable & (sizes.min(axis=1, initial=1 << 30) > 0))
    if len(sized) == 0:
        return
    height, width = sizes[sized].astype(np.float64).T
    scale, aspect = np.sqrt(height * width), width / height
    usual_scale, usual_aspect = np.median(scale), np.median(aspect)
    far = np.abs(np.log(scale / usual_scale)) > np.log(ODD_SCALE)
    far |= np.abs(np.log(aspect / usual_aspect)) > np.log(ODD_ASPECT)
    if not far.any():
        return
    odd = sized[far].tolist()
    yield Finding(
        "note",
        "odd size",
        f"{counted(len(odd), 'image')} of a size or shape far from the usual one, about "
        f"{np.median(height):.0f} x {np.median(width):.0f} (height x width): resizing loses their "
        "detail or distorts them",
        tuple((survey.sample(p, f"{sizes[p][0]} x {sizes[p][1]}"),) for p in odd),
    )


def _modes(survey: Survey) -> Iterator[Finding]:
    signatures = survey.signatures
    names = np.array(signatures.mode_names)
    kinds = np.array([_kind(name) for name in signatures.mode_names])
    of_sample = kinds[signatures.modes]
    there = signatures.readable & (of_sample != "")
    found, numbers = np.unique(of_sample[there], return_counts=True)
    if len(found) < 2:
        return
    shown = ", ".join(f"{number:,} {kind}" for kind, number in zip(found, numbers, strict=True))
    rarer = np.flatnonzero(there & (of_sample != found[numbers.argmax()])).tolist()
    yield Finding(
        "note",
        "several modes",
        f"{shown}; all become the mode that the data set is opened with, but where one class is "
        "grey and another in colour, a model learns that",
        tuple((survey.sample(p, str(names[signatures.modes[p]])),) for p in rarer),
    )


def _kind(mode: str) -> str:
    if mode in ("", "features"):
        return ""
    if mode in _GREY:
        return "grey"
    return "with alpha" if mode in _ALPHA else "in colour"


def _listed(names: tuple[str, ...] | None) -> str:
    shown = ", ".join(repr(name) for name in (names or ())[:_NAMED])
    more = len(names or ()) - _NAMED
    return shown + (f" and {more} more" if more > 0 else "")
