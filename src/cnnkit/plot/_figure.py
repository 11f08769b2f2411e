"""The Figure behind every plot: the caller's axes, or new ones that no window shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnkit.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["add_legend", "new_axes", "require_matplotlib"]


def require_matplotlib() -> None:
    """Raise the error that names the extra where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", "Plotting") from error


def new_axes(
    ax: Axes | None, size: tuple[float, float] = (6.4, 4.0), columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """The Figure of `ax` and that one, or a new Figure with a row of axes.

    A new one is not registered with pyplot: it opens no window, and is freed when nobody holds it.
    """
    require_matplotlib()
    if ax is not None:
        figure = ax.get_figure(root=True)
        assert figure is not None, "axes belong to a figure"
        return figure, [ax]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    made = NewFigure(figsize=size, layout="constrained")
    FigureCanvasAgg(made)
    return made, list(made.subplots(1, columns, squeeze=False)[0])


def add_legend(figure: Figure, panels: list[Axes], *, inside: bool, columns: int = 3) -> None:
    """Name the curves of these panels, each label once.

    On a new Figure below the panels, where it hides no curve and leaves room for a title. On the
    caller's axes inside them: what is around is the caller's.
    """
    named: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            named.setdefault(str(label), handle)
    if inside and named:
        panels[-1].legend(list(named.values()), list(named), fontsize="small")
    elif named:
        figure.legend(
            list(named.values()),
            list(named),
            loc="outside lower center",
            ncols=min(columns, len(named)),
            frameon=False,
            fontsize="small",
        )
