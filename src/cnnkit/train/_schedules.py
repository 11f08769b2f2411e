"""Learning rates that change while training, by name, as an instance or as a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)

from cnnkit.errors import ArgumentError
from cnnkit.train._history import History

__all__ = ["Schedule", "SchedulerChoice", "SchedulerName", "make_schedule"]

SchedulerName = Literal["cosine", "one_cycle", "step", "plateau"]
#: A name, a scheduler over the optimiser that `fit` is given, or a function of the optimiser that
#: returns a scheduler.
SchedulerChoice: TypeAlias = "SchedulerName | LRScheduler | Callable[[Optimizer], LRScheduler]"

_BY_STEP = (OneCycleLR, CyclicLR)
# These have a length of their own, which tells whether it was meant in steps or in epochs.
_LENGTHS = {
    CosineAnnealingLR: "T_max",
    LinearLR: "total_iters",
    ConstantLR: "total_iters",
    PolynomialLR: "total_iters",
}


class Schedule:
    """torch's scheduler, stepped when it is meant to be; without one the rate stays.

    Args:
        scheduler: A scheduler, or None.
        by_step: Whether it goes by optimiser steps, or by epochs.
    """

    def __init__(self, scheduler: LRScheduler | None = None, *, by_step: bool = False) -> None:
        self.scheduler = scheduler
        self.by_step = by_step

    def after_step(self) -> None:
        """An optimiser step was taken."""
        if self.by_step and self.scheduler is not None:
            self.scheduler.step()

    def after_epoch(self, history: History) -> None:
        """An epoch has ended, and its figures are the last row.

        Raises:
            ArgumentError: The figure that a plateau is seen in is not there.
        """
        if self.by_step or self.scheduler is None:
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
            return
        watched = history.monitor or "train_loss"
        figure = history.rows[-1].get(watched)
        if figure is None:
            raise ArgumentError(f"a plateau of {watched!r} is not seen in {list(history.rows[-1])}")
        self.scheduler.step(figure)

    def state_dict(self) -> dict[str, Any] | None:
        """The scheduler's own."""
        return None if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, saved: dict[str, Any] | None) -> None:
        """Go on where another one was."""
        if self.scheduler is not None and saved is not None:
            self.scheduler.load_state_dict(saved)


def make_schedule(
    choice: SchedulerChoice | None,
    optimizer: Optimizer,
    *,
    epochs: int,
    steps: int | None,
    mode: Literal["min", "max"] = "min",
) -> Schedule:
    """The schedule of a run of so many epochs and optimiser steps.

    Args:
        choice: "cosine" falls from the optimiser's learning rate to 0 (Loshchilov & Hutter 2017,
            "SGDR"); "one_cycle" rises to it from a 25th, then falls to nearly 0 (Smith & Topin
            2018, "Super-Convergence"): both step by step. "step" divides it by ten after each
            third of the epochs; "plateau" does when the monitored figure has not become better
            for 3 epochs. None keeps it constant. Of a scheduler that is given, or made by a
            function, `goes_by_step` says what it is stepped after.
        optimizer: Whose learning rate changes.
        epochs: Of the run.
        steps: Optimiser steps of all epochs; None where the loader does not know its length.
        mode: Whether the monitored figure is best when small or when large.

    Raises:
        ArgumentError: An unknown name, something that is no scheduler, or a loader without length.
    """
    if choice is None:
        return Schedule()
    if not isinstance(choice, str):
        made: Any = choice if isinstance(choice, LRScheduler) or not callable(choice) else None
        made = choice(optimizer) if made is None else made  # type: ignore[operator]
        if not isinstance(made, LRScheduler):
            raise ArgumentError(_unknown(choice))
        if made.optimizer is not optimizer:
            raise ArgumentError(
                "the scheduler is over another optimiser than the one that trains: pass that "
                "optimiser to fit too, or the scheduler as a function of the optimiser"
            )
        return Schedule(made, by_step=goes_by_step(made, epochs, steps))
    if choice not in get_args(SchedulerName):
        raise ArgumentError(_unknown(choice))
    if choice == "plateau":
        return Schedule(ReduceLROnPlateau(optimizer, mode, factor=0.1, patience=3))
    if choice == "step":
        return Schedule(StepLR(optimizer, step_size=math.ceil(epochs / 3), gamma=0.1))
    if steps is None:
        raise ArgumentError(
            f"scheduler={choice!r} must know how many batches there are, and the training loader "
            "has no length: pass a function of the optimiser instead"
        )
    if choice == "cosine":
        return Schedule(CosineAnnealingLR(optimizer, T_max=steps), by_step=True)
    highest = [group["lr"] for group in optimizer.param_groups]
    # torch's default would turn plain SGD into SGD with momentum.
    cycled = any(g.get("momentum") or "betas" in g for g in optimizer.param_groups)
    one_cycle = OneCycleLR(optimizer, max_lr=highest, total_steps=steps, cycle_momentum=cycled)
    return Schedule(one_cycle, by_step=True)


def goes_by_step(scheduler: LRScheduler, epochs: int, steps: int | None) -> bool:
    """Whether a scheduler is stepped after each optimiser step, rather than after each epoch.

    By torch's own examples `OneCycleLR` and `CyclicLR` go by steps, the others by epochs. A length
    (`T_max`, `total_iters`) that is the run's number of steps, or longer than its epochs where
    it warms up, is meant in steps too; several that are chained go as the first that does. An
    attribute ``interval = "step"`` or ``"epoch"`` on the scheduler has the last word.
    """
    said = getattr(scheduler, "interval", None)
    if said in ("step", "epoch"):
        return bool(said == "step")
    chained = getattr(scheduler, "_schedulers", None)
    if chained:
        return any(goes_by_step(one, epochs, steps) for one in chained)
    if isinstance(scheduler, _BY_STEP):
        return True
    name = _LENGTHS.get(type(scheduler))
    length = None if name is None else getattr(scheduler, name)
    if length is None or length <= epochs:
        return False
    return length == steps or isinstance(scheduler, (LinearLR, ConstantLR))


def _unknown(choice: object) -> str:
    return (
        f"scheduler must be one of {get_args(SchedulerName)}, a scheduler, or a function of the "
        f"optimiser that returns one, received {choice!r}"
    )
