"""The runs of a cross-validation beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cnnkit.errors import ArgumentError
from cnnkit.plot._figure import add_legend, new_axes
from cnnkit.plot._history import axis_title, check_figure, style_axis
from cnnkit.train import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FoldsLike", "folds"]

_LINES = ("-", "--", "-.", ":")
_MOST_NAMED = 10  # with more a legend of them would hide the curves


class FoldsLike(Protocol):
    """What `cross_validate` returns: a history and a score for each fold."""

    @property
    def histories(self) -> Sequence[History]:
        """The run of each fold."""
        ...

    @property
    def monitor(self) -> str:
        """The figure that the scores are of."""
        ...

    @property
    def scores(self) -> Sequence[float]:
        """One a fold."""
        ...


def folds(result: FoldsLike, *, figure: str | None = None, ax: Axes | None = None) -> Figure:
    """One figure over the epochs for every fold, their mean, and the score of each fold.

    The mean ends with the shortest run: a mean over fewer folds would jump.

    Args:
        result: What `cross_validate` returned.
        figure: Which figure of the histories, such as "val_acc"; by default the monitored one,
            with its best epoch marked in each fold.
        ax: Where to draw the curves alone; by default a new Figure with curves and scores side by
            side.

    Returns:
        The Figure.

    Raises:
        ArgumentError: There are no folds, one has no rows, or none has this figure.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from types import SimpleNamespace
        >>> runs = [History(monitor="val_acc"), History(monitor="val_acc")]
        >>> for run, gain in zip(runs, (0.10, 0.12)):
        ...     run.rows += [{"epoch": e, "val_acc": 0.5 + gain * e} for e in (1, 2, 3)]
        >>> result = SimpleNamespace(histories=runs, monitor="val_acc", scores=[0.80, 0.86])
        >>> [axes.get_xlabel() for axes in folds(result).axes]
        ['epoch', 'fold']
    """
    name = result.monitor if figure is None else figure
    _check(result, name)
    drawn, (left, *rest) = new_axes(ax, size=(9.0, 3.8), columns=2)
    number = len(result.histories)
    styles = [_style(fold, number) for fold in range(number)]
    for fold, (run, style) in enumerate(zip(result.histories, styles, strict=True)):
        label = f"fold {fold + 1}" if number <= _MOST_NAMED else f"{number} folds" * (fold == 0)
        _draw_fold(left, run, name, label, style)
    _draw_mean(left, result.histories, name)
    style_axis(left, _title(name), percent=name.endswith("acc"))
    add_legend(drawn, [left], inside=ax is not None, columns=6)
    for right in rest:
        _draw_scores(right, result, [style["color"] for style in styles])
    return drawn


def _check(result: FoldsLike, name: str) -> None:
    if not len(result.histories):
        raise ArgumentError("the cross-validation has no folds: there is nothing to draw")
    if len(result.scores) != len(result.histories):
        raise ArgumentError(
            f"expected one score a fold, received {len(result.scores)} scores for "
            f"{len(result.histories)} folds"
        )
    for number, run in enumerate(result.histories, start=1):
        if not run.rows:
            raise ArgumentError(f"the history of fold {number} has no rows: there is no curve")
        check_figure(run, [name])


def _title(name: str) -> str:
    """A column of the history as words: "validation accuracy"."""
    part, _, rest = name.partition("_")
    words = {"train": "training", "val": "validation"}
    return f"{words[part]} {axis_title(rest)}" if part in words and rest else axis_title(name)


def _style(number: int, folds: int) -> dict[str, Any]:
    """Of a fold, counted from 0; the kinds of lines tell folds apart where there is no colour."""
    import matplotlib

    colour = matplotlib.colormaps["viridis"](0.7 * number / max(folds - 1, 1))
    return {"color": colour, "linestyle": _LINES[number % len(_LINES)]}


def _draw_fold(axis: Axes, run: History, name: str, label: str, style: dict[str, Any]) -> None:
    epochs, values = run.column("epoch"), run.column(name)
    lone = "o" if sum(map(math.isfinite, values)) == 1 else None
    axis.plot(epochs, values, linewidth=1.2, marker=lone, markersize=3, label=label, **style)
    best = run.best
    if best is not None and run.monitor == name:
        axis.plot(best["epoch"], best[name], "o", color=style["color"], markersize=6)


def _draw_mean(axis: Axes, runs: Sequence[History], name: str) -> None:
    shortest = min(len(run) for run in runs)
    columns = [run.column(name)[:shortest] for run in runs]
    means = [sum(values) / len(values) for values in zip(*columns, strict=True)]
    epochs = min(runs, key=len).column("epoch")
    if len(runs) > 1:
        axis.plot(epochs, means, color="black", linewidth=2.5, label="mean")


def _draw_scores(axis: Axes, result: FoldsLike, colours: list[Any]) -> None:
    """A dot a fold, in the colour of its curve, and their mean."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    scores = [float(score) for score in result.scores]
    sound = [score for score in scores if math.isfinite(score)]
    percent = result.monitor.endswith("acc")
    axis.scatter(range(1, len(scores) + 1), scores, c=colours, s=45, edgecolors="black", zorder=3)
    if sound:
        mean = sum(sound) / len(sound)
        shown = [f"{x:.1%}" if percent else f"{x:.4f}" for x in (mean, min(sound), max(sound))]
        axis.axhline(mean, color="black", linestyle="--", linewidth=2)
        axis.set_title(f"mean {shown[0]} ({shown[1]} to {shown[2]})", fontsize="medium")
    if len(sound) < len(scores):
        axis.text(0.5, 0.02, f"no number: {len(scores) - len(sound)}", transform=axis.transAxes)
    axis.set(xlabel="fold", ylabel=f"score: {_title(result.monitor)}")
    axis.set_xlim(0.5, len(scores) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.ticklabel_format(axis="y", useOffset=False)
    if percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(axis="y", alpha=0.3)
