"""What a device is: its name, its memory, and the torch that computes on it."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cnnkit.errors import ArgumentError

__all__ = ["DeviceInfo", "info_of"]

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class DeviceInfo:
    """What a run is on; `str` of it is readable, `to_dict` is for a log.

    Attributes:
        device: As torch writes it, such as "cuda:0" or "cpu".
        name: Of the card or of the processor.
        memory: All of it, in bytes; of a container, what it may use. None where that is not known.
        memory_available: What is free at the moment, in bytes, or None.
        torch: Version.
        cuda: Version that torch was built with, or None.
        threads: That torch computes with on the CPU.
    """

    device: str
    name: str
    memory: int | None
    memory_available: int | None
    torch: str
    cuda: str | None
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    def __str__(self) -> str:
        memory = _size(self.memory)
        if self.memory_available is not None:
            memory += f", of which {_size(self.memory_available)} available"
        lines = {
            "device": self.device,
            "name": self.name,
            "memory": memory,
            "torch": self.torch,
            "CUDA": "not in this torch" if self.cuda is None else f"{self.cuda} in this torch",
            "threads": str(self.threads),
        }
        return "\n".join(f"{name:<9}{value}" for name, value in lines.items())


def info_of(device: torch.device) -> DeviceInfo:
    """What is known about a device.

    Raises:
        ArgumentError: It is not there.
    """
    try:
        name, (available, memory) = (
            (_cpu_name(), _cpu_memory()) if device.type == "cpu" else _accelerator(device)
        )
    except (RuntimeError, AssertionError, ValueError) as error:  # torch raises all of these
        raise ArgumentError(f"the device {device} is not there: {error}") from error
    return DeviceInfo(
        device=str(device),
        name=name,
        memory=memory,
        memory_available=available,
        torch=str(torch.__version__),
        cuda=torch.version.cuda,
        threads=torch.get_num_threads(),
    )


def _accelerator(device: torch.device) -> tuple[str, tuple[int | None, int | None]]:
    """Name, and free and total memory, as far as torch's module for its kind knows them."""
    module: Any = getattr(torch, device.type, None)
    if not hasattr(module, "is_available"):
        return device.type, (None, None)
    if not module.is_available():
        raise ValueError(f"torch finds no {device.type} on this machine")
    if device.type == "mps":  # shares the machine's memory, and has no names
        whole = int(module.recommended_max_memory())
        return "Apple GPU", (whole - int(module.driver_allocated_memory()), whole)
    name = module.get_device_name(device) if hasattr(module, "get_device_name") else device.type
    free, total = module.mem_get_info(device) if hasattr(module, "mem_get_info") else (None, None)
    return name, (free, total)


def _cpu_name() -> str:
    for line in _lines(_PROC / "cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"


def _cpu_memory() -> tuple[int | None, int | None]:
    """Available and total memory of the machine, or of the container where it may use less."""
    known = {line.partition(":")[0]: line.split()[1] for line in _lines(_PROC / "meminfo")}
    total = int(known["MemTotal"]) * 1024 if "MemTotal" in known else _by_sysconf()
    available = int(known["MemAvailable"]) * 1024 if "MemAvailable" in known else None
    limit, used = (_number(_CGROUP / f"memory.{name}") for name in ("max", "current"))
    if total is None or limit is None or limit >= total:
        return available, total
    left = limit if used is None else max(0, limit - used)
    return left if available is None else min(left, available), limit


def _by_sysconf() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none, others not these names
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system's
        return []


def _number(path: Path) -> int | None:
    """The number in a file; None where it says "max" or is not there."""
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _size(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 2**30:.1f} GiB"
