"""The matrix of counts as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnkit.metrics import Report
from cnnkit.plot._figure import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]

_MOST_WITH_NUMBERS = 25  # from here on a cell is too small for its count


def confusion_matrix(report: Report, *, ax: Axes | None = None) -> Figure:
    """Counts of predictions, a row a true class, shaded by the share of the row.

    Args:
        report: What `evaluate` returned.
        ax: Where to draw; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> figure = confusion_matrix(Report([[8, 2], [1, 9]], ["cat", "dog"]))
        >>> figure.axes[0].get_ylabel()
        'true class'
    """
    number = len(report.classes)
    side = min(max(3.2, 1.6 + 0.42 * number), 14.0)
    figure, (axis, *_) = new_axes(ax, size=(side + 0.8, side))
    counts = report.confusion_matrix
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    image = axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    rotation = 0 if max(map(len, report.classes)) <= 2 else 45
    axis.set_xticks(
        range(number), report.classes, rotation=rotation, ha="right" if rotation else "center"
    )
    axis.set_yticks(range(number), report.classes)
    for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        label.set_parse_math(False)  # a class may be named "$1 to $2"
    if number > _MOST_WITH_NUMBERS:
        axis.tick_params(labelsize=max(3, 8 - number // 25))
    axis.set(xlabel="predicted class", ylabel="true class")
    if number <= _MOST_WITH_NUMBERS:
        for row in range(number):
            for column in range(number):
                count = int(counts[row, column])
                if count:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axis.text(
                        column, row, str(count), ha="center", va="center", color=colour, size=8
                    )
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.8)
    return figure
