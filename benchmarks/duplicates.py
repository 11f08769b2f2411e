"""What `check` finds on data of yours: near copies that are there, and copies planted on purpose.

Without planting: how many pictures are confirmed to be there more than once, how long it took, and
how much memory. Then copies of every kind are made of images chosen at random, saved as files, and
checked against the data as a part of their own; recall is the share that is linked with its
original, wrong is how many are linked with any other picture.

    python benchmarks/duplicates.py --data photos/train photos/test --sheet pairs.png
    python benchmarks/duplicates.py --idx /usr/share/datasets/fashion-mnist --sheet pairs.png
"""

from __future__ import annotations

import argparse
import gzip
import io
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from cnnkit.data._arrays import ArrayDataset
from cnnkit.data._check import check
from cnnkit.data._folder import ImageFolder
from cnnkit.data._report import DataReport, Sample

Parts = dict[str, Any]  # ImageFolder or ArrayDataset
IDX = {"train": "train", "test": "t10k"}


def saved(image: Image.Image, quality: int | None = 92) -> bytes:
    """The image as a JPEG file, or as a PNG where there is no quality."""
    stream = io.BytesIO()
    if quality is None:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def resized(image: Image.Image, scale: float) -> Image.Image:
    """The image at another size."""
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def made_as(kind: str, parts: Parts, name: str, index: int) -> bytes:
    """The file of a copy of one sample."""
    part = parts[name]
    if kind == SAME and isinstance(part, ImageFolder):
        return Path(part.paths[index]).read_bytes()
    return KINDS[kind](open_image(parts, name, index))


def brighter(image: Image.Image, factor: float) -> Image.Image:
    """The image with all values times `factor`, clipped."""
    return ImageEnhance.Brightness(image).enhance(factor)


SAME = "the same file"
KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    SAME: lambda image: saved(image, None),  # of an array; made_as copies files
    "saved as PNG": lambda image: saved(image, None),
    "JPEG, quality 95": lambda image: saved(image, 95),
    "JPEG, quality 75": lambda image: saved(image, 75),
    "JPEG, quality 50": lambda image: saved(image, 50),
    "half the size": lambda image: saved(resized(image, 0.5)),
    "0.7 of the size": lambda image: saved(resized(image, 0.7)),
    "1.5 of the size": lambda image: saved(resized(image, 1.5)),
    "twice the size": lambda image: saved(resized(image, 2.0)),
    "brighter by 5 %": lambda image: saved(brighter(image, 1.05)),
    "brighter by 10 %": lambda image: saved(brighter(image, 1.1)),
    "brighter by 20 %": lambda image: saved(brighter(image, 1.2)),
    "brighter by 30 %": lambda image: saved(brighter(image, 1.3)),
    "half, brighter by 15 %, quality 50": lambda image: saved(
        brighter(resized(image, 0.5), 1.15), 50
    ),
}


def read_idx(folder: Path) -> Parts:
    """The two parts of MNIST, Fashion-MNIST and their kin."""
    parts: Parts = {}
    for name, prefix in IDX.items():
        images = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        number, height, width = np.frombuffer(images, ">i4", 3, 4).tolist()
        pixels = np.frombuffer(images, np.uint8, -1, 16).reshape(number, height, width)
        parts[name] = ArrayDataset(pixels.copy(), np.frombuffer(labels, np.uint8, -1, 8))
    return parts


def open_image(parts: Parts, name: str, index: int) -> Image.Image:
    """One sample of a part, by name."""
    part = parts[name]
    if isinstance(part, ImageFolder):
        image = Image.open(part.paths[index])
        with image:
            return image.convert("RGB")
    pixels = part[index][0].squeeze(0).numpy()
    return Image.fromarray(pixels)


def peak_mib() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def near_groups(report: DataReport) -> list[tuple[Sample, ...]]:
    """The pictures that are there more than once, but not byte for byte.

    What is across parts may be twice within one of them as well: it is still one picture.
    """
    kinds = "near copy across parts", "near copy within a part"
    found = {kind: [] for kind in kinds} | {f.kind: list(f.groups) for f in report.findings}
    across, within = (found[kind] for kind in kinds)
    known = {sample for group in across for sample in group}
    return across + [group for group in within if known.isdisjoint(group)]


def report_as_it_is(parts: Parts) -> DataReport:
    """Check without planting, and print what it took."""
    number = sum(map(len, parts.values()))
    before, began = peak_mib(), time.perf_counter()
    report = check(**parts)
    seconds = time.perf_counter() - began
    before_and_after = f"{before:.0f} MiB before, {peak_mib():.0f} MiB at the peak"
    groups = near_groups(report)
    images = {sample for group in groups for sample in group}
    print(f"{number:,} images, {seconds:.1f} s; memory {before_and_after}")
    print(f"near copies confirmed: {len(groups)} pictures, {len(images)} images ", end="")
    print(f"({len(images) / number:.3%} of all)\n")
    print(report, "\n")
    return report


def plant(parts: Parts, known: DataReport, copies: int, seed: int, scratch: Path) -> None:
    """Copies of each kind of images of their own, all in one check."""
    everyone = [(name, index) for name, part in parts.items() for index in range(len(part))]
    chosen = np.random.default_rng(seed).permutation(len(everyone))[: copies * len(KINDS)]
    made: list[tuple[str, int]] = []  # (kind, place of the original) in the order of the files
    paths = []
    for number, place in enumerate(chosen.tolist()):
        kind = list(KINDS)[number % len(KINDS)]
        path = scratch / f"{number}.jpg"
        path.write_bytes(made_as(kind, parts, *everyone[place]))
        paths.append(path)
        made.append((kind, place))
    planted = ImageFolder.from_files(paths, [0] * len(paths))
    began = time.perf_counter()
    groups = check(**parts, planted=planted).groups
    print(f"{len(made):,} copies planted, checked in {time.perf_counter() - began:.1f} s")
    print(f"{'kind of copy':36} {'planted':>8} {'found':>7} {'recall':>8} {'wrong':>6}")
    before, now = places_of(known.groups), places_of(groups[: len(everyone)])
    for kind in KINDS:
        rows = [(at, place) for at, (of, place) in enumerate(made) if of == kind]
        found = wrong = 0
        for at, place in rows:
            group = groups[len(everyone) + at]
            found += group == groups[place]
            wrong += not now.get(group, set()) <= before[known.groups[place]]
        recall = found / len(rows) if rows else float("nan")
        print(f"{kind:36} {len(rows):>8} {found:>7} {recall:>8.2%} {wrong:>6}")


def places_of(groups: list[int]) -> dict[int, set[int]]:
    """The samples of each picture."""
    places: dict[int, set[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, set()).add(place)
    return places


def draw(parts: Parts, report: DataReport, path: Path, side: int = 96, columns: int = 8) -> None:
    """The first two images of each picture that is there more than once, side by side."""
    pairs = [group[:2] for group in near_groups(report)]
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (2 * side + 8), max(1, rows) * (side + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left, top = number % columns * (2 * side + 8), number // columns * (side + 16)
        for at, sample in enumerate(pair):
            image = open_image(parts, sample.part, sample.index).convert("RGB")
            sheet.paste(image.resize((side, side)), (left + at * side, top))
        names = " ".join(f"{sample.part} {sample.index} ({sample.label})" for sample in pair)
        pen.text((left, top + side), names[:34], fill="black")
    sheet.save(path)
    print(f"{len(pairs)} pairs drawn in {path}")


def main() -> None:
    """Read the arguments and print all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", help="folders of class folders")
    source.add_argument("--idx", type=Path, help="folder of the four files of an MNIST")
    parser.add_argument("--copies", type=int, default=100, help="planted of each kind; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="PNG to draw confirmed pairs in")
    arguments = parser.parse_args()

    parts: Parts = {}
    if arguments.idx is not None:
        parts = read_idx(arguments.idx)
    else:
        parts = {str(folder): ImageFolder(folder) for folder in arguments.data}
    report = report_as_it_is(parts)
    if arguments.sheet:
        draw(parts, report, arguments.sheet)
    if arguments.copies:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plant(parts, report, arguments.copies, arguments.seed, Path(scratch))


if __name__ == "__main__":
    main()
