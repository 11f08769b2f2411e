"""The numbers that an image is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError
from cnnkit.plot._figure import new_axes, require_matplotlib
from cnnkit.plot._source import ImageSource, channel_names, load, to_levels
from cnnkit.plot._tiles import FONT, as_text, cell_side, count_pixels, tiles, write_values
from cnnkit.preprocess import Preprocess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pixels"]

Values = Literal["given", "raw", "normalised"]

_LARGEST = 64  # pixels a side: more numbers nobody reads
_WIDTH = 14.0  # inches that the channels side by side may take; else they stand below each other
_MARGIN = 0.5  # inches for title and ticks


def pixels(
    image: ImageSource,
    *,
    channel: int | str | None = None,
    values: Values = "given",
    preprocess: Preprocess | None = None,
    ax: Axes | None = None,
) -> Figure:
    """An enlarged image with every pixel's value written on it.

    Args:
        image: At most 64 pixels a side: a path, the bytes of a file, a Pillow image, an array
            (H, W) or (H, W, C), or a tensor (C, H, W), uint8 or float. An image from a batch is
            normalised already, one from a data set is not.
        channel: "red", "green", "blue", or a number from 0; by default each channel.
        values: Which values: those that the image holds ("given"), the grey levels from 0 to 255 of
            a normalised image ("raw"), or what the network sees of a uint8 image ("normalised").
        preprocess: What normalises, for the last two; a loader of `make_loader` has it.
        ax: Where to draw one channel; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        ArgumentError: The channel or the choice of values is unknown, or `ax` is given for several
            channels.
        DataError: The image has no pixels or too many, or its values cannot be made raw or
            normalised.
        ImageReadError: A file is not readable.
        NotFoundError: There is no such file.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
        >>> figure = pixels(image, channel="red")
        >>> figure.axes[0].texts[0].get_text() == str(int(image[0, 0, 0]))
        True
    """
    require_matplotlib()
    shown = _converted(load(image), values, preprocess)
    height, width = shown.shape[1:]
    if max(height, width) > _LARGEST:
        raise DataError(
            f"the values of {height}x{width} pixels cannot be read, of {_LARGEST}x{_LARGEST} at "
            f"most: cut a part out, image[:, 100:132, 100:132], or read the file smaller, "
            f'Preprocess.of_mode(32, "RGB").read(path)'
        )
    chosen = _chosen(channel, len(shown))
    if ax is not None and len(chosen) > 1:
        raise ArgumentError(
            f"ax= has room for one channel, the image has {len(chosen)}: choose one with channel=, "
            f"{channel_names(len(shown))[0]!r} say"
        )
    texts = as_text(shown.numpy())
    side = cell_side(texts)
    size = (max(width * side, 1.2) + _MARGIN, max(height * side, 1.0) + _MARGIN)
    if len(chosen) == 1:
        figure, axes = new_axes(ax, size)
    else:
        columns = len(chosen) if len(chosen) * size[0] <= _WIDTH else 1
        rows = len(chosen) // columns
        figure, grid = tiles(rows, columns, (size[0] * columns, size[1] * rows))
        axes = [axis for row in grid for axis in row]
    low, high = (0.0, 255.0) if shown.dtype == torch.uint8 else torch.aminmax(shown)
    for axis, number in zip(axes, chosen, strict=True):
        axis.imshow(shown[number].numpy(), cmap="gray", vmin=float(low), vmax=float(high))
        write_values(axis, texts[number], size=FONT if ax is None else None)
        axis.set_title(channel_names(len(shown))[number], fontsize=9)
        count_pixels(axis)
    return figure


def _converted(image: Tensor, values: Values, preprocess: Preprocess | None) -> Tensor:
    """The image (C, H, W) with the values that are asked for."""
    if values not in get_args(Values):
        raise ArgumentError(f"values must be one of {get_args(Values)}, received {values!r}")
    if values == "given" and preprocess is not None:
        raise ArgumentError(
            'preprocess= changes nothing of values="given": ask for values="raw", or "normalised"'
        )
    if values == "raw":
        return to_levels(image, preprocess)
    if values == "normalised" and image.dtype == torch.uint8:
        if preprocess is None:
            raise ArgumentError(
                'values="normalised" of a uint8 image needs preprocess=, what normalises it; '
                "loader.preprocess is the one of a loader"
            )
        image = preprocess(image)
    if image.is_floating_point() and not bool(image.isfinite().all()):
        raise DataError("the image has values that are no numbers")
    return image


def _chosen(channel: int | str | None, channels: int) -> list[int]:
    """The numbers of the channels to show."""
    names = channel_names(channels)
    if channel is None:
        return list(range(channels))
    if isinstance(channel, str) and channel in names:
        return [names.index(channel)]
    if type(channel) is int and 0 <= channel < channels:
        return [channel]
    raise ArgumentError(
        f"channel must be one of {names} or a number from 0 to {channels - 1}, received {channel!r}"
    )
