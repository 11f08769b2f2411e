"""Some images of a batch, a loader or a data set, and their pixels as they can be shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cnnkit.data._foreign import classes_of, read_sample
from cnnkit.device import DeviceDataLoader
from cnnkit.distributed import alone
from cnnkit.errors import ArgumentError, DataError
from cnnkit.plot._tiles import at_most
from cnnkit.preprocess import Preprocess

__all__ = ["Samples", "class_name", "data_set_of", "pick", "pixels_of"]

_SHOWN = {1: "grey", 3: "colour", 4: "colour and transparency"}
_OUTSIDE = 0.05  # how far a resizing filter may overshoot [0, 1]


class Samples(NamedTuple):
    """Images (C, H, W), uint8 or float, with what is known of them."""

    images: list[Tensor]
    labels: list[int]
    classes: tuple[str, ...] | None
    preprocess: Preprocess | None  # that float images went through, where it is known

    @property
    def names(self) -> list[str]:
        """The class name of each image."""
        return [class_name(label, self.classes) for label in self.labels]

    @property
    def pixels(self) -> list[np.ndarray[Any, Any]]:
        """The images for `imshow`."""
        return pixels_of(self.images, self.preprocess)


def pick(
    source: Any,
    number: int,
    *,
    seed: int | None,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
) -> Samples:
    """The first images of a batch, of a loader's next batch, or of a data set; with a seed, random.

    Looking leaves no trace: neither in a loader's epoch nor in torch's random state.

    Raises:
        ArgumentError: The source is none of these, or `number` is not positive.
        DataError: There are no images, or labels of another number.
    """
    at_most("number", number)
    with torch.random.fork_rng(devices=[]):  # of foreign loaders and transforms
        if _is_batch(source):
            found = _of_batch(source, number, seed)
        elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):
            found = _of_dataset(source, number, seed)
        elif isinstance(source, Iterable):
            found = _of_loader(source, number, seed)
        else:
            raise ArgumentError(
                "expected a batch (images, labels), a loader or a data set, received "
                f"{type(source).__name__}"
            )
    if not found.images:
        raise DataError(f"this {type(source).__name__} has no images: there is nothing to draw")
    if classes is not None:
        found = found._replace(classes=tuple(str(name) for name in classes))
    return found if preprocess is None else found._replace(preprocess=preprocess)


def class_name(label: int, classes: tuple[str, ...] | None) -> str:
    """The name of a label; the label itself where classes have no names.

    Raises:
        DataError: The label is outside the classes.
    """
    if classes is None:
        return str(label)
    if not 0 <= label < len(classes):
        raise DataError(
            f"label {label} is outside the {len(classes)} classes {classes}: labels go from 0 to "
            f"{len(classes) - 1}"
        )
    return classes[label]


def pixels_of(
    images: Sequence[Tensor], preprocess: Preprocess | None
) -> list[np.ndarray[Any, Any]]:
    """uint8 (H, W) or (H, W, channels) of each image, float ones un-normalised.

    Raises:
        DataError: An image has no pixels, another number of channels, or values that are no
            colours.
    """
    shown = []
    for position, image in enumerate(images):
        if image.ndim == 2:
            image = image[None]
        if not image.numel():
            raise DataError(
                f"image {position} has no pixels, its shape is {tuple(image.shape)}: leave it out, "
                "or look for the crop that left nothing of it"
            )
        if image.ndim != 3 or image.shape[0] not in _SHOWN:
            raise DataError(
                f"expected images of shape (channels, height, width) with {list(_SHOWN)} channels, "
                f"image {position} has shape {tuple(image.shape)}"
            )
        if image.dtype != torch.uint8:
            image = _as_uint8(image, preprocess, position)
        array = image.cpu().permute(1, 2, 0).numpy()
        shown.append(array[:, :, 0] if array.shape[2] == 1 else array)
    return shown


def _as_uint8(image: Tensor, preprocess: Preprocess | None, position: int) -> Tensor:
    if not bool(image.isfinite().all()):
        raise DataError(f"image {position} has values that are no numbers")
    image = image.detach().float()
    if preprocess is not None:
        image = preprocess.denormalise(image)
    low, high = float(image.min()), float(image.max())
    if low < -_OUTSIDE or high > 1 + _OUTSIDE:
        raise DataError(
            f"image {position} has values from {low:.3g} to {high:.3g}, expected 0 to 1: if it is "
            "normalised, pass preprocess=, the Preprocess that did it (a loader of make_loader "
            "knows it), otherwise scale it first"
        )
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _is_batch(source: Any) -> bool:
    pair = isinstance(source, (tuple, list)) and len(source) == 2
    return pair and all(isinstance(part, Tensor) for part in source)


def _chosen(length: int, number: int, seed: int | None) -> list[int]:
    """Positions: the first ones, or with a seed random ones."""
    if seed is None:
        return list(range(min(number, length)))
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(length, generator=generator)[:number].tolist()


def _of_batch(batch: Any, number: int, seed: int | None) -> Samples:
    images, labels = batch
    if images.ndim == 3 and labels.ndim == 0:
        images, labels = images[None], labels[None]  # one sample of a data set
    if labels.ndim != 1 or images.ndim != 4 or len(images) != len(labels):
        raise DataError(
            "expected a batch of images (N, C, H, W) and one label an image (N,), received "
            f"{tuple(images.shape)} and {tuple(labels.shape)}"
        )
    rows = _chosen(len(images), number, seed)
    chosen = [_integer(labels[row].item(), row) for row in rows]
    return Samples([images[row] for row in rows], chosen, None, None)


def _integer(label: float, position: int) -> int:
    if label != int(label):
        raise DataError(f"label {position} is no integer: {label}")
    return int(label)


def _of_dataset(ds: Any, number: int, seed: int | None) -> Samples:
    samples = [read_sample(ds, position) for position in _chosen(len(ds), number, seed)]
    return Samples([image for image, _ in samples], [y for _, y in samples], classes_of(ds), None)


def _of_loader(source: Iterable[Any], number: int, seed: int | None) -> Samples:
    loader = source if isinstance(source, DeviceDataLoader) else DeviceDataLoader(source, "cpu")
    epoch = loader.epoch
    try:
        with alone():  # of several processes, a picture shows a whole batch
            batch = next(iter(loader), None)
    finally:
        loader.set_epoch(epoch)
    if batch is None:
        return Samples([], [], None, None)
    found = _of_batch(batch, number, seed)
    return found._replace(classes=classes_of(loader.dataset), preprocess=loader.preprocess)


def data_set_of(source: Any) -> Any:
    """The data set of a loader, ours or torch's, or the data set that was given."""
    return source.dataset if isinstance(source, (DeviceDataLoader, DataLoader)) else source
