"""How a model computes: precision, memory format, compiled or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from cnnkit.device import Share
from cnnkit.errors import ArgumentError
from cnnkit.train._step import Step, Stepped
from cnnkit.types import Batch

__all__ = [
    "Compute",
    "MemoryFormat",
    "Precision",
    "by_rule",
    "resolve_precision",
    "too_slow_to_try",
]

Precision = Literal["fp32", "bf16", "fp16", "auto"]
MemoryFormat = Literal["auto", "contiguous", "channels_last", "tune"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_LARGEST_KERNEL = 11  # channels_last is up to 20 times slower for larger ones on the CPU


class Compute:
    """Precision and memory format of a run, in effect inside `with compute.applied(model)`.

    Args:
        device: Where the model is.
        precision: "fp32", "bf16" or "fp16", resolved.
        memory_format: "contiguous" or "channels_last", resolved.
        compile: Whether the model is compiled; a mapping holds options of `torch.compile`.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        memory_format: Literal["contiguous", "channels_last"] = "contiguous",
        compile: bool | Mapping[str, Any] = False,
    ) -> None:
        self.device = device
        self.precision = precision
        self.memory_format = memory_format
        self.compile = compile
        self.scaler = GradScaler(device.type) if precision == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass and its loss."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _TYPES[self.precision])

    def stepping(self, step: Step) -> Step:
        """The step, with forward pass and loss in the precision."""
        if self.precision == "fp32":
            return step

        def reduced(batch: Batch) -> Stepped:
            with self.autocast():
                return step(batch)

        return reduced

    def batches(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """The batches with their images in the memory format."""
        return batches if self.memory_format == "contiguous" else _channels_last(batches)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model has the memory format and is compiled; afterwards it is as before."""
        strides = {name: one.stride() for name, one in _with_channels(model)}
        compiled = model._compiled_call_impl
        wanted = _FORMATS[self.memory_format]
        try:
            if not all(one.is_contiguous(memory_format=wanted) for _, one in _with_channels(model)):
                model.to(memory_format=wanted)
            if self.compile:
                model.compile(**({} if self.compile is True else dict(self.compile)))
            yield
        finally:
            for name, one in _with_channels(model):
                if one.stride() != strides.get(name, one.stride()):
                    one.data = torch.empty_strided(
                        one.shape, strides[name], dtype=one.dtype, device=one.device
                    ).copy_(one.data)
            model._compiled_call_impl = compiled


def _with_channels(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights and buffers that have a memory format, those with four dimensions."""
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    return ((name, one) for name, one in named if one.ndim == 4)


def _channels_last(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        images, labels = batch
        if images.ndim != 4:
            yield batch
            continue
        images = images.contiguous(memory_format=torch.channels_last)
        # Of several processes, what was known of the part stays known.
        yield Share.of(images, labels, batch.part) if isinstance(batch, Share) else (images, labels)


def resolve_precision(choice: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """The precision of a run on this device.

    "auto" is bfloat16 on a CUDA card that has it, float16 on one that has not, float32 elsewhere:
    a rule, so that equal runs are equal.

    Raises:
        ArgumentError: An unknown choice, or one that the device does not have.
    """
    if choice not in get_args(Precision):
        raise ArgumentError(f"precision must be one of {get_args(Precision)}, received {choice!r}")
    on_cuda = device.type == "cuda"
    has_bf16 = not on_cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if choice == "auto":
        return ("bf16" if has_bf16 else "fp16") if on_cuda else "fp32"
    if choice == "fp16" and not on_cuda:
        raise ArgumentError(
            f'precision="fp16" is for CUDA cards without bfloat16, not for {device}: use "bf16"'
        )
    if choice == "bf16" and not has_bf16:
        raise ArgumentError(f'{device} has no bfloat16: use precision="fp16" or "auto"')
    return choice


def by_rule(
    model: nn.Module, device: torch.device, precision: str
) -> Literal["contiguous", "channels_last"]:
    """The memory format of `memory_format="auto"`: a rule of layers and device, never of timing.

    channels_last on the CPU where the model has two-dimensional convolutions and none of them is
    larger than 11 pixels (the LeNet variant's 45 pixels are 20 times slower in it); on CUDA where
    precision is reduced, whose convolutions work on it. Contiguous everywhere else.
    """
    fits = 0 < _largest_kernel(model) <= _LARGEST_KERNEL
    wanted = device.type == "cpu" or (device.type == "cuda" and precision != "fp32")
    return "channels_last" if fits and wanted else "contiguous"


def too_slow_to_try(model: nn.Module, device: torch.device) -> bool:
    """Whether channels_last would be so slow that trying it once costs more than it can give."""
    return device.type == "cpu" and _largest_kernel(model) > _LARGEST_KERNEL


def _largest_kernel(model: nn.Module) -> int:
    """The longest side of the model's two-dimensional kernels; 0 where it has none."""
    kernels = (max(m.kernel_size) for m in model.modules() if isinstance(m, nn.Conv2d))
    return max(kernels, default=0)
