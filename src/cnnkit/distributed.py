"""Several processes that train together: who is who, and what they tell each other.

Started by ``torchrun``, a script's processes join at the first question asked here, and leave when
they end. In a script that was started otherwise there is one process, and everything here returns
at once. Nothing outside this module and the training loop asks which process it is.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as torch_distributed

from cnnkit.errors import TrainingError

__all__ = [
    "all_reduce_sum",
    "any_of_us",
    "barrier",
    "broadcast",
    "gather",
    "is_main",
    "local_rank",
    "rank",
    "same_on_all",
    "share",
    "together",
    "world_size",
]

T = TypeVar("T")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
_PATIENCE = 15.0  # seconds that the launcher has to end us after another process has failed


def rank() -> int:
    """The number of this process, from 0.

    Example:
        >>> rank(), world_size(), is_main()
        (0, 1, True)
    """
    return torch_distributed.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes there are."""
    return torch_distributed.get_world_size() if _joined() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process on its machine, from 0: that of its accelerator."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _joined() else 0


def share(number: int) -> tuple[int, int]:
    """Which of so many things in a row are this process's: (start, stop).

    The shares follow each other, differ by at most one, and together are all of them.

    Example:
        >>> share(10)
        (0, 10)
    """
    mine, all_of_us = rank(), world_size()
    return number * mine // all_of_us, number * (mine + 1) // all_of_us


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of every process's tensor; the tensor itself where there is one process.

    Example:
        >>> all_reduce_sum(torch.ones(2))
        tensor([1., 1.])
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    with together():
        torch_distributed.all_reduce(total, group=_group_of(total))
    return total


def any_of_us(flag: bool) -> bool:
    """Whether it is so for one process at least: then it is for all of them.

    Example:
        >>> any_of_us(False)
        False
    """
    return flag if world_size() == 1 else bool(all_reduce_sum(torch.tensor(float(flag))))


def same_on_all(tensors: Iterable[Tensor]) -> None:
    """Make these tensors what they are in the main process."""
    if world_size() > 1:
        with together():
            for tensor in tensors:
                torch_distributed.broadcast(tensor, 0, group=_group_of(tensor))


def gather(obj: T) -> list[T]:
    """Every process's object, in the order of their numbers, on each of them.

    Example:
        >>> gather("mine")
        ['mine']
    """
    if world_size() == 1:
        return [obj]
    found: list[Any] = [None] * world_size()
    with together():
        torch_distributed.all_gather_object(found, obj)
    return found


def broadcast(obj: T) -> T:
    """The main process's object, on each process.

    Example:
        >>> broadcast(3)
        3
    """
    if world_size() == 1:
        return obj
    held: list[Any] = [obj]
    with together():
        torch_distributed.broadcast_object_list(held, src=0)
    received: T = held[0]
    return received


def barrier() -> None:
    """Wait until every process is here."""
    gather(None)


@contextmanager
def together() -> Iterator[None]:
    """Inside, an error that comes of another process's failure waits to be ended by the launcher.

    The failed process has said what is wrong; a page of "connection closed" from each of the
    others would hide it.

    Raises:
        TrainingError: Nothing ended this process.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not _is_lost_peer(error):
            raise
        time.sleep(_PATIENCE)
        raise TrainingError(
            f"process {rank()} of {world_size()} lost the others: one of them has failed, and its "
            "own message says why"
        ) from error


def _joined() -> bool:
    """Whether there are several processes; joins them if that is due."""
    if torch_distributed.is_available() and torch_distributed.is_initialized():
        return True
    if not all(name in os.environ for name in _LAUNCHED) or os.environ["WORLD_SIZE"] == "1":
        return False
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch_distributed.init_process_group(
        "nccl" if on_cuda else "gloo", timeout=timedelta(minutes=10)
    )
    atexit.register(_leave)
    if on_cuda:
        _on_the_cpu()  # a group is made by all processes at one time
    return True


def _leave() -> None:
    if torch_distributed.is_initialized():
        torch_distributed.destroy_process_group()


@lru_cache(maxsize=1)
def _on_the_cpu() -> Any:
    """A group for tensors on the CPU, which nccl does not know."""
    return torch_distributed.new_group(backend="gloo")


def _group_of(tensor: Tensor) -> Any:
    """The group that moves such a tensor; None is the one of all processes."""
    own = torch_distributed.get_backend() == "nccl" and tensor.device.type == "cpu"
    return _on_the_cpu() if own else None


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error).lower()
    signs = ("connection", "gloo", "peer", "nccl", "socket", "timed out")
    return any(sign in text for sign in signs)
