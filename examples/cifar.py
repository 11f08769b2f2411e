"""Read CIFAR-10: torchvision's download, or a zip or folder of images in class folders."""

from pathlib import Path

from cnnkit.data import ArrayDataset, ImageFolder

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def load(source: Path | None) -> tuple[ArrayDataset, ArrayDataset]:
    """The training and the test part, 50,000 and 10,000 images of 3x32x32.

    Args:
        source: A zip or folder that holds train/ and test/ with a folder a class; None downloads
            through torchvision.
    """
    if source is None:
        from torchvision import datasets

        parts = [datasets.CIFAR10("data", train=train, download=True) for train in (True, False)]
        return ArrayDataset.from_dataset(parts[0]), ArrayDataset.from_dataset(parts[1])
    if source.is_dir():
        train, test = (ImageFolder(found(source, part)) for part in ("train", "test"))
    else:
        train, test = (ImageFolder.from_zip(source, folder=part) for part in ("train", "test"))
    return train.to_array(), test.to_array()


def found(source: Path, part: str) -> Path:
    """`part` in this folder, or in a folder below it."""
    here = source / part
    return here if here.is_dir() else next(source.glob(f"*/{part}"), here)
