"""The model that is shipped: trained on all the data, as the folds were."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from cnnkit.data import Split
from cnnkit.device import DeviceDataLoader
from cnnkit.train._fit import fit
from cnnkit.train._fit_arguments import fresh_arguments
from cnnkit.train._fold_files import FoldFiles
from cnnkit.train._history import History
from cnnkit.train._plan import Plan

__all__ = ["Refitted", "refit"]

_ONLY_WITH_FOLDS = ("callbacks", "evaluate_first", "monitor", "restore_best")


class Refitted(NamedTuple):
    """A model that was trained on all the data.

    Attributes:
        model: In eval mode.
        history: Of its run, without validation figures: there was nothing left to validate on.
        loader: Of all the data; knows classes and preprocessing, for `Classifier.from_loader`.
    """

    model: nn.Module
    history: History
    loader: DeviceDataLoader


def refit(plan: Plan, epochs: int, files: FoldFiles | None) -> Refitted:
    """Train a new model on all samples of a plan.

    Args:
        plan: Of the folds.
        epochs: How many.
        files: Where it keeps its checkpoints.
    """
    given = {n: v for n, v in plan.fit_arguments.items() if n not in _ONLY_WITH_FOLDS}
    arguments = fresh_arguments(given, 0)
    if files is not None:
        arguments |= {"checkpoint_dir": files.refit_checkpoints(epochs), "resume": "auto"}
    model, loader = plan.model(0), plan.loaders(Split(plan.whole)).train
    plan.say(f"all {len(plan.whole)} samples, {epochs} epochs")
    history = fit(model, loader, epochs=epochs, progress=plan.progress, seed=plan.seed, **arguments)
    return Refitted(model, history, loader)
