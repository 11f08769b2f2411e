"""The channels of a colour image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnkit.errors import DataError
from cnnkit.plot._source import ImageSource, channel_names, load, to_levels
from cnnkit.plot._tiles import tiles
from cnnkit.preprocess import Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["channels"]

_WIDTH = 2.4  # inches of one image


def channels(image: ImageSource, *, preprocess: Preprocess | None = None) -> Figure:
    """Red, green and blue of a colour image as three grey images: the brighter, the more of it.

    Args:
        image: A path, the bytes of a file, a Pillow image, a uint8 array (H, W, C), or a tensor
            (C, H, W), uint8 or float.
        preprocess: What normalised a float image, to undo it; a loader of `make_loader` has it.

    Returns:
        A new Figure with a grey image for each channel, 0 black and 255 white.

    Raises:
        DataError: The image is not of three or four channels, has no pixels, or has float values
            that are no colours: pass what normalised it.
        ImageReadError: A file is not readable.
        NotFoundError: There is no such file.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> figure = channels(torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8))
        >>> [axes.get_title() for axes in figure.axes]
        ['red', 'green', 'blue']
    """
    levels = to_levels(load(image), preprocess)
    if len(levels) not in (3, 4):
        raise DataError(
            f"expected a colour image of 3 channels (4 with transparency), received {len(levels)}: "
            f'read the file with mode="RGB", or show the values of a grey image with plot.pixels'
        )
    names = channel_names(len(levels))
    height = _WIDTH * min(levels.shape[1] / levels.shape[2], 3)
    figure, (axes,) = tiles(1, len(levels), (_WIDTH * len(levels), height + 0.3))
    for axis, level, name in zip(axes, levels, names, strict=True):
        axis.imshow(level.numpy(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    return figure
