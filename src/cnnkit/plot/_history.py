"""The curves of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnkit.errors import ArgumentError
from cnnkit.plot._figure import new_axes
from cnnkit.train import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["history"]

_PARTS = (("train", "o", "-"), ("val", "s", "--"))  # marker and line tell them apart in grey too
_FIGURES = (("loss", "loss"), ("acc", "accuracy"))


def history(run: History, *, ax: Axes | None = None) -> Figure:
    """Loss and accuracy over the epochs, training and validation, the best epoch marked.

    Args:
        run: What `fit` returned.
        ax: Where to draw the losses alone; by default a new Figure with losses and accuracies
            side by side.

    Returns:
        The Figure.

    Raises:
        ArgumentError: The history has no rows.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> run = History(monitor="val_loss")
        >>> run.rows += [{"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e} for e in (1, 2, 3)]
        >>> figure = history(run)
        >>> len(figure.axes)
        2
    """
    if not run.rows:
        raise ArgumentError("the history has no rows yet: there is nothing to draw")
    figure, axes = new_axes(ax, size=(9.0, 3.6), columns=2)
    for axis, (name, title) in zip(axes, _FIGURES, strict=False):
        _draw(axis, run, name, title)
    return figure


def _draw(axis: Axes, run: History, name: str, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = run.column("epoch")
    for part, marker, line in _PARTS:
        column = f"{part}_{name}"
        if any(column in row for row in run.rows):
            label = "training" if part == "train" else "validation"
            axis.plot(epochs, run.column(column), line, marker=marker, markersize=3, label=label)
    best = run.best
    if best is not None:
        axis.axvline(best["epoch"], color="0.6", linewidth=1, linestyle=":", zorder=0)
        note = f"best {run.monitor}: epoch {best['epoch']:.0f}"
        axis.plot([], [], color="0.6", linewidth=1, linestyle=":", label=note)
    axis.set(xlabel="epoch", ylabel=title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize="small")
