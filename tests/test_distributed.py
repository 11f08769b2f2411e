"""Who is who, what processes tell each other, and how several of them come to their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import free_port, on_processes
from torch import distributed as torch_distributed

from cnnkit import distributed
from cnnkit.device import Part, default_device
from cnnkit.errors import CnnkitWarning

RUNS = Path(__file__).with_name("distributed_runs.py")
TWO_HERE = ("--standalone", "--nproc-per-node=2")


def test_one_process_needs_no_group() -> None:
    assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
    assert distributed.is_main()
    tensor = torch.ones(2)
    assert distributed.all_reduce_sum(tensor) is tensor
    assert distributed.any_of_us(True)
    assert distributed.gather(tensor)[0] is distributed.broadcast(tensor) is tensor
    assert distributed.share(5) == (0, 5)
    distributed.same_on_all([tensor])
    distributed.barrier()
    with pytest.raises(RuntimeError, match="gloo"), distributed.together():
        raise RuntimeError("gloo says no")
    assert not torch_distributed.is_initialized()


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "1"},  # torchrun with one process
        {"WORLD_SIZE": "2", "CNNKIT_JOINED": "1"},  # what one of two processes has started
    ],
)
def test_who_is_not_one_of_several(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = {"RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**launched, **environment}.items():
        monkeypatch.setenv(name, value)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert not torch_distributed.is_initialized()


def asked() -> dict[str, Any]:
    mine = distributed.rank()
    weights = torch.full((2, 3, 4, 4), float(mine)).to(memory_format=torch.channels_last)
    counts = torch.full((), mine)
    distributed.same_on_all([weights, counts, torch.empty(0)])
    with distributed.alone():
        alone = [distributed.world_size(), distributed.share(7), distributed.gather(mine)]
        main_alone = distributed.is_main()
    try:
        with distributed.together():
            raise RuntimeError("a skip connection of 64 channels, which times out no peer")
    except RuntimeError as error:
        own = type(error).__name__
    distributed.barrier()
    try:
        warned = False
        warnings.warn("of the run", CnnkitWarning, stacklevel=1)
    except CnnkitWarning:  # warnings are errors, where they are any
        warned = True
    return {
        "warned": warned,
        "who": (mine, distributed.local_rank(), distributed.world_size(), distributed.is_main()),
        "share": distributed.share(7),
        "sum": distributed.all_reduce_sum(torch.tensor([mine, 1])).tolist(),
        "any": [distributed.any_of_us(mine == 1), distributed.any_of_us(False)],
        "gathered": distributed.gather({"rank": mine, "tensor": torch.tensor(mine)}),
        "broadcast": distributed.broadcast(("main", mine)),
        "same": [float(weights.sum()), int(counts), weights.stride()[1]],
        "alone": alone,
        "main alone": main_alone,
        "own error": own,
        "device": str(default_device()),
    }


def test_what_they_tell_each_other() -> None:
    results = on_processes(3, asked)
    assert [r["who"] for r in results] == [(0, 0, 3, True), (1, 1, 3, False), (2, 2, 3, False)]
    assert [r["share"] for r in results] == [(0, 2), (2, 4), (4, 7)]
    for rank, result in enumerate(results):
        assert result["sum"] == [3, 3]
        assert result["any"] == [True, False]
        assert result["gathered"] == [{"rank": r, "tensor": torch.tensor(r)} for r in range(3)]
        assert result["broadcast"] == ("main", 0)
        assert result["same"] == [0.0, 0, 1], "and the layout stays"
        assert result["alone"] == [1, (0, 7), [rank]]
        assert result["warned"] == (rank == 0)
        assert result["main alone"] == (rank == 0)
        assert result["own error"] == "RuntimeError", "not that of a lost process"


def joined_late() -> tuple[float, float]:
    begin = torch_distributed.init_process_group
    joined = 0.0

    def late(*args: Any, **options: Any) -> None:
        nonlocal joined
        begin(*args, **options)
        time.sleep(0.3 if os.environ["RANK"] == "1" else 0)
        joined = time.monotonic()

    torch_distributed.init_process_group = late
    assert distributed.world_size() == 2
    return joined, time.monotonic()


def test_nobody_goes_on_before_all_have_joined() -> None:
    # The first process may keep the store: if it had left, the others would find nobody.
    (_, first_went_on), (last_joined, _) = on_processes(2, joined_late)
    assert first_went_on >= last_joined


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_parts_are_the_batch_and_none_is_a_single_sample_without_need(
    world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnkit.device.world_size", lambda: world)
    for usual in (None, 1, 2, 5, 8, 20):
        for total in range(1, (usual or 20) + 2):
            parts = []
            for rank in range(world):
                monkeypatch.setattr(
                    "cnnkit.device.share",
                    lambda n, rank=rank: (n * rank // world, n * (rank + 1) // world),
                )
                parts.append(Part.of(total, usual))
            counted = [part for part in parts if part.counts]
            rows = [part.start + i for part in counted for i in range(part.size)]
            assert rows == list(range(total))
            assert all(part.total == total and part.size >= 1 for part in parts)
            assert all(part.start + part.size <= total for part in parts)
            if (usual or total) >= 2 * world and total > 1:
                assert min(part.size for part in parts) >= 2
            else:
                assert len(counted) == min(world, total)
            sizes = [part.size for part in counted]
            assert max(sizes) - min(sizes) <= 1


class Launched:
    """A script under torchrun, in a folder of its own."""

    def __init__(self, mode: str, folder: Path, *options: str, name: str | None = None) -> None:
        self.folder = folder / (name or mode)
        self.folder.mkdir()
        launcher = ["-m", "torch.distributed.run", *(options or TWO_HERE)]
        self.process = subprocess.Popen(
            [sys.executable, *launcher, str(RUNS), mode, str(self.folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ended(self) -> tuple[int, str, str, float]:
        """Return code, what was said to both streams, and seconds since the script's own mark."""
        out, err = self.process.communicate(timeout=120)
        marked = self.folder / "mark"
        seconds = time.time() - marked.stat().st_mtime if marked.exists() else 0.0
        return self.process.returncode, out, err, seconds


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Launched]]:
    """All at once: most of their time they wait for torch to be imported."""
    folder = tmp_path_factory.mktemp("launched")
    runs = {mode: Launched(mode, folder) for mode in ("data set", "signal")}
    yield runs
    for run in runs.values():
        run.process.kill()
        run.process.communicate()


def test_a_process_that_raises_ends_the_others_and_is_the_one_that_is_heard(
    launched: dict[str, Launched],
) -> None:
    code, _, err, seconds = launched["data set"].ended()
    assert code != 0
    assert "ValueError: sample 33 is broken" in err
    assert seconds < 20
    own = [line for line in err.splitlines() if line.startswith("[rank")]
    assert sum("Traceback" in line for line in own) == 1, err
    assert not re.search("connection|lost the others", err, re.IGNORECASE)


def test_a_launcher_that_is_asked_to_end_ends_all_in_the_same_place(
    launched: dict[str, Launched],
) -> None:
    run = launched["signal"]
    deadline = time.monotonic() + 90
    while not (run.folder / "mark").exists():
        assert time.monotonic() < deadline
        assert run.process.poll() is None, run.ended()
        time.sleep(0.05)
    run.process.send_signal(signal.SIGTERM)  # and torchrun sends it to the group of each process
    _, out, err, _ = run.ended()
    places = re.findall(r"(\d): terminated in (.*)", out)
    assert sorted(rank for rank, _ in places) == ["0", "1"], err
    assert places[0][1] == places[1][1]
    assert list((run.folder / "checkpoints").iterdir())
    assert err.count("ending after this batch") == 1
    assert "DataLoader worker" not in err
    assert "destroy_process_group" not in err


@pytest.mark.slow
def test_launchers_of_several_machines_meet_as_the_guide_says(tmp_path: Path) -> None:
    # Two launchers on this machine know no more of each other than on two.
    meeting = ("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}")
    options = ("--nnodes=2", "--nproc-per-node=1", *meeting)
    machines = [Launched("machines", tmp_path, *options, name=f"machine {i}") for i in range(2)]
    try:
        ended = [machine.ended() for machine in machines]
    finally:
        for machine in machines:
            machine.process.kill()
            machine.process.communicate()
    assert [code for code, *_ in ended] == [0, 0], ended
    lines = sorted(line for _, out, *_ in ended for line in out.splitlines())
    figures = [re.fullmatch(r"(\d): finished in 2, (\d\.\d+)", line) for line in lines]
    assert [found and found[1] for found in figures] == ["0", "1"], lines
    assert len({found and found[2] for found in figures}) == 1, lines
