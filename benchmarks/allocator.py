"""What it is worth on the CPU that `fit` keeps memory between steps instead of giving it back.

    python benchmarks/allocator.py

Large tensors of a step are freed and asked for again in the next. glibc gives their memory back to
the system, which has to find and clear every page anew; `fit` has it keep what it has. The same
steps are timed in processes started in turn, in one of which an empty GLIBC_TUNABLES leaves the
allocator as it is. Printed are the medians: the ratio, the page faults of a step, and how much the
largest memory of the process differs.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import torch

from cnnkit import data, models, train

LEFT_ALONE = {"GLIBC_TUNABLES": ""}
#: Name of the model, shape of an image, batch size, steps.
JOBS = {
    "TwoLayerCNN": ((1, 28, 28), 100, 100),
    "ThreeConvCIFAR": ((3, 32, 32), 20, 400),
    "SixConvCIFAR": ((3, 32, 32), 128, 12),
    "AlexNet": ((3, 116, 116), 10, 12),
}


def work(name: str) -> None:
    """Train an epoch to warm up and one that is timed; print what was `Taken`."""
    shape, batch, steps = JOBS[name]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch * steps, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.arange(batch * steps) % 10
    loader = data.make_loader(data.ArrayDataset(pixels, labels), batch, shuffle=True, device="cpu")
    model = models.create_model(name, like=loader)
    train.fit(model, loader, epochs=1, lr=0.001, optimizer="adam", progress=False, seed=0)
    faults, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    train.fit(model, loader, epochs=1, lr=0.001, optimizer="adam", progress=False, seed=0)
    seconds = time.perf_counter() - started
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(seconds / steps, faults / steps, peak)


class Taken(NamedTuple):
    """By one process."""

    seconds: float  # a step
    faults: float  # a step
    peak: float  # MiB


def run(name: str, environment: dict[str, str]) -> Taken:
    """Train in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", name]
    output = subprocess.check_output(command, env=os.environ | environment, text=True)
    return Taken(*map(float, output.split()))


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", choices=list(JOBS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work)
        return
    for name, (_, batch, _) in JOBS.items():
        kept, left = [], []
        for number in range(args.rounds):
            pair = [(kept, {}), (left, LEFT_ALONE)]
            for side, environment in pair if number % 2 else reversed(pair):
                side.append(run(name, environment))
        ratios = [one.seconds / other.seconds for one, other in zip(kept, left, strict=True)]
        peaks = [one.peak / other.peak for one, other in zip(kept, left, strict=True)]
        faults = [statistics.median(one.faults for one in side) for side in (kept, left)]
        print(
            f"{name:14} batch {batch:3}: {statistics.median(ratios):.2f} of the time "
            f"({min(ratios):.2f} to {max(ratios):.2f}), {faults[0]:.0f} instead of "
            f"{faults[1]:.0f} page faults a step, {statistics.median(peaks):.2f} of the memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
