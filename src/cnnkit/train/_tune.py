"""`memory_format="tune"`: time a few steps both ways, and take the faster."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from cnnkit.train._compute import Compute, too_slow_to_try
from cnnkit.train._step import Step
from cnnkit.types import Batch

__all__ = ["faster_format"]

_ROUNDS = 3


def faster_format(
    model: nn.Module,
    make: Callable[[nn.Module], Step],
    batch: Batch,
    device: torch.device,
    precision: Literal["fp32", "bf16", "fp16"],
) -> Literal["contiguous", "channels_last"]:
    """Time forward and backward of a copy of the model in each memory format, in turn.

    Nothing of the run changes: neither the model nor a random state. What is known to be many
    times slower is not timed: a step of the LeNet variant takes half a minute in channels_last.

    Args:
        model: On the device.
        make: Makes the step of a model.
        batch: To time with.
        device: Where all is.
        precision: Of the run.
    """
    if too_slow_to_try(model, device):
        return "contiguous"
    taken: dict[Literal["contiguous", "channels_last"], list[float]] = {
        "contiguous": [],
        "channels_last": [],
    }
    devices = [] if device.type in ("cpu", "meta") else [device.index or 0]
    kind = device.type if devices else "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        trial = copy.deepcopy(model).train()
        step = make(trial)
        for _ in range(_ROUNDS + 1):  # the first one warms up
            for name, seconds in taken.items():
                compute = Compute(device, precision=precision, memory_format=name)
                with compute.applied(trial):
                    one = next(iter(compute.batches([batch])))
                    seconds.append(_timed(step, one, compute))
                trial.zero_grad()  # of the other format they would be in the way
    return min(taken, key=lambda name: statistics.median(taken[name][1:]))


def _timed(step: Step, batch: Batch, compute: Compute) -> float:
    started = time.perf_counter()
    loss = compute.stepping(step)(batch)[0]
    loss.backward()
    loss.item()  # waits for an accelerator
    return time.perf_counter() - started
