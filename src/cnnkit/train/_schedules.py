"""Learning rates that change while training, by name or as a function of the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from cnnkit.errors import ArgumentError

__all__ = ["SchedulerChoice", "SchedulerName", "make_scheduler"]

SchedulerName = Literal["cosine", "one_cycle"]
#: A name, or a function of the optimiser that returns a scheduler to step after every batch.
SchedulerChoice: TypeAlias = "SchedulerName | Callable[[Optimizer], LRScheduler]"


def make_scheduler(
    choice: SchedulerChoice | None, optimizer: Optimizer, steps: int | None
) -> LRScheduler | None:
    """The scheduler of a run of so many optimiser steps; it is stepped after each of them.

    Args:
        choice: "cosine" falls from the optimiser's learning rate to 0 (Loshchilov & Hutter 2017,
            "SGDR"); "one_cycle" rises to it from a 25th, then falls to nearly 0 (Smith & Topin
            2018, "Super-Convergence"). None keeps it constant.
        optimizer: Whose learning rate changes.
        steps: Batches of all epochs; None where the loader does not know its length.

    Raises:
        ArgumentError: An unknown name, something that is no scheduler, or a loader without length.
    """
    if choice is None:
        return None
    if not isinstance(choice, str):
        made = choice(optimizer) if callable(choice) else choice
        if not isinstance(made, LRScheduler):
            raise ArgumentError(
                f"scheduler must be one of {get_args(SchedulerName)}, or a function of the "
                f"optimiser that returns a scheduler, received {choice!r}"
            )
        return made
    if choice not in get_args(SchedulerName):
        raise ArgumentError(
            f"scheduler must be one of {get_args(SchedulerName)}, or a function of the optimiser, "
            f"received {choice!r}"
        )
    if steps is None:
        raise ArgumentError(
            f"scheduler={choice!r} must know how many batches there are, and the training loader "
            "has no length: pass a function of the optimiser instead"
        )
    if choice == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    highest = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=highest, total_steps=steps)
