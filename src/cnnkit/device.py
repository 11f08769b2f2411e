"""Where computing happens, and the only place where data moves there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, NamedTuple, SupportsInt, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, SequentialSampler

from cnnkit._device_info import DeviceInfo as DeviceInfo
from cnnkit._device_info import info_of
from cnnkit._pixels import scaled
from cnnkit.distributed import local_rank, share, world_size
from cnnkit.errors import DataError
from cnnkit.preprocess import Preprocess
from cnnkit.types import Augmentation, Batch

__all__ = ["DeviceDataLoader", "DeviceInfo", "default_device", "device_info", "to_device"]

T = TypeVar("T")


class Part(NamedTuple):
    """Which samples of a batch these are, where several processes share it.

    Attributes:
        size: How many.
        start: Where they begin in the batch.
        total: Samples of the whole batch.
        counts: False for a sample that stands in where there is none for this process.
    """

    size: int
    start: int
    total: int
    counts: bool = True

    @classmethod
    def of(cls, total: int, usual: int | None = None) -> Part:
        """This process's part of a batch of so many samples.

        Where a small batch has none for it, its first samples stand in, and count for nothing:
        without any the process could not take part in the step.

        Args:
            total: How many.
            usual: In the other batches. Where those have two for every process, none is given a
                single one here, with which batch normalisation cannot train.
        """
        least = 2 if 1 < total < 2 * world_size() <= (usual or 0) else 1
        first, last = share(total // least)
        start = least * first
        stop = total if last == total // least > first else least * last
        if stop > start:
            return cls(stop - start, start, total)
        return cls(least, 0, total, False)


def parts_of(totals: Sequence[int], usual: int) -> list[Part] | None:
    """This process's part of each batch; None where it is alone, and all of them are whole."""
    return None if world_size() == 1 else [Part.of(total, usual) for total in totals]


#: Batches that were read with one call, how many samples each has, and which parts they are; None
#: where each is whole.
Group: TypeAlias = "tuple[Batch, Sequence[int], Sequence[Part] | None]"


class Share(tuple[Tensor, Tensor]):
    """A batch (images, labels) that is a part of one which several processes share.

    Attributes:
        part: Which one.
    """

    part: Part

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, part: Part) -> Share:
        """These samples, which are that part."""
        made = cls((images, labels))
        made.part = part
        return made


def stands_in(batch: Batch) -> bool:
    """Whether a batch counts for nothing, because another process has its samples."""
    return isinstance(batch, Share) and not batch.part.counts


def default_device() -> torch.device:
    """The accelerator that is available (cuda, mps or another one), else the CPU.

    Of several processes on a machine, each has an accelerator of its own.

    Example:
        >>> default_device().type in {"cpu", "cuda", "mps", "xpu"}
        True
    """
    # A CUDA build names "cuda" as its accelerator on a machine without one: ask for availability.
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        if device is not None:
            if world_size() == 1:
                return device
            return torch.device(device.type, local_rank() % torch.accelerator.device_count())
    return torch.device("cpu")


def device_info(device: torch.device | str | None = None) -> DeviceInfo:
    """What a device is, to note beside a run: name, memory, torch, CUDA, threads.

    Args:
        device: By default the one that a run takes, `default_device()`.

    Returns:
        `DeviceInfo`, which prints readably.

    Raises:
        ArgumentError: There is no such device on this machine.

    Example:
        >>> info = device_info("cpu")
        >>> info.device, info.threads == torch.get_num_threads()
        ('cpu', True)
    """
    return info_of(default_device() if device is None else torch.device(device))


def to_device(obj: T, device: torch.device | str) -> T:
    """Move tensors, modules, and nested tuples, lists and dicts of them.

    Args:
        obj: What to move; anything that is none of these is returned as it is.
        device: Where to.

    Returns:
        The same structure on `device`. A module is moved in place, as `Module.to` does.

    Example:
        >>> to_device({"x": [torch.ones(2)], "name": "a"}, "meta")["x"][0].device
        device(type='meta')
    """
    moved: T = _moved(obj, torch.device(device))
    return moved


def _moved(obj: Any, device: torch.device) -> Any:
    if isinstance(obj, Tensor):
        return obj.to(device, non_blocking=device.type != "cpu")  # to the CPU nothing would wait
    if isinstance(obj, nn.Module):
        return obj.to(device)
    if isinstance(obj, Mapping):
        moved = {key: _moved(value, device) for key, value in obj.items()}
        try:
            return type(obj)(moved)  # type: ignore[call-arg]
        except TypeError:  # a defaultdict, say, wants something else first
            return moved
    if isinstance(obj, tuple) and hasattr(obj, "_fields"):
        return type(obj)(*(_moved(value, device) for value in obj))
    if isinstance(obj, (tuple, list)):
        return type(obj)(_moved(value, device) for value in obj)
    return obj


def derived_seed(*parts: SupportsInt) -> int:
    """A 63-bit seed that is a function of these numbers and of nothing else."""
    numbers = tuple(int(part) for part in parts)  # numpy's numbers have another repr
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class DeviceDataLoader:
    """Batches of any loader, moved to a device, scaled, augmented and normalised there.

    uint8 images become float32 in [0, 1], then the augmentations run, then the normalisation, once
    a batch and on the device. Float images are not scaled. On CUDA the next batch is copied from
    pinned memory while the present one is computed.

    The draws of the augmentations are a function of (seed, epoch, position of the batch): made on
    the CPU with a generator of their own, they are the same on any device and for any number of
    workers. Each pass over the loader is the next epoch; `set_epoch` says which.

    Args:
        loader: Any iterable of batches ``(images, labels)``, such as a `DataLoader`.
        device: Where batches go; by default `default_device()`.
        preprocess: Normalisation; None scales uint8 images to [0, 1] and no more.
        augment: Called in turn as ``(images, generator) -> images`` on float images in [0, 1].
        seed: Of the augmentations.

    Raises:
        DataError: A batch is not a pair of tensors (images, labels) of one length.

    Example:
        >>> batch = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
        >>> images, labels = next(iter(DeviceDataLoader([batch], "cpu")))
        >>> images.dtype, tuple(labels.shape)
        (torch.float32, (4,))
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device | str | None = None,
        *,
        preprocess: Preprocess | None = None,
        augment: Augmentation | Sequence[Augmentation] = (),
        seed: int = 0,
    ) -> None:
        self.loader = loader
        self.device = default_device() if device is None else torch.device(device)
        self.preprocess = preprocess
        self.augment: tuple[Augmentation, ...] = (augment,) if callable(augment) else tuple(augment)
        self.seed = seed
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """The epoch that the next pass will be."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is: order and augmentation follow from it."""
        self._epoch = epoch

    @property
    def dataset(self) -> Any:
        """The data set behind the loader, or None where it has none."""
        return getattr(self.loader, "dataset", None)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names of the data set, or None where they are not known."""
        if getattr(self.dataset, "target_transform", None) is not None:
            return None  # the names are those of the labels before it
        classes = getattr(self.dataset, "classes", None)
        return None if classes is None else tuple(str(name) for name in classes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images, or the shape of one sample's features."""
        if self.preprocess is not None:
            return self.preprocess.image_shape
        shape = getattr(self.dataset, "image_shape", None)
        if shape is not None:
            return tuple(shape)
        # A foreign data set may draw random numbers for a sample: leave no trace of having looked.
        with torch.random.fork_rng(devices=[]):
            images, _ = _as_batch(next(iter(self.loader)))
        return tuple(images.shape[1:])

    def __len__(self) -> int:
        if isinstance(self.loader, Sized):
            return len(self.loader)
        raise TypeError(
            f"the wrapped {type(self.loader).__name__} does not know how many batches it has"
        )

    def __iter__(self) -> Iterator[Batch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from batch `start` on, as a run that goes on asks for them.

        A loader of `make_loader` begins there; of a foreign one the batches before are read and
        left out, so that its own random draws are those of a whole pass.
        """
        for holder in (self.loader, *(getattr(self.loader, n, None) for n in _SAMPLERS)):
            set_epoch = getattr(holder, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        groups: Callable[[int, int], Iterator[Group]] | None = getattr(self.loader, "groups", None)
        if groups is None:
            self._check_order()
            batches = map(_as_batch, iter(self.loader))
            for _ in islice(batches, start):
                pass
            return self._prepared(map(self._shared, batches), epoch, start)
        read = ((_as_batch(batch), sizes, parts) for batch, sizes, parts in groups(epoch, start))
        return self._prepared(read, epoch, start)

    def _end_workers(self) -> None:
        """End the processes that a loader of `make_loader` keeps between two passes."""
        end = getattr(self.loader, "end_workers", None)
        if end is not None:
            end()

    @property
    def _gives_shares(self) -> bool:
        """Whether a foreign loader gives each process samples of its own (`DistributedSampler`)."""
        return any(hasattr(one, "num_replicas") for one in self._samplers())

    def _samplers(self) -> list[Any]:
        """Whatever says in which order a foreign loader reads."""
        held = [getattr(self.loader, name, None) for name in _SAMPLERS]
        held.append(getattr(held[-1], "sampler", None))
        return [one for one in held if one is not None]

    def _check_order(self) -> None:
        """See that a foreign loader gives every process the same batches, or each its own.

        Raises:
            DataError: Each process would see another order.
        """
        if world_size() == 1 or self._gives_shares:
            return
        plain = (SequentialSampler, Sequence)  # in the order of the data set, or one that is given
        ordered = [
            isinstance(one.sampler if type(one) is BatchSampler else one, plain)
            for one in self._samplers()
        ]
        if not all(ordered):
            raise DataError(
                "several processes train together, and this loader may give each another order: "
                "use make_loader, a DataLoader with a DistributedSampler, or one that does not "
                "shuffle"
            )

    def _shared(self, batch: Batch) -> Group:
        """This process's part of a foreign loader's batch."""
        images, labels = batch
        if world_size() == 1 or self._gives_shares:
            return batch, [len(labels)], None
        part = Part.of(len(labels), getattr(self.loader, "batch_size", None))
        rows = slice(part.start, part.start + part.size)
        return (images[rows], labels[rows]), [part.size], [part]

    def _prepared(self, groups: Iterator[Group], epoch: int, position: int) -> Iterator[Batch]:
        """Groups of batches as single ones, ready for the model."""
        move = self._one_ahead if self.device.type == "cuda" else self._each
        for (images, labels), sizes, parts in move(groups):
            if not self.augment:
                images = self._normalised(images)  # a whole group at once
            batches = zip(images.split(sizes), labels.split(sizes), strict=True)
            if parts is None and not self.augment:
                yield from batches
                continue
            given = parts or [Part(size, 0, size) for size in sizes]
            for part, (some, names) in zip(given, batches, strict=True):
                if self.augment:
                    some = self._augmented(some, epoch, position, part)
                whole = part.size == part.total and part.counts
                yield (some, names) if whole else Share.of(some, names, part)
                position += 1

    def _augmented(self, images: Tensor, epoch: int, position: int, part: Part) -> Tensor:
        images = scaled(images, one_thread=self._has_workers)
        generator = _Shard().manual_seed(derived_seed(self.seed, epoch, position))
        generator.shard = (part.start, part.total)  # type: ignore[attr-defined]
        for augmentation in self.augment:
            images = augmentation(images, generator)
        return self._normalised(images)

    def _normalised(self, images: Tensor) -> Tensor:
        if self.preprocess is None:
            return scaled(images, one_thread=self._has_workers)
        return self.preprocess(images, one_thread=self._has_workers)

    @property
    def _has_workers(self) -> bool:
        return bool(getattr(self.loader, "num_workers", 0))

    def _each(self, groups: Iterator[Group]) -> Iterator[Group]:
        for (images, labels), sizes, parts in groups:
            yield (_moved(images, self.device), _moved(labels, self.device)), sizes, parts

    def _one_ahead(self, groups: Iterator[Group]) -> Iterator[Group]:
        """Copy the next group on a stream of its own while the present one is computed."""
        side = torch.cuda.Stream(self.device)

        def start(group: Group) -> Group:
            pinned = [part if part.is_cuda else part.pin_memory() for part in group[0]]
            with torch.cuda.stream(side):
                images, labels = (part.to(self.device, non_blocking=True) for part in pinned)
            return (images, labels), group[1], group[2]

        ahead = [start(group) for group in islice(groups, 1)]
        while ahead:
            present = ahead.pop()
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(side)
            for part in present[0]:
                part.record_stream(current)  # freed only when the consumer's stream is done with it
            ahead = [start(group) for group in islice(groups, 1)]
            yield present


class _Shard(torch.Generator):
    """A generator that can be told which samples of a batch its numbers are for."""


_SAMPLERS = ("sampler", "batch_sampler")


def _as_batch(batch: Any) -> Batch:
    """The pair (images, labels), or an error that says what came instead."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise DataError(
            "expected batches of two parts, (images, labels), received "
            f"{type(batch).__name__}{f' of {len(batch)} parts' if isinstance(batch, Sized) else ''}"
        )
    images, labels = batch
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise DataError(
            "expected batches of two tensors, (images, labels), received "
            f"({type(images).__name__}, {type(labels).__name__})"
        )
    if not images.ndim or not labels.ndim:
        raise DataError("expected batches of images and labels, received a single image or label")
    if len(images) != len(labels):
        raise DataError(
            f"a batch has {len(images)} images but {len(labels)} labels: give one label an image"
        )
    if labels.dtype != torch.int64 and not labels.is_floating_point():
        labels = labels.long()  # the losses take no other integers
    return images, labels
