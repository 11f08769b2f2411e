"""From whatever an image is given as to its pixels at the model's size."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnkit.errors import DataError, ImageReadError
from cnnkit.preprocess import Preprocess
from cnnkit.types import PathLike

__all__ = ["Source", "pixels_of"]

#: A file, its bytes, a Pillow image, uint8 (H, W) or (H, W, C), or uint8 (C, H, W).
Source: TypeAlias = "PathLike | bytes | Image.Image | np.ndarray[Any, Any] | Tensor"


def pixels_of(source: Any, preprocess: Preprocess) -> Tensor:
    """One image as the data set would have read it.

    Args:
        source: A path, the bytes of an image file, a Pillow image, a numpy array uint8 (H, W) or
            (H, W, C), or a tensor uint8 (C, H, W).
        preprocess: How it is read.

    Returns:
        uint8 (C, H, W) of `preprocess.image_shape`, on the CPU.

    Raises:
        ImageReadError: A file is no readable image.
        NotFoundError: There is no such file.
        DataError: It is none of these, or of another shape or dtype.
    """
    if isinstance(source, Tensor):
        return _of_tensor(source, preprocess)
    if isinstance(source, np.ndarray):
        source = _as_pillow(source)
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if not isinstance(source, (str, os.PathLike, bytes, Image.Image)):
        raise DataError(
            "expected a path, the bytes of an image file, a Pillow image, a numpy array or a "
            f"tensor, or a list of these, received {type(source).__name__}"
        )
    try:
        return preprocess.read(source)
    except ImageReadError as error:
        if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):  # noqa: PTH112
            raise ImageReadError(
                f"expected an image file, but {os.fspath(source)} is a folder: predict_folder "
                "answers for each image in it"
            ) from error
        raise


def _of_tensor(image: Tensor, preprocess: Preprocess) -> Tensor:
    shape = preprocess.image_shape
    _check_pixels(image)
    if image.dtype == torch.uint8 and tuple(image.shape) == shape:
        return image.cpu()
    if image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] in (1, 3, 4):
        array = image.permute(1, 2, 0).cpu().numpy()  # (C, H, W) -> (H, W, C), of another size
        return preprocess.read(_as_pillow(array))
    raise DataError(
        f"expected a uint8 tensor of shape (channels, height, width), such as {shape}, "
        f"received {image.dtype} of shape {tuple(image.shape)}{_hint(image.ndim)}"
    )


def _as_pillow(array: np.ndarray[Any, Any]) -> Image.Image:
    _check_pixels(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (colour or array.ndim == 2):
        raise DataError(
            "expected a uint8 array of shape (height, width) or (height, width, channels), "
            f"received {array.dtype} of shape {array.shape}{_hint(array.ndim)}"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _check_pixels(image: Tensor | np.ndarray[Any, Any]) -> None:
    if 0 in image.shape:
        raise DataError(
            f"the image has no pixels, its shape is {tuple(image.shape)}: leave it out, or look "
            "for the crop that left nothing of it"
        )


def _hint(ndim: int) -> str:
    return ": pass several images as a list, list(images)" if ndim == 4 else ""
