"""Random states: seeded for a run, kept in its checkpoints, put back after it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cnnkit.distributed import rank

__all__ = ["put_back", "random_states", "seeded"]


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and put back afterwards what they were.

    So are Python's and numpy's, which transforms may draw from and a resumed run sets.
    """
    if seed is None:
        yield
        return
    python, numpy = random.getstate(), np.random.get_state()
    # A backend of somebody's own may have no random states: torch would fail to ask for them.
    devices = [device.index or 0] if _has_states(device) else []
    kind = device.type if devices else "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        # Each process drops out other units: one number would drop the same ones of each share.
        torch.manual_seed(seed + rank())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def random_states(device: torch.device, generators: Sequence[Any] = ()) -> dict[str, Any]:
    """The states of torch's, Python's and numpy's global generators, as tensors and numbers.

    Args:
        device: Whose generator torch has besides that of the CPU.
        generators: Others, of the three libraries.
    """
    return {
        "torch": torch.get_rng_state(),
        "device": getattr(torch, device.type).get_rng_state(device)
        if _has_states(device)
        else None,
        "python": _plain(random.getstate()),
        "numpy": _plain(np.random.get_state(legacy=False)),
        "generators": [_plain(_get_state(generator)) for generator in generators],
    }


def put_back(states: dict[str, Any], device: torch.device, generators: Sequence[Any] = ()) -> None:
    """Set every generator to what `random_states` saw."""
    torch.set_rng_state(states["torch"])
    if states["device"] is not None and _has_states(device):
        getattr(torch, device.type).set_rng_state(states["device"], device)
    random.setstate(_unplain(states["python"]))
    np.random.set_state(_unplain(states["numpy"]))
    for generator, state in zip(generators, states["generators"], strict=True):
        _set_state(generator, _unplain(state))


def _has_states(device: torch.device) -> bool:
    """Whether torch has a generator of the device's own, besides that of the CPU."""
    return device.type != "cpu" and hasattr(getattr(torch, device.type, None), "get_rng_state")


def _get_state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.BitGenerator):
        return generator.state
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.getstate()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.BitGenerator):
        generator.state = state
    elif isinstance(generator, (torch.Generator, np.random.RandomState)):
        generator.set_state(state)
    else:
        generator.setstate(state)


def _plain(state: Any) -> Any:
    """A state as a checkpoint can hold it: numpy's arrays are refused by a weights_only load."""
    if isinstance(state, np.ndarray):
        values = torch.frombuffer(bytearray(state.tobytes()), dtype=torch.uint8)
        return {"array of": str(state.dtype), "bytes": values}
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state


def _unplain(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    if "array of" in state:
        return np.frombuffer(state["bytes"].numpy().tobytes(), state["array of"])
    return {name: _unplain(value) for name, value in state.items()}
