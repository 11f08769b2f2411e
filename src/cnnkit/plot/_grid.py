"""Images in rows and columns, each with a title that fits above it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnkit.plot._figure import require_matplotlib
from cnnkit.plot._text import room_for
from cnnkit.plot._tiles import at_most, tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Cell", "Grid"]

_WIDTH = 9.0  # inches; what a page or a notebook shows at its full size
_CELL = (0.9, 1.7)  # inches, the smallest and the largest width of an image
_FONT = 8.5
_LINE = _FONT * 1.3 / 72  # inches
_GREEN, _RED = "#1a6e2e", "#b3261e"  # of different lightness too, for grey


class Cell(NamedTuple):
    """An image, its title, whether a prediction was right (where there is one), and a note."""

    pixels: np.ndarray[Any, Any] | None
    title: str
    right: bool | None = None
    note: str = ""  # below the image


class Grid:
    """How many columns so many images are shown in, and how much room each has.

    Args:
        number: How many images.
        columns: By default chosen so that the last row is as full as can be.

    Raises:
        ArgumentError: `columns` is not a positive int.
    """

    def __init__(self, number: int, columns: int | None = None) -> None:
        require_matplotlib()
        wanted = _full_rows(number) if columns is None else at_most("columns", columns)
        self.columns = min(number, wanted)
        self.rows = math.ceil(number / self.columns)
        self.cell = min(max(_WIDTH / self.columns, _CELL[0]), _CELL[1])
        self.points = self.cell * 72 - 10  # the width of a title, which must not touch the next

    def measure(self, *, bold: bool = False) -> Callable[[str], float]:
        """The points that a title's text takes."""
        return room_for(_FONT, bold=bold)

    def draw(self, cells: Sequence[Cell], *, below: str = "") -> Figure:
        """A new Figure with these cells, row by row, and a text below them upside down."""
        lines = max(cell.title.count("\n") + 1 + bool(cell.note) for cell in cells)
        height = self.rows * (self.cell * _tallness(cells) + lines * _LINE + 0.1)
        footer = (below.count("\n") + 2) * _LINE if below else 0.0
        size = (max(self.columns * self.cell, 2.0), height + footer)
        figure, rows = tiles(self.rows, self.columns, size)
        if any(cell.note for cell in cells):  # the layout would cut them when a title is added
            layout: Any = figure.get_layout_engine()
            layout.set(h_pad=0.08)  # inches
        axes = [axis for row in rows for axis in row]
        for axis, cell in zip(axes, cells, strict=False):
            _draw(axis, cell)
        for axis in axes[len(cells) :]:
            axis.remove()
        if below:
            text = figure.supxlabel(below, fontsize=_FONT, rotation=180)
            text.set_parse_math(False)
        return figure


def _full_rows(number: int) -> int:
    """Columns, up to eight or for many images ten, that leave the fewest places empty."""
    if number <= 5:
        return number
    most = 8 if number < 50 else 10
    return min(range(most, most - 4, -1), key=lambda columns: -number % columns)


def _tallness(cells: Sequence[Cell]) -> float:
    """Height by width of the tallest image."""
    shapes = [cell.pixels.shape for cell in cells if cell.pixels is not None]
    return min(max([shape[0] / shape[1] for shape in shapes], default=1.0), 3.0)


def _draw(axis: Axes, cell: Cell) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    if cell.pixels is None:
        axis.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=_FONT, color="0.4")
        axis.set_aspect("equal")
    else:
        axis.imshow(cell.pixels, cmap="gray", vmin=0, vmax=255)
    if cell.note:
        axis.set_xlabel(cell.note, fontsize=_FONT, color="0.35", labelpad=2).set_parse_math(False)
    title = axis.set_title(cell.title, fontsize=_FONT, pad=5)
    title.set_parse_math(False)  # a class may be named "$1 to $2"
    if cell.right is None:
        axis.spines[:].set(color="0.6", linewidth=0.5)
        return
    title.set(color=_GREEN if cell.right else _RED, fontweight="normal" if cell.right else "bold")
    axis.spines[:].set(color=_GREEN if cell.right else _RED, linewidth=1 if cell.right else 3)
