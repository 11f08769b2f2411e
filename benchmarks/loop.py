"""What an epoch of `fit` costs against a bare loop over batches that already lie in memory.

    python benchmarks/loop.py

The bare loop is zero_grad, forward, loss, backward, step and nothing else: it tracks no figure.
`fit` gathers its batches from the uint8 images, converts them, and tracks loss and accuracy
exactly. Rounds are paired in one process with equal seeds; the median of the ratios is printed,
and that the weights are equal bit for bit. With the default memory format, which is channels_last
for `TwoLayerCNN` on the CPU, `fit` is compared with a bare loop in the contiguous format and with
one in its own. At the end, what an epoch of a single batch costs beyond its step.
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


def images_of(samples: int) -> data.ArrayDataset:
    """Noise of Fashion-MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, 28, 28), dtype=torch.uint8, generator=generator)
    return data.ArrayDataset(images, torch.randint(0, 10, (samples,), generator=generator))


def measure(
    make: Callable[[], nn.Module],
    samples: int,
    batch: int,
    rounds: int,
    ours_in: str = "contiguous",
    theirs_in: torch.memory_format = torch.contiguous_format,
) -> None:
    """Print the ratio for one network."""
    loader = data.make_loader(images_of(samples), batch, shuffle=True, device="cpu")
    batches = [
        (images.contiguous(memory_format=theirs_in), labels) for images, labels in loader.batches(0)
    ]  # what the bare loop has in memory already
    torch.manual_seed(0)
    first = make()
    ratios, bare_seconds = [], []
    for number in range(rounds + 1):
        ours, theirs = copy.deepcopy(first), copy.deepcopy(first).to(memory_format=theirs_in)

        def run_fit(model: nn.Module = ours) -> None:
            train.fit(
                model, loader, epochs=1, lr=0.01, memory_format=ours_in, progress=False, seed=0
            )

        def run_bare(model: nn.Module = theirs) -> None:
            torch.manual_seed(0)
            bare(model, batches, 0.01)

        taken = timed([run_fit, run_bare] if number % 2 else [run_bare, run_fit])
        if number:
            ratios.append(taken[run_fit] / taken[run_bare])
            bare_seconds.append(taken[run_bare])
    equal = all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    step = statistics.median(bare_seconds) / len(batches)
    name = "channels_last" if theirs_in == torch.channels_last else "contiguous"
    print(
        f"{type(first).__name__:12} batch {batch:3}, fit in {ours_in}, bare in {name}: "
        f"fit / bare {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), "
        f"a bare step {step * 1e6:.0f} us, weights {'equal' if equal else 'differ'}",
        flush=True,
    )


def timed(runs: list[Callable[[], None]]) -> dict[Callable[[], None], float]:
    """Seconds of each, in this order."""
    taken = {}
    for run in runs:
        started = time.perf_counter()
        run()
        taken[run] = time.perf_counter() - started
    return taken


def one_batch(rounds: int) -> None:
    """What an epoch of one batch costs beyond its step."""
    loader = data.make_loader(images_of(20), 20, device="cpu")
    epochs = 20
    over = []
    for _ in range(rounds):
        model, twin = models.MLP(10), models.MLP(10)
        batches = list(loader.batches(0)) * epochs
        runs: list[Callable[[], None]] = [
            lambda model=model: train.fit(model, loader, epochs=epochs, lr=0.01, progress=False),
            lambda twin=twin, batches=batches: bare(twin, batches, 0.01),
        ]
        ours, theirs = timed(runs).values()
        over.append((ours - theirs) / epochs)
    print(f"an epoch of one batch: {statistics.median(over) * 1e3:.2f} ms beyond its step")


def main() -> None:
    """Measure the two networks that the articles train on such images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    one_batch(rounds)
    measure(lambda: models.MLP(10), 60_000, 20, rounds)
    cnn = lambda: models.TwoLayerCNN(10)  # noqa: E731
    measure(cnn, 6_000, 100, rounds)
    measure(cnn, 6_000, 100, rounds, "auto")
    measure(cnn, 6_000, 100, rounds, "auto", torch.channels_last)


if __name__ == "__main__":
    main()
