"""Optimisers by name, class or instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from cnnkit.errors import ArgumentError

__all__ = ["HOW_COMPUTED", "OptimizerChoice", "OptimizerName", "make_optimizer", "state_for"]

OptimizerName = Literal["sgd", "momentum", "adam", "adamw", "rmsprop"]
#: A name, an instance, or anything called as ``(parameters, lr=lr)``, such as a class.
OptimizerChoice: TypeAlias = "OptimizerName | Optimizer | Callable[..., Optimizer]"
#: Options of an optimiser that change how a step is computed, and the last bits of it at most.
HOW_COMPUTED = ("fused", "foreach")


class _Known(NamedTuple):
    make: Callable[..., Optimizer]
    lr: float
    options: dict[str, Any]
    on_cpu: dict[str, bool]


# One pass over each tensor is faster on the CPU than one an operation. Plain SGD is one operation,
# and torch has no such step of RMSprop: told what it would take anyway, it does not look each time.
_FUSED, _ONE_BY_ONE = {"fused": True}, {"foreach": False}
_KNOWN: dict[str, _Known] = {
    "sgd": _Known(SGD, 0.01, {}, _ONE_BY_ONE),
    "momentum": _Known(SGD, 0.01, {"momentum": 0.9, "nesterov": True}, _FUSED),
    "adam": _Known(Adam, 0.001, {}, _FUSED),
    "adamw": _Known(AdamW, 0.001, {}, _FUSED),
    "rmsprop": _Known(RMSprop, 0.001, {}, _ONE_BY_ONE),
}
assert set(_KNOWN) == set(get_args(OptimizerName))


def make_optimizer(choice: OptimizerChoice, model: nn.Module, lr: float | None) -> Optimizer:
    """The optimiser of a run, over the parameters of the model that are trained.

    Raises:
        ArgumentError: An unknown name, a learning rate beside an instance, or nothing to train.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ArgumentError("the model has no parameters to train (requires_grad is False for all)")
    if lr is not None and not lr >= 0:
        raise ArgumentError(f"lr must be 0 or more, received {lr}")
    lr = None if lr is None else float(lr)  # of a number of numpy's, which no checkpoint takes
    if isinstance(choice, Optimizer):
        if lr is not None:
            raise ArgumentError(
                f"lr={lr} beside an optimiser instance, which has its own: give one of the two"
            )
        held = {id(p) for group in choice.param_groups for p in group["params"]}
        if held.isdisjoint(id(p) for p in parameters):
            raise ArgumentError("the optimiser holds none of this model's parameters")
        return choice
    if isinstance(choice, str):
        if choice not in _KNOWN:
            raise ArgumentError(
                f"optimizer must be one of {tuple(_KNOWN)}, a class or an instance, "
                f"received {choice!r}"
            )
        known = _KNOWN[choice]
        options = known.options | (known.on_cpu if _on_cpu(parameters) else {})
        return known.make(parameters, lr=known.lr if lr is None else lr, **options)
    if not callable(choice):
        raise ArgumentError(
            f"optimizer must be one of {tuple(_KNOWN)}, a class, an instance or a function, "
            f"received {choice!r}"
        )
    made = choice(parameters) if lr is None else choice(parameters, lr=lr)
    if not isinstance(made, Optimizer):
        raise ArgumentError(
            f"optimizer={choice!r} was called to make an optimiser, but returned a "
            f"{type(made).__name__}"
        )
    return made


def state_for(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """What another optimiser had saved, for this one, which computes as it was made to.

    That is a matter of the device.

    Raises:
        ArgumentError: It had other groups of parameters.
    """
    number, own_number = len(saved["param_groups"]), len(optimizer.param_groups)
    if number != own_number:
        raise ArgumentError(
            f"the optimiser of the checkpoint had {number} groups of parameters, received one with "
            f"{own_number}: a run whose optimiser was given groups on its way cannot go on. Give "
            "an optimiser that has all of them from the start; parameters with requires_grad=False "
            "stay as they are until they learn"
        )
    groups = zip(saved["param_groups"], optimizer.param_groups, strict=True)
    return {
        **saved,
        "param_groups": [
            old | {name: own[name] for name in HOW_COMPUTED if name in own} for old, own in groups
        ],
    }


def _on_cpu(parameters: list[nn.Parameter]) -> bool:
    """On an accelerator torch's own choice is as fast, and float16 is scaled by whoever steps."""
    return all(p.device.type == "cpu" and p.is_floating_point() for p in parameters)
