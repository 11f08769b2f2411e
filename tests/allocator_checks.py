"""Freed memory is kept inside, counted by the page faults of taking it again.

`test_allocator.py` runs these in a process of their own: in one that other tests have used, the
heap has free blocks already.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cnnkit import Classifier, Preprocess, data, models, train
from cnnkit._allocator import memory_kept
from cnnkit.device import DeviceDataLoader

CPU = torch.device("cpu")
PAGES = (80 << 20) // resource.getpagesize()  # of a block larger than glibc keeps by itself

on_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc gives it back and takes it again",
)


@pytest.fixture(autouse=True)
def nothing_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)


def taken_and_freed(pages: int) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    size = pages * resource.getpagesize()
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(block)


def faults() -> int:
    """Page faults of the last of three blocks, each taken, written and freed."""
    for _ in range(2):
        taken_and_freed(PAGES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    taken_and_freed(PAGES)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@on_glibc
def test_freed_memory_is_taken_again_without_the_system() -> None:
    assert faults() > PAGES // 2, "or the test sees nothing"
    with memory_kept(CPU):
        assert faults() < PAGES // 100
    assert faults() > PAGES // 2


@on_glibc
def test_what_is_free_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    before = resident()
    with memory_kept(CPU):
        taken_and_freed(2 * PAGES)
        assert resident() - before > PAGES
    assert resident() - before < PAGES


@on_glibc
def test_the_last_of_several_puts_it_back() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with memory_kept(CPU):
            begun.set()
            go_on.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(30)
    with contextlib.suppress(KeyError), memory_kept(CPU), memory_kept(CPU):
        raise KeyError
    kept = faults()
    go_on.set()
    thread.join(30)
    assert kept < PAGES // 100
    assert faults() > PAGES // 2


@on_glibc
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_whoever_has_set_the_allocator_has_decided(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with memory_kept(CPU):
        assert faults() > PAGES // 2


@on_glibc
def test_nothing_changes_for_an_accelerator() -> None:
    with memory_kept(torch.device("meta")):
        assert faults() > PAGES // 2


seen: list[int] = []  # faults within a forward pass


class Watching(models.MLP):
    """Counts the faults where memory is to be kept; a copy of it as well."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen.append(faults())
        return super().forward(images)


def evaluate(model: models.MLP, loader: DeviceDataLoader, _: Path) -> object:
    return train.evaluate(model, loader)


def fit(model: models.MLP, loader: DeviceDataLoader, _: Path) -> object:
    return train.fit(model, loader, epochs=1, lr=0.1, progress=False)


def find_lr(model: models.MLP, loader: DeviceDataLoader, _: Path) -> object:
    return train.find_lr(model, loader, steps=10, progress=False)


def predict_folder(model: models.MLP, _: DeviceDataLoader, folder: Path) -> object:
    for number in range(3):
        Image.new("L", (8, 8)).save(folder / f"{number}.png")
    return Classifier(model, ("a", "b"), Preprocess(8, "L", (0.0,), (1.0,))).predict_folder(folder)


@on_glibc
@pytest.mark.parametrize("work", [fit, evaluate, find_lr, predict_folder])
def test_whoever_takes_many_steps_keeps_memory(work: Any, tmp_path: Path) -> None:
    ds = data.ArrayDataset(torch.zeros(8, 8, 8, dtype=torch.uint8), [0, 1] * 4)
    seen.clear()
    work(Watching(2, image_size=8), data.make_loader(ds, 4, device="cpu"), tmp_path)
    assert seen
    assert seen[-1] < PAGES // 100
    assert faults() > PAGES // 2
