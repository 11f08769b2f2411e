"""One image, however it comes, as a tensor."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnkit._images import read_pixels
from cnnkit.errors import DataError
from cnnkit.plot._samples import pixels_of
from cnnkit.preprocess import Preprocess
from cnnkit.types import PathLike

__all__ = ["ImageSource", "channel_names", "is_file", "load", "to_levels"]

#: A path, the bytes of a file, a Pillow image, an array (H, W) or (H, W, C), a tensor (C, H, W).
ImageSource: TypeAlias = "PathLike | bytes | Image.Image | np.ndarray[Any, Any] | Tensor"

_COLOURS = ("red", "green", "blue", "alpha")


def is_file(image: object) -> bool:
    """Whether it is a path, the bytes of a file, or a Pillow image, and must be read first."""
    return isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))


def load(image: Any) -> Tensor:
    """uint8 or float (C, H, W) on the CPU; a file whose pixels have no colour has one channel.

    Raises:
        DataError: It is no image, has no pixels, or is more than one.
        ImageReadError: A file is not readable.
        NotFoundError: There is no such file.
    """
    if is_file(image):
        read = read_pixels(
            image,
            image_size=None,
            mode="RGB",
            resize="stretch",
            interpolation="bilinear",
            exact_decode=True,
        ).contiguous()
        return read[:1] if bool((read == read[:1]).all()) else read
    if isinstance(image, np.ndarray):
        tensor = torch.from_numpy(np.array(image))  # a copy: torch warns of one that is read-only
        tensor = tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor
    elif isinstance(image, Tensor):
        tensor = image.detach().cpu()
        tensor = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
    else:
        raise DataError(
            "expected a path, the bytes of an image file, a Pillow image, an array (H, W) or "
            f"(H, W, C), or a tensor (C, H, W), received {type(image).__name__}"
        )
    tensor = tensor[None] if tensor.ndim == 2 else tensor
    received = f"received {type(image).__name__} of shape {tuple(image.shape)}"
    if tensor.ndim != 3:
        raise DataError(f"expected one image (C, H, W), {received}; images[0] is the first of many")
    if 0 in tensor.shape:
        raise DataError(f"the image has no pixels: {received}")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise DataError(f"expected an image of uint8 or floats, received {tensor.dtype}")
    return tensor


def to_levels(image: Tensor, preprocess: Preprocess | None) -> Tensor:
    """Grey levels, uint8 (C, H, W), of a uint8 image or of one that `preprocess` normalised.

    Raises:
        DataError: The numbers of channels differ, or the values are no colours.
    """
    if image.dtype == torch.uint8:
        return image
    if preprocess is not None and len(preprocess.mean) != len(image):
        raise DataError(
            f"the image has {len(image)} channels, preprocess= is of images with "
            f"{len(preprocess.mean)}"
        )
    array = pixels_of([image], preprocess)[0]
    return torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1)


def channel_names(channels: int) -> tuple[str, ...]:
    """What the channels of an image are called."""
    if channels in (3, 4):
        return _COLOURS[:channels]
    return ("grey",) if channels == 1 else tuple(f"channel {c}" for c in range(channels))
