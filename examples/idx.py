"""Read MNIST and its kin: a folder of IDX files, or torchvision's download."""

import gzip
from pathlib import Path

import numpy as np

from cnnkit.data import ArrayDataset
from cnnkit.errors import NotFoundError

MNIST = tuple("0123456789")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load(name: str, folder: Path | None, classes: tuple[str, ...]) -> tuple[ArrayDataset, ...]:
    """The training and the test part of "MNIST" or "FashionMNIST".

    Args:
        name: The data set's name in torchvision.
        folder: Holds the four IDX files, gzipped or not; None downloads through torchvision.
        classes: Class names in the order of the labels.
    """
    if folder is None:
        from torchvision import datasets

        source = getattr(datasets, name)
        parts = [source("data", train=train, download=True) for train in (True, False)]
        return tuple(ArrayDataset(ds.data, ds.targets, classes=classes) for ds in parts)
    return tuple(
        ArrayDataset(
            read(folder, f"{part}-images-idx3-ubyte"),
            read(folder, f"{part}-labels-idx1-ubyte"),
            classes=classes,
        )
        for part in ("train", "t10k")
    )


def read(folder: Path, name: str) -> np.ndarray:
    """One IDX file: two zero bytes, the type, the number of dimensions, their sizes, the data."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            dimensions = content[3]
            shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
            return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    raise NotFoundError(f"expected the four IDX files in {folder}, but {name}[.gz] is not there")
