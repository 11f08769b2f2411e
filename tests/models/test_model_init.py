from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cnnkit.errors import ArgumentError
from cnnkit.models import AlexNet, FastCNN, ThreeConvCIFAR, init_weights


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


def test_an_unknown_name_lists_the_choices() -> None:
    with (
        torch.device("meta"),
        pytest.raises(ArgumentError, match=r"'default', 'xavier', 'kaiming'.*received 'he'"),
    ):
        AlexNet(2, init="he")  # type: ignore[arg-type]
