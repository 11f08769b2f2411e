"""Where loaders and a model meet: they must speak of the same classes and the same pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, ClassMismatchError, CnnkitWarning
from cnnkit.preprocess import Preprocess
from cnnkit.train._warn import warn

__all__ = [
    "TrainedOn",
    "as_device_loader",
    "check_repeatable",
    "meet",
    "own_threshold",
    "remember",
    "trained_on",
    "warn_of_new_order",
]

_REMEMBERED = "_trained_on"  # an attribute, so that it survives deepcopy and pickle


class TrainedOn(NamedTuple):
    """What a model was trained on; None where the loader did not say."""

    classes: tuple[str, ...] | None
    preprocess: Preprocess | None


def as_device_loader(loader: Iterable[Any], device: torch.device | None = None) -> DeviceDataLoader:
    """The loader itself, or a foreign one wrapped for `device` (by default the default one).

    Raises:
        ArgumentError: It is None, or otherwise nothing to iterate over.
    """
    if not isinstance(loader, Iterable):
        raise ArgumentError(
            f"expected a loader of batches, received {type(loader).__name__}"
            + ("; the split has no such part" if loader is None else "")
        )
    return loader if isinstance(loader, DeviceDataLoader) else DeviceDataLoader(loader, device)


def check_repeatable(**named: DeviceDataLoader | None) -> None:
    """Refuse what can be gone over once, before it has been.

    Raises:
        ArgumentError: The batches come from an iterator.
    """
    for name, loader in named.items():
        if loader is not None and isinstance(loader.loader, Iterator):
            raise ArgumentError(
                f"the batches of {name} come from a {type(loader.loader).__name__}, which can be "
                "gone over only once, and each epoch needs them: pass a loader or a list of batches"
            )


def meet(**named: TrainedOn | DeviceDataLoader | None) -> tuple[str, ...] | None:
    """The classes that all of these share; those that do not say theirs are not asked.

    Raises:
        ClassMismatchError: Two of them differ; the message shows both.

    Warns:
        CnnkitWarning: Two of them are preprocessed differently.
    """
    present = {name: one for name, one in named.items() if one is not None}
    with_classes = {n: one.classes for n, one in present.items() if one.classes is not None}
    for (first, expected), (name, classes) in _pairs(with_classes):
        if classes != expected:
            raise ClassMismatchError(
                f"{first} and {name} do not have the same classes, so the same label would mean "
                f"different things: {first} has {_numbered(expected)}, "
                f"{name} has {_numbered(classes)}; open both with the same classes="
            )
    reading = {n: one.preprocess for n, one in present.items() if one.preprocess is not None}
    for (first, like), (name, preprocess) in _pairs(reading):
        if preprocess != like:
            warnings.warn(
                f"{first} and {name} are preprocessed differently, so the model sees other pixels "
                f"than it learnt from ({_differences(like, preprocess)}): make {name} with the "
                "preprocess= of the training loader",
                CnnkitWarning,
                stacklevel=3,
            )
    return next(iter(with_classes.values()), None)


def warn_of_new_order(model: nn.Module, classes: tuple[str, ...] | None) -> None:
    """Say so where a model that was trained before is to learn the same classes in another order.

    Other classes are nothing to wonder at: a model is often trained further on a new task.

    Warns:
        CnnkitWarning: Every label that has moved means another class than the model has learnt.
    """
    noted = trained_on(model)
    before = None if noted is None else noted.classes
    if before and classes and before != classes and sorted(before) == sorted(classes):
        warn(
            "the model was trained before with the same classes in another order, so labels mean "
            f"other classes than it has learnt: then {_numbered(before)}, now "
            f"{_numbered(classes)}; open the data with the classes= of then, or build a new model"
        )


def remember(
    model: nn.Module, classes: tuple[str, ...] | None, preprocess: Preprocess | None
) -> None:
    """Note on the model what it was trained on, for `evaluate` and `Classifier` to compare."""
    setattr(model, _REMEMBERED, TrainedOn(classes, preprocess))


def trained_on(model: nn.Module) -> TrainedOn | None:
    """What the model was trained on, where `fit` noted it."""
    noted: TrainedOn | None = getattr(model, _REMEMBERED, None)
    return noted


def own_threshold(model: nn.Module) -> float | None:
    """The threshold of a model with one logit, where it has one."""
    return getattr(model, "threshold", None) if getattr(model, "binary", False) else None


def _pairs(named: dict[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The first one with each of the others."""
    items = list(named.items())
    return [(items[0], item) for item in items[1:]]


def _differences(one: Preprocess, other: Preprocess) -> str:
    ours, theirs = one.to_dict(), other.to_dict()
    return "; ".join(f"{k} {ours[k]} and {theirs[k]}" for k in ours if ours[k] != theirs[k])


def _numbered(classes: tuple[str, ...]) -> str:
    shown = ", ".join(f"{label}: {name}" for label, name in enumerate(classes[:20]))
    return f"({shown}{', …' if len(classes) > 20 else ''})"
