"""`ArrayDataset`: labelled images or features that lie in memory, or in a memory-mapped file."""

from __future__ import annotations

import copy
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cnnkit._saved import load_saved, reading, save_whole
from cnnkit.data._base import LabelledImages, as_labels, as_positions, checked_classes
from cnnkit.data._foreign import classes_of, held_arrays, read_sample
from cnnkit.data._storage import allocate, as_stored
from cnnkit.errors import DataError, SavedFileError
from cnnkit.preprocess import Preprocess
from cnnkit.types import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ArrayDataset"]

_KIND, _FORMAT = "ArrayDataset", 1


class ArrayDataset(LabelledImages):
    """Images or features in one array; a batch of them is one indexing operation.

    Args:
        images: A tensor or numpy array. uint8 images (N, H, W) or (N, C, H, W), as numpy also
            (N, H, W, C); they are kept as uint8 (N, C, H, W). Floats of any shape (N, …) are
            features, taken as they are whatever their range, as float32.
        labels: Integers (N,), 0 to C - 1.
        classes: Class names in the order of their labels; by default "0", "1", ….
        preprocess: How the images were read from files, where they were.
        paths: The file of each image, where there is one.

    Raises:
        DataError: A shape or dtype is none of these, images and labels differ in number, or a
            label is outside the classes.

    Example:
        >>> ds = ArrayDataset(np.zeros((3, 8, 8), dtype=np.uint8), [0, 1, 1], classes=["a", "b"])
        >>> ds[2][0].shape, ds[2][1]
        (torch.Size([1, 8, 8]), 1)
        >>> images, labels = ds[[0, 2]]
        >>> images.shape, labels
        (torch.Size([2, 1, 8, 8]), tensor([0, 1]))
    """

    def __init__(
        self,
        images: Tensor | np.ndarray[Any, Any],
        labels: Sequence[int] | Tensor | np.ndarray[Any, Any],
        *,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
        paths: Sequence[str] | None = None,
    ) -> None:
        stored = as_stored(images)
        targets = as_labels(labels, len(stored)).to(stored.device)
        super().__init__(targets, checked_classes(classes, targets))
        if paths is not None and len(paths) != len(stored):
            raise DataError(f"expected one path an image, {len(stored)}, received {len(paths)}")
        if preprocess is not None and preprocess.image_shape != tuple(stored.shape[1:]):
            raise DataError(
                f"the images have shape {tuple(stored.shape[1:])}, "
                f"but preprocess is for {preprocess.image_shape}"
            )
        self._images = stored
        self._rows: Tensor | None = None  # which rows of _images, in a part of a whole
        self._reading = preprocess
        self._paths = None if paths is None else list(paths)
        self._file: str | None = None  # the memory-mapped file behind _images
        self._file_id: str | None = None  # what `save` wrote into it, another one each time

    @classmethod
    def from_dataset(cls, ds: Any) -> Self:
        """Take over any map-style data set of (image, label) pairs.

        torchvision's MNIST, FashionMNIST, CIFAR10 and CIFAR100 (and their kin) are taken over as
        the arrays that they hold, when their transform is none or only converts to a tensor. Any
        other is read sample by sample: Pillow images and uint8 tensors become uint8 images,
        float tensors stay floats.

        Args:
            ds: The data set; its `classes`, where it has some, are kept.

        Raises:
            DataError: A sample is no such pair, or shapes differ.
        """
        if isinstance(ds, LabelledImages):
            array: Self = ds.to_array(progress=False)
            return array
        held = held_arrays(ds)
        if held is not None:
            return cls(*held, classes=classes_of(ds))
        if len(ds) == 0:
            raise DataError("expected at least one sample, received an empty data set")
        labels = []
        images: Tensor | None = None
        for position in range(len(ds)):
            image, label = read_sample(ds, position)
            if images is None:
                images = allocate((len(ds), *image.shape), image.dtype)
            elif image.shape != images.shape[1:] or image.dtype != images.dtype:
                raise DataError(
                    f"sample 0 is {images.dtype} {tuple(images.shape[1:])}, but sample {position} "
                    f"is {image.dtype} {tuple(image.shape)}: resize them to one size first"
                )
            images[position] = image
            labels.append(label)
        assert images is not None
        return cls(images, labels, classes=classes_of(ds))

    @property
    def images(self) -> Tensor:
        """All images, (N, C, H, W), or features; a copy where this is a part of a whole."""
        return self._images if self._rows is None else self._images[self._rows]

    @property
    def labels(self) -> Tensor:
        """Labels of all samples, int64 (N,); the same as `targets`."""
        return self._targets

    @property
    def paths(self) -> list[str] | None:
        """The file of every sample, where the images came from files."""
        return None if self._paths is None else list(self._paths)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image, or the shape of one sample's features."""
        return tuple(self._images.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self._images.device

    @property
    def reading(self) -> Preprocess | None:
        """How the images were read from files; None where they were given as an array."""
        return self._reading

    @property
    def preprocess(self) -> Preprocess | None:
        """How the images were read, with no normalisation; None for float features."""
        if self._images.dtype != torch.uint8:
            return None
        channels, height, width = self._images.shape[1:]
        return self._reading or Preprocess.of_shape((channels, height, width))

    def __getitem__(self, index: Any) -> tuple[Tensor, Any]:
        """An int gives (image, label); a slice, or a list or tensor of positions, a batch."""
        if isinstance(index, (int, np.integer)):
            row = int(as_positions([int(index)], len(self)))
            return self._images[row if self._rows is None else self._rows[row]], int(
                self._targets[row]
            )
        if isinstance(index, slice):
            index = list(range(len(self)))[index]
        return self.get_batch(as_positions(index, len(self)))

    def get_batch(self, positions: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """The samples at these positions: images (n, C, H, W) and labels int64 (n,)."""
        positions = torch.as_tensor(positions, device=self._images.device)
        rows = positions if self._rows is None else self._rows[positions]
        return self._images.index_select(0, rows), self._targets.index_select(0, positions)

    def subset(self, positions: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order; the images are not copied."""
        rows = as_positions(positions, len(self))
        part = copy.copy(self)
        part._indices = self._indices[rows]
        if self._paths is not None:
            part._paths = [self._paths[row] for row in rows.tolist()]
        rows = rows.to(self.device)
        part._rows = rows if self._rows is None else self._rows[rows]
        part._targets = self._targets[rows]
        return part

    def to(self, device: torch.device | str) -> Self:
        """The same data set with its images and labels on `device`, where a small one fits."""
        moved = copy.copy(self)
        moved._images, moved._targets = self.images.to(device), self._targets.to(device)
        moved._rows = moved._file = None
        return moved

    def to_array(
        self,
        *,
        workers: int | None = None,  # noqa: ARG002
        progress: bool = True,  # noqa: ARG002
    ) -> Self:
        """Itself: it is an array already, so that code for any data set can ask."""
        return self

    def save(self, path: PathLike) -> None:
        """Write images, labels, classes and reading settings to one file.

        Args:
            path: Where to; written under a temporary name and renamed when whole.
        """
        parts = {
            "images": _own(self.images.cpu()),
            "labels": _own(self._targets.cpu()),
            "classes": list(self._classes),
            "preprocess": None if self._reading is None else self._reading.to_dict(),
            "paths": self._paths,
            "id": secrets.token_hex(8),  # by which a worker knows that the file is still the same
        }
        save_whole(path, _KIND, _FORMAT, parts)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Open a file that `save` wrote, memory-mapped: images are read when they are asked for.

        The result is pickled as its path, so that handing it to worker processes is cheap.

        Raises:
            NotFoundError: There is no such file.
            SavedFileError: It is none that `save` wrote, is cut, or is of a newer format.
        """
        saved = load_saved(path, _KIND, _FORMAT, mmap=True)
        with reading(path, _KIND):
            read = saved["preprocess"]
            loaded = cls(
                saved["images"],
                saved["labels"],
                classes=saved["classes"],
                preprocess=None if read is None else Preprocess.from_dict(read),
                paths=saved["paths"],
            )
        loaded._file = os.fspath(Path(path).resolve())
        loaded._file_id = saved.get("id")
        return loaded

    def __copy__(self) -> Self:
        """A data set on the same images; not by way of `__reduce__`, which reads the file again."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce__(self) -> Any:
        if self._file is None:
            return super().__reduce__()
        # As a rule the rows in the file are the indices into the whole: pickle them once.
        whole = torch.arange(len(self)) if self._rows is None else self._rows
        indices = None if torch.equal(whole, self._indices) else self._indices
        return _reopened, (
            type(self),
            self._file,
            self._file_id,
            self._rows,
            indices,
            self.origin,
        )

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self.image_shape)
        return f"ArrayDataset({self._parts()}, {self._images.dtype} {shape})"


def _own(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own: a view would be saved with all that it is a view of."""
    whole = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if whole else tensor.clone()


def _reopened(
    cls: type[ArrayDataset],
    file: str,
    file_id: str | None,
    rows: Tensor | None,
    indices: Tensor | None,
    origin: str,
) -> ArrayDataset:
    whole = cls.load(file)
    if whole._file_id != file_id:
        raise SavedFileError(
            f"{file} was written anew since it was opened, and holds other samples now: load it "
            "again, or save to another name"
        )
    part = whole if rows is None else whole.subset(rows)
    part.origin = origin
    if indices is not None:
        part._indices = indices
    return part
