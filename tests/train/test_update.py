"""Scaled gradients, as float16 needs them, give the steps of those that are not scaled.

The scaler is for CUDA; here it scales float32 on the CPU, where powers of two change no bit.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import functional as F

from cnnkit.errors import ArgumentError
from cnnkit.train import Callback, TrainState, fit
from cnnkit.train._schedules import make_schedule
from cnnkit.train._update import Updates

N = 7  # batches


def trained(scaler: GradScaler | None, overflow_at: int | None = None, **options: Any) -> Any:
    """Weights after each of some batches, of which one may overflow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, images = nn.Linear(5, 3), torch.randn(N, 4, 5)
    optimizer = torch.optim.SGD(net.parameters(), 0.5, momentum=0.9)
    schedule = make_schedule("one_cycle", optimizer, epochs=1, steps=N)
    updates = Updates(optimizer, schedule, scaler=scaler, **options)
    after: list[Tensor] = []
    for number, batch in enumerate(images):
        loss = F.cross_entropy(net(batch), torch.tensor([0, 1, 2, 0]))
        updates.add(loss * (torch.inf if number == overflow_at else 1.0), len(batch))
        after.append(net.weight.detach().clone())
    updates.finish()
    return torch.stack([*after, net.weight.detach()]), optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_scaling_changes_nothing(accumulate: int, clip_norm: float | None) -> None:
    """Clipping at the norm of scaled gradients would make each step next to nothing."""
    options: dict[str, Any] = {"accumulate": accumulate, "clip_norm": clip_norm}
    scaled, plain = trained(GradScaler("cpu"), **options), trained(None, **options)
    assert torch.equal(scaled[0], plain[0])
    assert scaled[1] == plain[1]
    assert not torch.equal(plain[0][0], plain[0][-1])


@pytest.mark.parametrize("at", [0, 3])
def test_a_step_that_overflows_is_left_out(at: int) -> None:
    """In silence, though torch's schedulers wonder where the first one is."""
    scaler = GradScaler("cpu")
    before = scaler.get_scale()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights, rate = trained(scaler, overflow_at=at, clip_norm=1.0)
    assert weights.isfinite().all()
    if at:
        assert torch.equal(weights[at], weights[at - 1])
    assert not torch.equal(weights[at + 1], weights[at])
    assert scaler.get_scale() == before / 2
    assert rate == trained(None, clip_norm=1.0)[1]  # the schedule goes on by batches


class Thaw(Callback):
    """Lets the first layer learn from the second epoch on."""

    def on_epoch_start(self, state: TrainState) -> None:
        if state.epoch == 2:
            state.optimizer.add_param_group({"params": list(state.model[0].parameters())})  # type: ignore[index]


def two_layers() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))


def test_a_group_that_a_callback_adds_learns_as_the_others_do(tmp_path: Path) -> None:
    images, labels = torch.randn(12, 5), torch.tensor([0, 1, 2] * 4)
    batches = list(zip(images.split(4), labels.split(4), strict=True))
    model, twin = two_layers(), two_layers()

    def last_layer(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(parameters)[2:], lr=0.5)

    options: dict[str, Any] = {"optimizer": last_layer, "clip_norm": 0.7, "progress": False}
    fit(model, batches, epochs=3, callbacks=[Thaw()], checkpoint_dir=tmp_path, **options)
    layers = list(twin.children())
    for epoch in (1, 2, 3):
        learning = [p for layer in layers[epoch == 1 :] for p in layer.parameters()]
        for some, true in batches:
            twin.zero_grad()
            F.cross_entropy(twin(some), true).backward()
            nn.utils.clip_grad_norm_(learning, 0.7)
            with torch.no_grad():
                for parameter in learning:
                    assert parameter.grad is not None
                    parameter.sub_(parameter.grad, alpha=0.5)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ArgumentError, match="had 2 groups of parameters, received one with 1"):
        fit(
            two_layers(),
            batches,
            epochs=4,
            callbacks=[Thaw()],
            checkpoint_dir=tmp_path,
            resume=True,
            **options,
        )
