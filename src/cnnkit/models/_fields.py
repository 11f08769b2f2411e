"""Receptive fields, followed through whatever a network computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["Field", "FieldTracker"]

aten = torch.ops.aten


class Field(NamedTuple):
    """What one position of a map sees of the image; `math.inf` where it is all of it.

    `height` and `width` are in pixels of the image, `jump_y` and `jump_x` the pixels between the
    centres of two neighbouring positions.
    """

    height: float
    width: float
    jump_y: float
    jump_x: float

    def grow(self, kernel: tuple[int, int], stride: tuple[int, int]) -> Field:
        """The field after a window of `kernel` positions, moved by `stride` positions."""
        return Field(
            self.height + (kernel[0] - 1) * self.jump_y,
            self.width + (kernel[1] - 1) * self.jump_x,
            self.jump_y * stride[0],
            self.jump_x * stride[1],
        )


_WHOLE = Field(math.inf, math.inf, 1, 1)


class FieldTracker(TorchDispatchMode):
    """Note the receptive field of every tensor that is computed from `image` while it is active.

    A tensor's field is None from the first operation on that is not known here: no figure rather
    than a wrong one. Tensors that do not depend on the image, weights say, have none either.

    Args:
        image: Float (1, C, H, W): with a batch of one, a matrix of one row mixes all of an image.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fields: Any = WeakTensorKeyDictionary()
        self._fields[image] = Field(1, 1, 1, 1) if image.dim() == 4 else None

    def field(self, tensor: Tensor) -> Field | None:
        """The field of a tensor that was computed, if it is known."""
        found: Field | None = self._fields.get(tensor)
        return found

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation and note the field of what it returns."""
        result = func(*args, **(kwargs or {}))
        inputs = [t for t in _tensors((*args, *(kwargs or {}).values())) if t in self._fields]
        if inputs:
            fields = [self._fields[t] for t in inputs]
            merged = None if None in fields else Field(*map(max, zip(*fields, strict=True)))
            rule = _rule(func)
            after = rule(merged, args, result) if merged is not None and rule else None
            for tensor in _tensors((result,)):
                self._fields[tensor] = after
        return result


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments of an operation, one level deep, as torch nests them."""
    found = []
    for value in values:
        items = value if isinstance(value, (list, tuple)) else [value]
        found += [item for item in items if isinstance(item, Tensor)]
    return found


_Rule = Callable[[Any, Any, Any], "Field | None"]


def _keep(field: Field, args: Any, result: Any) -> Field:  # noqa: ARG001
    return field


def _whole(field: Field, args: Any, result: Any) -> Field:  # noqa: ARG001
    return _WHOLE


def _slice(field: Field, args: Any, result: Any) -> Field | None:  # noqa: ARG001
    step = args[4] if len(args) > 4 else 1
    return field if step == 1 else None


def _reshape(field: Field, args: Any, result: Any) -> Field | None:
    """Flattened maps and regrouped channels keep their field; a folded map does not."""
    return field if result.dim() < 4 or result.shape[-2:] == args[0].shape[-2:] else None


def _transpose(field: Field, args: Any, result: Any) -> Field | None:
    """Swapped channels keep their field, as in a channel shuffle; swapped sides do not."""
    sides = {result.dim() - 2, result.dim() - 1}
    return None if sides & {axis % result.dim() for axis in args[1:3]} else field


def _convolve(field: Field, args: Any, result: Any) -> Field | None:  # noqa: ARG001
    _, weight, _, stride, _, dilation, transposed = args[:7]
    if transposed or weight.dim() != 4:
        return None
    return field.grow(_reach(weight.shape[2:], dilation), _pair(stride))


def _pool(field: Field, args: Any, result: Any) -> Field:  # noqa: ARG001
    kernel = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
    return field.grow(kernel, stride)


def _max_pool(field: Field, args: Any, result: Any) -> Field:  # noqa: ARG001
    """Its windows may have gaps."""
    kernel, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
    return field.grow(_reach(kernel, args[4] if len(args) > 4 else 1), _pair(stride))


def _batch_norm(field: Field, args: Any, result: Any) -> Field:  # noqa: ARG001
    """By statistics of its own, as instance normalisation, each number hangs on the whole map."""
    return _WHOLE if args[5] else field


def _adaptive_pool(field: Field, args: Any, result: Any) -> Field | None:  # noqa: ARG001
    """Equal windows where the sides divide; windows of several sizes have no one field."""
    output = _pair(args[1])
    if output == (1, 1):
        return _WHOLE
    sizes = list(zip(args[0].shape[-2:], output, strict=True))
    if any(size % out for size, out in sizes):
        return None
    kernel = (sizes[0][0] // sizes[0][1], sizes[1][0] // sizes[1][1])
    return field.grow(kernel, kernel)


def _multiply(field: Field, args: Any, result: Any) -> Field | None:  # noqa: ARG001
    """A matrix of one row is the whole image; what more rows are, nothing here tells."""
    rows = next(a for a in args if isinstance(a, Tensor) and a.dim() == 2).shape[0]
    return _WHOLE if rows == 1 else None


def _reduce(field: Field, args: Any, result: Any) -> Field | None:  # noqa: ARG001
    """A mean or maximum over both sides of a map sees all of it; over channels, no more."""
    if args[0].dim() != 4 or len(args) < 2 or args[1] is None:
        return None
    axes = {axis % 4 for axis in (args[1] if isinstance(args[1], (list, tuple)) else [args[1]])}
    if axes >= {2, 3}:
        return _WHOLE
    return field if axes == {1} else None


def _softmax(field: Field, args: Any, result: Any) -> Field | None:
    return field if args[1] % result.dim() == 1 else None


def _reach(kernel: Any, dilation: Any) -> tuple[int, int]:
    """From the first to the last place of a window with gaps."""
    (height, width), (down, across) = _pair(kernel), _pair(dilation)
    return down * (height - 1) + 1, across * (width - 1) + 1


def _pair(value: Any) -> tuple[int, int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return int(numbers[0]), int(numbers[-1])


#: By the name without overload: what an operation does to a field.
_RULES: dict[str, _Rule] = {
    "convolution": _convolve,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "mean": _reduce,
    "amax": _reduce,
    "sum": _reduce,
    "native_group_norm": _whole,
    "native_batch_norm": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "slice": _slice,
    "transpose": _transpose,
}
_RULES |= dict.fromkeys(["_softmax", "_log_softmax"], _softmax)
_RULES |= dict.fromkeys(["addmm", "mm"], _multiply)
_RULES |= dict.fromkeys(["view", "_unsafe_view", "_reshape_alias"], _reshape)
_RULES |= dict.fromkeys(
    [
        "_native_batch_norm_legit_no_training",
        "_batch_norm_no_update",
        "native_dropout",
        "hardswish",
        "hardswish_",
        # Views and copies: each number stays what it was.
        "unsqueeze",
        "squeeze",
        "expand",
        "clone",
        "copy_",
        "_to_copy",
        "alias",
        "detach",
        "contiguous",
        "select",
        "split",
        "split_with_sizes",
        "unbind",
        "cat",
        "stack",
        "constant_pad_nd",
        "as_strided_",  # how a convolution on meta gives its output the strides of channels_last
    ],
    _keep,
)


def _rule(func: Any) -> _Rule | None:
    name = func.overloadpacket.__name__
    if name in _RULES:
        return _RULES[name]
    return _keep if torch.Tag.pointwise in func.tags else None
