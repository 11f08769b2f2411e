"""What `ImageFolder` and `ArrayDataset` have in common: labels, classes and where samples stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from cnnkit.errors import DataError

__all__ = ["LabelledImages", "as_labels"]


class LabelledImages:
    """Labels and classes of a data set, whole or a part of one.

    Args:
        targets: int64 (N,), each an index into `classes`.
        classes: Class names.
    """

    def __init__(self, targets: Tensor, classes: tuple[str, ...]) -> None:
        self._targets = targets
        self._classes = classes
        self._indices = torch.arange(len(targets))
        # Parts of one whole share it: two data sets can be asked whether they share samples.
        self.origin = uuid4().hex

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self._classes

    @property
    def targets(self) -> Tensor:
        """Labels of all samples, int64 (N,)."""
        return self._targets

    @property
    def indices(self) -> Tensor:
        """Where each sample stands in the whole that this is a part of, int64 (N,)."""
        return self._indices

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: label for label, name in enumerate(self._classes)}

    def class_counts(self) -> dict[str, int]:
        """How many samples each class has, in the order of the labels."""
        counts = torch.bincount(self._targets.cpu(), minlength=len(self._classes)).tolist()
        return dict(zip(self._classes, counts, strict=True))

    def to_array(
        self,
        *,
        workers: int | None = None,  # noqa: ARG002
        progress: bool = True,  # noqa: ARG002
    ) -> Any:
        """The same samples as an `ArrayDataset`."""
        raise AssertionError("each data set says this itself")

    def _parts(self) -> str:
        return f"{len(self)} images, {len(self._classes)} classes"


def as_positions(positions: Sequence[int] | Tensor | np.ndarray, length: int) -> Tensor:
    """Positions in a data set as int64 (n,), negative ones counted from the end.

    Raises:
        IndexError: One of them is outside the data set.
    """
    rows = torch.as_tensor(positions)
    if rows.dtype == torch.bool:
        raise IndexError("expected positions, received a mask of bools: use mask.nonzero()[:, 0]")
    if rows.is_floating_point() and rows.numel():
        raise IndexError(f"expected positions, received {rows.dtype}")
    rows = rows.long().reshape(-1)
    rows = torch.where(rows < 0, rows + length, rows)
    outside = (rows < 0) | (rows >= length)
    if bool(outside.any()):
        first = int(rows[outside][0])
        raise IndexError(f"position {first} is outside a data set of {length} samples")
    return rows


def as_labels(labels: Sequence[int] | Tensor | np.ndarray, number: int) -> Tensor:
    """Labels as int64 (N,), one for each of `number` images.

    Raises:
        DataError: They are no integers, have another shape, or one is negative.
    """
    tensor = labels if isinstance(labels, Tensor) else _from_numbers(labels)
    if tensor.ndim != 1 or len(tensor) != number:
        raise DataError(
            f"expected one label an image, shape ({number},), received shape "
            f"{tuple(tensor.shape)}: give images and labels of the same samples, in the same order"
        )
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        if number == 0:
            return torch.zeros(0, dtype=torch.int64)
        raise DataError(
            f"labels must be integers (indices into the classes), received {tensor.dtype}: "
            "labels.long() makes whole numbers of floats, labels.argmax(1) of one-hot rows"
        )
    tensor = tensor.long()
    if number and int(tensor.min()) < 0:
        position = int(tensor.argmin())
        raise DataError(
            f"label {int(tensor[position])} of image {position} is negative: labels are indices "
            "into the classes, from 0; leave out images that have none"
        )
    return tensor


def _from_numbers(labels: Sequence[int] | np.ndarray) -> Tensor:
    try:
        array = np.array(labels)
    except ValueError as error:  # lists of different lengths
        raise DataError(f"expected one label an image, received nested lists: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"labels must be integers (indices into the classes), received {array.dtype}"
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def checked_classes(classes: Sequence[str] | None, labels: Tensor) -> tuple[str, ...]:
    """Class names that cover the labels; by default "0", "1", ….

    Raises:
        DataError: A label has no name, or a name comes twice.
    """
    highest = int(labels.max()) if len(labels) else -1
    if classes is None:
        return tuple(str(label) for label in range(highest + 1))
    names = tuple(str(name) for name in classes)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"class names must differ, these come more than once: {twice}")
    if highest >= len(names):
        position = int(labels.argmax())
        raise DataError(
            f"label {highest} of image {position} is outside the {len(names)} classes {names}: "
            f"labels go from 0 to {len(names) - 1}"
        )
    return names
