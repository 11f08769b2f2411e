"""The arrays behind an `ArrayDataset`: their shapes, their types, and room for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnkit.data._memory import available_memory, readable_bytes
from cnnkit.errors import DataError

__all__ = ["allocate", "as_stored"]

_COLOURS = (1, 3, 4)  # numbers of channels that tell (N, H, W, C) from (N, C, H, W)


def allocate(shape: Sequence[int], dtype: torch.dtype = torch.uint8) -> Tensor:
    """An uninitialised tensor, refused before it is made where it would not fit into memory.

    Raises:
        DataError: It needs more than is available; the message says both and what to do.
    """
    needed = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
    available = available_memory()
    if available is not None and needed > available:
        raise DataError(
            f"an array of {shape[0]} images of shape {tuple(shape[1:])} takes "
            f"{readable_bytes(needed)}, but {readable_bytes(available)} of memory are available: "
            "choose a smaller image_size, take a part with subset(), or read from the folder"
        )
    return torch.empty(tuple(shape), dtype=dtype)


def as_stored(images: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """uint8 (N, C, H, W), or float32 (N, …)."""
    if isinstance(images, np.ndarray):
        if images.dtype == np.uint8 and images.ndim == 4:
            images = _channels_first(images)
        if images.dtype.kind not in "biufc":
            raise DataError(f"images must be uint8 (0 to 255) or float, received {images.dtype}")
        native = images.dtype.newbyteorder("=")  # torch knows no other byte order
        images = torch.from_numpy(np.require(images, native, ["C", "W"]))
    if not isinstance(images, Tensor):
        raise DataError(f"images must be a tensor or a numpy array, not {type(images).__name__}")
    if images.is_floating_point():
        if images.ndim < 2:
            raise DataError(f"float features need shape (N, …), received {tuple(images.shape)}")
        return images.to(torch.float32)
    if images.dtype != torch.uint8:
        raise DataError(
            f"images must be uint8 (0 to 255) or float, received {images.dtype}: "
            "convert with images.to(torch.uint8) if they hold grey levels"
        )
    if images.ndim == 3:
        images = images.unsqueeze(1)  # (N, H, W) -> (N, 1, H, W)
    if images.ndim != 4:
        raise DataError(
            "uint8 images need shape (N, H, W) or (N, C, H, W), as numpy also (N, H, W, C); "
            f"received {tuple(images.shape)}"
        )
    if images.shape[3] in (3, 4) and min(images.shape[1:3]) >= 16:  # no map is so thin
        raise DataError(
            f"images of shape {tuple(images.shape)} look like (N, H, W, C): a tensor is taken as "
            "(N, C, H, W), so pass images.permute(0, 3, 1, 2), or the numpy array itself"
        )
    return images.contiguous()


def _channels_first(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    first, last = images.shape[1] in _COLOURS, images.shape[3] in _COLOURS
    if first and last:
        raise DataError(
            f"the numpy array of shape {images.shape} could be (N, C, H, W) or (N, H, W, C): "
            "pass torch.from_numpy(images) for the first, images.transpose(0, 3, 1, 2) as a "
            "tensor for the second"
        )
    return images.transpose(0, 3, 1, 2) if last else images
