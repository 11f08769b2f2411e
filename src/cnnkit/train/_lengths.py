"""How long an epoch is, and a run, where that is known before it."""

from __future__ import annotations

from cnnkit.device import DeviceDataLoader

__all__ = ["batches_of", "steps_of"]


def batches_of(loader: DeviceDataLoader) -> int | None:
    """Batches of an epoch; None where the loader does not know its length."""
    try:
        return len(loader)
    except TypeError:
        return None


def steps_of(loader: DeviceDataLoader, epochs: int, accumulate: int) -> int | None:
    """Optimiser steps of the run, likewise."""
    batches = batches_of(loader)
    return None if batches is None else -(-batches // accumulate) * epochs
