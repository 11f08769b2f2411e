"""Learning rates that change: against torch's own schedulers in a loop of ten lines."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
    StepLR,
)

from cnnkit.errors import ArgumentError
from cnnkit.train import Callback, TrainState, fit

EPOCHS, LR = 3, 0.1


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(44, 6, generator=generator)
    labels = torch.randint(0, 3, (44,), generator=generator)
    return list(zip(images.split(10), labels.split(10), strict=True))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, EPOCHS * 5)


def one_cycle(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, LR, total_steps=EPOCHS * 5, cycle_momentum=False)


def steps(optimizer: Optimizer) -> LRScheduler:
    return StepLR(optimizer, 2, 0.5)


def by_name_step(optimizer: Optimizer) -> LRScheduler:
    return StepLR(optimizer, 1, 0.1)


def warm_up(optimizer: Optimizer) -> LRScheduler:
    parts = [LinearLR(optimizer, 0.1, total_iters=4), CosineAnnealingLR(optimizer, 11)]
    return SequentialLR(optimizer, parts, [4])


def chained_by_epoch(optimizer: Optimizer) -> LRScheduler:
    return ChainedScheduler([StepLR(optimizer, 1), ExponentialLR(optimizer, 0.9)])


def longer_by_epoch(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, EPOCHS + 2)  # neither the steps nor the epochs of the run


def as_said(optimizer: Optimizer) -> LRScheduler:
    made = ExponentialLR(optimizer, 0.9)
    made.interval = "step"  # type: ignore[attr-defined]
    return made


# SequentialLR of torch 2.6 calls its own parts in a way that it calls deprecated.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize(
    ("choice", "reference", "by_step"),
    [
        ("cosine", cosine, True),
        ("one_cycle", one_cycle, True),
        ("step", by_name_step, False),
        (cosine, cosine, True),
        (one_cycle, one_cycle, True),
        (warm_up, warm_up, True),
        (as_said, as_said, True),
        (steps, steps, False),
        (chained_by_epoch, chained_by_epoch, False),
        (longer_by_epoch, longer_by_epoch, False),
    ],
)
def test_the_weights_are_those_of_a_bare_loop(choice: Any, reference: Any, by_step: bool) -> None:
    ours, theirs = net(), copy.deepcopy(net())
    history = fit(ours, batches(), epochs=EPOCHS, lr=LR, scheduler=choice, progress=False)
    optimizer = SGD(theirs.parameters(), lr=LR)
    schedule, rates = reference(optimizer), []
    for _ in range(EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        for images, labels in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(images), labels).backward()
            optimizer.step()
            if by_step:
                schedule.step()
        if not by_step:
            schedule.step()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert history.column("lr") == rates, "the rate that an epoch begins with"


def test_an_instance_goes_with_its_optimiser() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=LR)
    history = fit(
        model,
        batches(),
        epochs=3,
        optimizer=optimizer,
        scheduler=ExponentialLR(optimizer, 0.5),
        progress=False,
    )
    assert history.column("lr") == [LR, LR / 2, LR / 4]
    with pytest.raises(ArgumentError, match="another optimiser"):
        fit(
            model,
            batches(),
            epochs=1,
            scheduler=ExponentialLR(SGD(model.parameters(), lr=LR), 0.5),
            progress=False,
        )


def test_a_plateau_is_seen_in_the_monitored_figure() -> None:
    class Still(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            state.row["val_loss"] = 1.0

    history = fit(
        net(),
        batches(),
        epochs=6,
        lr=LR,
        scheduler="plateau",
        monitor="val_loss",
        callbacks=Still(),
        progress=False,
    )
    assert history.column("lr") == pytest.approx([LR] * 5 + [LR / 10])


def test_cosine_ends_at_nothing() -> None:
    rates: list[float] = []

    def watched(optimizer: Optimizer) -> LRScheduler:
        schedule = cosine(optimizer)
        step = schedule.step
        schedule.step = lambda *_: (step(), rates.append(optimizer.param_groups[0]["lr"]))[0]  # type: ignore[method-assign, func-returns-value]
        return schedule

    fit(net(), batches(), epochs=EPOCHS, lr=LR, scheduler=watched, progress=False)
    assert len(rates) == EPOCHS * 5
    assert rates == sorted(rates, reverse=True)
    assert math.isclose(rates[-1], 0, abs_tol=1e-9)


@pytest.mark.parametrize("choice", ["linear", 5, lambda optimizer: optimizer])
def test_what_is_no_scheduler_is_refused(choice: Any) -> None:
    with pytest.raises(ArgumentError, match=r"'cosine', 'one_cycle'.*received"):
        fit(net(), batches(), epochs=1, scheduler=choice, progress=False)


def test_a_loader_without_a_length() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(batches())

    with pytest.raises(ArgumentError, match="no length"):
        fit(net(), Endless(), epochs=1, scheduler="cosine", progress=False)
    assert len(fit(net(), Endless(), epochs=1, scheduler=steps, progress=False)) == 1
