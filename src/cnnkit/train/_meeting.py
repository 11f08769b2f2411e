"""Where data sets, loaders and a model meet: they must speak of the same classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ClassMismatchError

__all__ = ["as_device_loader", "known_classes", "remember_classes", "same_classes"]

_REMEMBERED = "trained_classes"  # an attribute, so that it survives deepcopy and pickle


def as_device_loader(
    loader: Iterable[Any], device: torch.device | None = None
) -> DeviceDataLoader:
    """The loader itself, or a foreign one wrapped for `device` (by default the default one)."""
    return loader if isinstance(loader, DeviceDataLoader) else DeviceDataLoader(loader, device)


def same_classes(**named: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The classes that all of these share; those that do not say theirs are not asked.

    Raises:
        ClassMismatchError: Two of them differ; the message shows both.
    """
    first: tuple[str, tuple[str, ...]] | None = None
    for name, classes in named.items():
        if classes is None:
            continue
        if first is None:
            first = name, classes
        elif classes != first[1]:
            raise ClassMismatchError(
                f"{first[0]} and {name} do not have the same classes, so the same label would mean "
                f"different things: {first[0]} has {_numbered(first[1])}, "
                f"{name} has {_numbered(classes)}; open both with the same classes="
            )
    return None if first is None else first[1]


def remember_classes(model: nn.Module, classes: tuple[str, ...] | None) -> None:
    """Note on the model which classes it was trained on, for `evaluate` to compare."""
    if classes is not None:
        setattr(model, _REMEMBERED, classes)


def known_classes(model: nn.Module) -> tuple[str, ...] | None:
    """The classes that the model was trained on, where `fit` noted them."""
    classes: tuple[str, ...] | None = getattr(model, _REMEMBERED, None)
    return classes


def _numbered(classes: tuple[str, ...]) -> str:
    shown = ", ".join(f"{label}: {name}" for label, name in enumerate(classes[:20]))
    return f"({shown}{', …' if len(classes) > 20 else ''})"
