"""The figures of an epoch against loss and accuracy of everything at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from cnnkit.data import ArrayDataset, make_loader
from cnnkit.models import MLP
from cnnkit.train import evaluate, fit
from cnnkit.types import LossFunction

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

C = 4
WEIGHT = torch.tensor([0.1, 1.0, 3.0, 0.5])


class Linear(nn.Module):
    """A plain module: (N, C) logits, or (N,) for one output."""

    def __init__(self, outputs: int, pixels: int = 9) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(outputs)
        self.weight = nn.Parameter(2 * torch.randn(outputs, pixels, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weight.T
        return logits.squeeze(1) if len(self.weight) == 1 else logits


def samples(n: int, classes: int = C, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, 3, 3, generator=generator)
    return images, torch.randint(0, classes, (n,), generator=generator)


def batches(images: Tensor, labels: Tensor, size: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images, labels), size)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    predicted = (logits >= 0).long() if logits.ndim == 1 else logits.argmax(1)
    return (predicted == labels).double().mean().item()


LOSSES: dict[str, tuple[int, Callable[[], LossFunction | None]]] = {
    "default": (C, lambda: None),
    "default binary": (1, lambda: None),
    "cross-entropy": (C, nn.CrossEntropyLoss),
    "class weights": (C, lambda: nn.CrossEntropyLoss(WEIGHT)),
    "smoothing": (C, lambda: nn.CrossEntropyLoss(label_smoothing=0.2)),
    "weights and smoothing": (C, lambda: nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.2)),
    "margin": (C, lambda: nn.MultiMarginLoss(weight=WEIGHT)),
    "binary": (1, nn.BCEWithLogitsLoss),
    "binary, positives weighted": (1, lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))),
    "function": (C, lambda: lambda logits, labels: F.cross_entropy(logits, labels) * 2),
}


def at_once(loss: LossFunction | None, logits: Tensor, labels: Tensor) -> float:
    binary = logits.ndim == 1
    targets = labels.double() if binary else labels
    if loss is None:
        loss = F.binary_cross_entropy_with_logits if binary else F.cross_entropy
    elif isinstance(loss, nn.Module):
        loss = loss.double()
    return loss(logits.double(), targets).item()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 8, 37, 100])
def test_figures_are_those_of_everything_at_once(name: str, size: int) -> None:
    """37 samples: batches of 8 end in one of 5. With lr=0 the weights are the same throughout."""
    outputs, make_loss = LOSSES[name]
    images, labels = samples(37, 2 if outputs == 1 else C)
    val_images, val_labels = samples(23, 2 if outputs == 1 else C, seed=1)
    net = Linear(outputs)
    history = fit(
        net,
        batches(images, labels, size),
        batches(val_images, val_labels, size),
        epochs=1,
        lr=0.0,
        loss=make_loss(),
        progress=False,
    )
    row = history.rows[0]
    with torch.no_grad():
        logits, val_logits = net(images), net(val_images)
    assert row["train_loss"] == pytest.approx(at_once(make_loss(), logits, labels), rel=1e-6)
    assert row["val_loss"] == pytest.approx(at_once(make_loss(), val_logits, val_labels), rel=1e-6)
    assert row["train_acc"] == accuracy(logits, labels)
    assert row["val_acc"] == accuracy(val_logits, val_labels)
    report = evaluate(net, batches(val_images, val_labels, size), loss=make_loss())
    assert (report.loss, report.accuracy) == (row["val_loss"], row["val_acc"])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    size=st.integers(1, 20),
    seed=st.integers(0, 1000),
    weights=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_weighted_figures_of_any_batches(
    n: int, size: int, seed: int, weights: list[float], smoothing: float
) -> None:
    """In double, where rounding does not hide what is not added up exactly."""
    images, labels = samples(n, 3, seed)
    images, net = images.double(), Linear(3).double()
    loss = nn.CrossEntropyLoss(torch.tensor(weights).double(), label_smoothing=smoothing)
    row = fit(net, batches(images, labels, size), epochs=1, lr=0.0, loss=loss, progress=False).rows[
        0
    ]
    with torch.no_grad():
        logits = net(images)
    assert row["train_loss"] == pytest.approx(at_once(loss, logits, labels), rel=1e-10, abs=1e-14)
    assert row["train_acc"] == accuracy(logits, labels)


def test_training_figures_are_taken_while_the_weights_change() -> None:
    images, labels = samples(37)
    ours, theirs = Linear(C), Linear(C)
    row = fit(ours, batches(images, labels, 8), epochs=1, lr=0.3, progress=False).rows[0]
    optimizer, total, right = torch.optim.SGD(theirs.parameters(), 0.3), 0.0, 0
    for some, true in zip(images.split(8), labels.split(8), strict=True):
        logits = theirs(some)
        loss = F.cross_entropy(logits, true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(true)
        right += int((logits.argmax(1) == true).sum())
    assert torch.equal(ours.weight, theirs.weight)
    assert row["train_loss"] == pytest.approx(total / 37, rel=1e-12)
    assert row["train_acc"] == right / 37


def test_each_epoch_begins_its_sums_anew() -> None:
    images, labels = samples(37)
    net = Linear(C)
    one, two = fit(net, batches(images, labels, 8), epochs=2, lr=0.0, progress=False).rows
    assert (one["train_loss"], one["train_acc"]) == (two["train_loss"], two["train_acc"])


def test_validation_is_in_eval_mode_and_training_is_not() -> None:
    images, labels = samples(60)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(9, C))
    both = batches(images, labels, 16)
    row = fit(net, both, both, epochs=1, lr=0.0, progress=False).rows[0]
    with torch.no_grad():
        logits = net.eval()(images)
    assert row["val_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    assert row["val_acc"] == accuracy(logits, labels)
    assert row["train_loss"] != pytest.approx(row["val_loss"], rel=1e-3)


def test_the_models_own_hooks_are_as_exact() -> None:
    """`ImageClassificationBase` has defaults for them; they must not make means over batches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (37, 6, 6), generator=generator).to(torch.uint8)
    ds = ArrayDataset(images, torch.randint(0, 2, (37,), generator=generator), classes="ab")
    whole = make_loader(ds, 37, device="cpu")
    for binary in (False, True):
        net = MLP(2, image_size=6, dropout=0.0, binary=binary)
        loader = make_loader(ds, 8, device="cpu")
        row = fit(net, loader, loader, epochs=1, lr=0.0, progress=False).rows[0]
        report = evaluate(net, whole)
        assert row["train_loss"] == row["val_loss"] == pytest.approx(report.loss, rel=1e-6)
        assert row["train_acc"] == row["val_acc"] == report.accuracy


def test_lr_and_seconds_are_recorded() -> None:
    rows = fit(Linear(C), batches(*samples(10), 5), epochs=2, optimizer="adam", progress=False).rows
    assert [row["lr"] for row in rows] == [0.001, 0.001]
    assert all(0 < row["seconds"] < 60 for row in rows)


def test_labels_of_any_integer_type_are_labels() -> None:
    images, labels = samples(20)
    rows = [
        fit(Linear(C), batches(images, labels.to(dtype), 8), epochs=1, progress=False).rows[0]
        for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
    ]
    assert len({row["train_loss"] for row in rows}) == 1


def test_labels_of_a_binary_model_may_be_floats() -> None:
    images, labels = samples(20, 2)
    as_floats = fit(Linear(1), batches(images, labels.float(), 8), epochs=1, progress=False)
    as_ints = fit(Linear(1), batches(images, labels, 8), epochs=1, progress=False)
    assert as_floats.rows[0]["train_acc"] == as_ints.rows[0]["train_acc"]
    assert as_floats.rows[0]["train_loss"] == as_ints.rows[0]["train_loss"]


def test_ignored_samples_are_not_in_the_denominator() -> None:
    images, labels = samples(37)
    loss = nn.CrossEntropyLoss(ignore_index=1)
    net = Linear(C)
    row = fit(net, batches(images, labels, 8), epochs=1, lr=0.0, loss=loss, progress=False).rows[0]
    with torch.no_grad():
        expected = at_once(loss, net(images), labels)
    assert row["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_weight_weighs_nothing() -> None:
    images, labels = samples(9, 3)
    labels[-1] = 1  # alone in the last batch
    loss = nn.CrossEntropyLoss(torch.tensor([1.0, 0.0, 1.0]))
    net = Linear(3)
    report = evaluate(net, batches(images, labels, 8), loss=loss)
    with torch.no_grad():
        expected = at_once(loss, net(images), labels)
    assert not math.isnan(expected)
    assert report.loss == pytest.approx(expected, rel=1e-6)
