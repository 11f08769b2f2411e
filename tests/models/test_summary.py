from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, ModelError
from cnnkit.models import (
    AlexNet,
    FastCNN,
    ImageClassificationBase,
    ThreeConvCIFAR,
    TwoLayerCNN,
    from_torchvision,
    summary,
)


def test_the_table_of_the_two_layer_cnn() -> None:
    table = summary(TwoLayerCNN(10), (1, 28, 28))
    found = [
        (row.name, row.output_shape, row.parameters, row.multiply_adds, row.receptive_field)
        for row in table.rows
    ]
    assert found == [
        ("cnn1", (16, 28, 28), 16 * 25 + 16, 28 * 28 * 16 * 25, (5, 5)),
        ("pool1", (16, 14, 14), 0, 0, (6, 6)),
        ("cnn2", (32, 14, 14), 32 * 16 * 25 + 32, 14 * 14 * 32 * 16 * 25, (14, 14)),
        ("pool2", (32, 7, 7), 0, 0, (16, 16)),
        ("dropout", (1568,), 0, 0, (16, 16)),
        ("fc1", (10,), 15690, 15680, (28, 28)),
    ]
    assert table.parameters == table.trainable == 28_938
    assert table.multiply_adds == sum(row.multiply_adds for row in table.rows)
    assert table.rows[0].memory == 16 * 28 * 28 * 4
    assert table.memory == sum(row.memory for row in table.rows)
    assert table.parameter_memory == 28_938 * 4
    text = str(table)
    assert "TwoLayerCNN, one image of 1×28×28" in text
    assert "28,938 parameters (113.0 KiB)" in text
    assert "3.1 KiB" not in text.splitlines()[0]


def test_alexnets_published_receptive_fields() -> None:
    with torch.device("meta"):
        model = AlexNet()
    fields = {row.name: row.receptive_field for row in summary(model, (3, 240, 240)).rows}
    # Araujo et al., Distill 2019, give 195 for the last pool of AlexNet.
    assert fields["pool3"] == (195, 195)
    assert fields["conv5"] == (163, 163)
    assert fields["fc1"] == (240, 240)


class Branches(nn.Module):
    """A residual block with a strided shortcut, a dilated branch and a function for a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, (5, 3), stride=(1, 2), padding=2)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.right = nn.Conv2d(4, 4, 1, stride=2)
        self.wide = nn.Conv2d(4, 4, 3, dilation=2, padding=2)
        self.last = nn.AvgPool2d(3, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + self.right(x))
        x = nn.functional.max_pool2d(torch.cat([x, x], 1)[:, 2:6], 2, stride=1)
        pooled: Tensor = self.last(self.wide(x))
        return pooled


def seen_by_the_centre(model: nn.Module, shape: tuple[int, int, int], axis: int) -> int:
    """Count the rows or columns of the image in which a NaN reaches the centre of the output."""
    side = shape[axis]
    batch = torch.ones(side, *shape)
    for position in range(side):
        batch[position].select(axis, position).fill_(math.nan)
    with torch.no_grad():
        output = model.eval()(batch)
    centre = output[:, 0, output.shape[2] // 2, output.shape[3] // 2]
    return int(centre.isnan().sum())


def test_receptive_fields_are_what_nan_spreads_over() -> None:
    shape, model = (1, 48, 64), Branches()
    expected = (seen_by_the_centre(model, shape, 1), seen_by_the_centre(model, shape, 2))
    assert summary(model, shape).rows[-1].receptive_field == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool2d(3, 1, dilation=2), (7, 7)),
        (nn.MaxPool2d(2, dilation=(1, 3)), (4, 6)),
        (nn.InstanceNorm2d(4), (20, 24)),
        (nn.BatchNorm2d(4, track_running_stats=False), (20, 24)),
        (nn.BatchNorm2d(4), (3, 3)),
        (nn.GroupNorm(2, 4), (20, 24)),
    ],
    ids=str,
)
def test_windows_with_gaps_and_statistics_of_the_whole_map(
    layer: nn.Module, expected: tuple[int, int]
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), layer)
    shape = (1, 20, 24)
    assert summary(model, shape).rows[-1].receptive_field == expected
    assert tuple(seen_by_the_centre(model, shape, axis) for axis in (1, 2)) == expected


def test_receptive_fields_of_a_residual_network() -> None:
    net: Any = from_torchvision("resnet18", 2).net
    model = nn.Sequential(net.conv1, net.bn1, net.maxpool, net.layer1, net.layer2)
    assert summary(model, (3, 120, 200)).rows[-1].receptive_field == (99, 99)
    assert seen_by_the_centre(model, (3, 32, 200), 2) == 99


def test_squeeze_and_excitation_sees_the_whole_image() -> None:
    with torch.device("meta"):
        model = from_torchvision("efficientnet_b0", 2)
    rows = {row.name: row for row in summary(model, (3, 96, 64)).rows}
    assert rows["net.features.1.0.block.0.0"].receptive_field == (7, 7)
    assert rows["net.features.1.0.block.2.0"].receptive_field == (96, 64)
    assert rows["net.classifier.1"].receptive_field == (96, 64)


class Tokens(nn.Module):
    """Mixes positions as neither a convolution nor a pool does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.mix = nn.Linear(6, 6)
        self.token = nn.Parameter(torch.zeros(7))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.conv(x))
        return mixed @ mixed.transpose(2, 3)


def test_an_unknown_field_is_none_and_no_parameter_is_lost() -> None:
    table = summary(Tokens(), (1, 8, 8))
    fields = {row.name: row.receptive_field for row in table.rows}
    assert fields == {
        "conv": (3, 3), "mix": None, "token": None, "unused.weight": None, "unused.bias": None
    }  # fmt: skip
    assert sum(row.parameters for row in table.rows) == table.parameters
    flat = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Linear(36, 5))
    assert [row.receptive_field for row in summary(flat, (1, 8, 8)).rows] == [(3, 3), (3, 3), None]
    # A product outside layers counts for the model: (6×6)·(6×6) for each of 4 channels.
    assert table.multiply_adds - sum(row.multiply_adds for row in table.rows) == 4 * 6**3


@pytest.mark.parametrize(
    ("name", "multiply_adds"),
    # In 10⁹, from the metadata of torchvision's weights.
    [("resnet18", 1.814), ("mobilenet_v3_small", 0.057), ("vit_b_16", 17.564)],
)
def test_multiply_adds_and_parameters_are_torchvisions(name: str, multiply_adds: float) -> None:
    from torchvision.models import get_model_weights

    with torch.device("meta"):
        model = from_torchvision(name, 1000)
    table = summary(model, (3, 224, 224))
    assert round(table.multiply_adds / 1e9, 3) == multiply_adds
    meta = get_model_weights(name).DEFAULT.meta  # type: ignore[attr-defined]
    assert table.parameters == meta["num_params"]
    assert sum(row.parameters for row in table.rows) == table.parameters


def test_shared_layers_and_weights_count_once() -> None:
    layer, tied = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    tied.weight = layer.weight
    model = nn.Sequential(layer, nn.ReLU(), layer, tied)
    before = [id(p) for p in (layer.weight, layer.bias, tied.weight)]
    table = summary(model, (4,))
    assert [row.parameters for row in table.rows] == [20, 0, 0, 0]
    assert table.parameters == table.trainable == 20
    assert table.multiply_adds == 48
    assert [id(p) for p in (layer.weight, layer.bias, tied.weight)] == before


def test_a_leaf_alone_and_any_input_shape() -> None:
    (row,) = summary(nn.Linear(4, 2), (4,)).rows
    assert (row.name, row.output_shape, row.receptive_field) == ("Linear", (2,), None)


class Draws(ImageClassificationBase):
    """What a summary could disturb: randomness and a buffer in eval mode, values looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        x: Tensor = self.conv(images + torch.rand_like(images))
        return x.mean((2, 3)) if x.sum().item() > -1e9 else x.amax((2, 3))


@pytest.mark.parametrize("training", [True, False])
def test_no_trace_is_left(training: bool) -> None:
    for model in (Draws(), FastCNN(3, in_channels=1)):
        model.train(training)
        next(iter(model.children())).eval()
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        modes = [module.training for module in model.modules()]
        summary(model, (1, 16, 16))
        assert torch.equal(torch.get_rng_state(), state)
        assert [module.training for module in model.modules()] == modes
        after = model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert all(p.requires_grad and not p.is_meta for p in model.parameters())


def test_no_trace_is_left_by_an_error() -> None:
    model = ThreeConvCIFAR(10)
    with pytest.raises(ModelError, match=r"received \(1, 3, 8, 8\)"):
        summary(model, (3, 8, 8))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(ArgumentError, match=r"received \(3, 0, 8\)"):
        summary(model, (3, 0, 8))


def test_nothing_is_warned_about_and_half_precision_works() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = summary(ThreeConvCIFAR(10, batch_norm=True).bfloat16(), (3, 32, 32))
    assert table.parameter_memory == table.parameters * 2
    assert "bn1" in {row.name for row in table.rows}
    assert "bn1" not in {row.name for row in summary(ThreeConvCIFAR(10), (3, 32, 32)).rows}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu() -> None:
    state = torch.cuda.get_rng_state()
    on_gpu, on_cpu = (summary(Draws().to(d), (1, 16, 16)) for d in ("cuda", "cpu"))
    assert on_gpu == on_cpu
    assert torch.equal(torch.cuda.get_rng_state(), state)
