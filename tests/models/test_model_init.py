from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cnnkit import data
from cnnkit.errors import ArgumentError
from cnnkit.models import MLP, AlexNet, FastCNN, ThreeConvCIFAR, init_weights
from cnnkit.train import Callback, TrainState, cross_validate


def fans(weight: torch.Tensor) -> tuple[int, int]:
    area = math.prod(weight.shape[2:])
    return weight.shape[1] * area, weight.shape[0] * area


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
def test_weights_are_uniform_within_the_papers_bound(init: str) -> None:
    torch.manual_seed(0)
    model = ThreeConvCIFAR(10, hidden=400, init=init)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in, fan_out = fans(module.weight)
            variance = 2 / (fan_in + fan_out) if init == "xavier" else 2 / fan_in
            bound = math.sqrt(3 * variance)
            assert module.weight.abs().max() <= bound
            assert module.weight.abs().max() > 0.97 * bound
            assert module.weight.var().item() == pytest.approx(variance, rel=0.15)


def test_biases_and_batch_norm_stay() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    init_weights(layer, "xavier")
    changed = [n for n, value in layer.state_dict().items() if not torch.equal(value, before[n])]
    assert changed == ["0.weight", "2.weight"]


def test_default_changes_nothing_and_draws_nothing() -> None:
    layer = nn.Linear(3, 3)
    before, state = layer.weight.clone(), torch.get_rng_state()
    init_weights(layer, "default")
    assert torch.equal(layer.weight, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_build_draws_afresh() -> None:
    one, two = FastCNN(init="xavier"), FastCNN(init="xavier")
    assert not torch.equal(one.stem.weight, two.stem.weight)


def test_each_fold_draws_afresh_and_the_same_again() -> None:
    images = torch.arange(24, dtype=torch.uint8).reshape(-1, 1, 1).expand(-1, 6, 6)
    ds = data.ArrayDataset(images, torch.arange(24) % 2)
    bound = math.sqrt(6 / (36 + 8))

    class Initial(Callback):
        def on_fit_start(self, state: TrainState) -> None:
            assert isinstance(state.model, MLP)
            drawn.append(state.model.get_parameter("fc1.weight").detach().clone())

    runs: list[list[torch.Tensor]] = []
    for _ in range(2):
        drawn: list[torch.Tensor] = []
        cross_validate(
            lambda: MLP(2, image_size=6, hidden=(8,), init="xavier"), ds, k=3, batch_size=8,
            epochs=1, callbacks=[Initial()], progress=False,
        )  # fmt: skip
        runs.append(drawn)
    first, again = runs
    assert len(first) == 3
    assert all(0.9 * bound < weight.abs().max() <= bound for weight in first), "xavier"
    assert not any(torch.equal(first[a], first[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_an_unknown_name_lists_the_choices() -> None:
    with (
        torch.device("meta"),
        pytest.raises(ArgumentError, match=r"'default', 'xavier', 'kaiming'.*received 'he'"),
    ):
        AlexNet(2, init="he")  # type: ignore[arg-type]
