"""Foreign map-style data sets, such as torchvision's, as cnnkit asks for them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from cnnkit.data._base import LabelledImages, as_labels, as_positions, checked_classes
from cnnkit.errors import DataError
from cnnkit.types import LabelledDataset

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DatasetView", "as_labelled", "own_part"]


class DatasetView(LabelledImages):
    """Some of the samples of a map-style data set that knows its labels; nothing is copied.

    A part of a view points to the data set behind it, however often it was split.

    Args:
        dataset: Anything with a length and ``dataset[i]``.
        targets: Labels of all samples, integers (N,); by default ``dataset.targets``, after its
            `target_transform` where it has one.
        classes: Class names; by default ``dataset.classes``, else "0", "1", ….

    Raises:
        DataError: There are no labels, or they are not one integer a sample.

    Example:
        >>> class Numbers:
        ...     targets = [0, 1, 1]
        ...     def __len__(self): return 3
        ...     def __getitem__(self, index): return float(index), self.targets[index]
        >>> part = DatasetView(Numbers()).subset([2, 0])
        >>> part[0], part.targets, part.indices
        ((2.0, 1), tensor([1, 0]), tensor([2, 0]))
    """

    def __init__(
        self,
        dataset: Any,
        *,
        targets: Sequence[int] | Tensor | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        transform = getattr(dataset, "target_transform", None)
        if targets is None:
            targets = _targets_of(dataset, transform)
        if classes is None and transform is None:  # the names are those of the labels before it
            classes = getattr(dataset, "classes", None)
        labels = _integers(targets, dataset)
        super().__init__(labels, checked_classes(classes, labels))
        self.dataset = dataset

    @property
    def preprocess(self) -> None:
        """None: how the data set behind it reads images is not known."""
        return

    def subset(self, positions: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order."""
        rows = as_positions(positions, len(self))
        part = copy.copy(self)
        part._targets, part._indices = self._targets[rows], self._indices[rows]
        return part

    def __getitem__(self, index: Any) -> Any:
        """What the data set behind it has there."""
        row = as_positions([operator.index(index)], len(self))
        return self.dataset[int(self._indices[row])]

    def __repr__(self) -> str:
        return f"DatasetView({type(self.dataset).__name__}, {self._parts()})"


def as_labelled(ds: Any) -> LabelledDataset:
    """The data set itself where it is one of cnnkit's kind, else a view of it.

    A `torch.utils.data.Subset` becomes a part of what it is a subset of.

    Raises:
        DataError: It has no length or no labels.
    """
    if isinstance(ds, LabelledDataset):
        return ds
    if type(ds) is Subset:
        return as_labelled(ds.dataset).subset(torch.as_tensor(ds.indices))
    return DatasetView(ds)


def own_part(ds: Any) -> Any:
    """A `torch.utils.data.Subset` of one of cnnkit's data sets as a part of it; others as given."""
    if type(ds) is not Subset:
        return ds
    whole = own_part(ds.dataset)
    return whole.subset(torch.as_tensor(ds.indices)) if isinstance(whole, LabelledDataset) else ds


def _targets_of(dataset: Any, transform: Any) -> Any:
    targets = getattr(dataset, "targets", None)
    if targets is None or not hasattr(dataset, "__len__"):
        raise DataError(
            f"expected a data set with a length and labels in `.targets`, received "
            f"{type(dataset).__name__}: use ArrayDataset.from_dataset(ds), or give it "
            "its labels as `.targets`, one integer a sample"
        )
    if transform is None:
        return targets
    values = targets.tolist() if hasattr(targets, "tolist") else targets
    return [transform(value) for value in values]


def _integers(targets: Any, dataset: Any) -> Tensor:
    try:
        return as_labels(targets, len(dataset))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the labels of {type(dataset).__name__} are not one integer a sample: {error}"
        ) from error
