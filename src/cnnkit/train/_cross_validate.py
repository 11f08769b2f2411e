"""`cross_validate`: train on every part of the data but one, and measure on that one."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import nn
from typing_extensions import Unpack

from cnnkit.data import Preprocess, k_fold
from cnnkit.data._loaders import cached
from cnnkit.data._view import as_labelled
from cnnkit.device import default_device
from cnnkit.errors import ArgumentError
from cnnkit.train._comparison import Comparison
from cnnkit.train._cross_validation import CrossValidation
from cnnkit.train._fit_arguments import FitArguments, check_arguments
from cnnkit.train._fold_files import FoldFiles, write_summary
from cnnkit.train._folds import run_folds
from cnnkit.train._interrupt import interruptible
from cnnkit.train._plan import Plan
from cnnkit.types import Augmentation, LabelledDataset, PathLike

__all__ = ["cross_validate"]

_OWN = ("build_model", "batch_size", "epochs", "augment", "preprocess", "balanced")


@overload
def cross_validate(
    build_model: Callable[[], nn.Module],
    ds: Any,
    *,
    k: int = ...,
    batch_size: int,
    epochs: int,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    augment: Augmentation | Sequence[Augmentation] = ...,
    preprocess: Preprocess | Literal["fit"] | None = ...,
    balanced: bool = ...,
    seed: int = ...,
    out_dir: PathLike | None = ...,
    settings: None = ...,
    device: torch.device | str | None = ...,
    num_workers: int = ...,
    progress: bool = ...,
    **fit_arguments: Unpack[FitArguments],
) -> CrossValidation: ...
@overload
def cross_validate(
    build_model: Callable[[], nn.Module],
    ds: Any,
    *,
    k: int = ...,
    batch_size: int,
    epochs: int,
    stratify: bool = ...,
    groups: Iterable[Hashable] | None = ...,
    augment: Augmentation | Sequence[Augmentation] = ...,
    preprocess: Preprocess | Literal["fit"] | None = ...,
    balanced: bool = ...,
    seed: int = ...,
    out_dir: PathLike | None = ...,
    settings: Mapping[str, Mapping[str, Any]],
    device: torch.device | str | None = ...,
    num_workers: int = ...,
    progress: bool = ...,
    **fit_arguments: Unpack[FitArguments],
) -> Comparison: ...
def cross_validate(
    build_model: Callable[[], nn.Module],
    ds: Any,
    *,
    k: int = 5,
    batch_size: int,
    epochs: int,
    stratify: bool = True,
    groups: Iterable[Hashable] | None = None,
    augment: Augmentation | Sequence[Augmentation] = (),
    preprocess: Preprocess | Literal["fit"] | None = "fit",
    balanced: bool = False,
    seed: int = 0,
    out_dir: PathLike | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    device: torch.device | str | None = None,
    num_workers: int = 0,
    progress: bool = True,
    **fit_arguments: Unpack[FitArguments],
) -> CrossValidation | Comparison:
    """Train k new models, each on all folds but one, and measure each on the fold it did not see.

    Model, optimiser, scheduler, normalisation and callbacks are new in each fold. Given several
    `settings` it does so for each of them, on the same folds.

    Args:
        build_model: Called without arguments, returns a new model; drawn by (seed, fold), whatever
            the global random state is.
        ds: A data set of cnnkit's, or a map-style one with `targets`. Put a test set aside before:
            what is chosen by the folds looks better on them than it is.
        k: How many folds, 2 to N.
        batch_size: Samples a batch.
        epochs: Of each fold.
        stratify: Keep the classes' proportions in every fold.
        groups: One hashable a sample; all samples of one group are in the same fold.
        augment: For the training parts.
        preprocess: "fit" measures mean and standard deviation on each fold's training part; or as
            for `make_loaders`.
        balanced: Draw training samples so that each class comes equally often.
        seed: Of folds, models, order, augmentation and dropout.
        out_dir: Where each fold's history, weights and report go, and a picture of all, where
            matplotlib is installed. The same call again goes on where this one ended: a finished
            fold is read, one that was under way goes on from its checkpoint. Those checkpoints are
            removed when the fold is finished, unless `keep` is given.
        settings: By name, what each setting has of its own: arguments of `fit`, or build_model,
            batch_size, epochs, augment, preprocess, balanced. Each has its own folder in `out_dir`.
        device: Where to train; by default `default_device()`.
        num_workers: Processes that read batches, for each loader.
        progress: Print one line an epoch and a fold.
        **fit_arguments: Others of `fit`. An optimiser and a scheduler by name, class or function;
            callbacks are copied for each fold, or made by a function of its number (1, 2, …).

    Returns:
        `CrossValidation`; of several settings a `Comparison`. Both print as a table.

    Raises:
        ArgumentError: An argument makes no sense, `build_model` returns a model twice, an optimiser
            or scheduler is an instance, or `out_dir` holds a cross-validation that was set
            otherwise: the message lists what is different.
        ClassMismatchError: The model was trained on other classes.
        DataError: The data set cannot be split so, or does not fit the model.
        SavedFileError: A file of a finished fold is damaged.

    Warns:
        CnnkitWarning: The model was trained before, and whatever `fit` says of a fold.

    Ctrl-C and SIGTERM end it as they end `fit`: what is finished is returned, and `stop_reason`
    says why there is no more.

    Example:
        >>> from cnnkit import data, models
        >>> images = torch.tensor([[[60]], [[200]]], dtype=torch.uint8).repeat(10, 8, 8)
        >>> ds = data.ArrayDataset(images, [0, 1] * 10)  # dark or bright
        >>> build = lambda: models.MLP(2, image_size=8)
        >>> result = cross_validate(
        ...     build, ds, k=2, batch_size=4, epochs=2, lr=0.1, device="cpu", progress=False
        ... )
        >>> len(result.histories), result.report.samples
        (2, 20)
        >>> several = {"lr 0.1": {"lr": 0.1}, "adam": {"optimizer": "adam"}}
        >>> comparison = cross_validate(
        ...     build, ds, k=2, batch_size=4, epochs=2, settings=several, device="cpu",
        ...     progress=False,
        ... )
        >>> list(comparison.results), comparison.best.name
        (['lr 0.1', 'adam'], 'lr 0.1')
    """
    given: dict[str, Any] = dict(fit_arguments)
    check_arguments(given)
    names = _checked_settings(settings)
    # Images are decoded once, not once a fold.
    whole: LabelledDataset = cached(as_labelled(ds), "auto", num_workers)
    grouped = None if groups is None else list(groups)
    splits = tuple(k_fold(whole, k, stratify=stratify, groups=grouped, seed=seed))
    base = Plan(
        build_model=build_model,
        whole=whole,
        splits=splits,
        folding={"k": k, "stratify": stratify, "by groups": groups is not None, "seed": seed},
        batch_size=batch_size,
        epochs=epochs,
        augment=augment,
        preprocess=preprocess,
        balanced=balanced,
        seed=seed,
        device=default_device() if device is None else torch.device(device),
        num_workers=num_workers,
        progress=progress,
        fit_arguments=given,
    )
    if settings is None:
        return _run([base], out_dir, {"": ""})[0]
    plans = [_with(base, name, own) for name, own in settings.items()]
    monitors = {plan.monitor for plan in plans}
    if len(monitors) > 1:
        raise ArgumentError(
            f"settings are compared by one figure, received monitor={sorted(monitors)}"
        )
    results = _run(plans, out_dir, names)
    last = results[-1]  # the only one that can have been cut short
    comparison = Comparison(
        {result.name: result for result in results},
        list(settings),
        plans[0].monitor,
        last.stop_reason,
    )
    if out_dir is not None:
        write_summary(out_dir, comparison)
    return comparison


def _run(
    plans: Sequence[Plan], out_dir: PathLike | None, folders: Mapping[str, str]
) -> list[CrossValidation]:
    """Run one plan after the other, all of them checked before the first."""
    files: list[FoldFiles | None] = []
    for plan in plans:
        settings = plan.settings()
        folder = None if out_dir is None else Path(out_dir, folders[plan.name])
        kept = "keep" in plan.fit_arguments
        files.append(None if folder is None else FoldFiles(folder, keep_checkpoints=kept))
        if files[-1] is not None:
            files[-1].begin(settings)
    results: list[CrossValidation] = []
    with interruptible() as interrupt:
        for plan, own in zip(plans, files, strict=True):
            results.append(run_folds(plan, own, interrupt))
            if results[-1].stop_reason != "finished":
                break
    return results


def _with(base: Plan, name: str, own: Mapping[str, Any]) -> Plan:
    """The plan with what one setting has of its own."""
    changed: dict[str, Any] = {key: value for key, value in own.items() if key in _OWN}
    arguments = {key: value for key, value in own.items() if key not in _OWN}
    arguments = {**base.fit_arguments, **arguments}
    return replace(base, name=name, fit_arguments=arguments, **changed)


def _checked_settings(settings: Mapping[str, Mapping[str, Any]] | None) -> dict[str, str]:
    """The folder of each setting, by name.

    Raises:
        ArgumentError: There are none, one holds what is no argument, or two are too much alike.
    """
    folders: dict[str, str] = {}
    if settings is None:
        return folders
    if not settings:
        raise ArgumentError('settings is empty: name some, such as {"adam": {"optimizer": "adam"}}')
    for name, own in settings.items():
        if not isinstance(own, Mapping):
            raise ArgumentError(
                f"settings must be arguments by name of each setting, received {own!r} of {name!r}"
            )
        try:
            check_arguments(own, _OWN)
        except ArgumentError as error:
            raise ArgumentError(f"setting {name!r}: {error}") from error
        folder = re.sub(r"[^\w.+=-]+", "-", str(name)).strip("-. ")
        taken = [other for other, used in folders.items() if used.lower() == folder.lower()]
        if taken or not folder:
            raise ArgumentError(
                f"the setting {name!r} has no name for a folder of its own"
                + (f": {taken[0]!r} is too much like it" if taken else "")
            )
        folders[name] = folder
    return folders
