"""Weights from elsewhere: an article's file, another program's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cnnkit.errors import ModelError

__all__ = ["load_weights"]

#: What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def load_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], *, strict: bool = True
) -> list[str]:
    """Copy weights into a model, by name or else by order and shape.

    By name, if every name is the model's and has its shape. Otherwise by order, if there are as
    many tensors, each of the shape of the model's at its place: this is how the weights of an
    article's `nn.Sequential`, which numbers its layers, come into a model that names them. Two
    layers of one shape in another order cannot be told apart.

    Args:
        model: Any module, changed in place.
        state_dict: Tensors by name, on any device. Prefixes of DistributedDataParallel and
            torch.compile are taken off.
        strict: Raise if anything does not fit, before anything is changed. Otherwise load what
            fits by name, the backbone for another number of classes say.

    Returns:
        A line for each name that did not fit; none if all did.

    Raises:
        ModelError: If something does not fit and `strict` is set; if a value is no tensor.

    Example:
        >>> from cnnkit.models import MLP
        >>> numbered = nn.Sequential(
        ...     nn.Flatten(), nn.Linear(784, 256), nn.ReLU(),
        ...     nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> load_weights(MLP(10), numbered.state_dict())
        []
    """
    given = _plain_names(state_dict)
    wanted: dict[str, Tensor] = model.state_dict()
    if any(tensor.is_meta for tensor in wanted.values()):
        raise ModelError(
            "the model is on the meta device, where it has no weights to copy into: "
            "call model.to_empty(device=…) first"
        )
    misfits = _misfits(given, wanted)
    # Where a name is shared, and its shape or its place is not, equal shapes in order would be an
    # accident.
    shared = given.keys() & wanted.keys()
    contradicted = any(given[n].shape != wanted[n].shape for n in shared) or any(
        one != other and (one in shared or other in shared)
        for one, other in zip(given, wanted, strict=False)
    )
    shapes_agree = [t.shape for t in given.values()] == [t.shape for t in wanted.values()]
    if not misfits:
        model.load_state_dict(given)
    elif shapes_agree and not contradicted:
        model.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
        misfits = []
    elif strict:
        raise ModelError(
            f"these weights do not fit {type(model).__name__}, neither by name nor by order and "
            f"shape. By name:\n  " + "\n  ".join(misfits) + "\nBuild the model with the arguments "
            "it was trained with, or pass strict=False to load what fits by name"
        )
    else:
        fitting = {n: t for n, t in given.items() if n in wanted and t.shape == wanted[n].shape}
        model.load_state_dict(fitting, strict=False)
    return misfits


def _plain_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise ModelError(
                f"expected a tensor for each name, received {type(value).__name__} for {name!r}: "
                f"pass the state dict itself, not the checkpoint around it"
            )
    names = list(state_dict)
    while names:
        prefix = next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), "")
        if not prefix:
            break
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state_dict.values(), strict=True))


def _misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    lines = []
    for name, tensor in wanted.items():
        if name not in given:
            lines.append(f"{name}: expected shape {tuple(tensor.shape)}, not in the weights")
        elif given[name].shape != tensor.shape:
            lines.append(
                f"{name}: expected shape {tuple(tensor.shape)}, received {tuple(given[name].shape)}"
            )
    lines += [
        f"{name}: received shape {tuple(tensor.shape)}, not in the model"
        for name, tensor in given.items()
        if name not in wanted
    ]
    return lines
