"""The loss over the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cnnkit.errors import ArgumentError
from cnnkit.plot._figure import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LRCurveLike", "lr_curve"]

_ABOVE = 0.5  # of the fall of the loss: how far above its start the picture goes


class LRCurveLike(Protocol):
    """What `find_lr` returns: learning rates, the loss at each, and the rate to try."""

    @property
    def lrs(self) -> Sequence[float]:
        """Learning rates, all above 0."""
        ...

    @property
    def losses(self) -> Sequence[float]:
        """The loss at each of them."""
        ...

    @property
    def suggestion(self) -> float | None:
        """The learning rate to try, where there is one."""
        ...


def lr_curve(curve: LRCurveLike, *, ax: Axes | None = None) -> Figure:
    """The loss over the learning rate, on a logarithmic axis, with the suggestion marked.

    Where the loss explodes at the end, the picture ends a little above the loss at the start: the
    rest of the curve would be a flat line beside it.

    Args:
        curve: What `find_lr` returned.
        ax: Where to draw; by default a new Figure.

    Returns:
        The Figure.

    Raises:
        ArgumentError: The curve is empty, its parts differ in length, a learning rate is not
            positive, or no loss is a number.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from types import SimpleNamespace
        >>> found = SimpleNamespace(lrs=[0.001, 0.01, 0.1], losses=[2.3, 1.1, 9.0], suggestion=0.01)
        >>> figure = lr_curve(found)
        >>> figure.axes[0].get_xscale()
        'log'
    """
    lrs, losses = [float(lr) for lr in curve.lrs], [float(loss) for loss in curve.losses]
    _check(lrs, losses)
    drawn, (axis, *_) = new_axes(ax)
    axis.plot(lrs, losses, color="#0072B2", marker="o" if len(lrs) <= 30 else None, markersize=3)
    axis.set(xlabel="learning rate", ylabel="loss (smoothed)", xscale="log")
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.grid(alpha=0.3)
    sound = [loss for loss in losses if math.isfinite(loss)]
    low, start = min(sound), max(sound[: sound.index(min(sound)) + 1])
    margin = max(start - low, 0.5 * abs(low), 1e-6)
    if max(sound) > start + _ABOVE * margin:
        axis.set_ylim(low - 0.1 * margin, start + _ABOVE * margin)
    if curve.suggestion is None:
        axis.plot([], [], " ", label="no suggestion")
    else:
        label = f"suggestion: {curve.suggestion:.2g}"
        axis.axvline(curve.suggestion, color="#D55E00", linestyle="--", zorder=0, label=label)
    axis.legend(frameon=False, fontsize="small")
    return drawn


def _check(lrs: list[float], losses: list[float]) -> None:
    if len(lrs) != len(losses):
        raise ArgumentError(
            f"expected one loss for each learning rate, received {len(lrs)} learning rates and "
            f"{len(losses)} losses"
        )
    if not lrs:
        raise ArgumentError("the curve has no points: there is nothing to draw")
    wrong = next((lr for lr in lrs if not (lr > 0 and math.isfinite(lr))), None)
    if wrong is not None:
        raise ArgumentError(f"learning rates must be positive numbers, received {wrong}")
    if not any(math.isfinite(loss) for loss in losses):
        raise ArgumentError(
            f"none of the {len(losses)} losses is a number, the first is {losses[0]}: find_lr with "
            "a smaller first learning rate"
        )
