"""What a run was set to, as plain values: a resumed run must be set to the same."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cnnkit.device import DeviceDataLoader
from cnnkit.train._lengths import batches_of
from cnnkit.train._optimizers import HOW_COMPUTED
from cnnkit.train._schedules import Schedule

__all__ = [
    "differences",
    "digest",
    "environment",
    "of_data",
    "of_loss",
    "of_model",
    "of_optimizer",
    "plain",
]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SHOWN = 300  # characters of what is told as it is
_MOVING = ("last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "best")


def of_model(model: nn.Module) -> str:
    """Class, layers and shapes of the weights."""
    shapes = [
        (name, tuple(one.shape) if isinstance(one, Tensor) else type(one).__qualname__)
        for name, one in model.state_dict().items()
    ]
    count = sum(parameter.numel() for parameter in model.parameters())
    layers = digest(plain(model))  # as they are printed: with the share that is dropped, say
    return f"{type(model).__qualname__}, {count:,} parameters, {digest(repr(shapes))}, {layers}"


def of_optimizer(optimizer: Optimizer, schedule: Schedule) -> dict[str, Any]:
    """Classes and hyper-parameters of optimiser and scheduler, before their first step."""
    settings: dict[str, Any] = {"optimizer": type(optimizer).__qualname__}
    for number, group in enumerate(optimizer.param_groups):
        which = f"of group {number} " if number else ""
        for name, value in group.items():
            if name not in HOW_COMPUTED:  # `environment` says whether it is fused
                known = len(value) if name == "params" else plain(value)
                settings[f"optimizer {which}{name}"] = known
    scheduler = schedule.scheduler
    settings["scheduler"] = None if scheduler is None else type(scheduler).__qualname__
    if scheduler is not None:
        for name, value in scheduler.state_dict().items():
            if name not in _MOVING:
                settings[f"scheduler {name}"] = plain(value)
        settings["scheduler by step"] = schedule.by_step
    return settings


def of_loss(loss: Any) -> str:
    """Name and settings, of a module with those of its parts and the class weights."""
    name = str(getattr(loss, "__qualname__", type(loss).__qualname__))
    if isinstance(loss, nn.Module):
        tensors = {key: tensor.cpu().tolist() for key, tensor in loss.state_dict().items()}
        options = {
            f"{part}.{option}".lstrip("."): value
            for part, module in loss.named_modules()
            for option, value in vars(module).items()
            if isinstance(value, (int, float, str)) and option != "training"
        }
        return f"{name} {options} {digest(repr(tensors)) if tensors else ''}"
    if isinstance(loss, functools.partial):
        return f"{of_loss(loss.func)} {plain(loss.args)} {plain(loss.keywords)}"
    if hasattr(loss, "__qualname__"):  # a function
        return name
    attributes = str(plain(getattr(loss, "__dict__", None)))
    return f"{name} {attributes if len(attributes) < _SHOWN else digest(attributes)}"


def of_data(name: str, loader: DeviceDataLoader | None) -> dict[str, Any]:
    """Samples, order, augmentation and preprocessing of a loader."""
    if loader is None:
        return {name: None}
    ds, order = loader.dataset, getattr(loader.loader, "order", None)
    settings: dict[str, Any] = {
        "samples": _of_samples(ds),
        "classes": None if loader.classes is None else list(loader.classes),
        "preprocess": None if loader.preprocess is None else repr(loader.preprocess.to_dict()),
        "augment": [plain(augmentation) for augmentation in loader.augment],
        "seed": loader.seed,
        "batch_size": getattr(loader.loader, "batch_size", None),
        "batches": batches_of(loader),
    }
    if order is not None:
        settings |= {"shuffle": order.shuffle, "balanced": order.weights is not None}
        settings["order seed"] = order.seed
    else:
        sampler = getattr(loader.loader, "sampler", None)
        if sampler is not None:
            settings["sampler"] = type(sampler).__qualname__
    return {f"{name} {key}": value for key, value in settings.items()}


def environment(device: torch.device, optimizer: Optimizer) -> dict[str, Any]:
    """What does not change what is computed, but may change its last bits."""
    return {
        "torch": str(torch.__version__),  # a class of its own, which a checkpoint cannot hold
        "threads": torch.get_num_threads(),
        "device": device.type,
        "fused": any(group.get("fused") for group in optimizer.param_groups),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each value that is not what it was."""
    names = list(dict.fromkeys([*before, *now]))
    return [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _of_samples(ds: Any) -> str | None:
    """How many there are, and which, as far as that is known without reading them."""
    if ds is None or not hasattr(ds, "__len__"):
        return None
    known = [getattr(ds, name, None) for name in ("targets", "indices")]
    which = "".join(digest(_as_bytes(one)) for one in known if one is not None)
    return f"{len(ds)} samples{f', {which}' if which else ''}"


def _as_bytes(values: Any) -> bytes:
    """Labels or positions, which a foreign data set may hold in any form."""
    try:
        whole = torch.as_tensor(values).cpu().long().contiguous()
    except (TypeError, ValueError, RuntimeError):
        return repr(plain(values)).encode()
    return whole.numpy().astype("<i8", copy=False).tobytes()


def plain(value: Any) -> Any:
    """A value that compares equal in another process."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, (bool, str, type(None))):
        return value
    if isinstance(value, (Integral, Real)):  # numpy has numbers of its own
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return _ADDRESS.sub("", repr(value))


def digest(content: str | bytes) -> str:
    """A few letters that stand for a long text or many bytes."""
    whole = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(whole, digest_size=6).hexdigest()
