"""`BatchLoader`: the batches of a data set as they are stored, read here or by workers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from cnnkit.data._order import BatchOrder
from cnnkit.device import Group, derived_seed
from cnnkit.errors import ArgumentError, DataError, TrainingError

__all__ = ["BatchLoader", "collated"]


class BatchLoader:
    """Batches (images, labels) of a map-style data set, on the CPU, as they are stored.

    Without workers a batch is one call of the data set's `get_batch`. Iterating never touches the
    global random state. `set_epoch` says which epoch the next pass is.

    Args:
        dataset: Anything with a length and positions; `get_batch(positions)` is used if there.
        order: Which positions make which batch.
        num_workers: Processes that read batches; 0 reads in this one.
        at_once: How many batches one call of the data set reads, without workers: gathering
            sixteen tiny batches from memory costs little more than gathering one.
    """

    def __init__(
        self, dataset: Any, order: BatchOrder, *, num_workers: int = 0, at_once: int = 1
    ) -> None:
        self.dataset = dataset
        self.order = order
        self.num_workers = num_workers
        self.at_once = at_once
        self._epoch = 0
        self._idle: _Workers | None = None

    @property
    def batch_size(self) -> int:
        """How many samples a batch has; the last one may have fewer."""
        return self.order.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            read = _reader(self.dataset)
            return (read(positions) for positions, *_ in self.order.shares(self._epoch))
        return self._from_workers(self._epoch, 0)

    def groups(self, epoch: int, start: int = 0) -> Iterator[Group]:
        """This process's part of the batches of an epoch from batch `start` on.

        Yields:
            What was read with one call, `at_once` batches without workers; how many samples of it
            each batch has; and which parts they are.
        """
        if self.num_workers:
            batches = self._from_workers(epoch, start)
            shares = self.order.shares(epoch, start)
            for batch, (_, sizes, parts) in zip(batches, shares, strict=True):
                yield batch, sizes, parts
            return
        read = _reader(self.dataset)
        for positions, sizes, parts in self.order.shares(epoch, start, self.at_once):
            yield read(positions), sizes, parts

    def end_workers(self) -> None:
        """End the processes that wait for the next pass, which starts others."""
        self._idle = None

    def _from_workers(self, epoch: int, start: int) -> Iterator[Any]:
        # Workers are kept for the next pass, but not shared with one that is still running.
        workers, self._idle = self._idle, None
        if workers is None or not workers.alive:
            _check_workers_can_start(self.dataset)
            workers = _Workers(self.dataset, self.order, self.num_workers)
        try:
            yield from workers.batches(epoch, start)
        finally:
            self._idle = workers


class _Workers:
    """Processes that read one pass at a time, and stay for the next."""

    def __init__(self, dataset: Any, order: BatchOrder, number: int) -> None:
        self._sampler = _EpochSampler(order)
        # With no generator of its own it would draw from the global random state.
        self._generator = torch.Generator()
        self._loader: DataLoader[Any] = DataLoader(
            _Batches(dataset),
            batch_size=None,
            sampler=self._sampler,
            num_workers=number,
            persistent_workers=True,
            generator=self._generator,
            worker_init_fn=_begin,
        )

    @property
    def alive(self) -> bool:
        """Whether nothing has ended them, a signal to all processes of a job, say."""
        started = getattr(self._loader, "_iterator", None)
        return all(worker.is_alive() for worker in getattr(started, "_workers", ()))

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        self._sampler.epoch, self._sampler.start = epoch, start
        self._generator.manual_seed(derived_seed(self._sampler.order.seed, epoch))
        return iter(self._loader)


def _begin(_worker: int) -> None:
    """Stay as long as the parent does.

    What asks a whole job to end reaches its group, by a terminal's Ctrl-C or a launcher's SIGTERM;
    the parent finishes its step, and needs us.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        # It was killed just now: torch would take whoever adopted us for it, and wait for ever.
        os._exit(0)


class _EpochSampler:
    """The batches of positions of an epoch, as lists, which are cheap to send, each with a seed.

    It must not know the loader: in a cycle the workers would live until Python looks for cycles.
    """

    def __init__(self, order: BatchOrder) -> None:
        self.order = order
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        shares = self.order.shares(self.epoch, self.start)
        for number, (positions, _, parts) in enumerate(shares, start=self.start):
            # Of several processes each draws its own.
            first = 0 if parts is None else parts[0].start
            seed = derived_seed(self.order.seed, self.epoch, number, first)
            yield seed, positions.tolist()


class _Batches(Dataset[Any]):
    """A data set whose items are whole batches, so that workers read with one call as well."""

    def __init__(self, dataset: Any) -> None:
        self.read = _reader(dataset)

    def __getitem__(self, one: tuple[int, list[int]]) -> Any:
        seed, positions = one
        # A transform may draw from any of these: so that what it draws follows from the batch's
        # place, whichever worker reads it, and in a run that goes on in the middle of an epoch.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return self.read(torch.tensor(positions))


class _Collated:
    """Sample by sample, for data sets that know no batches."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, positions: Tensor) -> Any:
        samples = [self.dataset[position] for position in positions.tolist()]
        return collated(samples, self.dataset)


def collated(samples: list[Any], dataset: Any) -> Any:
    """Samples as a batch.

    Raises:
        DataError: They are of different sizes, or no tensors or numbers.
    """
    try:
        return default_collate(samples)
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"samples of {type(dataset).__name__} cannot be put into a batch: {error}. Give the "
            "data set a transform that returns tensors of one size, or use "
            "ArrayDataset.from_dataset(ds)"
        ) from error


def _reader(dataset: Any) -> Any:
    return getattr(dataset, "get_batch", None) or _Collated(dataset)


def _check_workers_can_start(dataset: Any) -> None:
    """Say what is wrong here, where a worker's own error would be hard to read.

    Raises:
        TrainingError: This very process was started by importing an unguarded script.
        ArgumentError: The data set's transform cannot be sent to workers.
    """
    # multiprocessing sets this while a spawned process imports the script that started it.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise TrainingError(
            "num_workers > 0 starts processes that import this script again, and the script trains "
            'when it is imported: put its code under if __name__ == "__main__":'
        )
    if multiprocessing.get_start_method() == "fork":
        return  # a forked worker has everything already
    for name, transform in _transforms(dataset):
        try:
            pickle.dumps(transform)
        except Exception as error:  # pickle raises errors of several classes
            raise ArgumentError(
                f"the {name} cannot be sent to worker processes ({error}): a lambda or a local "
                "function cannot be pickled; define it at the top of a module, or use num_workers=0"
            ) from error


def _transforms(dataset: Any) -> Iterator[tuple[str, Any]]:
    """What a data set applies to its samples, and the one behind it where it is a view or part."""
    while dataset is not None:
        for name in ("transform", "target_transform"):
            if (transform := getattr(dataset, name, None)) is not None:
                yield name, transform
        dataset = getattr(dataset, "dataset", None)
