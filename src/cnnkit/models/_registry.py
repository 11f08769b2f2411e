"""Models by name, and the arguments that each was made with, so that it can be made again."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from torch import nn

from cnnkit.errors import ModelError
from cnnkit.models._base import ImageClassificationBase
from cnnkit.models._torchvision import (
    TorchvisionClassifier,
    did_you_mean,
    from_torchvision,
    torchvision_names,
)

__all__ = ["create_model", "list_models", "model_spec", "register"]

_TORCHVISION = "torchvision:"
_MODELS: dict[str, type[ImageClassificationBase]] = {}
_Model = TypeVar("_Model", bound=ImageClassificationBase)


def register(cls: type[_Model]) -> type[_Model]:
    """Make a model class known under its name to `create_model` and to saved classifiers.

    The class is returned itself; making an instance now also records all arguments, defaults
    included, in its attribute `arguments`, as JSON-like values (tuples as lists).

    Args:
        cls: A subclass of `ImageClassificationBase` whose `__init__` takes named arguments that are
            None, bools, numbers, strings, or lists, tuples and dicts of these.

    Raises:
        ModelError: If another class has this name, or `__init__` takes `*args` or `**kwargs`; when
            an instance is made, if an argument is of another kind.

    Example:
        >>> @register
        ... class Line(ImageClassificationBase):
        ...     def __init__(self, num_classes=10, *, pixels=784):
        ...         super().__init__()
        ...         self.linear = nn.Linear(pixels, num_classes)
        >>> create_model("Line", pixels=100).arguments
        {'num_classes': 10, 'pixels': 100}
    """
    name = cls.__name__
    known = _MODELS.get(name)
    # Defining a class again in a notebook's cell replaces it.
    if known is not None and _path(known) != _path(cls):
        raise ModelError(f"a model named {name!r} is {_path(known)} already: rename {_path(cls)}")
    signature = inspect.signature(cls)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if any(parameter.kind in variadic for parameter in signature.parameters.values()):
        raise ModelError(
            f"{name} takes {signature}: a registered model names each of its arguments, so that "
            f"they can be saved and given again"
        )
    _record_arguments(cls, signature)
    _MODELS[name] = cls
    return cls


def list_models() -> list[str]:
    """Names that `create_model` knows, sorted.

    Example:
        >>> "MLP" in list_models()
        True
    """
    return sorted(_MODELS)


def create_model(name: str, *, like: object = None, **kwargs: Any) -> ImageClassificationBase:
    """Make a model by name, to fit a loader.

    Args:
        name: One of `list_models()`, or "torchvision:" and a name of `from_torchvision`.
        like: A loader with `classes` and `image_shape` (C, H, W), or loaders with such a `train`:
            gives `num_classes`, `in_channels` and `image_size`. Without it they are the defaults
            of the model, its article's.
        **kwargs: Arguments of the model, which win over `like`. `binary=True` alone means two
            classes.

    Returns:
        The model, on the CPU (or on the device of a surrounding `with torch.device(…)`).

    Raises:
        ModelError: If there is no such model or argument, or `like` does not say its classes.

    Example:
        >>> create_model("ThreeConvCIFAR", binary=True, image_size=128).arguments["num_classes"]
        2
    """
    if name.startswith(_TORCHVISION):
        return _create_torchvision(name.removeprefix(_TORCHVISION), like, kwargs)
    cls = _lookup(name)
    takes = inspect.signature(cls).parameters
    unknown = sorted(set(kwargs) - set(takes))
    if unknown:
        raise ModelError(
            f"{name} takes no argument {_join(unknown)}.{did_you_mean(unknown[0], takes)} "
            f"It takes {_join(takes)}"
        )
    found = _read(like, kwargs)
    arguments = {**{key: value for key, value in found.items() if key in takes}, **kwargs}
    if kwargs.get("binary"):
        arguments.setdefault("num_classes", 2)
    return cls(**{key: _from_json(value) for key, value in arguments.items()})


def model_spec(model: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments from which `create_model` makes a model of this kind again.

    Args:
        model: Any module.

    Returns:
        (name, arguments), the arguments JSON-like; None unless the model is of exactly a registered
        class, since of a subclass nothing says how it is made.

    Example:
        >>> model_spec(nn.Linear(2, 2)) is None
        True
    """
    cls = type(model)
    if isinstance(model, TorchvisionClassifier) and cls is TorchvisionClassifier:
        arguments = copy.deepcopy(model.arguments)
        return _TORCHVISION + arguments.pop("name"), arguments
    if not isinstance(model, ImageClassificationBase) or _MODELS.get(cls.__name__) is not cls:
        return None
    return cls.__name__, copy.deepcopy(model.arguments)


def _record_arguments(cls: type[_Model], signature: inspect.Signature) -> None:
    """Wrap `cls.__init__`, so that no model repeats the list of its own arguments."""
    init: Callable[..., None] = cls.__init__

    @functools.wraps(init)
    def __init__(self: _Model, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        init(self, *args, **kwargs)
        if type(self) is cls:  # a subclass has arguments of its own
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            self.arguments = {
                key: _to_json(value, f"{cls.__name__}({key}=…)")
                for key, value in bound.arguments.items()
            }

    setattr(cls, "__init__", __init__)  # noqa: B010  # mypy refuses the plain assignment


def _lookup(name: str) -> type[ImageClassificationBase]:
    if name in _MODELS:
        return _MODELS[name]
    # Ours first: "alexnet" is one of torchvision's too.
    hint = did_you_mean(name, _MODELS)
    if not hint:
        hint = did_you_mean(name, torchvision_names(), prefix=_TORCHVISION)
    raise ModelError(f"no model is named {name!r}.{hint} There are {_join(list_models())}")


def _create_torchvision(name: str, like: object, kwargs: dict[str, Any]) -> ImageClassificationBase:
    # The networks take images of three channels only, and of any size but for vision transformers.
    found = _read(like, {"in_channels": 3, "image_size": None, **kwargs})
    if found.get("in_channels", 3) != 3:
        raise ModelError(
            f"torchvision's {name} takes images of 3 channels, received a loader of "
            f'{found["in_channels"]}: read the images with mode="RGB"'
        )
    num_classes = kwargs.pop("num_classes", found.get("num_classes"))
    if num_classes is None:
        raise ModelError(f"torchvision:{name} has no default: pass num_classes=, or like=a loader")
    size = found.get("image_size")
    if name.startswith("vit_") and size is not None and "image_size" not in kwargs:
        if not isinstance(size, int):
            raise ModelError(
                f"torchvision's {name} takes square images, received a loader of "
                f"{size[0]}x{size[1]} pixels: open the images with image_size= one number"
            )
        kwargs["image_size"] = size
    return from_torchvision(name, num_classes, **kwargs)


def _read(like: object, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a loader, or the `train` of loaders, decides."""
    if like is None:
        return {}
    loader = getattr(like, "train", like)
    found: dict[str, Any] = {}
    classes = getattr(loader, "classes", None)
    if classes is not None:
        found["num_classes"] = len(classes)
    elif "num_classes" not in kwargs:
        raise ModelError(
            f"like={type(like).__name__} does not say its classes: pass num_classes=, or a loader "
            f"of a data set that has `classes`, such as data.make_loaders returns"
        )
    shape = getattr(loader, "image_shape", None)
    if shape is not None:
        channels, height, width = shape
        found["in_channels"] = int(channels)
        found["image_size"] = int(height) if height == width else (int(height), int(width))
    elif not {"in_channels", "image_size"} <= set(kwargs):
        raise ModelError(
            f"like={type(like).__name__} does not say the shape of its images: pass in_channels= "
            f"and image_size=, or a loader such as data.make_loaders returns"
        )
    return found


def _to_json(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_to_json(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _to_json(item, where) for key, item in value.items()}
    raise ModelError(
        f"{where} received a {type(value).__name__}: the arguments of a registered model are None, "
        f"bools, numbers, strings, or lists, tuples and dicts of these"
    )


def _from_json(value: Any) -> Any:
    """Tuples where JSON has lists, as the models' own arguments are."""
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _join(names: Any) -> str:
    return ", ".join(names)
