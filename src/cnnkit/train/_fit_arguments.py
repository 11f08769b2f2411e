"""`FitArguments`: what `cross_validate` hands on to `fit`, for every fold anew."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import TypedDict

from cnnkit.errors import ArgumentError
from cnnkit.train._callbacks import Callback
from cnnkit.train._checkpoint import Keep
from cnnkit.train._compute import MemoryFormat, Precision
from cnnkit.train._fit import fit
from cnnkit.train._optimizers import OptimizerName
from cnnkit.train._parts import OnCheckpointError
from cnnkit.train._schedules import SchedulerName
from cnnkit.types import LossFunction

__all__ = ["FitArguments", "check_arguments", "fresh_arguments", "with_defaults"]


class FitArguments(TypedDict, total=False):
    """Arguments of `fit`, whose documentation says what they mean.

    Instances that remember a model cannot serve several folds: an optimiser and a scheduler are
    named, or given as functions. Of callbacks each fold gets copies, or what a function of the
    fold's number (1, 2, …) returns: one that writes a file should be told which.
    """

    lr: float | None
    optimizer: OptimizerName | Callable[..., Optimizer]
    scheduler: SchedulerName | Callable[[Optimizer], LRScheduler] | None
    loss: LossFunction | None
    callbacks: Sequence[Callback] | Callback | Callable[[int], Sequence[Callback] | Callback]
    checkpoint_every: int | None
    keep: Keep
    on_checkpoint_error: OnCheckpointError
    monitor: str | None
    restore_best: bool
    precision: Precision
    memory_format: MemoryFormat
    accumulate: int
    clip_norm: float | None
    compile: bool | Mapping[str, Any]
    sync_batchnorm: bool
    evaluate_first: bool


_NAMES = tuple(FitArguments.__annotations__)
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if name in _NAMES
}
_ELSEWHERE = {"checkpoint_dir": "out_dir", "resume": "out_dir"}


def check_arguments(given: Mapping[str, Any], also: tuple[str, ...] = ()) -> None:
    """Refuse what is no argument of a fold's `fit`, or cannot serve several folds.

    Args:
        given: By name.
        also: Further names that are known here.

    Raises:
        ArgumentError: The message lists what there is.
    """
    for name, value in given.items():
        if name in _ELSEWHERE:
            raise ArgumentError(
                f"{name} is not given to cross_validate: {_ELSEWHERE[name]}= says where each "
                "fold's checkpoints are, and a run that was begun there goes on"
            )
        if name not in _NAMES and name not in also:
            raise ArgumentError(
                f"{name!r} is no argument here; there are {', '.join([*also, *_NAMES])}"
            )
        if name in ("optimizer", "scheduler") and isinstance(value, (Optimizer, LRScheduler)):
            of = "(parameters, lr=lr)" if name == "optimizer" else "the optimiser"
            raise ArgumentError(
                f"{name} is an instance of {type(value).__name__}, which belongs to one model, but "
                f"each fold trains a new one: give its name, or a class or function of {of}"
            )


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments, those of `fit` where none is given."""
    return {**_DEFAULTS, **given}


def fresh_arguments(given: Mapping[str, Any], fold: int) -> dict[str, Any]:
    """The arguments for one fold, with callbacks and a loss that no other fold has.

    Raises:
        ArgumentError: A callback or the loss cannot be copied.
    """
    fresh = {name: given.get(name, _DEFAULTS[name]) for name in ("callbacks", "loss")}
    makes_them = callable(fresh["callbacks"])
    if makes_them:
        fresh["callbacks"] = fresh["callbacks"](fold)
    for name in ("loss",) if makes_them else ("loss", "callbacks"):
        try:
            fresh[name] = copy.deepcopy(fresh[name])
        except Exception as error:  # whatever an open file, a lock or a socket raises
            raise ArgumentError(
                f"{name} cannot be copied for each fold ({error})"
                + (": give a function of the fold's number that makes them" * (name != "loss"))
            ) from error
    return {**given, **fresh}
