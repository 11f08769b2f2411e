"""From a data set to batches on the device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cnnkit._pixels import VALUES_AT_ONCE
from cnnkit.data._arrays import ArrayDataset
from cnnkit.data._batches import BatchLoader
from cnnkit.data._folder import ImageFolder
from cnnkit.data._memory import available_memory
from cnnkit.data._order import BatchOrder
from cnnkit.data._split import Split
from cnnkit.data._view import as_labelled, own_part
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, DataError
from cnnkit.preprocess import Preprocess
from cnnkit.types import Augmentation

__all__ = ["Loaders", "cached", "class_weights", "make_loader", "make_loaders"]

Cache = Literal["auto", "memory", "off"]
_CACHE_SHARE = 0.25  # of the available memory: what decoded images may take unasked


@dataclass(frozen=True)
class Loaders:
    """The loaders of one split; `val` and `test` are None where the split has no such part."""

    train: DeviceDataLoader
    val: DeviceDataLoader | None = None
    test: DeviceDataLoader | None = None


def make_loader(
    ds: Any,
    batch_size: int,
    *,
    shuffle: bool = False,
    balanced: bool = False,
    augment: Augmentation | Sequence[Augmentation] = (),
    preprocess: Preprocess | None = None,
    device: torch.device | str | None = None,
    num_workers: int = 0,
    cache: Cache = "auto",
    seed: int = 0,
) -> DeviceDataLoader:
    """Batches of a data set on the device, scaled, augmented and normalised there.

    The order is a function of (seed, epoch), the augmentation of (seed, epoch, position): the same
    for any number of workers and any device.

    Args:
        ds: An `ImageFolder`, an `ArrayDataset`, a part of one, or any map-style data set.
        batch_size: Samples a batch; the last one may have fewer.
        shuffle: Draw a new order each epoch. A shuffled loader never yields a batch of one: it
            joins the one before.
        balanced: Draw samples so that each class comes equally often, with replacement.
        augment: Called as ``(images, generator) -> images`` on float images in [0, 1].
        preprocess: Normalisation; None scales uint8 images to [0, 1] and no more.
        device: Where batches go; by default `default_device()`.
        num_workers: Processes that read batches.
        cache: Keep the decoded images of an `ImageFolder` in memory: "auto" does where they take
            at most a quarter of what is available and there are no workers, "memory" always,
            "off" reads the files each epoch.
        seed: Of order and augmentation.

    Raises:
        ArgumentError: batch_size or another choice makes no sense, or `preprocess` says that the
            images were read otherwise than they were.
        DataError: The data set is empty, or a class to be balanced has no samples.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> ds = ArrayDataset(torch.zeros(5, 8, 8, dtype=torch.uint8), [0, 1, 0, 1, 0])
        >>> [len(labels) for images, labels in make_loader(ds, 2, device="cpu")]
        [2, 2, 1]
        >>> [len(labels) for images, labels in make_loader(ds, 2, shuffle=True, device="cpu")]
        [2, 3]
    """
    if cache not in get_args(Cache):
        raise ArgumentError(f"cache must be one of {get_args(Cache)}, received {cache!r}")
    if len(ds) == 0:
        raise DataError("a loader needs at least one sample, received an empty data set")
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ArgumentError(f"num_workers must be an int, 0 or more, received {num_workers}")
    ds = cached(ds, cache, num_workers)
    if preprocess is not None:
        _check_reading(ds, preprocess)
    weights = _sample_weights(ds) if balanced else None
    order = BatchOrder(len(ds), batch_size, shuffle=shuffle, weights=weights, seed=seed)
    return DeviceDataLoader(
        BatchLoader(ds, order, num_workers=num_workers, at_once=_at_once(ds, batch_size)),
        device,
        preprocess=preprocess or getattr(ds, "preprocess", None),
        augment=augment,
        seed=seed,
    )


def make_loaders(
    split: Split[Any],
    batch_size: int,
    *,
    augment: Augmentation | Sequence[Augmentation] = (),
    preprocess: Preprocess | Literal["fit"] | None = "fit",
    balanced: bool = False,
    device: torch.device | str | None = None,
    num_workers: int = 0,
    cache: Cache = "auto",
    seed: int = 0,
) -> Loaders:
    """The loaders of a split: train shuffled and augmented, val and test neither.

    Args:
        split: Of `train_val_split` or `k_fold`.
        batch_size: Samples a batch; the last one may have fewer.
        augment: For the training part only.
        preprocess: "fit" measures mean and standard deviation on the training part; None scales
            uint8 images to [0, 1] and no more. Float features are taken as they are.
        balanced: Draw training samples so that each class comes equally often.
        device: Where batches go; by default `default_device()`.
        num_workers: Processes that read batches, for each loader.
        cache: As for `make_loader`.
        seed: Of order and augmentation.

    Returns:
        `Loaders` with `train`, `val` and `test`, which share one `Preprocess`.

    Example:
        >>> from cnnkit.data import ArrayDataset, train_val_split
        >>> ds = ArrayDataset(torch.zeros(20, 8, 8, dtype=torch.uint8), [0, 1] * 10)
        >>> loaders = make_loaders(train_val_split(ds, val=0.2, test=0.2), 4, device="cpu")
        >>> len(loaders.train), len(loaders.val), len(loaders.test)
        (3, 1, 1)
    """
    if isinstance(preprocess, str) and preprocess != "fit":
        raise ArgumentError(
            f'preprocess must be a Preprocess, None or "fit", received {preprocess!r}'
        )
    train = cached(split.train, cache, num_workers)
    if preprocess == "fit":
        preprocess = Preprocess.fit(train) if getattr(train, "preprocess", None) else None
    common: dict[str, Any] = {
        "preprocess": preprocess,
        "device": device,
        "num_workers": num_workers,
        "cache": cache,
        "seed": seed,
    }
    parts = [
        None if part is None else make_loader(part, batch_size, **common)
        for part in (split.val, split.test)
    ]
    return Loaders(
        make_loader(train, batch_size, shuffle=True, augment=augment, balanced=balanced, **common),
        *parts,
    )


def class_weights(ds: Any) -> Tensor:
    """Weights for the loss of an imbalanced data set: N / (C · count), float32 (C,).

    The mean weight of a sample is 1, as in scikit-learn's "balanced".

    Raises:
        DataError: A class has no samples.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> ds = ArrayDataset(torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 0, 0, 1])
        >>> class_weights(ds)
        tensor([0.6667, 2.0000])
    """
    ds = _with_own_labels(ds)
    if not hasattr(ds, "targets") or not hasattr(ds, "classes"):
        raise DataError(
            f"weighting classes needs targets and classes, which {type(ds).__name__} has not: "
            "use ArrayDataset.from_dataset(ds)"
        )
    targets = torch.as_tensor(ds.targets).cpu()
    counts = torch.bincount(targets, minlength=len(ds.classes))
    absent = [name for name, count in zip(ds.classes, counts.tolist(), strict=True) if not count]
    if absent:
        raise DataError(f"the classes {absent} have no samples: there is nothing to weight")
    return (len(targets) / (len(counts) * counts.double())).float()


def _check_reading(ds: Any, preprocess: Preprocess) -> None:
    """Refuse to ship another reading than the one that is trained on.

    Raises:
        ArgumentError: Data set and preprocess differ in size, mode, resizing or decoding.
    """
    read: Preprocess | None = getattr(ds, "reading", None)
    if read is None:
        return  # not known: the images were given as an array
    theirs, ours = preprocess.to_dict(), read.to_dict()
    different = [key for key in ours if key not in ("mean", "std") and ours[key] != theirs[key]]
    if different:
        shown = ", ".join(f"{key}={ours[key]!r} and {theirs[key]!r}" for key in different)
        raise ArgumentError(
            "the data set and preprocess= do not read images alike, so a classifier would see "
            f"other pixels than it was trained on: {shown}; open the data set with those of "
            'preprocess, such as ImageFolder(…, resize="crop")'
        )


def _at_once(ds: Any, batch_size: int) -> int:
    """How many batches are worth reading with one call, of images in memory.

    Several small ones cost little more than one of them, as long as they are converted in one.
    """
    if not isinstance(ds, ArrayDataset):
        return 1
    values = batch_size * torch.Size(ds.image_shape).numel()
    return max(1, VALUES_AT_ONCE // max(1, values))


def _sample_weights(ds: Any) -> Tensor:
    ds = _with_own_labels(ds)
    return class_weights(ds).double()[torch.as_tensor(ds.targets).cpu()]


def _with_own_labels(ds: Any) -> Any:
    """The data set, or a view that says the labels it gives after its `target_transform`."""
    changed = getattr(ds, "target_transform", None) is not None
    return as_labelled(ds) if changed else own_part(ds)


def cached(ds: Any, cache: Cache, num_workers: int) -> Any:
    """The images of a folder as an array where they are to be kept in memory; else `ds` itself."""
    ds = own_part(ds)
    if not isinstance(ds, ImageFolder) or cache == "off":
        return ds
    if cache == "auto":
        if ds.preprocess is None:
            return ds
        needed = len(ds) * torch.Size(ds.preprocess.image_shape).numel()
        available = available_memory()
        if num_workers or available is None or needed > available * _CACHE_SHARE:
            return ds
    return ds.to_array(workers=os.cpu_count())
