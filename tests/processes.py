"""Several real processes on this machine, for tests of what they do together.

They are forked from a clean process that has imported torch already, so that a launch costs a
fraction of a second. They speak gloo, and warnings are errors in them as in any test.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")

# Every optimiser imports torch._dynamo when the first one is made, which takes seconds.
_PRELOADED = ["torch._dynamo", "cnnkit.train", "cnnkit.data", "cnnkit.models", "cnnkit.plot"]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def on_processes(
    number: int, function: Callable[..., T], *args: Any, timeout: float = 60
) -> list[T]:
    """Call the function of a test module in so many processes, and return what each returned.

    Where one raises, its traceback is raised here, and the others are ended.
    """
    outcomes = outcomes_of(number, function, *args, timeout=timeout, until_one_raises=True)
    for rank, (raised, result) in enumerate(outcomes):
        assert not raised, f"process {rank} of {number} raised\n{result}"
    return [result for _, result in outcomes]


def outcomes_of(
    number: int,
    function: Callable[..., Any],
    *args: Any,
    timeout: float = 60,
    until_one_raises: bool = False,
) -> list[tuple[bool, Any]]:
    """Of each process: whether it raised, and the traceback or what it returned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    port, pairs = free_port(), [context.Pipe(duplex=False) for _ in range(number)]
    processes = [
        context.Process(target=_work, args=(rank, number, port, theirs, function, args))
        for rank, (_, theirs) in enumerate(pairs)
    ]
    for process, (_, theirs) in zip(processes, pairs, strict=True):
        process.start()
        theirs.close()
    waiting: dict[Any, int] = {ours: rank for rank, (ours, _) in enumerate(pairs)}
    outcomes: dict[int, tuple[bool, Any]] = {}
    try:
        while waiting and not (until_one_raises and any(raised for raised, _ in outcomes.values())):
            ready = wait(list(waiting), timeout)
            assert ready, f"processes {sorted(waiting.values())} have not answered in {timeout} s"
            for connection in ready:
                rank = waiting.pop(connection)
                outcomes[rank] = pickle.loads(connection.recv())  # type: ignore[call-arg, union-attr]
    finally:
        for process in processes:
            if waiting:
                process.kill()
            process.join()
    return [outcomes.get(rank, (False, None)) for rank in range(number)]


def _work(
    rank: int, number: int, port: int, answer: Connection, function: Any, args: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        sent = False, function(*args)
    except BaseException:
        sent = True, traceback.format_exc()
    answer.send(pickle.dumps(sent))  # torch would send tensors by the memory of a dying process
    answer.close()
