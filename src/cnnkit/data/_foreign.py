"""Other libraries' data sets, read into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cnnkit._images import to_mode, to_tensor
from cnnkit.data._storage import as_stored
from cnnkit.errors import DataError

__all__ = ["classes_of", "held_arrays", "read_sample"]


def classes_of(ds: Any) -> tuple[str, ...] | None:
    """Class names; None with a `target_transform`: they are those of the labels before it."""
    while not hasattr(ds, "classes") and hasattr(ds, "dataset"):
        ds = ds.dataset  # torch.utils.data.Subset
    if getattr(ds, "target_transform", None) is not None:
        return None
    classes = getattr(ds, "classes", None)
    return None if classes is None else tuple(str(name) for name in classes)


def held_arrays(ds: Any) -> tuple[Any, Any] | None:
    """The arrays inside one of torchvision's in-memory data sets, or None."""
    # A class of one's own that reads samples otherwise is read through its own method.
    reader = getattr(type(ds), "__getitem__", None)
    module = getattr(reader, "__module__", "")
    if module not in {"torchvision.datasets.mnist", "torchvision.datasets.cifar"}:
        return None
    if np.ndim(ds.targets) != 1:
        return None  # QMNIST has more than a label
    transform = getattr(ds, "transform", None)
    if type(transform).__name__ not in {"NoneType", "ToTensor", "PILToTensor"}:
        return None
    if getattr(ds, "target_transform", None) is not None:
        return None
    return ds.data, ds.targets


def read_sample(ds: Any, position: int) -> tuple[Tensor, int]:
    sample = ds[position]
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise DataError(
            f"expected samples of (image, label), sample {position} is {type(sample).__name__}"
        )
    image, label = sample
    if isinstance(image, Image.Image):
        image = to_tensor(to_mode(image, "L" if image.mode in {"1", "L", "I", "I;16"} else "RGB"))
    if isinstance(image, np.ndarray):
        image = as_stored(image[None])[0]
    if not isinstance(image, Tensor):
        raise DataError(
            f"image {position} is {type(image).__name__}: expected a Pillow image, tensor or array"
        )
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = None
    if number is None or number != label:
        raise DataError(f"label {position} is no integer: {label!r}")
    return image, number
