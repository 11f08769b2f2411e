"""The file of a `Classifier`: plain data and tensors, from which the model is made again."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from cnnkit._saved import load_saved, reading, save_whole
from cnnkit.errors import ModelError
from cnnkit.models import create_model
from cnnkit.models._registry import model_spec
from cnnkit.preprocess import Preprocess
from cnnkit.types import PathLike

__all__ = ["Builder", "model_parts", "read_file", "write_file"]

_KIND, _FORMAT = "Classifier", 1
_PACKAGES = ("cnnkit", "torch", "torchvision", "numpy", "pillow")  # what decodes and computes

Builder = Callable[[], nn.Module]


def write_file(path: PathLike, parts: Mapping[str, Any]) -> None:
    """Write the parts, the date and the versions under a temporary name that is then renamed."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    save_whole(path, _KIND, _FORMAT, {**parts, "saved": now, "versions": _versions()})


def model_parts(
    model: nn.Module, builder: Builder | None, preprocess: Preprocess
) -> dict[str, Any]:
    """What the model is made again from: name and arguments or builder's name, and weights.

    Raises:
        ModelError: There is no builder, and the model is in no list or was changed since it was
            made; or the builder's model does not fit the weights, or answers otherwise with them.
    """
    name = type(model).__name__
    spec = None
    if builder is not None:
        empty = _empty(builder)
    elif (spec := model_spec(model)) is not None:
        _check_plain(*spec)
        empty = _listed(*spec)
    else:
        raise ModelError(
            f"{name} is not in list_models(), so a file could not say how to make it: give "
            "Classifier(…, builder=) the function that makes an empty one"
        )
    misfits = _misfits(model.state_dict(), empty.state_dict())
    if misfits:
        raise ModelError(
            f"a new {name} would not fit these weights ({', '.join(misfits)}): give "
            "Classifier(…, builder=) the function that makes an empty one like this"
        )
    empty.load_state_dict(model.state_dict())
    if not _answer_alike(model, empty, preprocess):
        raise ModelError(
            f"a new {name} with these weights would answer otherwise than this one: a layer was "
            "changed since it was made, or set in another way. Give Classifier(…, builder=) the "
            "function that makes one like this"
        )
    return {
        "model": None if spec is None else {"name": spec[0], "arguments": spec[1]},
        "builder": None if builder is None else _dotted(builder),
        "weights": {n: t.detach().cpu().contiguous() for n, t in model.state_dict().items()},
    }


@contextmanager
def read_file(
    path: PathLike, builder: Builder | None
) -> Iterator[tuple[dict[str, Any], nn.Module]]:
    """What a file holds, and its model; inside, a part that is wrong is an error that names it.

    Nothing is imported by a name in the file.

    Raises:
        NotFoundError: There is no such file.
        SavedFileError: It is none that `write_file` wrote, is cut, holds code, or is newer.
        ModelError: It needs a builder, or its weights do not fit the model.
    """
    saved = load_saved(path, _KIND, _FORMAT)
    empty = None if builder is None else _empty(builder)  # what it raises is not the file's fault
    with reading(path, _KIND):
        yield saved, _with_weights(saved, path, empty)


def _with_weights(saved: Mapping[str, Any], file: PathLike, empty: nn.Module | None) -> nn.Module:
    if empty is None:
        spec = saved["model"]
        if spec is None:
            raise ModelError(
                f"{file} holds a model made by {saved['builder']}, and nothing is imported by a "
                "name in a file: pass Classifier.load(path, builder=…)"
            )
        empty = _listed(spec["name"], spec["arguments"])
    misfits = _misfits(saved["weights"], empty.state_dict())
    if misfits:
        raise ModelError(f"the weights in {file} do not fit the model: {', '.join(misfits)}")
    empty.load_state_dict(saved["weights"])
    return empty


def _listed(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    return _empty(lambda: create_model(name, **arguments))


def _check_plain(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what a file of plain data cannot hold, before it is one that nobody can open.

    Raises:
        ModelError: One of torchvision's options is a function or a class, say.
    """
    try:
        json.dumps(arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} was made with {dict(arguments)}, of which a file cannot hold all ({error}): "
            "give Classifier(…, builder=) the function that makes an empty one"
        ) from error


def _empty(builder: Builder) -> nn.Module:
    """A model to put weights into; the random ones that it begins with leave no trace."""
    with torch.random.fork_rng(devices=[]):
        model: object = builder()
    if not isinstance(model, nn.Module):
        raise ModelError(
            "builder must return the empty model, an nn.Module, when it is called without "
            f"arguments; {_dotted(builder)} returned {type(model).__name__}"
        )
    return model


@torch.no_grad()
def _answer_alike(model: nn.Module, other: nn.Module, preprocess: Preprocess) -> bool:
    """Whether two models in eval mode give the same for some noise, as far as can be told."""
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(
        0, 256, (2, *preprocess.image_shape), dtype=torch.uint8, generator=generator
    )
    images = preprocess(noise).to(device)
    with torch.random.fork_rng(devices=[]):
        first, again, new = (one.eval()(images).float() for one in (model, model, other.to(device)))
    if not torch.equal(first, again):
        return True  # it draws random numbers, and nothing can be said
    scale = float(first.abs().nan_to_num().max())
    return torch.allclose(first, new, rtol=0, atol=1e-3 * scale + 1e-6, equal_nan=True)


def _misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What stands between the two, a few words for each of the first three names."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in s.items()} for s in (given, wanted)]
    different = [n for n in {**given, **wanted} if shapes[0].get(n) != shapes[1].get(n)]
    return [f"{n} is {shapes[0].get(n)} for {shapes[1].get(n)}" for n in different[:3]]


def _dotted(builder: Builder) -> str:
    return f"{builder.__module__}.{getattr(builder, '__qualname__', type(builder).__qualname__)}"


def _versions() -> dict[str, str]:
    """Of Python and of the packages that decode and compute, none of which is imported for it."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a source tree that was never installed
            found[name] = "unknown"
    return found
