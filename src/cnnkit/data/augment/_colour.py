"""Augmentations that change values and leave every pixel in its place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cnnkit.data.augment._common import (
    Range,
    between,
    check_images,
    check_range,
    draw,
    is_number,
    on_device,
    require,
    working,
)
from cnnkit.errors import DataError

__all__ = ["ColorJitter", "GaussianNoise"]

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to the digits that torchvision uses


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    The formulas are those of torchvision's functions, which are also clamped to [0, 1] one by one;
    its transform of this name draws the order of the four anew each time, this one does not. Grey
    images (C = 1) have no saturation and no hue; of RGBA the alpha stays as it is. Only for images
    in [0, 1].

    Args:
        brightness: A number `x` for factors from 1 - x (at least 0) to 1 + x, or (low, high).
        contrast: Likewise; a factor of 0 gives the mean grey level of the image.
        saturation: Likewise; a factor of 0 gives a grey image.
        hue: A number `x` for shifts from -x to x, or (low, high), within -0.5 and 0.5: the whole
            colour circle is 1.

    Raises:
        DataError: On call, when C is not 1, 3 or 4.

    Example:
        >>> jitter = ColorJitter(0.4, 0.4, saturation=0.4, hue=0.1)
        >>> jitter(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0

    def __post_init__(self) -> None:
        self._bounds()

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images in other colours, (N, C, H, W)."""
        n, channels, *_ = check_images(self, images)
        if channels not in (1, 3, 4):
            raise DataError(
                f"ColorJitter expects 1 (grey), 3 (RGB) or 4 (RGBA) channels, received {channels}"
            )
        # One copy, changed in place: on CPU fresh memory costs more than the arithmetic.
        colour = working(images[:, :3]).clone()
        bounds = self._bounds()
        uniform = draw(generator, n, 4)  # all four, used or not: the stream stays the same
        amounts = torch.stack([between(u, b) for u, b in zip(uniform.T, bounds, strict=True)], 1)
        amounts = on_device(amounts, images, colour.dtype).view(n, 4, 1, 1, 1)
        for column, (change, neutral, needs_colour) in enumerate(_CHANGES):
            if bounds[column] != (neutral, neutral) and not (needs_colour and channels == 1):
                change(colour, amounts[:, column])
        colour = colour.to(images.dtype)
        return colour if channels != 4 else torch.cat([colour, images[:, 3:]], 1)

    def _bounds(self) -> list[tuple[float, float]]:
        factors = ("brightness", "contrast", "saturation")
        bounds = [check_range(self, name, centre=1, low=0) for name in factors]
        return [*bounds, check_range(self, "hue", low=-0.5, high=0.5)]


@dataclass(frozen=True)
class GaussianNoise:
    """Add normal noise to each value, clamped to [0, 1]. Only for images in [0, 1].

    Args:
        std: Standard deviation on the scale of [0, 1]; 0.05 is about 13 grey levels.

    Example:
        >>> noisy = GaussianNoise(0.1)(torch.full((1, 1, 64, 64), 0.5), torch.Generator())
        >>> 0.09 < float(noisy.std()) < 0.11
        True
    """

    std: float

    def __post_init__(self) -> None:
        require(is_number(self.std, 0), self, "std", "a number of 0 or more")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy images, (N, C, H, W)."""
        n, *shape = check_images(self, images)
        noise = on_device(draw(generator, n, *shape, normal=True), images)
        return torch.add(working(images), noise, alpha=self.std).clamp_(0, 1).to(images.dtype)


def _scale(images: Tensor, factor: Tensor) -> None:
    images.mul_(factor).clamp_(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> None:
    _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), factor)


def _saturate(images: Tensor, factor: Tensor) -> None:
    _blend(images, _grey(images), factor)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> None:
    images.mul_(factor).add_(other * (1 - factor)).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """(N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, c, None] for c in range(3))
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _shift_hue(images: Tensor, shift: Tensor) -> None:
    """Turn the hue in HSV (Smith 1978, "Color gamut transform pairs").

    Back to RGB without branches: a channel is V - C·max(0, min(2 - |k - 2|, 1)), where C = V - min
    is the chroma and k = (n + 6·hue) mod 6 with n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = (images[:, c, None] for c in range(3))
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    divisor = torch.where(chroma == 0, 1, chroma)  # grey has no hue: whatever it is, it is unused
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    offsets = torch.arange(5, 0, -2, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    k = (offsets + (hue + 6 * shift)).remainder_(6)
    weight = k.sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
    torch.sub(value, weight.mul_(chroma), out=images).clamp_(0, 1)


# What ColorJitter does in turn: function, amount that changes nothing, whether it needs colours.
_CHANGES = (
    (_scale, 1.0, False),
    (_contrast, 1.0, False),
    (_saturate, 1.0, True),
    (_shift_hue, 0.0, True),
)
