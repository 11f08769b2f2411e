"""A table of what each layer of a network makes, holds, costs and sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError
from cnnkit.models._base import evaluating
from cnnkit.models._fields import Field, FieldTracker

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

__all__ = ["LayerSummary", "ModelSummary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a `ModelSummary`, for one image.

    Attributes:
        name: Where it is in the model, e.g. "conv1".
        kind: Its class, e.g. "Conv2d"; "Parameter" for one that belongs to no layer that was used.
        output_shape: Shape of its output without the batch.
        parameters: Number of its parameters; 0 where they were counted further up.
        multiply_adds: Multiplications with an addition, in convolutions and matrix products; all
            else is small beside these and counts as 0.
        receptive_field: (height, width) in pixels of what one position of the output sees, which
            may reach over the edge of the image; None where it is not known.
        memory: Bytes of the output.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int] | None
    memory: int


@dataclass(frozen=True)
class ModelSummary:
    """What `summary` returns; prints as a table.

    Attributes:
        model: Name of the model's class.
        input_shape: Shape of one image.
        rows: A `LayerSummary` for each layer, in the order of use.
        parameters: Number of parameters.
        trainable: How many of them are trained.
        parameter_memory: Bytes of the parameters.
        multiply_adds: Of one image, within and outside layers.
        memory: Bytes of all layers' outputs for one image.
    """

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    parameter_memory: int
    multiply_adds: int
    memory: int

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "field", "memory")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        lines = ["  ".join(_align(row, widths)).rstrip() for row in cells]
        lines.insert(1, "─" * max(len(line) for line in lines))
        frozen = self.parameters - self.trainable
        note = f", {frozen:,} of them frozen" if frozen else ""
        return "\n".join(
            [
                f"{self.model}, one image of {_shape(self.input_shape)}",
                *lines,
                f"{self.parameters:,} parameters ({_bytes(self.parameter_memory)}){note}; "
                f"{self.multiply_adds:,} multiply-adds and {_bytes(self.memory)} of outputs "
                f"an image",
            ]
        )


def summary(model: nn.Module, input_shape: Sequence[int]) -> ModelSummary:
    """Shapes, parameters, cost, receptive field and memory of each layer, for one image.

    The model runs once in eval mode, on torch's meta device, where nothing is computed, or, if it
    cannot run there, on its own device with an image of zeros. Its mode, weights, buffers and
    torch's random state are as before. Layers are the innermost modules that are called; functions
    such as `F.relu` have no row, nor has `nn.Identity`.

    Args:
        model: Any module that takes one tensor.
        input_shape: Shape of one image, (C, H, W), without the batch.

    Returns:
        A `ModelSummary`; `print` it, or read its `rows`.

    Raises:
        ArgumentError: If a side of `input_shape` is below 1.

    Example:
        >>> print(summary(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), (1, 8, 8)))
        Sequential, one image of 1×8×8
        layer  kind       output  parameters  multiply-adds  field  memory
        ──────────────────────────────────────────────────────────────────
        0      Conv2d     2×6×6           20            648    3×3   288 B
        1      MaxPool2d  2×3×3            0              0    4×4    72 B
        20 parameters (80 B); 648 multiply-adds and 360 B of outputs an image

    Source: receptive fields as in Araujo, Norris & Sim, "Computing Receptive Fields of
    Convolutional Neural Networks", Distill 2019.
    """
    shape = tuple(input_shape)
    if not shape or min(shape) < 1:
        raise ArgumentError(
            f"expected input_shape as the shape of one image, (C, H, W), received {shape}"
        )
    try:
        recorder = _run(model, shape, on_meta=True)
    except (RuntimeError, NotImplementedError):
        # Meta tensors hold no numbers: a forward that looks at some, or calls a kernel that has no
        # meta version, needs real ones.
        recorder = _run(model, shape, on_meta=False)
    parameters = list(model.parameters())
    rows = (*recorder.rows, *recorder.unused_parameters(model))
    return ModelSummary(
        model=type(model).__name__,
        input_shape=shape,
        rows=rows,
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_memory=sum(p.numel() * p.element_size() for p in parameters),
        multiply_adds=recorder.multiply_adds,
        memory=sum(row.memory for row in rows),
    )


def _run(model: nn.Module, shape: tuple[int, ...], *, on_meta: bool) -> _Recorder:
    """One forward on stand-ins for the weights, so that nothing it does reaches the model."""
    from torch.utils.flop_counter import FlopCounterMode  # loads triton: 0.2 s

    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    device = torch.device("meta") if on_meta else first.device
    image = torch.zeros((1, *shape), dtype=first.dtype, device=device)
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        evaluating(model),
        FlopCounterMode(display=False) as flops,
        FieldTracker(image) as fields,
    ):
        recorder = _Recorder(shape, flops, fields)
        with _hooks(model, recorder):
            # A shared layer must have each name once: torch would else not give it its own back.
            tensors = _stand_ins(model, device)
            torch.func.functional_call(model, tensors, (image,), tie_weights=False)
        recorder.multiply_adds = flops.get_total_flops() // 2
    return recorder


def _stand_ins(model: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """By name, empty copies of parameters and buffers on meta, or else real copies of buffers."""
    stand_ins = {}
    for prefix, module in model.named_modules():
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in own:
            if device.type == "meta":
                stand_in = torch.empty_like(tensor, device=device)
            elif isinstance(tensor, nn.Parameter):
                continue
            else:
                stand_in = tensor.clone()
            stand_ins[f"{prefix}.{name}" if prefix else name] = stand_in
    return stand_ins


class _Recorder:
    """Makes a row of each call of a module within which no other module is called."""

    def __init__(
        self, shape: tuple[int, ...], flops: FlopCounterMode, fields: FieldTracker
    ) -> None:
        self.rows: list[LayerSummary] = []
        self.multiply_adds = 0
        self._sides = shape[-2:]
        self._flops = flops
        self._fields = fields
        self._seen: set[nn.Parameter] = set()
        # For each module that is running: flops before it, and whether it called another module.
        self._running: list[tuple[int, bool]] = []

    def enter(self) -> None:
        if self._running:
            self._running[-1] = (self._running[-1][0], True)
        self._running.append((self._flops.get_total_flops(), False))

    def leave(
        self, name: str, module: nn.Module, parameters: list[nn.Parameter], outputs: object
    ) -> None:
        before, has_inner = self._running.pop()
        tensors = list(_all_tensors(outputs))
        if has_inner or not tensors or isinstance(module, nn.Identity):
            return
        self.rows.append(
            LayerSummary(
                name=name or type(module).__name__,
                kind=type(module).__name__,
                output_shape=tuple(tensors[0].shape[1:]),
                parameters=self._new_parameters(parameters),
                multiply_adds=(self._flops.get_total_flops() - before) // 2,
                receptive_field=self._pixels(self._fields.field(tensors[0])),
                memory=sum(t.numel() * t.element_size() for t in tensors),
            )
        )

    def unused_parameters(self, model: nn.Module) -> list[LayerSummary]:
        """Rows for parameters that no row counts: a module's own beside its layers, or unused."""
        return [
            LayerSummary(name, "Parameter", tuple(p.shape), p.numel(), 0, None, 0)
            for name, p in model.named_parameters()
            if self._new_parameters([p])
        ]

    def _new_parameters(self, parameters: Iterable[nn.Parameter]) -> int:
        new = set(parameters) - self._seen
        self._seen |= new
        return sum(p.numel() for p in new)

    def _pixels(self, field: Field | None) -> tuple[int, int] | None:
        if field is None:
            return None
        height, width = self._sides
        return (
            height if math.isinf(field.height) else int(field.height),
            width if math.isinf(field.width) else int(field.width),
        )


@contextmanager
def _hooks(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    handles = []
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_: recorder.enter()))
            handles.append(module.register_forward_hook(_on_leaving(recorder, name, module)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_leaving(
    recorder: _Recorder, name: str, module: nn.Module
) -> Callable[[nn.Module, Any, Any], None]:
    # Those of the model: while it runs, stand-ins are in their place.
    parameters = list(module.parameters())
    return lambda _, __, outputs: recorder.leave(name, module, parameters, outputs)


def _all_tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _all_tensors(item)
    elif isinstance(value, dict):
        yield from _all_tensors(list(value.values()))


def _cells(row: LayerSummary) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        _shape(row.output_shape),
        f"{row.parameters:,}",
        f"{row.multiply_adds:,}",
        _shape(row.receptive_field) if row.receptive_field else "–",
        _bytes(row.memory),
    )


def _align(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        cell.ljust(width) if column < 3 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _shape(sides: Sequence[int]) -> str:
    return "×".join(str(side) for side in sides)


def _bytes(count: int) -> str:
    """Bytes in the largest unit that gives at least 1."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}"
