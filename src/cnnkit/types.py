"""Shared aliases, protocols and choices; nothing here runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import Self

__all__ = [
    "Augmentation",
    "Batch",
    "ImageSize",
    "Interpolation",
    "LabelledDataset",
    "LossFunction",
    "Mode",
    "PathLike",
    "Resize",
]

PathLike: TypeAlias = "str | os.PathLike[str]"
#: An int means a square; a pair is (height, width), in pixels.
ImageSize: TypeAlias = "int | tuple[int, int]"
#: Colour modes of stored images: grey, colour, colour with transparency.
Mode: TypeAlias = Literal["L", "RGB", "RGBA"]
#: How an image of another shape becomes `image_size`.
Resize: TypeAlias = Literal["stretch", "crop", "pad"]
#: Pillow's resampling filters, by name; all of them antialias when shrinking.
Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]
#: (images, labels)
Batch: TypeAlias = "tuple[Tensor, Tensor]"
#: (logits, labels) -> a scalar loss
LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
#: (float images (N, C, H, W) in [0, 1], CPU generator) -> images of the same shape
Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]


@runtime_checkable
class LabelledDataset(Protocol):
    """What cnnkit's own data sets have in common, and all that splits and loaders ask of one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        ...

    @property
    def targets(self) -> Tensor:
        """Labels of all samples, int64 (N,)."""
        ...

    @property
    def indices(self) -> Tensor:
        """Where each sample stands in the whole that this was split from, int64 (N,)."""
        ...

    def subset(self, positions: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order, as a data set of the same kind."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...
