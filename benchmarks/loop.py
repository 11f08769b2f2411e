"""What an epoch of `fit` costs against a bare loop over batches that already lie in memory.

    python benchmarks/loop.py

The bare loop is zero_grad, forward, loss, backward, step and nothing else: it tracks no figure.
`fit` gathers its batches from the uint8 images, converts them, and tracks loss and accuracy
exactly. Rounds are paired in one process with equal seeds; the median of the ratios is printed,
and that the weights are equal bit for bit.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnkit import data, models, train

Batches = list[tuple[Tensor, Tensor]]


def bare(model: nn.Module, batches: Batches, lr: float) -> None:
    """One epoch, and nothing but the training itself."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()


def measure(make: Callable[[], nn.Module], samples: int, batch: int, rounds: int) -> None:
    """Print the ratio for one network on images of Fashion-MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (samples,), generator=generator)
    loader = data.make_loader(data.ArrayDataset(images, labels), batch, shuffle=True, device="cpu")
    loader.set_epoch(0)
    batches = list(loader)  # what the bare loop has in memory already
    torch.manual_seed(0)
    first = make()
    ratios, bare_seconds = [], []
    for number in range(rounds + 1):
        ours, theirs = copy.deepcopy(first), copy.deepcopy(first)

        def run_fit(model: nn.Module = ours) -> None:
            train.fit(model, loader, epochs=1, lr=0.01, progress=False, seed=0)

        def run_bare(model: nn.Module = theirs) -> None:
            torch.manual_seed(0)
            bare(model, batches, 0.01)

        order = [run_fit, run_bare] if number % 2 else [run_bare, run_fit]
        taken = {}
        for run in order:
            started = time.perf_counter()
            run()
            taken[run] = time.perf_counter() - started
        if number:
            ratios.append(taken[run_fit] / taken[run_bare])
            bare_seconds.append(taken[run_bare])
    equal = all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    step = statistics.median(bare_seconds) / len(batches)
    print(
        f"{type(first).__name__:14} batch {batch:4}: fit / bare {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}), a bare step {step * 1e6:.0f} us, "
        f"weights {'equal' if equal else 'DIFFER'}"
    )


def main() -> None:
    """Measure the two networks that the articles train on such images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    measure(lambda: models.MLP(10), 20_000, 20, args.rounds)
    measure(lambda: models.TwoLayerCNN(10), 10_000, 100, args.rounds)


if __name__ == "__main__":
    main()
