"""How fast images are read, against torchvision's ImageFolder, on a folder of one's own.

    python benchmarks/reading.py FOLDER --size 128

FOLDER holds one folder a class. Every comparison is paired: the sides run in turn, in one process,
and medians and the median of the ratios are printed. The first round warms the file cache and is
not counted. Each loader is made once, as in a training script: cnnkit's keeps its workers.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from cnnkit.data import ArrayDataset, ImageFolder, Preprocess, make_loader

Side = Callable[[], object]


def seconds(work: Side) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, the order turned round from round to round."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        names = list(sides) if number % 2 else list(sides)[::-1]
        for name in names:
            taken = seconds(sides[name])
            if number:
                times[name].append(taken)
    return times


def drain(batches: Iterable[object]) -> None:
    """Visit every batch."""
    for _ in batches:
        pass


def report(times: dict[str, list[float]], images: int, reference: str) -> None:
    """One line a side: median time an image, and how many times as fast as the reference."""
    for name, taken in times.items():
        ratio = statistics.median(r / t for r, t in zip(times[reference], taken, strict=True))
        each = statistics.median(taken) / images
        print(f"  {name:58} {each * 1e6:9.1f} us an image   {ratio:5.2f} x")


def main() -> None:
    """Measure reading, converting to an array, and epochs from the array."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1000, help="images used at most")
    args = parser.parse_args()

    opened = time.perf_counter()
    ours = ImageFolder(args.folder, image_size=args.size)
    opened = time.perf_counter() - opened
    exact = ImageFolder(args.folder, image_size=args.size, exact_decode=True)
    resize = transforms.Compose([transforms.Resize((args.size, args.size)), transforms.ToTensor()])
    theirs = datasets.ImageFolder(args.folder, resize)
    print(
        f"{len(ours)} images to {args.size}x{args.size}, {torch.get_num_threads()} threads, ",
        end="",
    )
    print(f"torch {torch.__version__}; folder scanned in {opened:.2f} s")

    chosen = torch.randperm(len(ours), generator=torch.Generator().manual_seed(0))[: args.most]
    count = len(chosen)
    part, exact_part = ours.subset(chosen), exact.subset(chosen)
    where = {path: number for number, (path, _) in enumerate(theirs.samples)}  # another order
    theirs_part = torch.utils.data.Subset(theirs, [where[path] for path in part.paths])

    foreign = DataLoader(theirs_part, args.batch, num_workers=args.workers)

    def loader(ds: ImageFolder) -> Side:
        made = make_loader(ds, args.batch, num_workers=args.workers, cache="off", device="cpu")
        return lambda: drain(made)

    print(f"reading, {args.workers} workers, against torchvision ImageFolder + Resize + ToTensor:")
    reference = "torchvision ImageFolder + DataLoader"
    sides: dict[str, Side] = {
        reference: lambda: drain(foreign),
        "cnnkit ImageFolder + make_loader": loader(part),
        "cnnkit, exact_decode=True": loader(exact_part),
        "cnnkit to_array() on all cores": lambda: part.to_array(progress=False),
        "cnnkit to_array() on all cores, exact_decode=True": lambda: exact_part.to_array(
            progress=False
        ),
    }
    report(paired(sides, args.rounds), count, reference)

    array, exact_array = part.to_array(progress=False), exact_part.to_array(progress=False)
    reduced = (array.images.int() - exact_array.images.int()).abs().float()
    vision = torch.stack([theirs_part[i][0] for i in range(min(count, 200))]).mul(255).round()
    against = (exact_array.images[:200].float() - vision).abs()
    print("difference in pixels, of 255 grey levels:")
    print(f"  reduced against exact decoding: mean {reduced.mean():.2f}, ", end="")
    print(f"largest mean of an image {reduced.mean(dim=(1, 2, 3)).max():.2f}")
    print(
        f"  exact decoding against torchvision: mean {against.mean():.2f}, max {against.max():.0f}"
    )

    preprocess = Preprocess.fit(array)
    later = epoch_sides(array, preprocess, args.batch)
    print("later epochs, loading, converting and normalising, from the array:")
    report(paired(later, args.rounds), count, next(iter(later)))


def epoch_sides(array: ArrayDataset, preprocess: Preprocess, batch: int) -> dict[str, Side]:
    """One epoch from memory, plain and normalised."""
    plain = make_loader(array, batch, shuffle=True, device="cpu")
    normalised = make_loader(array, batch, shuffle=True, preprocess=preprocess, device="cpu")
    return {
        "scaled to [0, 1]": lambda: drain(plain),
        "scaled and normalised": lambda: drain(normalised),
    }


if __name__ == "__main__":
    main()
