"""Sizes and counts as users give them."""

from __future__ import annotations

from numbers import Integral

from cnnkit.errors import ArgumentError
from cnnkit.types import ImageSize

__all__ = ["as_image_size", "is_count"]


def as_image_size(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) of an `image_size` that is an int, for a square, or a pair.

    Raises:
        ArgumentError: It is neither, or a side is below 1.

    Example:
        >>> as_image_size(28), as_image_size((48, 64))
        ((28, 28), (48, 64))
    """
    pair = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    if len(pair) != 2 or not all(is_count(side) for side in pair):
        raise ArgumentError(
            "image_size must be a positive int or a pair (height, width), in pixels, "
            f"received {image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def is_count(value: object) -> bool:
    """Whether this is an int of at least 1, numpy's too."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1
