"""Time each augmentation of a batch against torchvision's transform, called sample by sample.

Both start from the same float batch on the same device and end with one. Rounds are paired: in
each one both run, in alternating order, so that what else the machine does falls on both alike. The
figures are medians over the rounds. The first row is a plain copy of the batch, for scale.

    python benchmarks/augment.py --batch 128 --size 32
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from cnnkit.data import augment

BILINEAR = InterpolationMode.BILINEAR
Run = Callable[[], Tensor]


def pairs(size: int) -> list[tuple[str, Callable[..., Tensor], Callable[[Tensor], Tensor]]]:
    """Name, ours for a batch, torchvision's for a sample; `size` is the images' side in pixels."""
    far = max(size // 8, 1)
    area = (size // 4 / size) ** 2
    erase = v2.RandomErasing(p=1, scale=(area, area), ratio=(1, 1))
    shift = v2.RandomAffine([0, 0], translate=(far / size, far / size))
    slant = v2.RandomAffine([0, 0], shear=15, interpolation=BILINEAR)
    return [
        ("RandomFlip", augment.RandomFlip(), v2.RandomHorizontalFlip()),
        ("RandomTranslate", augment.RandomTranslate(far), shift),
        ("RandomCrop", augment.RandomCrop(padding=far), v2.RandomCrop(size, padding=far)),
        ("RandomResizedCrop", augment.RandomResizedCrop(), v2.RandomResizedCrop(size)),
        (
            "RandomResizedCrop, half",
            augment.RandomResizedCrop(size // 2),
            v2.RandomResizedCrop(size // 2),
        ),
        ("RandomRotate", augment.RandomRotate(15), v2.RandomRotation([-15, 15], BILINEAR)),
        ("RandomShear", augment.RandomShear(15), slant),
        ("Cutout", augment.Cutout(size // 4), erase),
        (
            "ColorJitter, no hue",
            augment.ColorJitter(0.4, 0.4, 0.4),
            v2.ColorJitter(0.4, 0.4, 0.4),
        ),
        (
            "ColorJitter",
            augment.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ),
        ("GaussianNoise", augment.GaussianNoise(0.1), v2.GaussianNoise(sigma=0.1)),
    ]


def milliseconds(run: Run) -> float:
    """How long one call takes, the device's work included."""
    start = time.perf_counter()
    result = run()
    if result.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def paired(ours: Run, theirs: Run, rounds: int) -> tuple[float, float]:
    """Median milliseconds of both."""
    times: dict[Run, list[float]] = {ours: [], theirs: []}
    for number in range(rounds + 3):
        for run in (ours, theirs) if number % 2 else (theirs, ours):
            taken = milliseconds(run)
            if number >= 3:  # the first ones load code and find memory
                times[run].append(taken)
    return statistics.median(times[ours]), statistics.median(times[theirs])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="images in a batch")
    parser.add_argument("--size", type=int, default=32, help="side of an image in pixels")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch on CPU; by default its own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    shape = (options.batch, options.channels, options.size, options.size)
    images = torch.rand(shape).to(options.device)
    generator = torch.Generator().manual_seed(0)
    print(
        f"{shape} on {options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"{'':24} {'cnnkit ms':>10} {'torchvision ms':>15} {'ratio':>7}")
    copy = statistics.median(milliseconds(images.clone) for _ in range(options.rounds))
    print(f"{'(a copy)':24} {copy:10.3f}")
    for name, ours, theirs in pairs(options.size):

        def batch(ours: Callable[..., Tensor] = ours) -> Tensor:
            return ours(images, generator)

        def samples(theirs: Callable[[Tensor], Tensor] = theirs) -> Tensor:
            return torch.stack([theirs(image) for image in images])

        fast, slow = paired(batch, samples, options.rounds)
        print(f"{name:24} {fast:10.3f} {slow:15.3f} {slow / fast:6.1f}x")


if __name__ == "__main__":
    main()
