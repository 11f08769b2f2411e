"""Several processes that train together: who is who, and what they tell each other.

Started by ``torchrun``, a script's processes join at the first question asked here, and leave when
they end. In a script that was started otherwise there is one process, and everything here returns
at once. Nothing outside this module and the training loop asks which process it is.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as torch_distributed

from cnnkit.errors import CnnkitWarning, TrainingError

__all__ = [
    "all_reduce_sum",
    "alone",
    "any_of_us",
    "barrier",
    "broadcast",
    "gather",
    "is_main",
    "local_rank",
    "note_termination",
    "rank",
    "same_on_all",
    "share",
    "together",
    "world_size",
]

T = TypeVar("T")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
_JOINED = "CNNKIT_JOINED"  # which process did; those that it starts inherit the names, not the rank
_PATIENCE = 5.0  # seconds that the launcher has to end us after another process has failed

_terminated = False
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def rank() -> int:
    """The number of this process, from 0.

    Example:
        >>> rank(), world_size(), is_main()
        (0, 1, True)
    """
    return torch_distributed.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes there are; 1 inside `alone`."""
    return torch_distributed.get_world_size() if _joined() and not _alone.get() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def local_rank() -> int:
    """The number of this process on its machine, from 0: that of its accelerator."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _joined() else 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process does all of the work itself and waits for nobody.

    What only one process does must be done so, or it would wait for the others in vain.

    Example:
        >>> if is_main():
        ...     with alone():
        ...         pass  # evaluate(model, loader) goes over all samples here
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def share(number: int) -> tuple[int, int]:
    """Which of so many things in a row are this process's: (start, stop).

    The shares follow each other, differ by at most one, and together are all of them.

    Example:
        >>> share(10)
        (0, 10)
    """
    all_of_us = world_size()
    mine = rank() if all_of_us > 1 else 0
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
    if world_size() == 1:
        return
    with together():
        for tensor in tensors:
            own = tensor.detach()
            sent = own.contiguous()  # itself, where it is that already
            torch_distributed.broadcast(sent, 0, group=_group_of(sent))
            if sent is not own:
                own.copy_(sent)


def gather(obj: T) -> list[T]:
    """Every process's object, in the order of their numbers, on each of them.

    Of several processes, tensors arrive on the CPU.

    Example:
        >>> gather("mine")
        ['mine']
    """
    if world_size() == 1:
        return [obj]
    found: list[Any] = [None] * world_size()
    with together():
        torch_distributed.all_gather_object(found, _packed(obj))
    return [_unpacked(one) for one in found]


def broadcast(obj: T) -> T:
    """The main process's object, on each process; of several, tensors arrive on the CPU.

    Example:
        >>> broadcast(3)
        3
    """
    if world_size() == 1:
        return obj
    held: list[Any] = [_packed(obj) if is_main() else None]
    with together():
        torch_distributed.broadcast_object_list(held, src=0)
    received: T = obj if is_main() else _unpacked(held[0])
    return received


def barrier() -> None:
    """Wait until every process is here."""
    any_of_us(False)


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
        _wait_to_be_ended()
        raise TrainingError(
            f"process {rank()} of {world_size()} lost the others: one of them has ended, and its "
            "own message says why"
        ) from error


def note_termination() -> None:
    """Remember that this process was asked to end: if it loses the others, it is over at once."""
    global _terminated
    _terminated = True


def _wait_to_be_ended() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a run would only take note of it
        if _terminated:
            sys.stdout.flush()
            signal.raise_signal(signal.SIGTERM)
    time.sleep(_PATIENCE)


def _joined() -> bool:
    """Whether there are several processes; joins them if that is due."""
    if not torch_distributed.is_available():
        return False
    if not torch_distributed.is_initialized():
        if not _was_launched():
            return False
        _join()
    return True


def _was_launched() -> bool:
    """Whether this very process is one of several, not one that such a process has started."""
    return (
        all(name in os.environ for name in _LAUNCHED)
        and os.environ["WORLD_SIZE"] != "1"
        and os.environ.get(_JOINED, str(os.getpid())) == str(os.getpid())
    )


def _join() -> None:
    os.environ[_JOINED] = str(os.getpid())
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cards:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % cards)
    # nccl refuses two processes on one card.
    backend = "cpu:gloo,cuda:nccl" if cards >= here else "gloo"
    torch_distributed.init_process_group(backend, timeout=timedelta(minutes=10))
    atexit.register(_leave)
    # The first process may keep the store by which the others find each other: had it nothing to
    # do with them and left, they would not meet any more.
    torch_distributed.all_reduce(torch.zeros(1))
    if torch_distributed.get_rank():
        warnings.filterwarnings("ignore", category=CnnkitWarning)  # the main process says it
    elif 0 < cards < here:
        warnings.warn(
            f"{here} processes share {cards} accelerators on this machine, which is slower than "
            f"one for each: start {cards}",
            CnnkitWarning,
            stacklevel=2,
        )


def _leave() -> None:
    if torch_distributed.is_initialized():
        # The wrapper of a finished run is in a cycle and holds the group: gloo's threads would then
        # still run at the very end, and abort it ("terminate called without an active exception").
        gc.collect()
        torch_distributed.destroy_process_group()


@lru_cache(maxsize=1)
def _on_the_cpu() -> Any:
    """A group for tensors on the CPU, which nccl does not know; all processes make it at once."""
    return torch_distributed.new_group(backend="gloo")


def _group_of(tensor: Tensor) -> Any:
    """The group that moves such a tensor; None is the one of all processes."""
    # A script that began by itself may have chosen nccl alone.
    own = tensor.device.type == "cpu" and torch_distributed.get_backend() == "nccl"
    return _on_the_cpu() if own else None


def _packed(obj: object) -> bytes:
    held = io.BytesIO()
    torch.save(obj, held)
    return held.getvalue()


def _unpacked(packed: bytes) -> Any:
    # By its own device a tensor would arrive on the accelerator of another process.
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=False)


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch_distributed.DistError) or "gloo" in text or "nccl" in text
