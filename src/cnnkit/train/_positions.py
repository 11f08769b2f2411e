"""Where the samples that a loader yields stand in its data set, whatever its order."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from cnnkit.data._batches import BatchLoader
from cnnkit.data._view import DatasetView
from cnnkit.device import DeviceDataLoader, Part, Share
from cnnkit.distributed import world_size
from cnnkit.metrics._details import IndicesInto
from cnnkit.types import Batch

__all__ = ["in_known_order", "paths_of"]


def in_known_order(
    loader: DeviceDataLoader,
) -> tuple[Iterable[Batch], Callable[[], Places]]:
    """The next pass over a loader, and what tells afterwards where its samples stand.

    A loader of `make_loader` knows its order. A `DataLoader` of a data set with positions is asked
    which it will read, and they are read then. Of anything else the order is not known.

    Returns:
        The batches; and a function that gives the places of the samples that came.
    """
    batches, order = _with_order(loader)
    if world_size() == 1 or loader._gives_shares:
        return batches, lambda: Places(order(), "dataset")
    came = _Came()

    def places() -> Places:
        in_loader, whole = came.places(), order()
        if whole is None or len(whole) != came.total:
            return Places(in_loader, "loader")
        return Places(whole[in_loader], "dataset")

    return came.noted(batches), places


class Places(NamedTuple):
    """Where samples stand, int64 (N,), or None where that is not known; and in what."""

    positions: Tensor | None
    into: IndicesInto


class _Came:
    """Notes which of the loader's samples came to this process, of several."""

    def __init__(self) -> None:
        self.total = 0
        self._rows: list[Tensor] = []

    def noted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            number = len(batch[1])
            part = batch.part if isinstance(batch, Share) else Part(number, 0, number)
            if part.counts:
                first = self.total + part.start
                self._rows.append(torch.arange(first, first + part.size))
            self.total += part.total
            yield batch

    def places(self) -> Tensor:
        return torch.cat([torch.empty(0, dtype=torch.int64), *self._rows])


def _with_order(
    loader: DeviceDataLoader,
) -> tuple[Iterable[Batch], Callable[[], Tensor | None]]:
    """The next pass, and what tells its order afterwards, int64 (N,), where that is known."""
    inner: Any = loader.loader
    if isinstance(inner, BatchLoader):
        epoch = loader.epoch
        return loader, lambda: inner.order.positions(epoch)
    if not _is_plain(inner):
        return loader, lambda: None
    drawn = _DrawnFirst(inner)
    twin = copy.copy(loader)
    twin.loader = drawn
    loader.set_epoch(loader.epoch + 1)  # as if the pass were its own
    return twin, drawn.order


def paths_of(dataset: Any, positions: Sequence[int]) -> list[str] | None:
    """The files of these samples, or None where the data set does not know them.

    cnnkit's data sets know theirs, and torchvision's folders do, also behind a view or a `Subset`.
    """
    if isinstance(dataset, (Subset, DatasetView)):
        indices = dataset.indices
        return paths_of(dataset.dataset, [int(indices[position]) for position in positions])
    paths = getattr(dataset, "paths", None)
    if isinstance(paths, list):
        return [os.fspath(paths[position]) for position in positions]
    samples = getattr(dataset, "samples", None)  # of (path, label)
    if not isinstance(samples, list):
        return None
    found = [samples[position][0] for position in positions]
    return found if all(isinstance(path, str) for path in found) else None


class _DrawnFirst:
    """A `DataLoader` whose order is drawn as a whole before the first sample is read.

    A sampler draws anew each time that it is asked: so this asks once, and reads by the answer.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        # `DeviceDataLoader` tells both which epoch it is.
        self.sampler = loader.sampler
        self.batch_sampler = loader.batch_sampler
        self.drawn: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        loader = self.loader
        chosen: dict[str, Any] = {}
        if self.batch_sampler is None:  # the sampler itself gives batches
            chosen["batch_size"], chosen["sampler"] = None, list(self.sampler)
        else:
            chosen["batch_sampler"] = list(self.batch_sampler)
        self.drawn = chosen["sampler"] if "sampler" in chosen else chosen["batch_sampler"]
        reader: DataLoader[Any] = DataLoader(
            loader.dataset,
            **chosen,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
        )
        return iter(reader)

    def order(self) -> Tensor | None:
        """Positions of what was read, int64 (N,); None where they are no integers."""
        try:
            batches = [torch.as_tensor(batch) for batch in self.drawn]
        except (TypeError, ValueError, RuntimeError):  # names, say
            return None
        if any(batch.ndim != 1 or batch.is_floating_point() for batch in batches):
            return None
        return torch.cat(batches).long()


def _is_plain(loader: Any) -> bool:
    """Whether it reads just what its sampler says, in that order."""
    return (
        isinstance(loader, DataLoader)
        and not isinstance(loader.dataset, IterableDataset)
        and type(loader).__iter__ is DataLoader.__iter__
    )
