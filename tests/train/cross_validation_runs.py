"""Small cross-validations for the tests, and things that happen to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from cnnkit.data import (
    ArrayDataset,
)
from cnnkit.models import MLP
from cnnkit.train import (
    Callback,
    CrossValidation,
    TrainState,
    cross_validate,
)

C, N, K = 3, 43, 3


def dataset(classes: int = C, n: int = N, seed: int = 0) -> ArrayDataset:
    """Grey 6x6 images that a linear layer tells apart, not always rightly."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    images = torch.randint(0, 160, (n, 6, 6), generator=generator)
    images[torch.arange(n), labels, labels] += 90
    return ArrayDataset(images.to(torch.uint8), labels)


def build(classes: int = C, dropout: float = 0.3) -> MLP:
    return MLP(classes, image_size=6, hidden=(16,), dropout=dropout)


def run(ds: Any = None, build_model: Callable[[], nn.Module] = build, **options: Any) -> Any:
    common: dict[str, Any] = {"k": K, "batch_size": 8, "epochs": 2, "lr": 0.1, "device": "cpu"}
    given: dict[str, Any] = {**common, "progress": False, **options}
    return cross_validate(build_model, dataset() if ds is None else ds, **given)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def without_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def timeless(result: CrossValidation) -> list[dict[str, Any]]:
    """The histories without their seconds."""
    histories = [history.to_dict() for history in result.histories]
    for history in histories:
        history["rows"] = [without_seconds(row) for row in history["rows"]]
    return histories


def assert_equal(one: CrossValidation, other: CrossValidation) -> None:
    assert timeless(one) == timeless(other)
    assert one.report.to_dict() == other.report.to_dict()
    for mine, theirs in zip(one.folds, other.folds, strict=True):
        assert mine.report.to_dict() == theirs.report.to_dict()
        assert mine.preprocess == theirs.preprocess
        assert same(one.model(mine.number), other.model(theirs.number))


class Event(Callback):
    """Does something at one step of one fold, as long as it is armed; counts all steps."""

    def __init__(self, fold: int, step: int, happen: Callable[[], object]) -> None:
        self.fold, self.step, self.happen = fold, step, happen
        self.armed, self.steps = True, 0

    def of_fold(self, fold: int) -> Callback:
        """The callback of a fold, as `cross_validate` asks for it."""
        event = self

        class OfFold(Callback):
            def on_step_end(self, state: TrainState) -> None:
                event.steps += 1
                if event.armed and (fold, state.step) == (event.fold, event.step):
                    event.armed = False
                    event.happen()

        return OfFold()


def killed() -> None:
    """As by SIGKILL: nothing is written any more."""
    raise KeyboardInterrupt


def sends(number: int) -> Callable[[], None]:
    return partial(os.kill, os.getpid(), number)
