"""Small runs for the tests of the trainer, and ways to compare what came of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnkit.data import ArrayDataset, augment, make_loaders, train_val_split
from cnnkit.models import TwoLayerCNN
from cnnkit.train import History, fit
from cnnkit.types import Augmentation

C = 3


def dataset(n: int = 60, size: int = 8, seed: int = 1) -> ArrayDataset:
    """Grey images of noise, whose labels a network can learn by heart but not foresee."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=generator)
    return ArrayDataset(images, torch.randint(0, C, (n,), generator=generator), classes="abc")


def loaders(
    batch_size: int = 7, *, n: int = 60, workers: int = 0, device: str | None = "cpu"
) -> Any:
    """With augmentation, and a short last batch."""
    split = train_val_split(dataset(n), val=0.2)
    shifts: list[Augmentation] = [augment.RandomFlip(), augment.RandomTranslate(2)]
    return make_loaders(split, batch_size, augment=shifts, device=device, num_workers=workers)


def network(seed: int = 3, dropout: float = 0.3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TwoLayerCNN(C, image_size=8, dropout=dropout)


class Result:
    """What a run left: figures without their seconds, weights, and how it ended."""

    def __init__(self, model: nn.Module, history: History) -> None:
        self.model, self.history = model, history
        self.rows = figures(history)
        self.weights = weights(model)
        self.ended = history.stop_reason, history.restored

    def same(self, other: Result) -> bool:
        """Whether all is equal bit for bit."""
        return (self.rows, self.ended) == (other.rows, other.ended) and equal(
            self.weights, other.weights
        )


def train(
    folder: Path | None = None, model: nn.Module | None = None, data: Any = None, **options: Any
) -> Result:
    """A run with everything that has a state: momentum, a schedule, dropout, augmentation."""
    model = network() if model is None else model
    data = loaders() if data is None else data
    settings = {
        "epochs": 3,
        "lr": 0.05,
        "optimizer": "momentum",
        "scheduler": "one_cycle",
        "checkpoint_dir": folder,
        "progress": False,
        **options,
    }
    return Result(model, fit(model, data.train, data.val, **settings))


def figures(history: History) -> list[dict[str, float]]:
    return [{n: v for n, v in row.items() if n != "seconds"} for row in history.rows]


def weights(model: nn.Module) -> dict[str, Tensor]:
    named = model.state_dict().items()
    return {name: one.detach().clone() for name, one in named if isinstance(one, Tensor)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)
