"""`Plan`: all that the folds of a cross-validation have in common."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cnnkit.data import Loaders, Preprocess, Split, make_loader, make_loaders
from cnnkit.device import derived_seed
from cnnkit.distributed import is_main, world_size
from cnnkit.errors import CnnkitWarning
from cnnkit.train import _settings
from cnnkit.train._callbacks import Callbacks
from cnnkit.train._checks import check_numbers
from cnnkit.train._compute import resolve_precision
from cnnkit.train._fit_arguments import fresh_arguments, with_defaults
from cnnkit.train._fresh import Builder
from cnnkit.train._history import default_mode
from cnnkit.train._lengths import steps_of
from cnnkit.train._loss import default_loss
from cnnkit.train._meeting import TrainedOn, meet, trained_on
from cnnkit.train._optimizers import make_optimizer
from cnnkit.train._schedules import make_schedule
from cnnkit.types import Augmentation, LabelledDataset

__all__ = ["Plan"]

_ALIKE_IN_RESULT = ("keep", "checkpoint_every", "on_checkpoint_error")


@dataclass(frozen=True)
class Plan:
    """What every fold is trained with, and the final model on all the data.

    Args:
        build_model: Makes a new model.
        whole: All samples.
        splits: Of the folds.
        folding: How they were made, in words.
        batch_size: As for `make_loaders`, like those below.
        epochs: Of each fold.
        augment: For the training parts.
        preprocess: "fit" measures on the training part of each fold.
        balanced: Draw training samples so that each class comes equally often.
        seed: Of models, order and augmentation.
        device: Where all is trained.
        num_workers: Processes that read batches.
        progress: Print lines.
        fit_arguments: The others of `fit`.
        name: Among several settings.
    """

    build_model: Callable[[], nn.Module]
    whole: LabelledDataset
    splits: tuple[Split[Any], ...]
    folding: Mapping[str, Any]
    batch_size: int
    epochs: int
    augment: Augmentation | Sequence[Augmentation]
    preprocess: Preprocess | Literal["fit"] | None
    balanced: bool
    seed: int
    device: torch.device
    num_workers: int
    progress: bool
    fit_arguments: Mapping[str, Any]
    name: str = ""

    @cached_property
    def _builder(self) -> Builder:
        return Builder(self.build_model, self.device)

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments of `fit` but those that are set for each fold."""
        return with_defaults(self.fit_arguments)

    @property
    def monitor(self) -> str:
        """The figure that decides which epoch is best."""
        return self.arguments["monitor"] or "val_loss"

    def say(self, text: str) -> None:
        """Print a line, where lines are wanted."""
        if self.progress and is_main():
            print(f"{self.name}: {text}" if self.name else text, flush=True)  # noqa: T201

    def model(self, fold: int) -> nn.Module:
        """The model that a fold (1, 2, …) begins with; of 0, the one that all data is for."""
        return self._builder(derived_seed(self.seed, fold))

    def loaders(self, split: Split[Any]) -> Loaders:
        """The loaders of a fold, normalised by what its own training part measures."""
        return make_loaders(
            split,
            self.batch_size,
            augment=self.augment,
            preprocess=self.preprocess,
            balanced=self.balanced,
            device=self.device,
            num_workers=self.num_workers,
            seed=self.seed,
        )

    def fresh(self, fold: int) -> dict[str, Any]:
        """The arguments of `fit` for one fold, which no other one shares."""
        return fresh_arguments(self.fit_arguments, fold)

    def held_out(self, fold: int) -> Tensor:
        """Where the samples that a fold is measured on stand in the whole, int64 (n,)."""
        part = self.splits[fold - 1].val
        assert part is not None, "every fold has a validation part"
        ordered, order = self.whole.indices.sort()  # the whole may be a part of a larger one
        return order[torch.searchsorted(ordered, part.indices)]

    def settings(self) -> dict[str, Any]:
        """All that decides what the folds come to, as plain values; refuses what cannot run.

        Raises:
            ArgumentError, ClassMismatchError: As `fit` would raise them, but before any training.

        Warns:
            CnnkitWarning: The new model has been trained already.
        """
        given, model = self.arguments, self.model(0)
        check_numbers(
            self.epochs, given["accumulate"], given["checkpoint_every"], given["clip_norm"]
        )
        common: dict[str, Any] = {"device": "cpu", "cache": "off", "seed": self.seed}
        common["shuffle"] = True
        loader = make_loader(
            self.whole, self.batch_size, augment=self.augment, balanced=self.balanced, **common
        )
        self._check_untrained(model, loader.classes)
        part = make_loader(self.splits[0].train, self.batch_size, **common)
        optimizer = make_optimizer(given["optimizer"], model, given["lr"])
        schedule = make_schedule(
            given["scheduler"],
            optimizer,
            epochs=self.epochs,
            steps=steps_of(part, self.epochs, given["accumulate"]),
            mode=default_mode(self.monitor),
        )
        held_out = [self.held_out(fold).tolist() for fold in range(1, len(self.splits) + 1)]
        plain = set(given) - {"lr", "optimizer", "scheduler", *_ALIKE_IN_RESULT}
        settings = {
            **self.folding,
            "folds": _settings.digest(str(held_out)),
            **_settings.of_data("data", loader),
            "normalisation": repr(self.preprocess.to_dict())
            if isinstance(self.preprocess, Preprocess)
            else self.preprocess,
            "model": _settings.of_model(model),
            **_settings.of_optimizer(optimizer, schedule),
            "epochs": self.epochs,
            **{name: _settings.plain(given[name]) for name in sorted(plain)},
            "loss": _settings.of_loss(given["loss"] or default_loss(model)),
            "callbacks": _of_callbacks(given["callbacks"]),
            "monitor": self.monitor,
            "precision": resolve_precision(given["precision"], self.device),
            "processes": world_size(),
        }
        saved: dict[str, Any] = json.loads(json.dumps(settings))  # as a file gives them back
        return saved

    def _check_untrained(self, model: nn.Module, classes: tuple[str, ...] | None) -> None:
        noted = trained_on(model)
        if noted is None:
            return
        meet(model=noted._replace(preprocess=None), ds=TrainedOn(classes, None))
        warnings.warn(
            "build_model returns a model that was trained before: if it has seen any of these "
            "samples, the figures of the folds say nothing about new ones. Make a new model in the "
            "function, or be sure that it learnt from other images",
            CnnkitWarning,
            stacklevel=4,
        )


def _of_callbacks(callbacks: Any) -> Any:
    if callable(callbacks):
        return _settings.plain(callbacks)
    several = Callbacks(callbacks).all
    public = [{n: v for n, v in vars(one).items() if not n.startswith("_")} for one in several]
    named = zip(several, public, strict=True)
    return [f"{type(one).__qualname__} {_settings.plain(values)}" for one, values in named]
