"""Learning rates that change: against torch's own schedulers in a loop of ten lines."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from cnnkit.errors import ArgumentError
from cnnkit.train import fit

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
    return StepLR(optimizer, 4, 0.5)


@pytest.mark.parametrize(
    ("choice", "reference"), [("cosine", cosine), ("one_cycle", one_cycle), (steps, steps)]
)
def test_the_weights_are_those_of_a_bare_loop(choice: Any, reference: Any) -> None:
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
            schedule.step()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert history.column("lr") == rates, "the rate that an epoch begins with"


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
