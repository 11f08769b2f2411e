"""The kernels of a layer, or filters set by hand, with their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, ModelError
from cnnkit.filters import Filters, as_filters
from cnnkit.plot._figure import require_matplotlib
from cnnkit.plot._layers import find_layer, listed
from cnnkit.plot._text import fitted, room_for
from cnnkit.plot._tiles import FONT, as_text, at_most, cell_side, head, tiles, write_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["filters"]

_COLUMNS, _WIDTH = 4, 7.5  # kernels beside each other at most, and inches
_MOST_CHANNELS = 4
_MOST_VALUES = 11  # a side; values of a larger kernel are too small to read
_SIDE = 1.3  # inches of a kernel without values
_TITLE = 0.65  # inches of "channel 0"


def filters(
    source: nn.Module | Filters | Mapping[str, Filters],
    layer: str | None = None,
    *,
    channel: int | None = None,
    most: int = 8,
) -> Figure:
    """The kernels of a convolution, or filters set by hand, with their values written on them.

    All share one scale, from black for the lowest to white for the highest value, the same on both
    sides of zero: zero is the grey in the middle. A kernel of more than one input channel is a row,
    with a square for each channel. Kernels larger than 11×11 have a bar of greys for values.

    Args:
        source: A model; or filters (kh, kw), (K, kh, kw) or (K, C, kh, kw) as a tensor, an array
            or a list of matrices; or a dict from the name of each to a matrix (kh, kw).
        layer: Name of a model's layer, as in `model.named_modules()`; not needed where only one
            layer has kernels.
        channel: Show this input channel alone; by default up to four.
        most: How many kernels to show.

    Returns:
        A new Figure.

    Raises:
        ModelError: There is no such layer (the message has the nearest names), or it has no
            kernels.
        ArgumentError: The filters are no finite numbers of one of these shapes, `channel` is
            outside the input channels, `most` is no positive int, or `layer` is missing, or given
            for filters.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from cnnkit.filters import course_filters
        >>> figure = filters(course_filters())
        >>> [axes.get_title() for axes in figure.axes]
        ['filter 0', 'filter 1', 'filter 2', 'filter 3']
    """
    require_matplotlib()
    number = at_most("most", most)
    if isinstance(source, Mapping):
        names = [str(key) for key in source]
        source = list(source.values())
    else:
        names = []
    kernels, name = _kernels(source, layer)  # (K, C, kh, kw)
    names = names or [f"filter {place}" for place in range(len(kernels))]
    total, channels = kernels.shape[:2]
    if channel is not None and not (type(channel) is int and 0 <= channel < channels):
        raise ArgumentError(
            f"channel must be a number from 0 to {channels - 1}, received {channel!r}"
        )
    first, last = (0, min(channels, _MOST_CHANNELS)) if channel is None else (channel, channel + 1)
    shown = kernels[:number, first:last]
    note = [f"{len(shown)} of {total} filters{name}"] if name or len(shown) < total else []
    if last - first < channels:
        which = f"channel {first}" if last - first == 1 else f"channels {first} to {last - 1}"
        note.append(f"input {which} of {channels}")
    return _drawn(shown, names, ", ".join(note))


def _drawn(kernels: Tensor, names: Sequence[str], note: str) -> Figure:
    """A grid of kernels of one channel, or a row for each kernel of several."""
    number, depth, height, width = kernels.shape
    values = kernels.flatten(0, 1).numpy()  # (K * C, kh, kw)
    annotated = max(height, width) <= _MOST_VALUES
    texts = as_text(values)
    side = cell_side(texts) if annotated else _SIDE / max(height, width)
    side = max(side, _TITLE / width)
    tile = (width * side + 0.1, height * side + (0.25 if depth == 1 else 0.1))
    columns = depth if depth > 1 else max(1, min(number, _COLUMNS, int(_WIDTH // tile[0])))
    rows = math.ceil(len(values) / columns)
    bar = 0.0 if annotated else 1.0
    size = (max(columns * tile[0], 2.0) + 0.25 + bar, rows * tile[1] + 0.4)
    figure, grid = tiles(rows, columns, size)
    if note:
        head(figure, note)
    measure = room_for(8)
    bound = float(np.abs(values).max()) or 1.0
    places = [axis for row in grid for axis in row]
    for place, axis in enumerate(places):
        axis.set_xticks([])
        axis.set_yticks([])
        if place >= len(values):
            axis.set_axis_off()
            continue
        axis.imshow(values[place], cmap="gray", vmin=-bound, vmax=bound)
        if annotated:
            write_values(axis, texts[place], size=FONT)
        if depth == 1:
            name = fitted(names[place], tile[0] * 72 - 4, measure, lines=1)
            axis.set_title(name, fontsize=8, pad=3).set_parse_math(False)
        elif place < depth:
            axis.set_title(f"channel {place}", fontsize=8, pad=3)
        if depth > 1 and place % depth == 0:
            name = fitted(names[place // depth], tile[1] * 72, measure, lines=1)
            axis.set_ylabel(name, fontsize=8).set_parse_math(False)
    if not annotated:
        figure.colorbar(places[0].images[0], ax=places, shrink=0.5, label="value")
    return figure


def _kernels(source: nn.Module | Filters, layer: str | None) -> tuple[Tensor, str]:
    """Kernels (K, C, kh, kw) and, for the title, where they come from."""
    if not isinstance(source, nn.Module):
        if layer is not None:
            raise ArgumentError(f"layer={layer!r} is of models, the source is filters")
        return as_filters(source), ""
    owners = {name: part for name, part in source.named_modules() if _has_kernels(part)}
    if layer is not None:
        chosen = find_layer(source, layer)
        if not _has_kernels(chosen):
            raise ModelError(
                f"layer {layer!r} is {type(chosen).__name__} and has no kernels, a weight of "
                f"(K, C, height, width): the layers that have are {listed(owners)}"
            )
    elif len(owners) == 1:
        layer, chosen = next(iter(owners.items()))
    elif owners:
        raise ArgumentError(f"say with layer= which kernels to show: those of {listed(owners)}")
    else:
        raise ModelError(f"{type(source).__name__} has no layer with kernels")
    kernels = as_filters(getattr(chosen, "weight"))  # noqa: B009
    if isinstance(chosen, nn.ConvTranspose2d):
        kernels = kernels.transpose(0, 1)  # torch keeps its inputs first
    return kernels, f" of {layer}" if layer else ""


def _has_kernels(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 4
