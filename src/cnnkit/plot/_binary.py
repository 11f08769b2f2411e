"""The curves of a two-class report: every threshold at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnkit.errors import DataError
from cnnkit.metrics import Report
from cnnkit.plot._figure import new_axes
from cnnkit.plot._text import fitted, room_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["precision_recall", "roc"]

_LINES = ("-", "--", "-.", ":")
_NAME = 90.0  # points that a class name may take


def roc(report: Report, *, label: str | None = None, ax: Axes | None = None) -> Figure:
    """The true positives that each rate of false alarms buys, with the area under the curve.

    The dot is the report's own threshold; the diagonal is guessing.

    Args:
        report: Of a two-class problem, as `evaluate` returned it.
        label: The curve's name in the legend; to compare several on one `ax`.
        ax: Where to draw; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        ArgumentError: There are more than two classes.
        DataError: The report was made of counts alone, or has samples of one class only.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> from cnnkit import data, models, train
        >>> ds = data.ArrayDataset(torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 1, 0, 1])
        >>> loader = data.make_loader(ds, 4, device="cpu")
        >>> figure = roc(train.evaluate(models.MLP(2, image_size=8), loader))
        >>> figure.axes[0].get_xlabel()
        'false positive rate'
    """
    curve = report.roc()
    _check_both(report)
    drawn, (axis, *_) = new_axes(ax, size=(4.6, 4.4))
    name = _named("area", curve.area, label)
    rates = curve.false_positive_rate, curve.true_positive_rate
    line = axis.plot(*rates, label=name, linestyle=_next_line(axis))[0]
    axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    figures = report.binary
    _mark(axis, 1 - figures.specificity, figures.recall, report, line.get_color())
    _frame(axis, "false positive rate", f"true positive rate ({_short(report)} found)")
    return drawn


def precision_recall(report: Report, *, label: str | None = None, ax: Axes | None = None) -> Figure:
    """The precision that each recall costs, with the average precision.

    The dot is the report's own threshold; the dotted line is guessing, the share of positives.

    Args:
        report: Of a two-class problem, as `evaluate` returned it.
        label: The curve's name in the legend; to compare several on one `ax`.
        ax: Where to draw; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        ArgumentError: There are more than two classes.
        DataError: The report was made of counts alone, or has samples of one class only.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> from cnnkit import data, models, train
        >>> ds = data.ArrayDataset(torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 1, 0, 1])
        >>> loader = data.make_loader(ds, 4, device="cpu")
        >>> figure = precision_recall(train.evaluate(models.MLP(2, image_size=8), loader))
        >>> figure.axes[0].get_xlabel()
        'recall'
    """
    curve = report.precision_recall()
    positives = _check_both(report)
    drawn, (axis, *_) = new_axes(ax, size=(4.6, 4.4))
    name = _named("average precision", curve.area, label)
    # Between two thresholds there is nothing to choose: a step, not a slope.
    rates = curve.recall, curve.precision
    line = axis.plot(*rates, label=name, drawstyle="steps-post", linestyle=_next_line(axis))[0]
    axis.axhline(positives / report.samples, color="0.6", linestyle=":", linewidth=1)
    figures = report.binary
    _mark(axis, figures.recall, figures.precision, report, line.get_color())
    _frame(axis, "recall", f"precision (of what was called {_short(report)})")
    return drawn


def _check_both(report: Report) -> int:
    """How many samples are of the positive class, or an error where a curve has but one end."""
    positives = int(report.support[report.classes.index(str(report.positive))])
    if not 0 < positives < report.samples:
        there = dict(zip(report.classes, report.support.tolist(), strict=True))
        raise DataError(
            f"the curve needs samples of both classes, the report has {there}: evaluate on a data "
            "set with both"
        )
    return positives


def _short(report: Report) -> str:
    return fitted(str(report.positive), _NAME, room_for(10), lines=1)


def _next_line(axis: Axes) -> str:
    """Another kind of line for each curve on the axes: they differ where there is no colour."""
    curves = len(axis.get_legend_handles_labels()[0]) // 2  # with the dot of each
    return _LINES[curves % len(_LINES)]


def _named(figure: str, value: float, label: str | None) -> str:
    return f"{figure} {value:.3f}" if label is None else f"{label} ({figure} {value:.3f})"


def _mark(axis: Axes, x: float, y: float, report: Report, colour: Any) -> None:
    threshold = 0.5 if report.threshold is None else report.threshold
    style: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "zorder": 3}
    axis.plot(x, y, "o", color=colour, label=f"threshold {threshold:.3g}", clip_on=False, **style)


def _frame(axis: Axes, x: str, y: str) -> None:
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xlabel(x)
    axis.set_ylabel(y).set_parse_math(False)  # a class may be named "$1 to $2"
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize="small", loc="best")
