"""Importing this gives the process an accelerator, "fakegpu", that computes on the CPU.

A tensor of the CPU that meets one of the accelerator is an error, as on a real one. PyTorch cannot
take a backend back: import this in a process of its own, see tests/test_device.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

backend_registration._setup_privateuseone_for_python_backend("fakegpu")

_COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._copy_from.default}


class Move(NamedTuple):
    """A copy from the CPU to the accelerator."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    non_blocking: bool


#: What was copied to the accelerator, and the operators that brought something back, for which a
#: real one would be waited for. Tests clear the lists.
moves: list[Move] = []
waits: list[str] = []


class OnFake(Tensor):
    """A tensor that says that it is on the accelerator, and holds one of the CPU."""

    raw: Tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as a tensor of the CPU, as which cnnkit reads what any device saved."""
        return self.raw.__reduce_ex__(protocol)

    @staticmethod
    def __new__(cls, raw: Tensor) -> OnFake:
        made: OnFake = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            dtype=raw.dtype,
            device=torch.device("fakegpu", 0),
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        to_cpu = str(options.get("device", "fakegpu")) == "cpu"
        if "device" in options:
            options["device"] = "cpu"

        def bare(x: Any) -> Any:
            if isinstance(x, OnFake):
                return x.raw
            if isinstance(x, Tensor) and x.ndim and func not in _COPIES:
                raise RuntimeError(f"{func}: a tensor of the CPU meets one of the accelerator")
            return x

        if func is torch.ops.aten.copy_.default and not isinstance(args[1], OnFake):
            moves.append(Move(tuple(args[1].shape), args[1].dtype, bool(args[2:] and args[2])))
        if to_cpu or func is torch.ops.aten._local_scalar_dense.default:
            waits.append(str(func))
        out = func(*tree_map(bare, args), **tree_map(bare, options))
        if func._schema.is_mutable:
            return (kwargs or {}).get("out", args[0] if args else None)
        return out if to_cpu else tree_map(_wrapped, out)


def _wrapped(x: Any) -> Any:
    return OnFake(x) if isinstance(x, Tensor) else x


@torch.library.impl("aten::empty.memory_format", "privateuseone")
def _empty(size: Any, dtype: Any = None, *_: Any, **__: Any) -> Tensor:
    return OnFake(torch.empty(size, dtype=dtype))


@torch.library.impl("aten::empty_strided", "privateuseone")
def _empty_strided(size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any) -> Tensor:
    return OnFake(torch.empty_strided(size, stride, dtype=dtype))


@torch.library.impl("aten::_copy_from", "privateuseone")
def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    source, raw = (x.raw if isinstance(x, OnFake) else x for x in (source, target))
    raw.copy_(source)
    return target
