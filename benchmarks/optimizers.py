"""What it is worth on the CPU that an optimiser by name is computed in one pass over each tensor.

    python benchmarks/optimizers.py

Momentum, Adam and AdamW read and write every weight once an operation; torch's fused steps do all
of them in one pass, and `fit` takes those where it is given a name. The same epoch is trained by
name and with torch's class as it comes, from equal weights, in turn in one process.
"""

import argparse
import copy
import statistics
import time
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam

from cnnkit import data, models, train
from cnnkit.device import DeviceDataLoader

NESTEROV = partial(SGD, momentum=0.9, nesterov=True)
#: Model, shape of an image, batch size, steps, name of the optimiser, and torch's class for it.
JOBS: list[tuple[str, tuple[int, int, int], int, int, str, Any]] = [
    ("MLP", (1, 28, 28), 20, 1000, "adam", Adam),
    ("ThreeConvCIFAR", (3, 32, 32), 20, 400, "momentum", NESTEROV),
    ("ThreeConvCIFAR", (3, 32, 32), 20, 400, "adam", Adam),
    ("SixConvCIFAR", (3, 32, 32), 128, 10, "adam", Adam),
    ("AlexNet", (3, 116, 116), 10, 10, "momentum", NESTEROV),
    ("AlexNet", (3, 116, 116), 10, 10, "adam", Adam),
]


def seconds(model: nn.Module, loader: DeviceDataLoader, optimizer: Any) -> float:
    """Of one epoch."""
    started = time.perf_counter()
    train.fit(model, loader, epochs=1, lr=0.001, optimizer=optimizer, progress=False)
    return time.perf_counter() - started


def main() -> None:
    """Measure each job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, shape, batch, steps, optimizer, plain in JOBS:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (batch * steps, *shape), dtype=torch.uint8,
                               generator=generator)  # fmt: skip
        ds = data.ArrayDataset(pixels, torch.arange(batch * steps) % 10)
        loader = data.make_loader(ds, batch, shuffle=True, device="cpu")
        torch.manual_seed(0)
        first = models.create_model(name, like=loader)
        seconds(copy.deepcopy(first), loader, optimizer)  # warm up
        ratios = []
        for number in range(rounds):
            pair = {optimizer: copy.deepcopy(first), plain: copy.deepcopy(first)}
            order = list(pair) if number % 2 else list(pair)[::-1]
            taken = {one: seconds(pair[one], loader, one) for one in order}
            ratios.append(taken[optimizer] / taken[plain])
        print(
            f"{name:14} batch {batch:3}, {optimizer}: {statistics.median(ratios):.2f} of the time "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
