"""cnnkit: from a zip of labelled images to a classifier that can be trusted and shipped.

The parts are loaded when they are first used, so that importing cnnkit costs what torch costs.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from cnnkit._pictures import drawers as _drawers

if TYPE_CHECKING:
    from cnnkit import data as data
    from cnnkit import device as device
    from cnnkit import distributed as distributed
    from cnnkit import errors as errors
    from cnnkit import filters as filters
    from cnnkit import metrics as metrics
    from cnnkit import models as models
    from cnnkit import plot as plot
    from cnnkit import train as train
    from cnnkit import types as types
    from cnnkit.classifier import Classifier as Classifier
    from cnnkit.classifier import Prediction as Prediction
    from cnnkit.device import DeviceDataLoader as DeviceDataLoader
    from cnnkit.preprocess import Preprocess as Preprocess

_MODULES = (
    "data",
    "device",
    "distributed",
    "errors",
    "filters",
    "metrics",
    "models",
    "plot",
    "train",
    "types",
)
_NAMES = {
    "Classifier": "cnnkit.classifier",
    "DeviceDataLoader": "cnnkit.device",
    "Prediction": "cnnkit.classifier",
    "Preprocess": "cnnkit.preprocess",
}

__all__ = [
    "Classifier",
    "DeviceDataLoader",
    "Prediction",
    "Preprocess",
    "data",
    "device",
    "distributed",
    "errors",
    "filters",
    "metrics",
    "models",
    "plot",
    "train",
    "types",
]

try:
    __version__ = _version("cnnkit")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"


def _draw_folds(result: Any) -> Any:
    from cnnkit import plot

    return plot.folds(result)


_drawers["folds"] = _draw_folds


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"cnnkit.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'cnnkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
