"""Layers by name, and what becomes of an image behind one of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeGuard

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnkit.errors import CnnkitError, ModelError
from cnnkit.models._base import evaluating

__all__ = ["Stage", "find_layer", "follow", "listed"]

_ACTIVATIONS = frozenset({
    "celu", "clamp", "clamp_max", "clamp_min", "elu", "gelu", "glu", "hardshrink", "hardsigmoid",
    "hardswish", "hardtanh", "leaky_relu", "log_sigmoid", "logsigmoid", "mish", "prelu",
    "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softmax", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold",
})  # fmt: skip


class Stage(NamedTuple):
    """Maps (K, H, W) on the CPU, and the layer or function that made them."""

    name: str
    maps: Tensor


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of this dotted name, as `named_modules` gives it.

    Raises:
        ModelError: There is none; the message has the nearest names.
    """
    layers: dict[str, nn.Module] = {path: part for path, part in model.named_modules() if path}
    if name in layers:
        return layers[name]
    by_lower = {path.lower(): path for path in layers}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=3)
    hint = f" Did you mean {' or '.join(repr(by_lower[match]) for match in close)}?"
    raise ModelError(
        f"{type(model).__name__} has no layer {name!r}.{hint if close else ''} "
        f"Its layers are {listed(layers)}"
    )


def listed(names: Iterable[str]) -> str:
    """Up to 20 names for a message."""
    all_names = list(names)
    more = f", … ({len(all_names)} in all)" if len(all_names) > 20 else ""
    return ", ".join(all_names[:20]) + more if all_names else "none"


def follow(model: nn.Module, images: Tensor, layer: str) -> list[Stage]:
    """Run the model on one image, and follow what a layer makes of it up to the next layer.

    Normalisation, activation and pooling count as stages, whether they are modules or functions;
    the way ends where a convolution, a flattening or another tensor comes in.

    Args:
        model: Any module; it runs in eval mode and has its own mode afterwards.
        images: (1, C, H, W) on the model's device.
        layer: Name of a layer.

    Returns:
        The layer's own maps first, from the first time that the layer is used.

    Raises:
        ModelError: There is no such layer, its output is no map, or the model does not take the
            image.
    """
    find_layer(model, layer)
    way = _Way()
    shapes: dict[str, tuple[int, ...] | None] = {}  # of each layer's first output

    def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
            if name == layer and name not in shapes and _is_maps(output):
                way.add(name, output)
            shapes.setdefault(name, tuple(output.shape) if isinstance(output, Tensor) else None)

        return note

    hooks = [part.register_forward_hook(noting(name)) for name, part in model.named_modules()]
    try:
        with evaluating(model), way:
            model(images)
    except CnnkitError:
        raise
    except RuntimeError as error:
        raise ModelError(
            f"{type(model).__name__} does not take an image of shape {tuple(images.shape[1:])}: "
            f"{error}; preprocess= says how an image is made ready for it"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not way.stages:
        made = "is not used by the model"
        if layer in shapes:
            made = f"makes {shapes[layer] or 'no tensor'}"
        maps = [name for name, shape in shapes.items() if name and shape and len(shape) == 4]
        raise ModelError(
            f"layer {layer!r} {made}, expected maps (1, K, H, W): the layers that make maps are "
            f"{listed(maps)}"
        )
    return way.stages


class _Way(TorchFunctionMode):
    """Sees each call of a torch function while it is active, and notes those on the last maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[Stage] = []
        self._head: Tensor | None = None

    def add(self, name: str, maps: Tensor) -> None:
        """Note a stage and go on from it."""
        self._head = maps
        # A copy: an in-place activation would overwrite what was before it.
        self.stages.append(Stage(name, maps[0].detach().float().cpu().clone()))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the function and note what it makes of the last maps."""
        kwargs = kwargs or {}
        ours = self._head is not None and any(a is self._head for a in (*args, *kwargs.values()))
        result = func(*args, **kwargs)
        if ours:
            self._go_on(getattr(func, "__name__", ""), result)
        return result

    def _go_on(self, name: str, result: Any) -> None:
        """Note what a function of this name made of the last maps, or that the way ends."""
        maps = result[0] if isinstance(result, tuple) and result else result
        plain = name.rstrip("_")
        if "dropout" in plain and _is_maps(maps):
            self._head = maps  # in eval mode the same numbers
        elif _is_maps(maps) and (plain in _ACTIVATIONS or "pool" in plain or "norm" in plain):
            self.add(plain, maps)
        elif (maps is self._head and name.endswith("_")) or name == "__setitem__":
            self._head = None  # `maps += other`: the same tensor holds something else now


def _is_maps(output: Any) -> TypeGuard[Tensor]:
    return isinstance(output, Tensor) and output.ndim == 4
