"""Arithmetic on the pixels of many images: scaling, and counting levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from cnnkit.types import LabelledDataset

__all__ = ["VALUES_AT_ONCE", "from_uint8", "moments", "pixel_counts", "scaled"]

VALUES_AT_ONCE = 1 << 19  # 2 MiB of float32: fewer would cost more in calls than the cache saves
_VALUES_OF_ONE_THREAD = 1 << 15  # torch never divides up an operation on so few
# What is held in memory while mean and std are measured.
_IMAGES_AT_ONCE = 256
_VALUES_IN_MEMORY = 1 << 24  # 16 MiB; of larger images one a thread


def scaled(images: Tensor, *, one_thread: bool = False) -> Tensor:
    """uint8 images of any shape as float32 in [0, 1]; float images as they are.

    Example:
        >>> scaled(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if images.dtype != torch.uint8:
        return images
    return from_uint8(images, lambda part: part.div_(255), one_thread=one_thread)


def from_uint8(
    images: Tensor, finish: Callable[[Tensor], Tensor], *, one_thread: bool = False
) -> Tensor:
    """Convert to float32 and finish in place, on the CPU a cacheful at a time.

    A large batch does not fit into a core's cache: each operation over all of it would read and
    write main memory once more, which costs more than the arithmetic.

    Args:
        images: uint8, of any shape.
        finish: Given float32 (n, C, h, W), or all of what has fewer than four dimensions.
        one_thread: Leave the other cores to whoever is busy there. Two threads that wait for each
            other after each piece take several times as long where two processes decode.
    """
    at_once = _VALUES_OF_ONE_THREAD if one_thread else VALUES_AT_ONCE
    if images.device.type != "cpu" or images.ndim < 4 or images.numel() <= at_once:
        return finish(images.to(torch.float32))
    converted = torch.empty(images.shape, dtype=torch.float32)
    for part, source in zip(_pieces(converted, at_once), _pieces(images, at_once), strict=True):
        finish(part.copy_(source))
    return converted


def _pieces(images: Tensor, at_once: int) -> Iterator[Tensor]:
    """Views of so many values at most: some images, or some rows of one."""
    for some in images.split(max(1, at_once // images[0].numel())):
        rows = max(1, at_once // some[..., :1, :].numel())
        yield from (some,) if rows >= some.shape[-2] else some.split(rows, dim=-2)


@lru_cache(maxsize=64)
def moments(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both as float32 (C, 1, 1), which broadcasts over (…, C, H, W)."""
    shape = (-1, 1, 1)
    with torch.inference_mode(False):  # they are kept: autograd must be able to save them
        return (
            torch.tensor(mean, dtype=torch.float32, device=device).view(shape),
            torch.tensor(std, dtype=torch.float32, device=device).view(shape),
        )


def pixel_counts(ds: LabelledDataset, channels: int) -> Tensor:
    """How often each of the 256 levels occurs in each channel, int64 (C, 256)."""
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for images in _uint8_batches(ds):
        for channel in range(channels):
            counts[channel] += torch.bincount(images[:, channel].flatten(), minlength=256).cpu()
    return counts


def _uint8_batches(ds: LabelledDataset) -> Iterator[Tensor]:
    get_batch = getattr(ds, "get_batch", None)
    fitting = _VALUES_IN_MEMORY // max(1, ds[0][0].numel()) if len(ds) else 1
    at_once = min(max(fitting, torch.get_num_threads()), _IMAGES_AT_ONCE)
    for start in range(0, len(ds), at_once):
        positions = torch.arange(start, min(start + at_once, len(ds)))
        if get_batch is not None:
            yield get_batch(positions)[0]
        else:
            yield torch.stack([ds[i][0] for i in positions.tolist()])
