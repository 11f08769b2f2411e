"""What it costs to load batches from memory, and to get a zip of small files there.

    python benchmarks/loading.py
    python benchmarks/loading.py --zip cifar10.zip --folder train

First 60,000 grey images of 28x28 in batches of 100, normalised, against the same batches lying in
memory as floats already: paired rounds in one process, median of the difference. Then, with --zip,
each step from an archive to an `ArrayDataset`, once.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cnnkit.data import ArrayDataset, ImageFolder, Preprocess, make_loader


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time of one call, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def drain(batches: Any) -> None:
    """Look at every batch."""
    for _ in batches:
        pass


def from_memory(rounds: int) -> None:
    """Loading from uint8, against batches of floats."""
    images = torch.randint(0, 256, (60_000, 28, 28), dtype=torch.uint8)
    ds = ArrayDataset(images, torch.arange(60_000) % 10)
    loader = make_loader(ds, 100, shuffle=True, preprocess=Preprocess.fit(ds), device="cpu")
    batches = list(loader)
    pairs = [
        (seconds(lambda: drain(loader))[0], seconds(lambda: drain(batches))[0])
        for _ in range(rounds + 1)
    ][1:]
    more = [ours - theirs for ours, theirs in pairs]
    print(f"60,000 images of 28x28, batches of 100, normalised, {rounds} rounds:")
    print(
        f"  {statistics.median(more):.3f} s an epoch more than batches in memory "
        f"({min(more):.3f} to {max(more):.3f})"
    )


def from_zip(archive: Path, folder: str | None) -> None:
    """The whole way, step by step, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as root:
        first, ds = seconds(lambda: ImageFolder.from_zip(archive, f"{root}/x", folder=folder))
        again, ds = seconds(lambda: ImageFolder.from_zip(archive, f"{root}/x", folder=folder))
        place = Path(ds.paths[0]).parent.parent
        scan, ds = seconds(lambda: ImageFolder(place))
        decode, array = seconds(lambda: ds.to_array(progress=False))
    print(f"{archive.name}: {len(ds):,} images to {array}")
    print(f"  extract and scan {first:.1f} s; again, already extracted, {again:.2f} s")
    print(f"  scan {scan:.2f} s; decode to an array {decode:.1f} s")


def main() -> None:
    """Measure one or both."""
    parser = argparse.ArgumentParser(description="Loading from memory, and from a zip.")
    parser.add_argument("--zip", type=Path)
    parser.add_argument("--folder", help="the folder in the archive that holds the classes")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    from_memory(args.rounds)
    if args.zip is not None:
        from_zip(args.zip, args.folder)


if __name__ == "__main__":
    main()
