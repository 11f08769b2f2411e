"""What it is worth on the CPU that the system's allocator keeps memory instead of giving it back.

    python benchmarks/allocator.py

Large tensors of a step are freed and asked for again in the next. glibc gives their memory back to
the system, which has to find and clear every page anew. Two variables of the environment, read when
a process starts, make it keep what it has. The same steps of `fit` are timed in processes
started in turn with and without them; medians of the ratios are printed, and the page faults.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

import torch

from cnnkit import data, models, train

KEEP = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(1 << 32))
#: Name of the model, shape of an image, batch size, steps.
JOBS = {
    "TwoLayerCNN": ((1, 28, 28), 100, 100),
    "ThreeConvCIFAR": ((3, 32, 32), 20, 400),
    "SixConvCIFAR": ((3, 32, 32), 128, 12),
    "AlexNet": ((3, 116, 116), 10, 12),
}


def work(name: str) -> None:
    """Train for one epoch to warm up and one that is timed; print seconds and faults of a step."""
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
    print(seconds / steps, faults / steps)


def run(name: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and page faults of a step, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", name]
    output = subprocess.check_output(command, env=os.environ | environment, text=True)
    seconds, faults = map(float, output.split())
    return seconds, faults


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
        rounds = []
        for number in range(args.rounds):
            order = [KEEP, {}] if number % 2 else [{}, KEEP]
            taken = {bool(one): run(name, one) for one in order}
            rounds.append((taken[True], taken[False]))
        ratios = [kept[0] / given[0] for kept, given in rounds]
        faults = [statistics.median(one[side][1] for one in rounds) for side in (1, 0)]
        step = statistics.median(given[0] for _, given in rounds)
        print(
            f"{name:14} batch {batch:3}: a step takes {step * 1e3:.1f} ms and {faults[0]:.0f} page "
            f"faults; with memory kept {statistics.median(ratios):.2f} of the time "
            f"({min(ratios):.2f} to {max(ratios):.2f}) and {faults[1]:.0f} faults",
            flush=True,
        )


if __name__ == "__main__":
    main()
