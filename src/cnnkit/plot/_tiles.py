"""Rows and columns of small axes, and how matrices of numbers are drawn on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cnnkit.errors import ArgumentError
from cnnkit.plot._figure import require_matplotlib
from cnnkit.plot._text import fitted, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["as_text", "at_most", "cell_side", "count_pixels", "head", "tiles", "write_values"]

FONT = 7.0  # points
_LETTER = 0.64  # width of a digit as a share of the font size


def tiles(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """A new Figure that no window shows, of (width, height) in inches, and its axes by rows."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=size, layout="compressed")
    FigureCanvasAgg(figure)
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def head(figure: Figure, text: str) -> None:
    """A line or two above the whole figure, as wide as it is."""
    width = figure.get_size_inches()[0] * 72 - 8
    shown = fitted(text, width, room_for(9))
    figure.suptitle(shown, fontsize=9).set_parse_math(False)


def at_most(name: str, number: int) -> int:
    """`number`, which the caller named `name`.

    Raises:
        ArgumentError: It is not a positive int.
    """
    if type(number) is not int or number < 1:
        raise ArgumentError(f"{name} must be a positive int, received {number!r}")
    return number


def as_text(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each number as text, all with the same number of decimals: as few as tell them apart.

    Example:
        >>> as_text(np.array([-1.0, 2.0])), as_text(np.array([-1.5, 0.0]))
        (array(['-1', '2'], dtype=object), array(['-1.5', '0.0'], dtype=object))
        >>> as_text(np.array([0.123, -0.001]))
        array(['0.12', '0.00'], dtype=object)
    """
    values = values.astype(np.float64)
    decimals = 2 if np.abs(values).max() >= 0.1 else 3
    decimals = next((d for d in (0, 1) if np.array_equal(values.round(d), values)), decimals)
    rounded = values.round(decimals) + 0.0  # which makes 0.0 of -0.0
    texts = [f"{value:.{decimals}f}" for value in rounded.flat]
    found: np.ndarray[Any, Any] = np.array(texts, dtype=object).reshape(values.shape)
    return found


def cell_side(texts: np.ndarray[Any, Any]) -> float:
    """Inches of a square that the longest of these texts fits into."""
    return (FONT * _LETTER * max(map(len, texts.flat)) + 5) / 72


def write_values(axis: Axes, texts: np.ndarray[Any, Any], *, size: float | None = None) -> None:
    """A number on each cell of the image on `axis`, black on bright and white on dark ones.

    Args:
        axis: Holds one image of the same shape.
        texts: str (H, W).
        size: Of the font, in points; by default as large as the axes' cells allow.
    """
    (image,) = axis.images
    values = image.get_array()
    assert values is not None, "an image that was drawn has values"
    shades = np.asarray(image.norm(values))
    if size is None:
        height, width = texts.shape
        box = axis.get_window_extent()
        cell = min(box.width / width, box.height / height) * 72 / axis.figure.dpi
        size = min(FONT, max(cell - 2, 0.5) / (_LETTER * max(map(len, texts.flat))))
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if shades[row, column] < 0.5 else "black"
        written = axis.text(column, row, text, ha="center", va="center", color=colour, size=size)
        written.set_in_layout(False)  # it stays in its cell: measuring thousands takes seconds


def count_pixels(axis: Axes, *, most: int = 9, size: float = FONT) -> None:
    """Ticks at whole pixels, few enough for a small picture."""
    from matplotlib.ticker import MaxNLocator

    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(MaxNLocator(most, integer=True))
    axis.tick_params(labelsize=size, length=2, pad=1)
