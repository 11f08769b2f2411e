"""From the arguments of `train_val_split` and `k_fold` to a side for each sample, or an error."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

from cnnkit.data._assign import Bits, Ints, folds, sides_by_class, sides_of
from cnnkit.data._groups import NoChoiceError, sides_by_group
from cnnkit.errors import ArgumentError, CnnkitWarning, DataError
from cnnkit.types import LabelledDataset

__all__ = ["fold_of_each", "side_of_each", "sizes_of"]


def side_of_each(
    whole: LabelledDataset,
    sizes: dict[str, int],
    *,
    stratify: bool,
    groups: Iterable[Hashable] | None,
    seed: int,
) -> Ints:
    """The side of each sample, int64 (N,), in the order of `sizes`."""
    labels, bits = _labels_of(whole), _bits(seed, stratify)
    if groups is not None:
        return _by_group(whole, labels, groups, sizes, stratify, bits)
    if not stratify:
        return sides_of(list(sizes.values()), bits)
    _check_classes(whole, np.bincount(labels), list(sizes), "samples")
    _check_room(whole, labels, sizes)
    return sides_by_class(labels, list(sizes.values()), bits)


def fold_of_each(
    whole: LabelledDataset,
    k: int,
    *,
    stratify: bool,
    groups: Iterable[Hashable] | None,
    seed: int,
) -> Ints:
    """The fold of each sample, int64 (N,), from 0 to k - 1."""
    labels, bits = _labels_of(whole), _bits(seed, stratify)
    if not _is_int(k) or not 2 <= k <= len(labels):
        raise ArgumentError(
            f"k must be an int from 2 to the number of samples, {len(labels)}; received {k!r}"
        )
    names = [f"fold {fold}" for fold in range(int(k))]
    if groups is not None:
        sizes = dict.fromkeys(names, len(labels) / len(names))
        return _by_group(whole, labels, groups, sizes, stratify, bits)
    if stratify:
        _check_classes(whole, np.bincount(labels), names, "samples")
    return folds(len(labels), len(names), bits, labels if stratify else None)


def sizes_of(total: int, val: float, test: float) -> dict[str, int]:
    """How many samples each part has, without the parts that are not wanted."""
    asked = {"val": _count("val", val, total), "test": _count("test", test, total)}
    sizes = {"train": total - sum(asked.values())} | {n: size for n, size in asked.items() if size}
    if len(sizes) == 1:
        raise ArgumentError("val and test are both 0: there is nothing to split off")
    if sizes["train"] < 1:
        raise ArgumentError(
            f"val={val!r} and test={test!r} take {sum(asked.values())} of {total} samples: "
            "nothing is left to train on"
        )
    return sizes


def _count(name: str, asked: Any, total: int) -> int:
    if _is_int(asked) and asked >= 0:
        return int(asked)
    # numpy's floats are Real; a float of 1.0 or more may be meant either way
    if not isinstance(asked, Real) or isinstance(asked, Integral) or not 0 <= float(asked) < 1:
        raise ArgumentError(
            f"{name} must be a fraction (a float from 0 to below 1) or a number of samples (an "
            f"int of 0 or more), received {asked!r}"
        )
    count = round(float(asked) * total)
    if count == 0 and float(asked) > 0:
        raise ArgumentError(
            f"{name}={asked!r} of {total} samples is less than one: use a larger fraction or a "
            "number of samples"
        )
    return count


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _labels_of(whole: LabelledDataset) -> Ints:
    """The labels, int64 (N,), of a data set that can be split."""
    labels: Ints = whole.targets.cpu().numpy().astype(np.int64, copy=False)
    if labels.shape != (len(whole),):
        raise DataError(
            f"expected one label for each of {len(whole)} samples, received shape {labels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(whole.classes):
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}, but there are "
            f"{len(whole.classes)} classes"
        )
    indices, times = np.unique(whole.indices.cpu().numpy(), return_counts=True)
    if len(indices) < len(labels):
        raise DataError(
            f"the data set holds sample {indices[times > 1][0]} of the whole {times.max()} times, "
            "so that parts would overlap: split first, repeat samples afterwards"
        )
    return labels


def _bits(seed: Any, stratify: Any) -> Bits:
    if not _is_int(seed) or seed < 0:
        raise ArgumentError(f"seed must be an int of 0 or more, received {seed!r}")
    if not isinstance(stratify, bool):
        raise ArgumentError(
            f"stratify must be True or False, received {type(stratify).__name__}; the labels are "
            "those of the data set"
        )
    return Bits(int(seed))


def _check_classes(whole: LabelledDataset, counts: Ints, names: list[str], unit: str) -> None:
    """Refuse classes with too few samples, or groups, to be on every side."""
    few = np.flatnonzero((counts > 0) & (counts < len(names)))
    if len(few):
        shown = ", ".join(f"{whole.classes[label]!r} has {counts[label]}" for label in few[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        raise DataError(
            f"every class needs at least {len(names)} {unit} to be in each of {_listed(names)}, "
            f"but {shown}{more}: add images, leave the class out, or pass stratify=False"
        )


def _check_room(whole: LabelledDataset, labels: Ints, sizes: dict[str, int]) -> None:
    counts = np.bincount(labels)
    classes = int((counts > 0).sum())
    for name, size in sizes.items():
        if size < classes:
            rarest = whole.classes[int(np.where(counts > 0, counts, counts.max() + 1).argmin())]
            raise DataError(
                f"{name} has room for {size} of {len(labels)} samples, but there are {classes} "
                f"classes (the rarest is {rarest!r}): make {name} at least {classes} samples, or "
                "pass stratify=False"
            )


def _by_group(
    whole: LabelledDataset,
    labels: Ints,
    groups: Iterable[Hashable],
    sizes: dict[str, Any],
    stratify: bool,
    bits: Bits,
) -> Ints:
    numbers = _numbered(groups, len(labels))
    number, names = int(numbers.max(initial=-1)) + 1, list(sizes)
    if number < len(names):
        raise DataError(
            f"there are {number} groups for {len(names)} parts ({_listed(names)}): each needs one"
        )
    kinds = labels if stratify else np.zeros_like(labels)
    pairs = np.unique(numbers * len(whole.classes) + labels)
    holders = np.bincount(pairs % len(whole.classes))  # groups that have each class
    if stratify:
        _check_classes(whole, holders, names, "groups")
    try:
        sides = sides_by_group(numbers, kinds, list(sizes.values()), bits, keep_classes=stratify)
    except NoChoiceError as error:
        rare = sorted(np.flatnonzero(holders), key=lambda label: holders[label])[:5]
        shown = ", ".join(f"{whole.classes[label]!r} is in {holders[label]}" for label in rare)
        raise DataError(
            f"no choice of whole groups brings every class to each of {_listed(names)}; of the "
            f"{number} groups, {shown}: add groups, leave a class out, or pass stratify=False"
        ) from error
    for side, (name, size) in enumerate(sizes.items()):
        mine = sides == side
        if abs(mine.sum() - size) > size / 2:
            _warn(
                f"{name} has {mine.sum()} samples where {size:g} were asked for: of whole groups "
                f"no closer choice was found, the largest has {np.bincount(numbers).max()}"
            )
        lost = np.setdiff1d(kinds, kinds[mine])
        if len(lost):
            _warn(
                f"{name} has no sample of {[whole.classes[label] for label in lost]}: no choice of "
                "whole groups that brings it there was found; try another seed"
            )
    return sides


def _warn(message: str) -> None:
    warnings.warn(message, CnnkitWarning, stacklevel=5)


def _numbered(groups: Iterable[Hashable], total: int) -> Ints:
    """Groups as numbers in the order of their first samples, int64 (N,)."""
    # tolist: the elements of tensors and arrays do not compare by value as keys.
    given: Any = groups
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    if len(values) != total:
        raise ArgumentError(
            f"groups must have one entry a sample, {total} of them; received {len(values)}"
        )
    number_of: dict[Any, int] = {}
    try:
        numbers = np.array([number_of.setdefault(v, len(number_of)) for v in values], np.int64)
    except TypeError as error:
        raise ArgumentError(f"groups must be hashable, such as str or int: {error}") from error
    unequal = [number for value, number in number_of.items() if value != value]
    if unequal:  # nan: each would be a group of its own, and images of one video be torn apart
        position = int(np.flatnonzero(numbers == unequal[0])[0])
        raise ArgumentError(f"the group of sample {position} is missing: {values[position]!r}")
    return numbers


def _listed(names: list[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} folds"
    return f"{', '.join(names[:-1])} and {names[-1]}"
