"""Gradient accumulation: the step of several batches is that of one batch of all their samples."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkit.data import ArrayDataset, make_loader
from cnnkit.errors import ArgumentError, DataError
from cnnkit.train import Callback, TrainState, fit

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

C = 3
Batches = list[tuple[Tensor, Tensor]]


def batches(*sizes: int, seed: int = 0) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    images = torch.randn(n, 1, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, C, (n,), generator=generator)
    return list(zip(images.split(list(sizes)), labels.split(list(sizes)), strict=True))


def joined(batches: Batches, accumulate: int) -> Batches:
    """The batches that a run without accumulation would have to see."""
    groups = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
    return [
        (torch.cat([x for x, _ in group]), torch.cat([y for _, y in group])) for group in groups
    ]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, C)).double()


def trained(data: Any, **options: Any) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    model = network()
    rows = fit(model, data, **{"epochs": 2, "lr": 0.5, "progress": False, **options}).rows
    return model.state_dict(), rows


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.allclose(one[n], other[n], rtol=1e-12, atol=1e-14) for n in one)


class Steps(Callback):
    """Counts optimiser steps."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def on_step_end(self, state: TrainState) -> None:
        self.batches.append(state.batch)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize(
    ("sizes", "accumulate"),
    [
        ((4, 4, 4, 4), 2),  # all even
        ((4, 4, 4, 1), 2),  # a short last batch in its group
        ((4, 4, 4), 2),  # a group with one batch
        ((4, 4, 4, 4, 1), 2),  # a group of one short batch
        ((1, 4, 7, 3, 2), 3),  # batches of all sizes, and a short group
        ((5, 2), 9),  # fewer batches than a group has
    ],
)
def test_a_group_is_one_big_batch(
    sizes: tuple[int, ...], accumulate: int, optimizer: Any, clip: float | None
) -> None:
    small, big = batches(*sizes), joined(batches(*sizes), accumulate)
    assert len(big) == -(-len(small) // accumulate)
    options = {"optimizer": optimizer, "clip_norm": clip, "lr": 0.1}
    ours, rows = trained(small, accumulate=accumulate, **options)
    theirs, others = trained(big, **options)
    assert close(ours, theirs)
    assert rows[0]["train_loss"] == pytest.approx(others[0]["train_loss"], rel=1e-12)
    assert rows[0]["train_acc"] == others[0]["train_acc"]


def test_clipping_sees_the_whole_group() -> None:
    """Clipped batch by batch, two gradients that point apart would not cancel."""
    images = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    apart = [(images, torch.tensor([0])), (images, torch.tensor([1]))]
    together = [(torch.cat([images] * 2), torch.tensor([0, 1]))]
    ours, _ = trained(apart, accumulate=2, clip_norm=1e-2, epochs=1)
    theirs, _ = trained(together, clip_norm=1e-2, epochs=1)
    assert close(ours, theirs)
    step = torch.cat([(ours[n] - w).flatten() for n, w in network().state_dict().items()])
    assert step.norm().item() == pytest.approx(0.5 * 1e-2, rel=1e-4), "clipped once, by lr x norm"


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 1.0], dtype=torch.float64)),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(
            weight=torch.tensor([5.0, 0.0, 1.0], dtype=torch.float64), label_smoothing=0.1
        ),
        nn.CrossEntropyLoss(ignore_index=1),
    ],
    ids=["weights", "smoothing", "weight 0", "ignored"],
)
def test_the_losses_own_denominator_counts(loss: nn.CrossEntropyLoss) -> None:
    small = batches(4, 4, 4, 3, 2)
    ours, rows = trained(small, accumulate=3, loss=copy.deepcopy(loss))
    theirs, others = trained(joined(small, 3), loss=copy.deepcopy(loss))
    assert close(ours, theirs)
    for row, other in zip(rows, others, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-12)


@pytest.mark.parametrize("labels", [(1, 0, 2), (0, 1, 2), (1, 1, 0), (1, 1, 1)])
def test_a_batch_that_weighs_nothing_adds_nothing(labels: tuple[int, ...]) -> None:
    """All its samples are ignored, or weigh 0: its mean is 0 / 0, wherever in a group it comes."""
    x = torch.randn(3, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    small = [(x[i], torch.full((4,), label)) for i, label in enumerate(labels)]
    for loss in (
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)),
    ):
        if set(labels) == {1}:
            with pytest.raises(DataError, match="no batch of the training loader has a loss"):
                trained(small, accumulate=3, loss=loss, epochs=1)
            continue
        ours, rows = trained(small, accumulate=3, loss=loss, epochs=1)
        theirs, others = trained(joined(small, 3), loss=loss, epochs=1)
        assert close(ours, theirs)
        assert rows[0]["train_loss"] == pytest.approx(others[0]["train_loss"], rel=1e-12)
        assert all(weight.isfinite().all() for weight in ours.values())


def test_an_own_training_step_is_weighted_by_its_samples() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner(images)
            return logits

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

    ours, theirs = Own(), Own()
    fit(ours, batches(4, 4, 1), epochs=1, lr=0.5, accumulate=3, progress=False)
    fit(theirs, joined(batches(4, 4, 1), 3), epochs=1, lr=0.5, progress=False)
    assert close(ours.state_dict(), theirs.state_dict())


def test_steps_schedule_and_callbacks_go_by_groups() -> None:
    steps = Steps()
    _, rows = trained(
        batches(2, 2, 2, 2, 2), accumulate=2, scheduler="cosine", callbacks=steps, epochs=3
    )
    assert steps.batches == [2, 4, 5] * 3, "the last group of an epoch has one batch"
    half = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * 3 * e / 9)).item()) / 2 for e in range(3)]
    assert [row["lr"] for row in rows] == pytest.approx(half, rel=1e-6)


def test_one_logit_a_sample() -> None:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(9, 1)
            nn.init.zeros_(self.linear.weight)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.linear(images.float().flatten(1)).squeeze(1)
            return logits

    small = [(x, y.clamp(max=1)) for x, y in batches(4, 4, 3)]
    ours, theirs = Binary(), Binary()
    with torch.no_grad():
        theirs.linear.bias.copy_(ours.linear.bias)
    for loss in (None, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))):
        fit(ours, small, epochs=1, lr=0.5, loss=loss, accumulate=3, progress=False)
        fit(theirs, joined(small, 3), epochs=1, lr=0.5, loss=loss, progress=False)
        assert torch.allclose(ours.linear.weight, theirs.linear.weight, rtol=1e-5, atol=1e-7)


def test_it_is_the_same_with_our_loader() -> None:
    """Where batches of the order are 8, 8, 8, … and 3."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (43, 6, 6), generator=generator).to(torch.uint8)
    ds = ArrayDataset(images, torch.arange(43) % C)

    def run(batch_size: int, accumulate: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Flatten(), nn.Linear(36, C))
        loader = make_loader(ds, batch_size, shuffle=True, device="cpu")
        fit(model, loader, epochs=2, lr=0.5, accumulate=accumulate, progress=False)
        return model.state_dict()

    ours, theirs = run(8, 2), run(16, 1)
    assert all(torch.allclose(ours[n], theirs[n], atol=1e-6) for n in ours)
    assert not all(torch.allclose(ours[n], w, atol=1e-4) for n, w in run(8, 1).items())


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_it_is_a_positive_int(number: Any) -> None:
    with pytest.raises(ArgumentError, match=f"accumulate must be a positive.*received {number}"):
        fit(network(), batches(2), epochs=1, accumulate=number, progress=False)
