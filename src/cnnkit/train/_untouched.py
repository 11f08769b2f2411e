"""Go over a loader and leave no trace: neither in its order nor in any random state."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError
from cnnkit.train._random import put_back, random_states

__all__ = ["generators_of", "untouched"]

_DRAWN_BY = ("generator", "sampler", "batch_sampler")
_KEPT_WORKERS = ("_iterator", "_idle")  # of torch's loader and of ours
_GENERATORS = (torch.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)
# Where no generator is, or only one that belongs to somebody else.
_NOT_ENTERED = (
    type,
    ModuleType,
    CodeType,
    FrameType,
    Tensor,
    np.ndarray,
    PurePath,
    str,
    bytes,
    int,
    float,
)


@contextmanager
def untouched(loader: DeviceDataLoader) -> Iterator[DeviceDataLoader]:
    """A twin of the loader, to be gone over in its place.

    Afterwards torch's, Python's and numpy's global random states are what they were, and so are
    those of every generator that the data set, its transforms or a custom loader holds.

    Raises:
        ArgumentError: The loader can be gone over only once, or its sampler cannot be copied.
    """
    if isinstance(loader.loader, Iterator):
        raise ArgumentError(
            f"the batches come from a {type(loader.loader).__name__}, which can be gone over only "
            "once, so that nothing would be left to train on: pass a loader or a list of batches"
        )
    twin = copy.copy(loader)
    twin.loader = _twin_of(loader.loader)
    generators = _generators_in(twin)
    states = random_states(loader.device, generators)
    try:
        yield twin
    finally:
        put_back(states, loader.device, generators)


def generators_of(loader: DeviceDataLoader | None) -> list[Any]:
    """Every random generator that a loader, its samplers, data set or transforms hold."""
    if loader is None:
        return []
    own = getattr(loader.loader, "__dict__", {"": loader.loader})
    parts = [part for name, part in own.items() if name not in _KEPT_WORKERS]
    return _generators_in([*loader.augment, *parts])


def _twin_of(loader: Any) -> Any:
    """A loader of the same data that draws as this one would, with workers of its own."""
    twin = copy.copy(loader)
    own = getattr(twin, "__dict__", {})
    shared, dataset = {}, getattr(loader, "dataset", None)
    while dataset is not None and id(dataset) not in shared:
        shared[id(dataset)] = dataset
        dataset = getattr(dataset, "dataset", None)
    try:
        # All in one go: a sampler and its loader may share their generator.
        own.update(copy.deepcopy({name: own[name] for name in _DRAWN_BY if name in own}, shared))
    except Exception as error:  # whatever the copying of somebody's sampler raises
        raise ArgumentError(
            "the loader's order is left as it is by drawing from a copy of its sampler, and the "
            f"{type(own.get('sampler')).__name__} cannot be copied ({error}): give it a "
            "__deepcopy__, or pass another loader of the same data"
        ) from error
    own.update({name: None for name in _KEPT_WORKERS if name in own})
    return twin


def _generators_in(root: Any) -> list[Any]:
    """Every random generator that can be reached from an object."""
    found: list[Any] = []
    seen: dict[int, Any] = {}  # kept alive, or another object could have its id
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NOT_ENTERED):
            continue
        seen[id(one)] = one
        if isinstance(one, np.random.Generator):
            waiting.append(one.bit_generator)
        elif isinstance(one, _GENERATORS):
            found.append(one)
        elif isinstance(one, FunctionType):  # its globals are its module's
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__]
        else:
            waiting += gc.get_referents(one)
    return found
