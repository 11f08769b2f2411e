"""What a run says when it does not do what its user thinks, each thing once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import Subset

from cnnkit.models._base import evaluating
from cnnkit.train._history import History
from cnnkit.train._loss import GuardedLoss
from cnnkit.train._state import TrainState
from cnnkit.train._warn import warn
from cnnkit.types import LossFunction

__all__ = ["Spread", "Watch", "dead_units", "shared_samples"]

_CONSTANT = 1e-5  # outputs that differ by less than this share of their size are called equal
_EARLY = 50  # optimiser steps before which one class for all is no sign, if outputs still differ
_TELLING = 12  # validation images from which on it is one
_RISING = 3  # epochs of falling training and rising validation loss
_RISEN = 0.03  # share by which it must have risen
_FALLING = 0.03  # how much the loss must still fall, an epoch, to be worth training longer
_FALLING_EPOCHS = 4
_WORTH_IT = 0.03  # and how much over those epochs: from 0.004 to 0.001 is nothing to wait for
_DIVERGED = 10  # times the loss that the run began with, or times 1 if that was less


class Spread:
    """Smallest and largest output of each class over the images of an epoch."""

    def __init__(self) -> None:
        self._low: Tensor | None = None
        self._high: Tensor | None = None
        self.images = 0

    def see(self, logits: Tensor, _labels: Tensor | None = None) -> None:
        """Add the logits of a batch."""
        low, high = torch.aminmax(logits.detach(), dim=0)
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        else:
            self._low, self._high = torch.minimum(self._low, low), torch.maximum(self._high, high)
        self.images += len(logits)

    @property
    def constant(self) -> bool:
        """Whether the outputs are the same for all images, of which there were several."""
        if self._low is None or self._high is None or self.images < 2:
            return False
        size = torch.maximum(self._low.abs(), self._high.abs()).max().clamp(min=1e-30)
        return bool(((self._high - self._low).max() / size) <= _CONSTANT)


class Watch:
    """Warns of what goes wrong without an error.

    Args:
        classes: Their names, where they are known.
        aloud: False where another process says it.
    """

    def __init__(self, classes: tuple[str, ...] | None, *, aloud: bool = True) -> None:
        self.classes, self.aloud = classes, aloud
        self._said: set[str] = set()
        self._begun_with: float | None = None  # not known to a run that goes on

    def first_batch(
        self,
        model: nn.Module,
        loss: LossFunction,
        value: float,
        last: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Probabilities where logits are expected: the loss takes a softmax of its own.

        What the loss was is remembered, for the epochs to come.

        Args:
            model: Of the run.
            loss: Likewise.
            value: What the loss was.
            last: Logits and labels, where they are known.
        """
        self._begun_with = value
        if last is None:
            return
        logits, labels = last
        name = "softmax" if logits.ndim == 2 else "sigmoid"
        if name == "softmax":
            found = _are_shares(logits) and _takes_softmax(loss, logits, labels)
        else:
            modules = [m for m in model.modules() if not any(m.children())]
            found = isinstance(modules[-1], nn.Sigmoid) and bool(
                ((logits >= 0) & (logits <= 1)).all()
            )
        if found:
            self.say(
                "probabilities",
                f"the model's outputs are probabilities already, and the loss takes a {name} of "
                f"them once more: it learns slowly and its loss cannot come near 0. Remove the "
                f"{name} from the model's end; predict_proba and Classifier apply it",
            )

    def validation(
        self, matrix: Tensor, spread: Spread, dead: float | None, state: TrainState
    ) -> None:
        """One class for all predictions, or the same outputs for all images.

        Args:
            matrix: Counts of the validation set, a row a true class.
            spread: Of the outputs.
            dead: Share of ReLU units that are 0 for every image, where it is known.
            state: Where the run stands.
        """
        self.outputs(spread, dead)
        predicted, true = matrix.sum(dim=0), matrix.sum(dim=1)
        total = int(true.sum())
        late = state.step >= _EARLY or state.epoch == state.epochs
        telling = total >= _TELLING and (late or spread.constant)
        if telling and int((predicted > 0).sum()) == 1 and int((true > 0).sum()) > 1:
            chosen = int(predicted.argmax())
            self.say(
                "one class",
                f"all {total} validation predictions are {self._name(chosen)!r}: an accuracy of "
                f"{100 * int(matrix[chosen, chosen]) / total:.1f} % says nothing, always naming "
                f"the most frequent class has {100 * int(true.max()) / total:.1f} %. Try a smaller "
                "learning rate (find_lr proposes one), weights for the classes (class_weights), or "
                "more epochs if it has hardly begun",
            )

    def training(self, last: tuple[Tensor, Tensor] | None) -> None:
        """What the last training batch shows, where there is no validation set.

        Args:
            last: Its logits and labels.
        """
        if last is not None and len(last[1].unique()) > 1:  # so that they are several images
            spread = Spread()
            spread.see(last[0])
            self.outputs(spread, None, "images of the last batch")

    def outputs(self, spread: Spread, dead: float | None, images: str = "images") -> None:
        """The same outputs for all images."""
        if spread.constant:
            units = "" if dead is None else f" {100 * dead:.0f} % of the ReLU units are always 0;"
            self.say(
                "constant",
                f"the outputs are the same for all {spread.images} {images}:{units} the first "
                "suspect is a learning rate that is too high. Make the model afresh and train it "
                "with a smaller one (find_lr proposes one)",
            )

    def after_epoch(self, history: History, epochs: int) -> None:
        """Losses out of all measure, learning by heart, or stopping too early."""
        train, val = _run(history, "train_loss"), _run(history, "val_loss")
        self._losses(train, val)
        recent, later = train[-_RISING - 1 :], val[-_RISING - 1 :]
        rises = len(later) > _RISING and _falls([-loss for loss in later])
        if rises and _falls(recent) and later[-1] - later[0] > _RISEN * abs(later[0]):
            self.say(
                "overfitting",
                f"for {_RISING} epochs the training loss has been falling while the validation "
                f"loss has been rising (from {later[0]:.4f} to {later[-1]:.4f}): the model learns "
                "the training images by heart. Stop early (EarlyStopping), augment, add dropout "
                "or weight decay",
            )
        last = (val or train)[-_FALLING_EPOCHS:]
        rates = _run(history, "lr")
        # A loss falls because the rate does, at the end of a schedule: that is no sign of anything.
        done = bool(rates) and history.rows[-1]["epoch"] == epochs and 2 * rates[-1] >= max(rates)
        falls = len(last) == _FALLING_EPOCHS and _falls(last, by=_FALLING)
        if done and falls and last[0] - last[-1] > _WORTH_IT:
            what = "validation" if val else "training"
            self.say(
                "too short",
                f"the {what} loss was still falling fast at the last epoch (from {last[0]:.4f} to "
                f"{last[-1]:.4f} in {_FALLING_EPOCHS - 1} epochs): train longer",
            )

    def _losses(self, train: list[float], val: list[float]) -> None:
        """Far above what the run began with, in training and on the validation set."""
        # One that was large for a few steps alone is large in the first epoch's training figure.
        if not train or (not val and len(train) < 2):
            return
        begun_with, when = self._begun_with, "batch"
        if begun_with is None:
            begun_with, when = train[0], "epoch"
        last = [train[-1], *val[-1:]]
        if min(last) > _DIVERGED * max(1.0, begun_with):
            self.say(
                "diverged",
                f"training {'and validation loss' if val else 'loss'} came to "
                f"{' and '.join(f'{loss:.4g}' for loss in last)} from {begun_with:.4g} in the "
                f"first {when}: the run has diverged. Make the model "
                "afresh and train it with a smaller learning rate (find_lr proposes one), or "
                "with clip_norm=1",
            )

    def shared(self, number: int, validation: int) -> None:
        """So many samples of the validation set are trained on."""
        if number:
            self.say(
                "shared",
                f"{number} of the {validation} validation samples are in the training set too: "
                "its figures will be too good. Split the data once, with train_val_split",
            )

    def say(self, what: str, message: str) -> None:
        """Warn, if nothing was said of this yet."""
        if self.aloud and what not in self._said:
            self._said.add(what)
            warn(message)

    def _name(self, label: int) -> str:
        return str(label) if self.classes is None else self.classes[label]


def _are_shares(outputs: Tensor) -> bool:
    """Whether each row is positive and adds up to 1."""
    sums, exact = outputs.float().sum(dim=1), max(1e-3, torch.finfo(outputs.dtype).eps)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=exact)


@torch.no_grad()
def _takes_softmax(loss: LossFunction, logits: Tensor, labels: Tensor) -> bool:
    """Whether the loss is blind to what is added to all logits, as it is after a softmax."""
    try:
        guarded = GuardedLoss(loss)
        one, other = (guarded(given, labels)[0] for given in (logits, logits + 1))
    except Exception:  # one that takes probabilities may refuse others
        return False
    return torch.allclose(one, other, rtol=1e-4)


def shared_samples(train: Any, val: Any) -> int:
    """How many samples of one data set are in the other: the same rows of one whole, or files."""
    if train is None or val is None:
        return 0
    if train is val and hasattr(val, "__len__"):
        return len(val)
    (whole, ours), (other, theirs) = _rows(train), _rows(val)
    if whole is other and ours is not None and theirs is not None:
        return len(set(theirs) & set(ours))
    origins = [getattr(ds, "origin", None) for ds in (train, val)]
    if None in origins:
        return 0
    if origins[0] == origins[1]:
        return int(torch.isin(val.indices.cpu(), train.indices.cpu()).sum())
    files, others = getattr(train, "paths", None), getattr(val, "paths", None)
    if files is None or others is None:
        return 0
    trained = {str(path) for path in files}
    return sum(str(path) in trained for path in others)


def _rows(ds: Any) -> tuple[Any, Sequence[int] | None]:
    """What torch's `Subset` is a part of, and which; anything else is the whole of itself."""
    if not isinstance(ds, Subset):
        return ds, range(len(ds)) if hasattr(ds, "__len__") else None
    whole, rows = _rows(ds.dataset)
    return whole, None if rows is None else [rows[index] for index in ds.indices]


class _Relus(TorchFunctionMode):
    """Inside, counts the units of every ReLU, and those that are 0 for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.units = self.dead = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("relu", "relu_"):
            silent = (output == 0).flatten(1).all(dim=0)
            self.dead, self.units = self.dead + int(silent.sum()), self.units + silent.numel()
        return output


def dead_units(model: nn.Module, images: Tensor) -> float | None:
    """The share of ReLU units that are 0 for every one of the images; None without ReLUs."""
    with evaluating(model), _Relus() as relus:
        model.forward(images)  # not what `torch.compile` made of it, which cannot be looked into
    return relus.dead / relus.units if relus.units else None


def _run(history: History, name: str) -> list[float]:
    return [row[name] for row in history.rows if name in row and row["epoch"] > 0]


def _falls(losses: list[float], by: float = 0.0) -> bool:
    """Whether each is smaller than the one before, by more than this share of it."""
    pairs = itertools.pairwise(losses)
    return len(losses) > 1 and all(after < before - by * abs(before) for before, after in pairs)
