"""`fit`: train a model, watch it, and leave its best weights in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import nn

from cnnkit.device import DeviceDataLoader
from cnnkit.distributed import broadcast, is_main, world_size
from cnnkit.errors import ArgumentError
from cnnkit.models._base import hook_overridden
from cnnkit.train import _settings
from cnnkit.train._callbacks import Callback, Callbacks
from cnnkit.train._checkpoint import CheckpointFolder, Keep
from cnnkit.train._checks import check_choice, check_numbers
from cnnkit.train._compute import (
    Compute,
    MemoryFormat,
    Precision,
    by_rule,
    resolve_precision,
)
from cnnkit.train._history import History
from cnnkit.train._lengths import steps_of
from cnnkit.train._loop import overrides_validation
from cnnkit.train._loss import default_loss, module_of
from cnnkit.train._meeting import (
    as_device_loader,
    check_repeatable,
    meet,
    remember,
    warn_of_new_order,
)
from cnnkit.train._optimizers import OptimizerChoice, make_optimizer
from cnnkit.train._parallel import with_sync_batchnorm
from cnnkit.train._parts import OnCheckpointError, Parts
from cnnkit.train._resume import check_same_run, to_go_on_from
from cnnkit.train._run import Run
from cnnkit.train._schedules import SchedulerChoice, make_schedule
from cnnkit.train._step import make_step
from cnnkit.train._tune import faster_format
from cnnkit.train._untouched import untouched
from cnnkit.train._update import Updates
from cnnkit.train._warn import warn
from cnnkit.train._watch import shared_samples
from cnnkit.types import LossFunction, PathLike

__all__ = ["fit"]


def fit(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any] | None = None,
    *,
    epochs: int,
    lr: float | None = None,
    optimizer: OptimizerChoice = "sgd",
    scheduler: SchedulerChoice | None = None,
    loss: LossFunction | None = None,
    callbacks: Sequence[Callback] | Callback = (),
    checkpoint_dir: PathLike | None = None,
    checkpoint_every: int | None = None,
    keep: Keep = 1,
    resume: bool | Literal["auto"] = False,
    on_checkpoint_error: OnCheckpointError = "warn",
    monitor: str | None = None,
    restore_best: bool = True,
    precision: Precision = "fp32",
    memory_format: MemoryFormat = "auto",
    accumulate: int = 1,
    clip_norm: float | None = None,
    compile: bool | Mapping[str, Any] = False,
    sync_batchnorm: bool = False,
    evaluate_first: bool = False,
    progress: bool = True,
    seed: int | None = 0,
) -> History:
    """Train a model and return its history.

    Any `nn.Module` that returns logits (N, C), or (N,) with one logit a sample, and any loader of
    ``(images, labels)``. The model is moved to the loader's device; a foreign loader is wrapped in
    a `DeviceDataLoader` on the default device. Hooks that the model overrides
    (`ImageClassificationBase`) are called and their figures recorded as given.

    Args:
        model: Trained in place; at the end the best weights are in it, and it is in eval mode.
        train_loader: Of `make_loader`, or any iterable of batches (a `DataLoader`).
        val_loader: Likewise; watched after each epoch, in eval mode.
        epochs: How often each training sample is seen.
        lr: Learning rate; by default 0.01 for "sgd" and "momentum", 0.001 for the others.
        optimizer: "sgd", "momentum" (SGD with Nesterov momentum 0.9), "adam", "adamw", "rmsprop",
            an instance, or anything called as ``(parameters, lr=lr)``. By name, momentum, adam and
            adamw are fused on the CPU: the same step but for rounding, and faster.
        scheduler: How the learning rate changes: "cosine" falls from `lr` to 0 and "one_cycle"
            rises to it and falls, both step by step; "step" divides it by ten after each third of
            the epochs, "plateau" when the monitored figure has not become better for 3 epochs.
            Or a scheduler, or a function of the optimiser that returns one, which is stepped
            after each epoch, or after each step where its class or length is meant so. None
            keeps it constant.
        loss: Mean loss of (logits, labels), such as ``nn.CrossEntropyLoss(weight=…)``; by default
            the model's own, or cross-entropy (binary for logits (N,)).
        callbacks: Called in the order given, such as `EarlyStopping()`.
        checkpoint_dir: Where to write a checkpoint after each epoch, from which a run that was
            ended or killed goes on as if nothing had happened.
        checkpoint_every: Write one after so many optimiser steps as well.
        keep: Which epochs' checkpoints stay: the newest so many, the "best", or "all". The two
            newest always do.
        resume: True goes on from the newest whole checkpoint, and is an error where there is none;
            "auto" starts afresh there. False on a folder with checkpoints is an error.
        on_checkpoint_error: What to do when one cannot be written, because the disk is full, say:
            "warn" and go on, or "stop".
        monitor: The figure that decides which epoch is best: `val_loss` where there is a
            val_loader. One with "loss" or "error" in its name is best when small, any other when
            large.
        restore_best: Put the weights of the best epoch back at the end. Without a val_loader and
            without `monitor` the last ones stay. Where the loss becomes nan or infinite, the run
            ends and the best weights are put back, or else those of the last sound epoch.
        precision: "fp32"; "bf16" or "fp16" compute in half precision where that is exact enough
            (autocast), and validate so too; "auto" takes the better of them on CUDA. "fp16" is
            for CUDA cards without bfloat16.
        memory_format: "auto" takes "channels_last" by a fixed rule of layers and device where it
            is the faster one; "tune" times a few steps in both and keeps its choice in the
            checkpoint; "contiguous". The model has its own format back afterwards.
        accumulate: Batches an optimiser step; the gradient is that of all their samples together.
        clip_norm: Largest norm of all gradients together.
        compile: Compile the model with `torch.compile` for the run; a mapping holds its options.
        sync_batchnorm: Of several processes: normalise by the statistics of the whole batch
            instead of each process's share of it (CUDA only).
        evaluate_first: Begin the history with a row for epoch 0, before any training.
        progress: Print one line an epoch, and show a bar where the extra `progress` is installed.
        seed: Of dropout and whatever else draws from torch's global generators while training;
            their state is put back afterwards. None leaves them alone.

    Returns:
        `History` with a row an epoch.

    Raises:
        ModelError: The outputs do not match the classes.
        ClassMismatchError: The loaders do not have the same classes.
        DataError: A label is outside the classes, or a batch is no pair (images, labels).
        ArgumentError: An argument makes no sense, or a resumed run is set otherwise than before.
        NotFoundError: There is nothing to resume.
        SavedFileError: No checkpoint in the folder is whole.
        TrainingError: The device's memory is full.

    Warns:
        CnnkitWarning: Each once: all validation predictions are one class, the outputs are
            constant, they are probabilities already, validation samples are trained on, the
            losses are ten times what the first batch had, the validation loss rises while the
            training loss falls or still falls fast at the end, a loss that is no number, a
            checkpoint that could not be written; the model was trained before with the same
            classes in another order.

    Ctrl-C and SIGTERM end the run after the present optimiser step: a checkpoint is written, the
    best weights are in the model, and `history.stop_reason` says why. A second Ctrl-C raises.

    Example:
        >>> import torch
        >>> from cnnkit import data, models
        >>> images = (torch.rand(64, 8, 8) * 255).to(torch.uint8)
        >>> ds = data.ArrayDataset(images, [0, 1] * 32)
        >>> loader = data.make_loader(ds, 16, shuffle=True, device="cpu")
        >>> history = fit(models.MLP(2, image_size=8), loader, epochs=2, progress=False)
        >>> [round(row["epoch"]) for row in history.rows], history.stop_reason
        ([1, 2], 'finished')
    """
    check_numbers(epochs, accumulate, checkpoint_every, clip_norm)
    if checkpoint_every is not None and checkpoint_dir is None:
        raise ArgumentError(f"checkpoint_every={checkpoint_every} needs a checkpoint_dir")
    check_choice("memory_format", memory_format, get_args(MemoryFormat))
    check_choice("on_checkpoint_error", on_checkpoint_error, get_args(OnCheckpointError))
    checkpoints = None if checkpoint_dir is None else CheckpointFolder(checkpoint_dir, keep)
    saved = broadcast(to_go_on_from(checkpoints, resume) if is_main() else None)
    train = as_device_loader(train_loader)
    val = None if val_loader is None else as_device_loader(val_loader, train.device)
    check_repeatable(
        train_loader=train if epochs > 1 else None,
        val_loader=val if epochs + evaluate_first > 1 else None,
    )
    classes = meet(train_loader=train, val_loader=val)
    warn_of_new_order(model, classes)
    if val is not None:
        overrides_validation(model)  # speaks up before the first epoch, not after it
    model.to(train.device)
    if sync_batchnorm:
        with_sync_batchnorm(model, train.device)
    history = History(monitor=monitor or (None if val is None else "val_loss"))
    made = make_optimizer(optimizer, model, lr)
    schedule = make_schedule(
        scheduler, made, epochs=epochs, steps=steps_of(train, epochs, accumulate), mode=history.mode
    )
    loss_function = module_of(loss or default_loss(model), train.device)
    if loss is not None and hook_overridden(model, "training_step"):
        warn("the model has a training_step of its own, which trains: loss= is for validation only")
    settings: dict[str, Any] = {
        "model": _settings.of_model(model),
        **_settings.of_optimizer(made, schedule),
        "loss": _settings.of_loss(loss_function),
        **_settings.of_data("train_loader", train),
        **_settings.of_data("val_loader", val),
        "monitor": history.monitor,
        "restore_best": restore_best,
        "precision": resolve_precision(precision, train.device),
        "memory_format": memory_format,
        "accumulate": accumulate,
        "clip_norm": _settings.plain(clip_norm),
        "compile": bool(compile),
        "evaluate_first": evaluate_first,
        "seed": _settings.plain(seed),
        "processes": world_size(),
    }
    environment = _settings.environment(train.device, made)
    if saved is not None:
        check_same_run(saved, settings, environment, epochs)
    compute = Compute(
        train.device,
        precision=resolve_precision(precision, train.device),
        # Each process would time for itself, and the gradients of two formats do not add up.
        memory_format=broadcast(
            _format(memory_format, model, loss_function, train, precision, saved)
        ),
        compile=compile,
    )
    if memory_format == "tune" and progress and is_main():
        print(f"memory_format: {compute.memory_format}")  # noqa: T201
    run = Run(
        Parts(
            model=model,
            train=train,
            val=val,
            classes=classes,
            loss=loss_function,
            step=make_step(model, loss_function, classes),
            updates=Updates(
                made,
                schedule,
                accumulate=accumulate,
                clip_norm=clip_norm,
                scaler=compute.scaler,
            ),
            schedule=schedule,
            compute=compute,
            callbacks=Callbacks(callbacks),
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            on_checkpoint_error=on_checkpoint_error,
            restore_best=restore_best,
            evaluate_first=evaluate_first,
            progress=progress,
            seed=seed,
            settings={"of_run": settings, "environment": environment},
        ),
        history,
        epochs,
    )
    if val is not None:
        run.watch.shared(shared_samples(train.dataset, val.dataset), _length_of(val.dataset))
    run.go(saved)
    remember(model, classes, train.preprocess)
    return history


def _format(
    choice: MemoryFormat,
    model: nn.Module,
    loss: LossFunction,
    train: DeviceDataLoader,
    precision: Precision,
    saved: dict[str, Any] | None,
) -> Literal["contiguous", "channels_last"]:
    if choice in ("contiguous", "channels_last"):
        return choice
    if saved is not None:
        kept: Literal["contiguous", "channels_last"] = saved["memory_format"]
        return kept
    resolved = resolve_precision(precision, train.device)
    if choice == "auto":
        return by_rule(model, train.device, resolved)
    with untouched(train) as twin:
        batch = next(iter(twin.batches(0)), None)
        if batch is None:
            return "contiguous"  # there is nothing to train on either, which the run says
        return faster_format(
            model, lambda trial: make_step(trial, loss, None), batch, train.device, resolved
        )


def _length_of(ds: Any) -> int:
    return len(ds) if hasattr(ds, "__len__") else 0
