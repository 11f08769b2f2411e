"""Images that `--quick` makes itself: each class has a coarse pattern of its own, under noise."""

import torch

from cnnkit.data import ArrayDataset


def parts(
    shape: tuple[int, int, int], classes: tuple[str, ...], train: int = 1500, test: int = 500
) -> tuple[ArrayDataset, ArrayDataset]:
    """A training and a test part, uint8 (N, C, H, W) with the same patterns in both.

    Args:
        shape: (C, H, W) of an image.
        classes: Class names in the order of the labels, equally frequent.
        train: Number of images to train on.
        test: Number of images to test on.
    """
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(len(classes), channels, 4, 4, generator=generator).round()
    patterns = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")

    def part(number: int) -> ArrayDataset:
        labels = torch.arange(number) % len(classes)
        noise = torch.rand(number, *shape, generator=generator)
        pixels = (0.8 * patterns[labels] + 0.2 * noise).mul(255).to(torch.uint8)
        return ArrayDataset(pixels, labels, classes=classes)

    return part(train), part(test)
