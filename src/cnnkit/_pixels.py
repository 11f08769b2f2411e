"""Arithmetic on the pixels of many images: scaling, and counting levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from cnnkit.types import LabelledDataset

__all__ = ["VALUES_AT_ONCE", "from_uint8", "moments", "pixel_counts", "scaled"]

VALUES_AT_ONCE = 1 << 18  # 1 MiB of float32, which stays in a core's cache
_IMAGES_AT_ONCE = 256  # how many are held in memory while mean and std are measured


def scaled(images: Tensor) -> Tensor:
    """uint8 images of any shape as float32 in [0, 1]; float images as they are.

    Example:
        >>> scaled(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if images.dtype != torch.uint8:
        return images
    return from_uint8(images, lambda part: part.div_(255))


def from_uint8(images: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
    """Convert to float32 and finish in place, on the CPU a cacheful at a time.

    A large batch does not fit into a core's cache: each operation over all of it would read and
    write main memory once more, which costs more than the arithmetic.
    """
    if images.device.type != "cpu" or images.ndim < 4 or images.numel() <= VALUES_AT_ONCE:
        return finish(images.to(torch.float32))
    converted = torch.empty(images.shape, dtype=torch.float32)
    at_once = max(1, VALUES_AT_ONCE // images[0].numel())
    for part, source in zip(converted.split(at_once), images.split(at_once), strict=True):
        finish(part.copy_(source))
    return converted


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
    for start in range(0, len(ds), _IMAGES_AT_ONCE):
        positions = torch.arange(start, min(start + _IMAGES_AT_ONCE, len(ds)))
        if get_batch is not None:
            yield get_batch(positions)[0]
        else:
            yield torch.stack([ds[i][0] for i in positions.tolist()])
