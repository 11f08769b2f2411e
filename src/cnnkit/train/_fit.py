"""`fit`: train a model, watch it, and leave its best weights in it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cnnkit._progress import progress_bar
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError
from cnnkit.models._base import hook_overridden
from cnnkit.train._history import History, Row, epoch_line, is_sound
from cnnkit.train._loop import (
    make_step,
    overrides_validation,
    own_threshold,
    train_epoch,
    validate,
)
from cnnkit.train._loss import default_loss, module_of
from cnnkit.train._meeting import as_device_loader, meet, remember
from cnnkit.train._optimizers import OptimizerChoice, make_optimizer
from cnnkit.train._schedules import SchedulerChoice, make_scheduler
from cnnkit.types import LossFunction

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
    clip_norm: float | None = None,
    monitor: str | None = None,
    restore_best: bool = True,
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
            an instance, or anything called as ``(parameters, lr=lr)``.
        scheduler: How the learning rate changes from batch to batch: "cosine" falls from `lr` to 0,
            "one_cycle" rises to it and falls; or a function of the optimiser that returns a
            scheduler, stepped after every batch. None keeps it constant.
        loss: Mean loss of (logits, labels), such as ``nn.CrossEntropyLoss(weight=…)``; by default
            the model's own, or cross-entropy (binary for logits (N,)).
        clip_norm: Largest norm of all gradients together.
        monitor: The figure that decides which epoch is best: `val_loss` where there is a
            val_loader. Losses are best when small, other figures when large.
        restore_best: Put the weights of the best epoch back at the end. Without a val_loader and
            without `monitor` the last ones stay. Where the loss becomes nan or infinite, the run
            ends and the best weights are put back, or else those of the last sound epoch.
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
        ArgumentError: An argument makes no sense.

    Example:
        >>> from cnnkit import data, models
        >>> images = (torch.rand(64, 8, 8) * 255).to(torch.uint8)
        >>> ds = data.ArrayDataset(images, [0, 1] * 32)
        >>> loader = data.make_loader(ds, 16, shuffle=True, device="cpu")
        >>> history = fit(models.MLP(2, image_size=8), loader, epochs=2, progress=False)
        >>> [round(row["epoch"]) for row in history.rows], history.stop_reason
        ([1, 2], 'finished')
    """
    _check_numbers(epochs, clip_norm)
    train = as_device_loader(train_loader)
    val = None if val_loader is None else as_device_loader(val_loader, train.device)
    classes = meet(train_loader=train, val_loader=val)
    model.to(train.device)
    chosen = make_optimizer(optimizer, model, lr)
    schedule = make_scheduler(scheduler, chosen, _all_steps(train, epochs))
    loss_function = module_of(loss or default_loss(model), train.device)
    step = make_step(model, loss_function, classes)
    threshold = own_threshold(model)
    history = History(monitor=monitor or (None if val is None else "val_loss"))
    kept = _Kept(model, history, restore_best=restore_best)
    if val is not None:
        overrides_validation(model)  # speaks up before the first epoch, not after it

    def close(row: Row, started: float, rate: float) -> None:
        if val is not None:
            val.set_epoch(int(row["epoch"]))
            row.update(validate(model, val, loss_function, classes, threshold=threshold))
        row.update(lr=rate, seconds=time.perf_counter() - started)
        history.rows.append(row)
        kept.look()
        _tell(model, row, epochs, progress)

    with _seeded(seed, train.device):
        if evaluate_first:
            close({"epoch": 0}, time.perf_counter(), _rate(chosen))
        for epoch in range(1, epochs + 1):
            started, rate = time.perf_counter(), _rate(chosen)
            model.train()
            train.set_epoch(epoch - 1)
            row: Row = {"epoch": epoch}
            with progress_bar(_length(train), f"epoch {epoch}/{epochs}", progress) as bar:
                row.update(
                    train_epoch(
                        step,
                        train,
                        chosen,
                        scheduler=schedule,
                        clip_norm=clip_norm,
                        threshold=threshold,
                        after_batch=bar.update,
                    )
                )
            close(row, started, rate)
            if not math.isfinite(row["train_loss"]):
                history.stop_reason = "nan"
                break
        else:
            history.stop_reason = "finished"
    kept.restore()
    model.eval()
    remember(model, classes, train)
    return history


def _tell(model: nn.Module, row: Row, epochs: int, progress: bool) -> None:
    """Print the epoch's line, unless the model says it in its own way."""
    # The row before any training has no training figures, which such a hook would print.
    if hook_overridden(model, "epoch_end") and row["epoch"]:
        model.epoch_end(int(row["epoch"]), dict(row))  # type: ignore[operator]
    elif progress:
        print(epoch_line(row, epochs), flush=True)  # noqa: T201


class _Kept:
    """The weights to go back to: of the best epoch, or of the last one whose figures are numbers.

    Before any epoch has ended these are the initial weights.
    """

    def __init__(self, model: nn.Module, history: History, *, restore_best: bool) -> None:
        self.model, self.history = model, history
        self.best_only = restore_best and history.monitor is not None
        self.epoch = 0
        self.weights = self._copy()

    def look(self) -> None:
        """Keep the weights if the epoch that has just ended is one to go back to.

        Raises:
            ArgumentError: No such figure is known as the one to watch.
        """
        monitor, latest = self.history.monitor, self.history.rows[-1]
        if monitor is not None and monitor not in latest and latest["epoch"]:
            raise ArgumentError(f"monitor={monitor!r} is not among the figures {list(latest)}")
        if self.history.best is latest if self.best_only else is_sound(latest):
            self.epoch, self.weights = int(latest["epoch"]), self._copy()

    def restore(self) -> None:
        """Put the kept weights into the model, where they are not those of the last epoch."""
        if self.epoch != self.history.rows[-1]["epoch"]:
            self.model.load_state_dict(self.weights)
            self.history.restored = self.epoch

    def _copy(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.model.state_dict().items()}


def _check_numbers(epochs: int, clip_norm: float | None) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ArgumentError(f"epochs must be a positive int, received {epochs!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise ArgumentError(f"clip_norm must be positive, received {clip_norm}")


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and put back afterwards what they were."""
    if seed is None:
        yield
        return
    devices: list[int] = [] if device.type in ("cpu", "meta") else [device.index or 0]
    kind = device.type if devices else "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(seed)
        yield


def _rate(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _all_steps(loader: DeviceDataLoader, epochs: int) -> int | None:
    length = _length(loader)
    return None if length is None else length * epochs


def _length(loader: DeviceDataLoader) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None
