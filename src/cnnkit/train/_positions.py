"""Where the samples that a loader yields stand in its data set, whatever its order."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from cnnkit.data._batches import BatchLoader
from cnnkit.data._view import DatasetView
from cnnkit.device import DeviceDataLoader
from cnnkit.types import Batch

__all__ = ["in_known_order", "paths_of"]


def in_known_order(
    loader: DeviceDataLoader,
) -> tuple[Iterable[Batch], Callable[[], Tensor | None]]:
    """The next pass over a loader, and what tells its order afterwards.

    A loader of `make_loader` knows its order. A `DataLoader` of a data set with positions is asked
    which it will read, and they are read then. Of anything else the order is not known.

    Returns:
        The batches; and a function that gives the position in the data set of each sample that
        came, int64 (N,), or None where that is not known.
    """
    inner: Any = loader.loader
    if isinstance(inner, BatchLoader):
        shares = inner.order.shares(loader.epoch)
        rows = [positions for positions, part in shares if part.counts]
        return loader, lambda: torch.cat(rows) if rows else None
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
        self.drawn = chosen.get("sampler") or chosen["batch_sampler"]
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
