"""Augmentations that move or cover pixels but never compute new ones: exact to the bit."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnkit.data.augment._common import (
    Padding,
    as_pair,
    check_images,
    check_padding,
    check_size,
    draw,
    is_int,
    is_number,
    on_device,
    require,
    whole_numbers,
)
from cnnkit.errors import DataError
from cnnkit.types import ImageSize

__all__ = ["Cutout", "RandomCrop", "RandomFlip", "RandomTranslate"]

_TORCH_PADDING = {"zeros": "constant", "reflect": "reflect", "edge": "replicate"}


@dataclass(frozen=True)
class RandomFlip:
    """Mirror each image left to right with probability `p`.

    Args:
        p: Probability, 0 to 1.
        vertical: Mirror top to bottom instead. For both, use two of them.

    Example:
        >>> images = torch.arange(3.).view(1, 1, 1, 3) / 2
        >>> RandomFlip(p=1)(images, torch.Generator())
        tensor([[[[1.0000, 0.5000, 0.0000]]]])
    """

    p: float = 0.5
    _: KW_ONLY
    vertical: bool = False

    def __post_init__(self) -> None:
        require(is_number(self.p, 0, 1), self, "p", "a probability from 0 to 1")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Mirrored images, (N, C, H, W)."""
        n, *_ = check_images(self, images)
        keep = on_device(draw(generator, n) >= self.p, images, images.dtype).view(n, 1, 1, 1)
        # A weight of 0 or 1 makes lerp exact, and it writes into the mirrored copy: half the time
        # of torch.where on CPU, and no index whose length depends on the draws.
        return images.flip(-2 if self.vertical else -1).lerp_(images, keep)


@dataclass(frozen=True)
class RandomTranslate:
    """Shift each image by a whole number of pixels in both directions.

    The vertical and the horizontal shift are drawn independently, each from -pixels to pixels.

    Args:
        pixels: The largest shift.
        padding: What comes in at the border: "zeros", "reflect" (the image mirrored about its
            border pixels; needs pixels < H and W) or "edge" (the border pixels repeated).

    Example:
        >>> shift = RandomTranslate(4, padding="reflect")
        >>> shift(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    pixels: int
    _: KW_ONLY
    padding: Padding = "zeros"

    def __post_init__(self) -> None:
        require(is_int(self.pixels, 0), self, "pixels", "an int of 0 or more")
        check_padding(self, "padding")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shifted images, (N, C, H, W)."""
        n, _, height, width = check_images(self, images)
        corners = whole_numbers(draw(generator, n, 2), 2 * self.pixels + 1)
        padded = _pad(self, images, self.pixels, self.padding)
        return _windows(padded, corners, (height, width))


@dataclass(frozen=True)
class RandomCrop:
    """Cut a window of one size out of each image, at a place drawn for each.

    With ``RandomCrop(padding=4)`` on 32×32 images it is the usual augmentation of CIFAR-10 (He et
    al. 2015, "Deep Residual Learning for Image Recognition", section 4.2).

    Args:
        size: An int (square) or (height, width) in pixels; None for the size of the images.
        padding: Pixels put around the image before it is cropped.
        padding_mode: "zeros", "reflect" (needs padding < H and W) or "edge".

    Raises:
        DataError: On call, when the padded images are smaller than the window.

    Example:
        >>> RandomCrop(24)(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 24, 24])
    """

    size: ImageSize | None = None
    _: KW_ONLY
    padding: int = 0
    padding_mode: Padding = "zeros"

    def __post_init__(self) -> None:
        check_size(self)
        require(is_int(self.padding, 0), self, "padding", "an int of 0 or more")
        check_padding(self, "padding_mode")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Windows, (N, C, *size)."""
        n, _, height, width = check_images(self, images)
        size = (height, width) if self.size is None else as_pair(self.size)
        slack = [side + 2 * self.padding for side in (height, width)]
        slack = [side - cut for side, cut in zip(slack, size, strict=True)]
        if min(slack) < 0:
            raise DataError(
                f"RandomCrop cannot cut {size[0]}×{size[1]} pixels out of images of "
                f"{height}×{width} with padding={self.padding}: choose a smaller size or pad more"
            )
        corners = whole_numbers(draw(generator, n, 2), torch.tensor(slack, device="cpu") + 1)
        padded = _pad(self, images, self.padding, self.padding_mode)
        return _windows(padded, corners, size)


@dataclass(frozen=True)
class Cutout:
    """Cover one rectangle of each image (DeVries and Taylor 2017, arXiv:1708.04552).

    The centre is drawn from all pixels, so that a part of the rectangle may fall outside, as in
    the paper. A loader augments before it normalises: 0 is black there, not the mean.

    Args:
        size: An int (square) or (height, width) in pixels.
        fill: The value that covers, 0 to 1.

    Example:
        >>> covered = Cutout(8)(torch.ones(4, 1, 32, 32), torch.Generator())
        >>> int((covered == 0).sum((1, 2, 3)).max()) <= 64
        True
    """

    size: ImageSize
    _: KW_ONLY
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_size(self)
        require(self.size is not None, self, "size", "an int or (height, width)")
        require(is_number(self.fill, 0, 1), self, "fill", "a number from 0 to 1")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images with a part covered, (N, C, H, W)."""
        n, _, *sides = check_images(self, images)
        size = as_pair(self.size)
        centres = whole_numbers(draw(generator, n, 2), torch.tensor(sides, device="cpu"))
        corners = centres - torch.tensor(size, device="cpu") // 2
        top, left = on_device(corners, images).unbind(1)
        rows = _inside(top, size[0], sides[0])  # (N, H)
        columns = _inside(left, size[1], sides[1])  # (N, W)
        covered = rows[:, None, :, None] & columns[:, None, None, :]
        return images.masked_fill(covered, self.fill)


def _inside(first: Tensor, length: int, side: int) -> Tensor:
    places = torch.arange(side, device=first.device)
    return (places >= first[:, None]) & (places < first[:, None] + length)


def _pad(owner: object, images: Tensor, pixels: int, padding: Padding) -> Tensor:
    if pixels == 0:
        return images
    if padding == "reflect" and pixels >= min(images.shape[-2:]):
        height, width = images.shape[-2:]
        raise DataError(
            f"{type(owner).__name__} cannot reflect {pixels} pixels of images of {height}×{width}: "
            'a border may be at most one pixel less than the image; use padding="edge"'
        )
    return F.pad(images, [pixels] * 4, mode=_TORCH_PADDING[padding])


def _windows(images: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """One window of each image; `corners` int64 (N, 2) on the CPU, the first row and column."""
    n = len(images)
    top, left = on_device(corners, images).unbind(1)
    # All windows as a view, (N, C, tops, lefts, h, w), of which one a sample is copied: four times
    # as fast on CPU as an index for each pixel, and it takes no memory.
    every = images.unfold(2, size[0], 1).unfold(3, size[1], 1)
    return every[torch.arange(n, device=images.device), :, top, left]
