"""The curves of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from cnnkit.errors import ArgumentError
from cnnkit.plot._figure import add_legend, new_axes
from cnnkit.train import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["axis_title", "check_figure", "history", "style_axis"]

Layout = Literal["panels", "twin"]

_TITLES = {"loss": "loss", "acc": "accuracy", "lr": "learning rate"}
_PARTS = {"train": ("training", "-"), "val": ("validation", "--")}
# Marker and line tell the curves apart where there is no colour: on grey paper, for the
# colour-blind. Colours are Okabe and Ito's, https://jfly.uni-koeln.de/color/
_MARKERS, _COLOURS = "os", ("#0072B2", "#D55E00")
_MARKERS_A_CURVE = 25


class _Curve(NamedTuple):
    """How one column of the history is drawn."""

    column: str
    label: str
    line: str
    marker: str
    colour: str


def history(
    run: History,
    *,
    figure: str | None = None,
    layout: Layout = "panels",
    ax: Axes | None = None,
) -> Figure:
    """Loss and accuracy over the epochs, training and validation, the best epoch marked.

    Epochs whose figure is no number are gaps in the curve, marked by a cross on the axis.

    Args:
        run: What `fit` returned.
        figure: Draw this one alone: "loss", "acc", or the name of any column of the rows, such as
            "lr" or "val_f1". By default loss and accuracy, where there are both.
        layout: "panels" draws loss and accuracy side by side, "twin" in one panel with an axis on
            each side.
        ax: Where to draw; by default a new Figure. With "panels" there is room for one figure of
            the two, the losses unless `figure` says otherwise.

    Returns:
        The Figure.

    Raises:
        ArgumentError: The history has no rows or no such figure, or the layout is unknown.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> run = History(monitor="val_loss")
        >>> run.rows += [{"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e} for e in (1, 2, 3)]
        >>> [axes.get_ylabel() for axes in history(run).axes]
        ['loss']
    """
    if layout not in get_args(Layout):
        raise ArgumentError(f"layout must be one of {get_args(Layout)}, received {layout!r}")
    names = _names(run, figure)
    twins = layout == "twin" and len(names) == 2
    if twins:
        drawn, panels = new_axes(ax, size=(6.4, 4.2))
        panels.append(panels[0].twinx())
    else:
        drawn, panels = new_axes(ax, size=(4.6 * len(names), 3.6), columns=len(names))
    for place, (axis, name) in enumerate(zip(panels, names, strict=False)):
        _draw_panel(axis, run, name, place if twins else None)
    if twins:
        panels[1].grid(visible=False)
        for axis, colour in zip(panels, _COLOURS, strict=True):
            axis.yaxis.label.set_color(colour)
            axis.tick_params(axis="y", labelcolor=colour)
    add_legend(drawn, panels, inside=ax is not None)
    return drawn


def check_figure(run: History, columns: list[str]) -> None:
    """Raise where none of these columns is in any row; the message lists those that are."""
    there = dict.fromkeys(name for row in run.rows for name in row if name != "epoch")
    if not there.keys() & set(columns):
        raise ArgumentError(
            f"the history has none of the figures {columns}: it has {list(there)}, "
            "choose one with figure="
        )


def axis_title(name: str) -> str:
    """A figure's name as the label of its axis."""
    return _TITLES.get(name, name.replace("_", " "))


def style_axis(axis: Axes, title: str, *, percent: bool) -> None:
    """Epochs below, the figure on the left, whole numbers of epochs and no offset."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis.set(xlabel="epoch", ylabel=title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        axis.ticklabel_format(axis="y", useOffset=False)
    axis.grid(alpha=0.3)


def _names(run: History, figure: str | None) -> list[str]:
    """The figures to draw, one a panel."""
    if not run.rows:
        raise ArgumentError("the history has no rows yet: there is nothing to draw")
    if figure is not None:
        check_figure(run, [f"{part}_{figure}" for part in _PARTS] + [figure])
        return [figure]
    check_figure(run, [f"{part}_{name}" for name in ("loss", "acc") for part in _PARTS])
    columns = {name for row in run.rows for name in row}
    return [name for name in ("loss", "acc") if columns & {f"{part}_{name}" for part in _PARTS}]


def _draw_panel(axis: Axes, run: History, name: str, twin: int | None) -> None:
    """The curves of one figure; `twin` is 0 or 1 where its axis is one of two in a panel."""
    curves = _curves(run, name, twin)
    for place, curve in enumerate(curves):
        _draw(axis, run, curve)
        _mark_lost(axis, run, curve, 0.045 * (place + 2 * (twin or 0)))
    if not any(math.isfinite(v) for curve in curves for v in run.column(curve.column)):
        axis.set_yticks([])  # there is nothing that they would measure
    style_axis(axis, axis_title(name), percent=name.endswith("acc"))
    if not twin:
        _mark_best(axis, run)


def _curves(run: History, name: str, twin: int | None) -> list[_Curve]:
    """The columns of a figure: those of the two parts, or the one of just this name."""
    columns = {column for row in run.rows for column in row}
    curves = []
    for place, (part, (label, line)) in enumerate(_PARTS.items()):
        if f"{part}_{name}" in columns:
            style = place if twin is None else twin
            label = label if twin is None else f"{label} {axis_title(name)}"
            marker, colour = _MARKERS[style], _COLOURS[style]
            curves.append(_Curve(f"{part}_{name}", label, line, marker, colour))
    return curves or [_Curve(name, axis_title(name), "-", _MARKERS[0], _COLOURS[0])]


def _draw(axis: Axes, run: History, curve: _Curve) -> None:
    epochs, values = run.column("epoch"), run.column(curve.column)
    axis.plot(
        epochs,
        values,
        curve.line,
        color=curve.colour,
        marker=curve.marker,
        markersize=4,
        markerfacecolor="white" if curve.line == "--" else curve.colour,
        markevery=max(1, math.ceil(len(values) / _MARKERS_A_CURVE)),
        label=curve.label,
    )
    best = run.best
    if best is not None and run.monitor == curve.column:
        style: dict[str, Any] = {"marker": "*", "markersize": 12, "markeredgecolor": "black"}
        axis.plot(best["epoch"], best[curve.column], color=curve.colour, zorder=3, **style)


def _mark_lost(axis: Axes, run: History, curve: _Curve, height: float) -> None:
    """A cross at the bottom for each epoch whose figure is nan or infinite."""
    lost = [r["epoch"] for r in run.rows if not math.isfinite(r.get(curve.column, 0.0))]
    if lost:
        axis.plot(
            lost,
            [height] * len(lost),
            "X",
            color=curve.colour,
            markersize=7,
            markerfacecolor="white" if curve.line == "--" else curve.colour,
            transform=axis.get_xaxis_transform(),  # on the axis, whatever its values are
            clip_on=False,
            label=f"{curve.label} is no number",
        )


def _mark_best(axis: Axes, run: History) -> None:
    best = run.best
    if best is not None:
        label = f"best {run.monitor}: epoch {best['epoch']:.0f}"
        axis.axvline(best["epoch"], color="0.4", linewidth=1, linestyle=":", zorder=0, label=label)
