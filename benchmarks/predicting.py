"""How fast a folder is predicted, against the loop that one writes by hand.

    python benchmarks/predicting.py FOLDER --size 128

FOLDER holds images, in any folders below it. The loop is the usual one: for each image, in turn,
open, torchvision's Resize, ToTensor and Normalize, `unsqueeze`, model, softmax. The weights are
drawn by chance, which costs the same. Every comparison is paired: both run in turn, in one process,
and medians and the median of the ratios are printed. The first round warms the file cache and is
not counted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from cnnkit import Classifier, Preprocess, models

MEAN, STD = (0.49, 0.45, 0.42), (0.23, 0.22, 0.23)
MODELS = ["ThreeConvCIFAR", "torchvision:resnet18"]
LEAST = 2.0  # how many times as fast as the loop a folder shall be


def made(name: str, size: int) -> nn.Module:
    """A model of two classes for images of this size."""
    options = {} if name.startswith("torchvision:") else {"image_size": size}
    return models.create_model(name, num_classes=2, **options).eval()


def by_hand(model: nn.Module, paths: list[str], size: int) -> Tensor:
    """The loop: one image after the other."""
    transform = transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    rows = []
    with torch.no_grad():
        for path in paths:
            image = transform(Image.open(path).convert("RGB"))
            rows.append(model(image.unsqueeze(0)).softmax(1))
    return torch.cat(rows)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, folder: Path, size: int, rounds: int) -> None:
    """Time both on one model and print a line for each."""
    model = made(name, size)
    shipped = Classifier(model, ["a", "b"], Preprocess(size, "RGB", MEAN, STD)).to("cpu")
    paths = [row.path for row in shipped.predict_folder(folder, progress=False)]
    sides: dict[str, Callable[[], object]] = {
        "image by image": lambda: by_hand(model, paths, size),
        "predict_folder": lambda: shipped.predict_folder(folder, progress=False),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side in list(sides) if number % 2 else list(sides)[::-1]:
            taken = seconds(sides[side])
            if number:
                times[side].append(taken)
    loop, ours = times.values()
    ratios = [a / b for a, b in zip(loop, ours, strict=True)]
    each = [statistics.median(taken) / len(paths) * 1e3 for taken in (loop, ours)]
    print(f"{name}, {len(paths)} images of {size}x{size}")
    print(f"  image by image {each[0]:7.2f} ms an image")
    print(
        f"  predict_folder {each[1]:7.2f} ms an image  {statistics.median(ratios):5.2f} x", end=""
    )
    print(f"  ({min(ratios):.2f} to {max(ratios):.2f})", end="")
    print("" if statistics.median(ratios) >= LEAST else f"  LESS than {LEAST:g} times as fast")


def main() -> None:
    """Compare on each of the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.rounds} rounds, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in args.models:
        compare(name, args.folder, args.size, args.rounds)


if __name__ == "__main__":
    main()
