"""Random states: seeded for a run, kept in its checkpoints, put back after it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cnnkit.distributed import rank

__all__ = ["put_back", "random_states", "seeded"]


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and put back afterwards what they were."""
    if seed is None:
        yield
        return
    devices: list[int] = [] if device.type in ("cpu", "meta") else [device.index or 0]
    kind = device.type if devices else "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        # Each process drops out other units: the same number would drop the same ones of each share.
        torch.manual_seed(seed + rank())
        yield


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of torch's, Python's and numpy's global generators, as tensors and numbers."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    module = getattr(torch, device.type, None)
    own = device.type != "cpu" and hasattr(module, "get_rng_state")
    return {
        "torch": torch.get_rng_state(),
        "device": module.get_rng_state(device) if module is not None and own else None,
        "python": {"version": version, "numbers": torch.tensor(numbers), "gauss": gauss},
        # As tensors and numbers: numpy's own objects are refused by a weights_only load.
        "numpy": {
            "keys": torch.tensor(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }


def put_back(states: dict[str, Any], device: torch.device) -> None:
    """Set every global generator to what `random_states` saw."""
    torch.set_rng_state(states["torch"])
    module = getattr(torch, device.type, None)
    if states["device"] is not None and hasattr(module, "set_rng_state"):
        module.set_rng_state(states["device"], device)  # type: ignore[union-attr]
    python, numpy = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
