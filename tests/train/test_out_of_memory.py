"""A full memory is an error that names the batch size and what to try."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_runs import C, equal, loaders, network, train, weights

from cnnkit.data import make_loader
from cnnkit.errors import TrainingError
from cnnkit.train import Callback, TrainState, fit

pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

# What torch says of a CUDA card, of the CPU and of a Mac, and Python of itself.
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    MemoryError(),
]


class Filling(nn.Module):
    """A network whose memory is full in its nth forward pass of one kind."""

    def __init__(self, error: BaseException, number: int, training: bool = True) -> None:
        super().__init__()
        self.network, self.error = network(), error
        self.number, self.wanted, self.passes = number, training, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training is self.wanted
        if self.passes == self.number and self.training is self.wanted:
            raise self.error
        out: Tensor = self.network(images)
        return out


class AfterOne(Callback):
    """Lets the first of the epochs that were asked for be the last."""

    def on_epoch_end(self, state: TrainState) -> None:
        state.stop()


@pytest.mark.parametrize("error", FULL, ids=["cuda", "cpu", "mps", "python"])
def test_in_training(error: BaseException) -> None:
    """48 samples in batches of 7 are seven steps: the tenth is the third of the second epoch."""
    net = Filling(error, 10)
    with pytest.raises(
        TrainingError,
        match=r"cpu has no memory left in epoch 2, batch 3, with batches of 7: "
        r"try batch_size=3 with accumulate=2, .* The best weights so far are in the model",
    ) as raised:
        train(model=net)
    assert raised.value.__cause__ is error
    first = train(model=Filling(error, 0), epochs=3, callbacks=AfterOne())
    assert equal(weights(net), first.weights)


def test_in_the_validation_and_with_a_group_of_batches() -> None:
    with pytest.raises(
        TrainingError,
        match=r"epoch 2, its validation, .*try batch_size=3 for the validation loader",
    ):
        train(model=Filling(FULL[0], 3, training=False))  # 12 samples: two batches
    with pytest.raises(TrainingError, match="batch_size=3 with accumulate=8"):
        train(model=Filling(FULL[0], 2), accumulate=4)


def test_with_nothing_left_to_halve_or_no_known_size() -> None:
    options: dict[str, Any] = {"epochs": 1, "progress": False}
    data = loaders()
    ones = make_loader(data.val.dataset, 1, device="cpu")
    with pytest.raises(TrainingError, match="batches of 1: try smaller images, or a smaller model"):
        fit(Filling(FULL[0], 1), ones, **options)
    batches = [(torch.rand(4, 1, 8, 8), torch.arange(4) % C)]
    with pytest.raises(TrainingError, match="batches of unknown size: try half the batch size"):
        fit(Filling(FULL[0], 1), batches, **options)


def test_other_errors_stay_as_they_are() -> None:
    error = RuntimeError("a bug of the model")
    with pytest.raises(RuntimeError, match="a bug of the model") as raised:
        train(model=Filling(error, 2))
    assert raised.value is error
