"""The matrix of counts as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from cnnkit.errors import ArgumentError
from cnnkit.metrics import Report
from cnnkit.plot._figure import new_axes, require_matplotlib
from cnnkit.plot._text import fitted, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]

Values = Literal["counts", "rates", "both"]

_MOST_WITH_NUMBERS = 30  # from here on a cell is too small for its count
_NUMBERS, _NAMES, _MANY_NAMES = 8.0, 9.0, 6.0  # points
_LONGEST_NAME = 110.0  # points
_SMALLEST = 4.5  # points; a number that is smaller is not written
_SHARE_OF_AXES = 0.85  # names and bar take the rest of the caller's axes
_BAR = 12.0  # points; as wide, and as far from the matrix


def confusion_matrix(
    report: Report, *, values: Values = "counts", ax: Axes | None = None
) -> Figure:
    """Counts or rates of predictions, a row a true class, shaded by the share of the row.

    Rates are shares of the row. With more than 30 classes the cells hold no numbers, and the shades
    are of the square root of the share, so that a few mistakes among many samples are seen;
    `Report.most_confused` lists them. A class without samples has a grey row. On axes that are too
    small for the numbers they are left out.

    Args:
        report: What `evaluate` returned.
        values: What the cells hold: "counts", "rates" in percent, or "both".
        ax: Where to draw; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        ArgumentError: `values` is none of these.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> figure = confusion_matrix(Report([[8, 2], [1, 9]], ["cat", "dog"]))
        >>> figure.axes[0].get_ylabel()
        'true class'
    """
    if values not in get_args(Values):
        raise ArgumentError(f"values must be one of {get_args(Values)}, received {values!r}")
    require_matplotlib()
    texts = _texts(report.confusion_matrix, values)
    sizes = _Sizes(report.classes, texts, ax)
    empty = bool((report.support == 0).any())
    below = "predicted class" + "\n(grey row: no samples)" * empty
    drawn, (axis, *_) = new_axes(ax, size=sizes.figure(below.count("\n")))
    _shade(axis, report.confusion_matrix, drawn, sizes.side)
    _name(axis, sizes)
    axis.set(xlabel=below, ylabel="true class")
    if sizes.number_font >= _SMALLEST:
        for (row, column), (text, share) in texts.items():
            colour = "white" if share > 0.5 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "size": sizes.number_font}
            axis.text(column, row, text, color=colour, **style)
    return drawn


def _texts(counts: Tensor, values: Values) -> dict[tuple[int, int], tuple[str, float]]:
    """(row, column) -> (what the cell says, its share of the row), for cells with a count."""
    if len(counts) > _MOST_WITH_NUMBERS:
        return {}
    rows = counts.sum(dim=1).tolist()
    texts = {}
    for row, column in torch.nonzero(counts).tolist():
        count = int(counts[row, column])
        share = count / rows[row]
        rate = "<1%" if share < 0.005 else f"{share:.0%}"
        text = {"counts": str(count), "rates": rate, "both": f"{count}\n{rate}"}[values]
        texts[row, column] = (text, share)
    return texts


class _Sizes:
    """How large everything is, in points, so that no text meets another.

    On the caller's axes there is only the room that there is: letters shrink with the cells.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        texts: dict[tuple[int, int], tuple[str, float]],
        ax: Axes | None,
    ) -> None:
        many = len(classes) > _MOST_WITH_NUMBERS
        self.name_font = _MANY_NAMES if many else _NAMES
        wanted = 1.4 * _MANY_NAMES if many else _cell_for(texts, len(classes))
        self.cell = wanted
        if ax is not None:
            box = ax.get_window_extent()
            points = 72 / ax.figure.dpi * min(box.width, box.height)
            self.cell = min(wanted, _SHARE_OF_AXES * points / len(classes))
            self.name_font = max(3.0, min(self.name_font, self.cell / 1.4))
        self.number_font = _NUMBERS * self.cell / wanted
        measure = room_for(self.name_font)
        self.names = [fitted(name, _LONGEST_NAME, measure, lines=1) for name in classes]
        self.longest = max(map(measure, self.names), default=0.0)
        self.turned = self.longest > self.cell - 4
        self.side = self.cell * len(classes)

    def figure(self, extra_lines: int) -> tuple[float, float]:
        """Width and height in inches of a Figure around the matrix.

        A little wider than needed: the layout is exact where the height alone decides.
        """
        below = self.longest if self.turned else self.name_font
        return (self.side + self.longest + 125) / 72, (
            self.side + below + 45 + 14 * extra_lines
        ) / 72


def _cell_for(texts: dict[tuple[int, int], tuple[str, float]], number: int) -> float:
    """The side of a cell with room for its numbers, in points."""
    measure = room_for(_NUMBERS)
    lines = [text.split("\n") for text, _ in texts.values()]
    widest = max((measure(line) for cell in lines for line in cell), default=0.0)
    tallest = 1.3 * _NUMBERS * max(map(len, lines), default=1)
    return max(widest + 7, tallest + 4, 22.0, 150.0 / number)


def _name(axis: Axes, sizes: _Sizes) -> None:
    """Class names beside the rows and below the columns, turned where a column is narrower."""
    places, font, rotation = range(len(sizes.names)), sizes.name_font, 90 if sizes.turned else 0
    axis.set_xticks(places, sizes.names, fontsize=font, rotation=rotation)
    axis.set_yticks(places, sizes.names, fontsize=font)
    for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        label.set_parse_math(False)  # a class may be named "$1 to $2"


def _shade(axis: Axes, counts: Tensor, drawn: Figure, side: float) -> None:
    """Shares of the row, and a bar beside them; `side` is that of the matrix in points."""
    import matplotlib
    from matplotlib.colors import Normalize, PowerNorm
    from matplotlib.ticker import PercentFormatter

    shares = counts / counts.sum(dim=1, keepdim=True)  # nan in a row without samples
    many = len(counts) > _MOST_WITH_NUMBERS
    image = axis.imshow(
        shares.numpy(),
        cmap=matplotlib.colormaps["Blues"].with_extremes(bad="0.85"),
        norm=PowerNorm(0.5, 0, 1) if many else Normalize(0, 1),
        interpolation="nearest",
    )
    label = "share of the true class"
    thin = _BAR / side
    room = axis.inset_axes((1 + thin, 0, thin, 1))  # as high as the matrix, whatever its size
    drawn.colorbar(image, cax=room, label=label, format=PercentFormatter(1.0))
    room.tick_params(labelsize="small")
