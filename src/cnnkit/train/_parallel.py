"""A step that several processes take together, each with its share of the batch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cnnkit.distributed import same_on_all, together, world_size
from cnnkit.errors import ArgumentError
from cnnkit.train._step import Step, Stepped
from cnnkit.types import Batch

__all__ = ["parallel", "same_weights", "with_sync_batchnorm"]


class _Stepper(nn.Module):
    """Forward and loss as one forward, which is what `DistributedDataParallel` watches.

    Calling a hook of the wrapped model itself would leave the gradients unsynchronised.
    """

    def __init__(self, model: nn.Module, step: Step) -> None:
        super().__init__()
        self.model = model
        self._step = step

    def forward(self, batch: Batch) -> Stepped:
        return self._step(batch)


def same_weights(model: nn.Module) -> None:
    """Make weights and buffers what they are in the main process."""
    same_on_all([*model.parameters(), *model.buffers()])


def parallel(step: Step, model: nn.Module) -> Step:
    """The same step, with the gradients averaged over all processes; alone, the step itself.

    The weights of the main process become those of all.
    """
    if world_size() == 1:
        return step
    with together():
        # The first step shows which parameters are not used, instead of failing because of them.
        wrapped = DistributedDataParallel(_Stepper(model, step), static_graph=True)

    def together_step(batch: Batch) -> Stepped:
        with together():
            found: Stepped = wrapped(batch)
        return found

    return together_step


def with_sync_batchnorm(model: nn.Module, device: torch.device) -> None:
    """Let batch normalisation use the statistics of the whole batch, in place.

    Raises:
        ArgumentError: The device is not CUDA, the only one that has it, or the model itself is a
            batch normalisation.
    """
    if world_size() == 1:
        return
    if device.type != "cuda":
        raise ArgumentError(f"sync_batchnorm=True works on CUDA, which {device} is not")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if converted is not model:
        raise ArgumentError("the model is a batch normalisation itself: put it into a module")
