"""Train, validation and test parts of one data set: every sample exactly once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, overload

import numpy as np
import torch
from torch.utils.data import Dataset
from typing_extensions import TypeVar

from cnnkit._files import atomic_path
from cnnkit.data._saved_split import parts_from_text, read_text, text_of_parts
from cnnkit.data._sides import fold_of_each, side_of_each, sizes_of
from cnnkit.data._view import DatasetView, as_labelled
from cnnkit.errors import DataError
from cnnkit.types import LabelledDataset, PathLike

__all__ = ["Split", "k_fold", "train_val_split"]


#: A data set of cnnkit's, whose parts are of the same kind.
D = TypeVar("D", bound=LabelledDataset, default=Any)


@dataclass(frozen=True, repr=False)
class Split(Generic[D]):
    """The parts of one data set; `val` and `test` are None where there is no such part.

    Made by `train_val_split` and `k_fold`; ``Split(train_folder, val_folder)`` puts data sets
    together that were separate from the start.

    Args:
        train: To train on.
        val: To choose by: when to stop, which settings.
        test: To measure once, at the end.
        total: How many samples the data set had that was split; None where none was.
    """

    train: D
    val: D | None = None
    test: D | None = None
    _: KW_ONLY
    total: int | None = None

    def to_json(self, path: PathLike | None = None) -> str:
        """Return which samples are where as JSON, and write it to a file.

        Args:
            path: Where to; written under a temporary name and renamed when whole.

        Raises:
            DataError: The parts were not split from one data set.
        """
        if self.total is None:
            raise DataError(
                "expected a split of one data set, made by train_val_split or k_fold; this one "
                "was put together from separate data sets, so that indices say nothing"
            )
        text = text_of_parts((self.train, self.val, self.test), self.total)
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    @staticmethod
    def from_json(ds: Any, source: PathLike) -> Split[Any]:
        """Split a data set as it was split before.

        Args:
            ds: The data set that was split, opened again.
            source: What `to_json` wrote: a path, or the text itself.

        Raises:
            NotFoundError: There is no such file.
            SavedFileError: The source is none that `to_json` wrote, or its parts overlap.
            DataError: `ds` has another number of samples.
            ClassMismatchError: `ds` has other classes.

        Example:
            >>> from cnnkit.data import ArrayDataset
            >>> ds = ArrayDataset(torch.zeros(10, 8, 8, dtype=torch.uint8), [0, 1] * 5)
            >>> saved = train_val_split(ds, val=0.2).to_json()
            >>> Split.from_json(ds, saved)
            Split(train=8, val=2, test=None)
        """
        text, name = read_text(source)
        whole = as_labelled(ds)
        train, val, test = parts_from_text(whole, text, name)
        assert train is not None
        return Split(train, val, test, total=len(whole))

    def __repr__(self) -> str:
        parts = {"train": self.train, "val": self.val, "test": self.test}
        shown = (f"{name}={None if ds is None else len(ds)}" for name, ds in parts.items())
        return f"Split({', '.join(shown)})"


@overload
def train_val_split(
    ds: D,
    val: float = ...,
    *,
    test: float = ...,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    seed: int = ...,
) -> Split[D]: ...
@overload
def train_val_split(
    ds: Dataset[Any],
    val: float = ...,
    *,
    test: float = ...,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    seed: int = ...,
) -> Split[DatasetView]: ...
def train_val_split(
    ds: Any,
    val: float = 0.2,
    *,
    test: float = 0.0,
    stratify: bool = True,
    groups: Iterable[Hashable] | None = None,
    seed: int = 0,
) -> Split[Any]:
    """Split a data set into parts to train on, to choose by and to test on.

    A function of (labels, groups, seed) and of nothing else, the same with any version of numpy.
    Samples keep their order within a part.

    Stratified, each class is shared out in proportion: off by less than one sample, or by as much
    as it takes that every class is in every part.

    With groups the sizes are met as closely as whole groups allow: groups go from large to small to
    the part that needs their classes most. A part that is off by more than half is a warning.
    Stratified, every class is in every part wherever some choice of whole groups does that; where
    the search for one takes too long, a warning names the class that is not.

    Args:
        ds: A data set of cnnkit's, or a map-style one with `targets`, as torchvision's have.
        val: A float is the fraction of the whole (0 to 1), an int a number of samples; 0 for none.
        test: Likewise.
        stratify: Keep the classes' proportions in every part.
        groups: One hashable a sample, such as the video a frame is from; all samples of one group
            go to the same part.
        seed: Another one gives another split.

    Returns:
        A `Split` whose parts are data sets of the same kind, with `indices` into the whole.

    Raises:
        ArgumentError: A size or another argument makes no sense.
        DataError: A class has too few samples (or groups) to be in every part, a part has no room
            for all classes, no choice of whole groups brings all classes to each part, or the data
            set holds a sample twice.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> ds = ArrayDataset(torch.zeros(100, 8, 8, dtype=torch.uint8), [0, 0, 0, 1] * 25)
        >>> split = train_val_split(ds, val=0.2, test=10)
        >>> split
        Split(train=70, val=20, test=10)
        >>> split.val.class_counts()
        {'0': 15, '1': 5}
    """
    whole = as_labelled(ds)
    sizes = sizes_of(len(whole), val, test)
    sides = side_of_each(whole, sizes, stratify=stratify, groups=groups, seed=seed)
    parts = {name: _part(whole, sides == side) for side, name in enumerate(sizes)}
    return Split(parts["train"], parts.get("val"), parts.get("test"), total=len(whole))


@overload
def k_fold(
    ds: D,
    k: int = ...,
    *,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    seed: int = ...,
) -> Iterator[Split[D]]: ...
@overload
def k_fold(
    ds: Dataset[Any],
    k: int = ...,
    *,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    seed: int = ...,
) -> Iterator[Split[DatasetView]]: ...
def k_fold(
    ds: Any,
    k: int = 5,
    *,
    stratify: bool = True,
    groups: Iterable[Hashable] | None = None,
    seed: int = 0,
) -> Iterator[Split[Any]]:
    """Yield k splits into train and val, in which each sample is in val exactly once.

    Sizes of the folds differ by at most one, with `stratify` in each class as well; with groups,
    by as little as whole groups allow.

    Args:
        ds: A data set of cnnkit's, or a map-style one with `targets`, as torchvision's have.
        k: How many folds, 2 to N.
        stratify: Keep the classes' proportions in every fold.
        groups: One hashable a sample; all samples of one group are in the same fold.
        seed: Another one gives other folds.

    Raises:
        ArgumentError: k or another argument makes no sense.
        DataError: A class has fewer than k samples (or groups), there are fewer groups than folds,
            no choice of whole groups brings all classes to each fold, or the data set holds a
            sample twice.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> ds = ArrayDataset(torch.zeros(10, 8, 8, dtype=torch.uint8), [0, 1] * 5)
        >>> [split.val.indices.tolist() for split in k_fold(ds, 5)]
        [[2, 3], [1, 8], [6, 7], [0, 5], [4, 9]]
    """
    whole = as_labelled(ds)
    fold_of = fold_of_each(whole, k, stratify=stratify, groups=groups, seed=seed)
    return (
        Split(_part(whole, fold_of != fold), _part(whole, fold_of == fold), total=len(whole))
        for fold in range(k)
    )


def _part(whole: D, chosen: Any) -> D:
    return whole.subset(torch.from_numpy(np.flatnonzero(chosen)))
