from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnnkit._sizes import as_image_size
from cnnkit.errors import ArgumentError, ImageTooSmallError
from cnnkit.models import conv_output_size
from cnnkit.models._shapes import feature_shape, smallest_image


def side_of(layer: nn.Module, size: int) -> int | None:
    """What torch itself makes of an image of this side; None where it refuses."""
    try:
        return int(layer(torch.empty(1, 1, size, size)).shape[-1])
    except RuntimeError:
        return None


def ours(size: int, kernel: int, **kwargs: Any) -> int | None:
    try:
        return conv_output_size(size, kernel, **kwargs)
    except ImageTooSmallError:
        return None


def test_the_articles_examples() -> None:
    assert conv_output_size(7, 3) == 5
    assert conv_output_size(7, 3, stride=2) == 3
    assert conv_output_size(28, 5, padding=2) == 28
    assert conv_output_size(28, 2, stride=2) == 14


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_as_torchs_convolution(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    kwargs = {"stride": stride, "padding": padding, "dilation": dilation}
    layer = nn.Conv2d(1, 1, kernel, **kwargs)  # type: ignore[arg-type]
    assert ours(size, kernel, **kwargs) == side_of(layer, size)


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
    ceil_mode=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_as_torchs_pools(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> None:
    padding = min(padding, kernel // 2)  # torch allows no more in a pool
    kwargs = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    maximum = nn.MaxPool2d(kernel, dilation=dilation, **kwargs)  # type: ignore[arg-type]
    assert ours(size, kernel, dilation=dilation, **kwargs) == side_of(maximum, size)
    average = nn.AvgPool2d(kernel, **kwargs)  # type: ignore[arg-type]
    assert ours(size, kernel, **kwargs) == side_of(average, size)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", 0), ("kernel", 0), ("stride", 0), ("dilation", 0), ("padding", -1)],
)
def test_conv_output_size_refuses_nonsense(name: str, value: int) -> None:
    with pytest.raises(ArgumentError, match=rf"{name} .*received {value}"):
        conv_output_size(**{"size": 8, "kernel": 3, name: value})  # type: ignore[arg-type]


def test_conv_output_size_names_what_does_not_fit() -> None:
    with pytest.raises(ImageTooSmallError, match=r"reaches over 9 pixels .* 6 pixels with 1 of"):
        conv_output_size(6, 5, dilation=2, padding=1)


def test_as_image_size() -> None:
    assert as_image_size(28) == (28, 28)
    assert as_image_size((3, 5)) == (3, 5)
    assert as_image_size((np.int64(3), 5)) == as_image_size([3, 5]) == (3, 5)  # type: ignore[arg-type]
    for wrong in (0, (3,), (3, 0), (1, 2, 3), 28.0, (28.0, 28.0), "28", None, True, {3, 5}):
        with pytest.raises(ArgumentError, match="received"):
            as_image_size(wrong)  # type: ignore[arg-type]


def random_chain(rng: random.Random) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 2
    for _ in range(rng.randint(1, 5)):
        kernel = (rng.randint(1, 5), rng.randint(1, 5))
        stride = (rng.randint(1, 3), rng.randint(1, 3))
        if rng.random() < 0.6:
            out = rng.randint(1, 8)
            padding: str | tuple[int, int] = (rng.randint(0, 2), rng.randint(0, 2))
            dilation = (rng.randint(1, 2), rng.randint(1, 2))
            if rng.random() < 0.2:
                kernel, stride, padding = (3, 1), (1, 1), "same"
            conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation)
            layers += [conv, nn.ReLU()]
            channels = out
        else:
            pool = (kernel[0] // 2, kernel[1] // 2)
            kind = rng.choice([nn.MaxPool2d, nn.AvgPool2d])
            layers.append(kind(kernel, stride, padding=pool))
    return nn.Sequential(*layers)


@pytest.mark.parametrize("seed", range(40))
def test_feature_shape_and_smallest_image_of_random_chains(seed: int) -> None:
    chain = random_chain(random.Random(seed))
    height, width = smallest_image(chain.named_children())
    for size in [(height, width), (height + 7, width + 3)]:
        expected = chain(torch.empty(1, 2, *size)).shape[1:]
        assert feature_shape(chain.named_children(), 2, size) == tuple(expected)
    for size in [(height - 1, width), (height, width - 1)]:
        if min(size) < 1:
            continue
        with pytest.raises(ImageTooSmallError, match=f"works is {height}×{width}"):
            feature_shape(chain.named_children(), 2, size)
        with pytest.raises(RuntimeError):
            chain(torch.empty(1, 2, *size))
