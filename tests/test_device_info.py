"""`device_info`: right on this machine, and readable on one that has less to say."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils import backend_registration

from cnnkit import _device_info
from cnnkit.device import DeviceInfo, default_device, device_info
from cnnkit.errors import ArgumentError

GIB = 2**30


def test_the_cpu_of_this_machine() -> None:
    info = device_info("cpu")
    assert info.device == "cpu"
    assert info.name
    assert info.torch == torch.__version__
    assert info.cuda == torch.version.cuda
    assert info.threads == torch.get_num_threads()
    assert info.to_dict() == dataclasses.asdict(info)
    assert all(type(value) in (str, int, type(None)) for value in info.to_dict().values())


def test_the_default_is_the_device_of_a_run() -> None:
    assert device_info().device == str(default_device())


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="nothing to compare with")
def test_the_memory_is_that_of_the_machine_or_less() -> None:
    info = device_info("cpu")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert info.memory is not None
    assert 0 < info.memory <= machine
    assert info.memory_available is None or 0 < info.memory_available <= info.memory


def system(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        ("max\n", "1\n", (6 * GIB, 8 * GIB)),
        (f"{4 * GIB}\n", f"{GIB}\n", (3 * GIB, 4 * GIB)),
        (f"{7 * GIB}\n", "0\n", (6 * GIB, 7 * GIB)),
        (f"{GIB}\n", f"{2 * GIB}\n", (0, GIB)),
        (f"{99 * GIB}\n", "0\n", (6 * GIB, 8 * GIB)),
    ],
)
def test_a_container_has_what_it_may_use(
    limit: str, used: str, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = f"MemTotal: {8 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {6 * 2**20} kB\n"
    system(tmp_path, meminfo=meminfo, cpuinfo="flags\t: a\nmodel name\t: Some Chip @ 2 GHz\n")
    system(tmp_path / "cgroup", memory_max=limit, memory_current=used)
    monkeypatch.setattr(_device_info, "_PROC", tmp_path)
    monkeypatch.setattr(_device_info, "_CGROUP", tmp_path / "cgroup")
    info = device_info("cpu")
    assert (info.memory_available, info.memory) == expected
    assert info.name == "Some Chip @ 2 GHz"


def test_a_system_that_says_nothing_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PROC", "_CGROUP"):
        monkeypatch.setattr(_device_info, name, tmp_path)
    monkeypatch.delattr(os, "sysconf", raising=False)
    info = device_info("cpu")
    assert (info.memory, info.memory_available) == (None, None)
    assert "memory   unknown\n" in str(info)
    assert info.name


def test_it_prints_readably() -> None:
    info = DeviceInfo("cuda:0", "A Card", 139 * GIB, 100 * GIB, "2.9.0", "13.0", 8)
    assert str(info).splitlines() == [
        "device   cuda:0",
        "name     A Card",
        "memory   139.0 GiB, of which 100.0 GiB available",
        "torch    2.9.0",
        "CUDA     13.0 in this torch",
        "threads  8",
    ]
    bare = DeviceInfo("cpu", "A Chip", 8 * GIB, None, "2.9.0+cpu", None, 2)
    assert "memory   8.0 GiB\n" in str(bare)
    assert "CUDA     not in this torch\n" in str(bare)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="the device cuda:3 is not there: torch finds no cuda"):
        device_info("cuda:3")


def test_an_accelerator_says_what_torch_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    knows = SimpleNamespace(
        is_available=lambda: True,
        get_device_name=lambda device: f"Card {device.index}",
        mem_get_info=lambda device: (3 * GIB, 4 * GIB),  # noqa: ARG005
    )
    monkeypatch.setattr(torch, "xpu", knows)
    info = device_info("xpu:1")
    assert (info.device, info.name) == ("xpu:1", "Card 1")
    assert (info.memory_available, info.memory) == (3 * GIB, 4 * GIB)
    apple = SimpleNamespace(
        is_available=lambda: True,
        recommended_max_memory=lambda: 5 * GIB,
        driver_allocated_memory=lambda: GIB,
    )
    monkeypatch.setattr(torch, "mps", apple)
    info = device_info("mps")
    assert (info.name, info.memory_available, info.memory) == ("Apple GPU", 4 * GIB, 5 * GIB)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_card_of_this_machine() -> None:
    info = device_info("cuda:0")
    assert info.name == torch.cuda.get_device_name(0)
    assert info.memory == torch.cuda.get_device_properties(0).total_memory
    assert info.memory is not None
    assert info.memory_available is not None
    assert 0 < info.memory_available <= info.memory


ON_FAKE_ACCELERATOR = """
import fake_accelerator
import torch
from cnnkit.device import DeviceDataLoader, device_info
from cnnkit.train import find_lr

info = device_info()
assert (info.device, info.name, info.memory) == ("fakegpu", "fakegpu", None), info
assert "memory   unknown" in str(info)

labels = torch.arange(48).reshape(6, 8) % 2
batches = list(zip(torch.randn(6, 8, 4) + 2 * labels.unsqueeze(2), labels))
model = torch.nn.Linear(4, 2)
there = find_lr(model, batches, progress=False, seed=None)
here = find_lr(model, DeviceDataLoader(batches, "cpu"), progress=False, seed=None)
assert there == here, (there, here)
assert model.weight.device.type == "cpu"
"""


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no backend written in Python",
)
def test_an_accelerator_that_says_little_and_find_lr_on_it() -> None:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_FAKE_ACCELERATOR],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
