"""Augmentations that resample: what they give is interpolated."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnkit.data.augment._common import (
    Padding,
    Range,
    as_pair,
    between,
    check_images,
    check_padding,
    check_range,
    check_size,
    draw,
    is_number,
    on_device,
    require,
    whole_numbers,
    working,
)
from cnnkit.types import ImageSize

__all__ = ["RandomResizedCrop", "RandomRotate", "RandomShear"]

Interpolation = Literal["bilinear", "nearest"]
_GRID_PADDING = {"zeros": "zeros", "reflect": "reflection", "edge": "border"}
_ATTEMPTS = 10  # boxes drawn for a crop before the centre is taken; as in torchvision


@dataclass(frozen=True)
class RandomRotate:
    """Turn each image about its centre.

    As torchvision's ``rotate`` of tensors: the size stays, corners are cut off.

    Args:
        degrees: The angle, counter-clockwise: a number `d` for -d to d, or (low, high).
        padding: What comes in at the border: "zeros", "reflect" (the image mirrored about its
            border pixels) or "edge" (the border pixels repeated).
        interpolation: "bilinear", or "nearest", which keeps small images as sharp as those that
            are not turned and is the default of torchvision's `RandomRotation`.

    Example:
        >>> RandomRotate(15)(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    degrees: Range
    _: KW_ONLY
    padding: Padding = "zeros"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_range(self, "degrees")
        check_padding(self, "padding")
        _check_interpolation(self)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Turned images, (N, C, H, W)."""
        n, *_ = check_images(self, images)
        angle = torch.deg2rad(between(draw(generator, n), check_range(self, "degrees")))
        cos, sin = angle.cos(), angle.sin()
        matrices = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
        return _linear(images, matrices, self.padding, self.interpolation)


@dataclass(frozen=True)
class RandomShear:
    """Slant each image about its centre.

    As torchvision's ``affine(…, shear=[x, y])`` of tensors.

    Args:
        degrees: The angle, within -89 and 89: a number `d` for -d to d, or (low, high).
        axis: "x" moves rows sideways, "y" moves columns up and down, "xy" does both by two
            independent angles.
        padding: "zeros", "reflect" or "edge", as for `RandomRotate`.
        interpolation: "bilinear" or "nearest", as for `RandomRotate`.

    Example:
        >>> RandomShear(10, axis="xy")(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """

    degrees: Range
    _: KW_ONLY
    axis: Literal["x", "y", "xy"] = "x"
    padding: Padding = "zeros"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_range(self, "degrees", low=-89, high=89)
        require(self.axis in ("x", "y", "xy"), self, "axis", "one of ('x', 'y', 'xy')")
        check_padding(self, "padding")
        _check_interpolation(self)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Slanted images, (N, C, H, W)."""
        n, *_ = check_images(self, images)
        bounds = check_range(self, "degrees", low=-89, high=89)
        angles = torch.deg2rad(between(draw(generator, n, 2), bounds))  # always both: one stream
        chosen = torch.tensor(["x" in self.axis, "y" in self.axis], device="cpu")
        x, y = (angles.tan() * chosen).unbind(1)
        one = torch.ones_like(x)
        matrices = torch.stack([one + x * y, x, y, one], 1).view(n, 2, 2)
        return _linear(images, matrices, self.padding, self.interpolation)


def _check_interpolation(owner: RandomRotate | RandomShear) -> None:
    choices = get_args(Interpolation)
    require(owner.interpolation in choices, owner, "interpolation", f"one of {choices}")


def _linear(
    images: Tensor, matrices: Tensor, padding: Padding, interpolation: Interpolation
) -> Tensor:
    """Each image as seen through a linear map about its centre.

    Args:
        images: (N, C, H, W).
        matrices: float64 (N, 2, 2) on the CPU: from a place (x, y) in the result to its source.
        padding: What lies beyond the border.
        interpolation: Between the pixels of the source.
    """
    height, width = images.shape[-2:]
    # grid_sample reflects about the border pixels' centres, as F.pad does, only when its corners
    # are these centres; the other kinds of padding give the same either way, for any side.
    aligned = padding == "reflect"
    spans = [max(side - aligned, 1) for side in (width, height)]
    matrices = matrices * 2 / torch.tensor(spans, device="cpu").view(1, 2, 1)
    source = working(images)
    device, dtype = source.device, source.dtype
    x = torch.arange(width, device=device, dtype=dtype) - (width - 1) / 2
    y = torch.arange(height, device=device, dtype=dtype) - (height - 1) / 2
    terms = on_device(matrices, images, dtype).unsqueeze(-1)  # (N, 2, 2, 1)
    # Sums of outer products, not F.affine_grid: its matrix product is slower, and of ten bits
    # where TF32 is switched on.
    grid = torch.empty(len(images), height, width, 2, device=device, dtype=dtype)
    for to in range(2):
        along_x, along_y = terms[:, to, 0] * x, terms[:, to, 1] * y  # (N, W), (N, H)
        torch.add(along_x[:, None, :], along_y[:, :, None], out=grid[..., to])
    beyond = _GRID_PADDING[padding]
    seen = F.grid_sample(source, grid, interpolation, beyond, align_corners=aligned)
    return _within(seen, source, or_zero=padding == "zeros").to(images.dtype)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a box of random area and shape out of each image and resize it to one size.

    Boxes are drawn as by torchvision's transform of this name (Szegedy et al. 2014, "Going Deeper
    with Convolutions", section 6). Resizing is bilinear and antialiased, as torchvision's and
    Pillow's: it equals them to rounding also when it shrinks.

    Args:
        size: An int (square) or (height, width) in pixels; None for the size of the images.
        scale: The box's share of the area, (low, high) in 0 to 1.
        ratio: The box's width over its height, (low, high).

    Example:
        >>> RandomResizedCrop(24)(torch.rand(2, 3, 32, 32), torch.Generator()).shape
        torch.Size([2, 3, 24, 24])
    """

    size: ImageSize | None = None
    _: KW_ONLY
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_size(self)
        for name, high in (("scale", 1.0), ("ratio", math.inf)):
            require(
                _is_pair(getattr(self, name), high),
                self,
                name,
                f"(low, high), 0 < low ≤ high ≤ {high:g}",
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Boxes at one size, (N, C, *size)."""
        n, _, height, width = check_images(self, images)
        size = (height, width) if self.size is None else as_pair(self.size)
        boxes = self._boxes(draw(generator, n, 2 * _ATTEMPTS + 2), height, width)
        source = working(images)
        boxes = on_device(boxes, images, source.dtype)
        shrinks = size[0] < height or size[1] < width
        resized = (_resized_by_products if shrinks else _resized_by_grid)(source, boxes, size)
        return _within(resized, source).to(images.dtype)

    def _boxes(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Boxes (top, left, height, width) in pixels, int64 (N, 4), from uniform numbers (N, 22).

        The first of ten drawn boxes that fits is taken; where none does, the largest one in the
        centre whose shape `ratio` allows.
        """
        shares, shapes = uniform[:, : 2 * _ATTEMPTS].view(-1, _ATTEMPTS, 2).unbind(-1)
        area = between(shares, self.scale) * (height * width)
        ratio = between(shapes, (math.log(self.ratio[0]), math.log(self.ratio[1]))).exp()
        drawn = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], -1).round().long()
        sides = torch.tensor([height, width], device="cpu")
        fits = ((drawn > 0) & (drawn <= sides)).all(-1)  # (N, attempts)
        first = fits.int().argmax(1)  # of equal values the first
        box = drawn[torch.arange(len(drawn), device="cpu"), first]
        corner = whole_numbers(uniform[:, 2 * _ATTEMPTS :], (sides - box).clamp_(min=0) + 1)
        found = fits.any(1, keepdim=True)
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        fallback = torch.tensor(
            [min(height, round(width / shape)), min(width, round(height * shape))], device="cpu"
        ).clamp_(min=1)
        box = torch.where(found, box, fallback)
        return torch.cat([torch.where(found, corner, (sides - fallback) // 2), box], 1)


def _is_pair(value: object, high: float) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return all(is_number(v, 0, high) and v > 0 for v in value) and value[0] <= value[1]


def _resized_by_grid(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes enlarged: two neighbours a side make a pixel, and none from outside the box."""
    grid = images.new_empty(len(images), *size, 2)
    for axis in range(2):
        side = images.shape[2 + axis]
        first, length = boxes[:, axis, None], boxes[:, 2 + axis, None]
        step = torch.arange(size[axis], device=images.device, dtype=images.dtype) + 0.5
        place = (step * (length / size[axis]) - 0.5).clamp_(min=0).minimum(length - 1) + first
        place = (2 * place + 1) / side - 1  # (N, size)
        grid[..., 1 - axis] = place[:, :, None] if axis == 0 else place[:, None, :]
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _resized_by_products(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes resized with a triangle filter as wide as the step, by one matrix for each side.

    Exact in both directions, but on CPU several times the work of `_resized_by_grid`, which can
    only enlarge.
    """
    rows, columns = (
        _filter(boxes[:, a], boxes[:, 2 + a], images.shape[2 + a], size[a]) for a in (0, 1)
    )
    narrow = torch.bmm(images.flatten(1, 2), columns.transpose(1, 2))  # (N, C·H, w)
    n, channels, height, _ = images.shape
    return torch.matmul(rows[:, None], narrow.view(n, channels, height, size[1]))


def _filter(first: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Weights (N, size, side) of the pixels of a side in each pixel of the result."""
    places = torch.arange(side, device=first.device, dtype=first.dtype)
    step = (length / size)[:, None]  # (N, 1)
    centres = (torch.arange(size, device=first.device, dtype=first.dtype) + 0.5) * step
    distance = places + 0.5 - first[:, None, None] - centres[:, :, None]
    weights = (1 - distance.abs_() / step.clamp(min=1)[:, :, None]).clamp_(min=0)
    inside = (places >= first[:, None]) & (places < (first + length)[:, None])
    weights *= inside[:, None, :]
    return weights / weights.sum(-1, keepdim=True)


def _within(seen: Tensor, source: Tensor, *, or_zero: bool = False) -> Tensor:
    """Take back the last bit by which an interpolated value may leave the range of its image."""
    low, high = source.amin((1, 2, 3)), source.amax((1, 2, 3))
    if or_zero:
        low, high = low.clamp_(max=0), high.clamp_(min=0)
    flat = seen.flatten(1)  # two calls on two dimensions: a third of the time of clamp on four
    flat = torch.minimum(flat, high[:, None], out=flat)
    return torch.maximum(flat, low[:, None], out=flat).view_as(seen)
