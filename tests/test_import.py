"""Importing cnnkit is cheap, has no side effects, and gives the names that it says it gives."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cnnkit

SRC = Path(__file__).parents[1] / "src"
OPTIONAL = {
    "torchvision",
    "matplotlib",
    "tqdm",
    "sklearn",
    "gdown",
    "onnx",
    "tensorboard",
    "scipy",
    "triton",
}
PUBLIC = sorted(
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    for path in SRC.glob("cnnkit/**/*.py")
    if not any(part.startswith("_") and part != "__init__.py" for part in path.parts)
)
WATCHED = """
import json, logging, os, random, sys, warnings
import numpy, torch

def state():
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    return {
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": repr(numpy.random.get_state()),
        "Python's random state": repr(random.getstate()),
        "environment": dict(os.environ),
        "log handlers": [repr(handler) for logger in loggers for handler in logger.handlers],
        "warning filters": [repr(entry) for entry in warnings.filters],
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": str(torch.get_default_dtype()),
        "working directory": os.getcwd(),
        "files": sorted(os.listdir()),
        "import path": sys.path[:],
    }

def packages():
    return {name.partition(".")[0] for name in sys.modules}

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    before, known = state(), packages()
    import cnnkit
    alone = packages() - known
    from cnnkit import *
    from cnnkit.train import fit
    together = packages() - known
    after = state()

print(json.dumps({
    "alone": sorted(alone),
    "together": sorted(together),
    "changed": [name for name in before if before[name] != after[name]],
    "warnings": [str(warning.message) for warning in caught],
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process saw while it imported everything of cnnkit, torch being there."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    found: dict[str, Any] = json.loads(done.stdout)  # nothing else may be printed either
    assert done.stderr == ""
    return found


def test_importing_loads_no_optional_package(seen: dict[str, Any]) -> None:
    assert set(seen["alone"]) & OPTIONAL == set()


def test_importing_every_part_loads_no_optional_package(seen: dict[str, Any]) -> None:
    assert "cnnkit" in seen["together"]
    assert set(seen["together"]) & OPTIONAL == set()


def test_importing_has_no_side_effects(seen: dict[str, Any]) -> None:
    assert seen["changed"] == []


def test_importing_warns_of_nothing(seen: dict[str, Any]) -> None:
    assert seen["warnings"] == []


def re_exported(module: ModuleType) -> set[str]:
    """Names that a module re-exports as `X as X`, wherever in it that is written."""
    assert module.__file__ is not None
    nodes = ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
    aliases = (alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names)
    return {alias.name for alias in aliases if alias.asname == alias.name}


def test_the_public_modules_are_found() -> None:
    assert {"cnnkit", "cnnkit.data", "cnnkit.data.augment", "cnnkit.errors"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(set(module.__all__))
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert [public for public in module.__all__ if public.startswith("_")] == []
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_what_the_package_re_exports(name: str) -> None:
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):  # a package; a module defines what it names
        assert re_exported(module) == set(module.__all__)


def test_names_are_those_of_the_modules_behind_them() -> None:
    from cnnkit.classifier import Classifier
    from cnnkit.preprocess import Preprocess

    assert cnnkit.Classifier is Classifier
    assert cnnkit.Preprocess is Preprocess is cnnkit.data.Preprocess
    assert cnnkit.train is importlib.import_module("cnnkit.train")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'cnnkit' has no attribute 'dta'"):
        _ = cnnkit.dta
    assert not hasattr(cnnkit, "__wrapped__")


def test_the_version_is_a_version() -> None:
    assert cnnkit.__version__[0].isdigit()
    assert "__version__" in dir(cnnkit)
