"""What all augmentations share: the one place where numbers are drawn, and the checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError
from cnnkit.types import ImageSize

__all__ = [
    "Padding",
    "Range",
    "as_pair",
    "between",
    "check_images",
    "check_padding",
    "check_range",
    "check_size",
    "draw",
    "is_int",
    "is_number",
    "on_device",
    "require",
    "whole_numbers",
    "working",
]

#: What lies beyond the border: black, the image mirrored about its border pixels, or these pixels.
Padding: TypeAlias = Literal["zeros", "reflect", "edge"]
#: A number `x` means from -x to x (for a factor: from 1 - x to 1 + x); a pair is (low, high).
Range: TypeAlias = "float | tuple[float, float]"


def draw(generator: torch.Generator, n: int, *shape: int, normal: bool = False) -> Tensor:
    """Random numbers for `n` samples: the only place where augmentations draw any.

    Args:
        generator: On the CPU. With an attribute ``shard = (start, total)`` numbers are drawn for
            `total` samples, of which these are the ones from `start` on.
        n: Samples in this batch.
        *shape: Of the numbers for one sample.
        normal: From the standard normal distribution instead of uniformly from [0, 1).

    Returns:
        float32 (n, *shape) on the CPU, whatever the images' dtype and torch's defaults are.
    """
    if generator.device.type != "cpu":
        raise ArgumentError(
            f"augmentations draw on the CPU, so that every device sees the same numbers, but the "
            f"generator is on {generator.device}: pass torch.Generator()"
        )
    start, total = getattr(generator, "shard", None) or (0, n)
    if start < 0 or start + n > total:
        raise ArgumentError(
            f"the generator's shard is (start, total) = ({start}, {total}), which has no room for "
            f"a batch of {n} samples"
        )
    sample = torch.randn if normal else torch.rand
    numbers = sample((total, *shape), generator=generator, dtype=torch.float32, device="cpu")
    return numbers[start : start + n]


def on_device(numbers: Tensor, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Move drawn numbers to where the images are, without waiting for the device."""
    if dtype is not None:
        numbers = numbers.to(dtype)
    if images.device.type == "cuda":
        numbers = numbers.pin_memory()  # from pageable memory the copy would not be asynchronous
    return numbers.to(images.device, non_blocking=True)


def between(uniform: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Numbers from [0, 1) stretched to (low, high); float64, for what is computed from them."""
    low, high = bounds
    return low + (high - low) * uniform.double()


def whole_numbers(uniform: Tensor, count: int | Tensor) -> Tensor:
    """Numbers from [0, 1) as int64 from 0 to `count` - 1, all equally likely."""
    # float64: in float32 the product of the largest draws would round up to `count`
    return (uniform.double() * count).long()


def working(images: Tensor) -> Tensor:
    """The images in a dtype fit for arithmetic: bfloat16 and float16 are computed in float32."""
    return images if images.dtype in (torch.float32, torch.float64) else images.float()


def check_images(augmentation: object, images: Tensor) -> tuple[int, int, int, int]:
    """The shape (N, C, H, W).

    Raises:
        DataError: They are not float (N, C, H, W).
    """
    if images.ndim == 4 and images.is_floating_point():
        n, channels, height, width = images.shape
        return n, channels, height, width
    hint = ""
    if not images.is_floating_point():
        hint = ": divide uint8 by 255, or let make_loader(..., augment=...) convert them"
    elif images.ndim == 3:
        hint = ": for a single image use images[None]"
    raise DataError(
        f"{type(augmentation).__name__} expects float images of shape (N, C, H, W), "
        f"received {images.dtype} of shape {tuple(images.shape)}{hint}"
    )


def require(condition: bool, owner: object, name: str, expected: str) -> None:
    """Refuse the argument `name` of an augmentation, unless `condition` holds."""
    if not condition:
        raise ArgumentError(
            f"{type(owner).__name__}: {name} must be {expected}, received {getattr(owner, name)!r}"
        )


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether it is a finite int or float within these bounds; True and False are none."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


def is_int(value: Any, low: int) -> bool:
    """Whether it is an int of at least `low`; True and False are none."""
    return isinstance(value, int) and is_number(value, low)


def check_range(
    owner: object, name: str, *, centre: float = 0, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """The bounds (low, high) of the argument `name`, a number or a pair.

    A number `x` means from `centre` - x to `centre` + x, cut off at `low`.
    """
    value = getattr(owner, name)
    if is_number(value, 0, high - centre):
        return max(low, centre - value), centre + value
    pair = isinstance(value, Sequence) and len(value) == 2
    ordered = pair and all(is_number(bound, low, high) for bound in value) and value[0] <= value[1]
    limits = "" if (low, high) == (-math.inf, math.inf) else f" within {low:g} and {high:g}"
    require(ordered, owner, name, f"a number of 0 or more, or a pair (low, high){limits}")
    return value[0], value[1]


def check_padding(owner: object, name: str) -> None:
    """Refuse a padding that there is none of."""
    choices = get_args(Padding)
    require(getattr(owner, name) in choices, owner, name, f"one of {choices}")


def check_size(owner: object) -> None:
    """Refuse a `size` that is no int, (height, width) or None."""
    size = owner.size  # type: ignore[attr-defined]
    pair = isinstance(size, Sequence) and len(size) == 2 and all(is_int(side, 1) for side in size)
    good = size is None or is_int(size, 1) or pair
    require(good, owner, "size", "an int of 1 or more, or a pair (height, width) of them")


def as_pair(size: ImageSize) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
