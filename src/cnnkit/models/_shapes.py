"""Sizes through convolutions and pools, worked out: no lazy layers, no dummy image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from torch import nn

from cnnkit._sizes import as_image_size, is_count
from cnnkit.errors import ArgumentError, ImageTooSmallError
from cnnkit.types import ImageSize

__all__ = ["check_counts", "conv_output_size", "feature_shape", "smallest_image"]

NamedLayers: TypeAlias = "Iterable[tuple[str, nn.Module]]"


def conv_output_size(
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Length of one side of the map that a convolution or a pool makes.

    With input W, kernel K, padding P, stride S and dilation D it is
    ⌊(W + 2P − D(K − 1) − 1) / S⌋ + 1, which for D = 1 is (W − K + 2P) / S + 1.

    Args:
        size: Side of the input, in pixels; height and width are worked out each on its own.
        kernel: Side of the kernel, in pixels.
        stride: Step of the kernel, in pixels.
        padding: Pixels added on each of the two ends.
        dilation: Distance between the pixels that the kernel looks at.
        ceil_mode: Round up, as a pool with `ceil_mode=True` does: a last window may hang over the
            end, if it starts within the input or its left padding.

    Returns:
        Side of the output, in pixels, at least 1.

    Raises:
        ImageTooSmallError: If the kernel does not fit into the padded input.
        ArgumentError: If a size, kernel, stride or dilation is below 1 or the padding is negative.

    Example:
        >>> conv_output_size(7, 3), conv_output_size(7, 3, stride=2)
        (5, 3)
        >>> conv_output_size(240, 11, stride=4, padding=1)
        58

    Source: the shapes that `torch.nn.Conv2d` and `torch.nn.MaxPool2d` document.
    """
    given = {"size": size, "kernel": kernel, "stride": stride, "dilation": dilation}
    for name, value in given.items():
        if value < 1:
            raise ArgumentError(f"conv_output_size expected {name} of at least 1, received {value}")
    if padding < 0:
        raise ArgumentError(f"conv_output_size expected padding of at least 0, received {padding}")
    reach = dilation * (kernel - 1) + 1
    room = size + 2 * padding - reach
    steps = -(-room // stride) if ceil_mode else room // stride
    if ceil_mode and steps * stride >= size + padding:
        steps -= 1
    if steps < 0:
        raise ImageTooSmallError(
            f"a kernel that reaches over {reach} pixels does not fit into {size} pixels with "
            f"{padding} of padding on each end: use a larger image, more padding or a smaller "
            f"kernel"
        )
    return steps + 1


def check_counts(**counts: object) -> None:
    """Refuse what is no number of something: torch would make layers of no size, and only warn.

    Raises:
        ArgumentError: If one of them is not an int of at least 1; it names the first.

    Example:
        >>> check_counts(in_channels=3, kernel_size=5)
    """
    for name, count in counts.items():
        if not is_count(count):
            raise ArgumentError(f"expected {name} as an int of at least 1, received {count!r}")


def feature_shape(
    layers: NamedLayers, in_channels: int, image_size: ImageSize, *, model: str = "the model"
) -> tuple[int, int, int]:
    """Shape (C, H, W) of the map that a chain of layers makes of an image.

    Args:
        layers: (name, layer) in the order of use. Convolutions and pools change the shape, any
            other layer is taken to keep it.
        in_channels: Channels of the image.
        image_size: An int or (height, width), in pixels.
        model: What to call the model in an error.

    Returns:
        The shape; its product is the number of inputs of a linear layer after `flatten(1)`.

    Raises:
        ImageTooSmallError: If the image does not survive a layer; it names that layer and the
            smallest size that works.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        >>> feature_shape(layers.named_children(), 1, 28)
        (16, 14, 14)
    """
    layers = list(layers)
    size = as_image_size(image_size)
    channels = in_channels
    height, width = size
    for name, layer in layers:
        try:
            height, width = _layer_side(layer, 0, height), _layer_side(layer, 1, width)
        except ImageTooSmallError:
            smallest = smallest_image(layers)
            raise ImageTooSmallError(
                f"{model}: an image of {size[0]}×{size[1]} (height × width) is too small: layer "
                f"{name!r}, {layer}, receives {height}×{width}. The smallest image that works is "
                f"{smallest[0]}×{smallest[1]}"
            ) from None
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
    return channels, height, width


def smallest_image(layers: NamedLayers) -> tuple[int, int]:
    """Smallest (height, width) that survives a chain of layers, found by trying.

    A larger side never makes a smaller map, so the first size that survives is the smallest.

    Example:
        >>> smallest_image([("conv", nn.Conv2d(3, 6, 45)), ("pool", nn.AvgPool2d(18, 2))])
        (62, 62)
    """
    layers = list(layers)
    return _smallest_side(layers, 0), _smallest_side(layers, 1)


def _smallest_side(layers: list[tuple[str, nn.Module]], axis: int) -> int:
    size = 1
    while True:
        side = size
        try:
            for _, layer in layers:
                side = _layer_side(layer, axis, side)
        except ImageTooSmallError:
            size += 1
        else:
            return size


def _layer_side(layer: nn.Module, axis: int, size: int) -> int:
    """Side that one layer makes of `size`; `axis` is 0 for height, 1 for width."""
    if isinstance(layer, nn.Conv2d):
        if layer.padding == "same":
            return size
        padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
        return conv_output_size(
            size,
            layer.kernel_size[axis],
            stride=layer.stride[axis],
            padding=padding,
            dilation=layer.dilation[axis],
        )
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        return conv_output_size(
            size,
            _at(layer.kernel_size, axis),
            stride=_at(layer.stride, axis),
            padding=_at(layer.padding, axis),
            dilation=_at(layer.dilation, axis) if isinstance(layer, nn.MaxPool2d) else 1,
            ceil_mode=layer.ceil_mode,
        )
    return size


def _at(value: int | tuple[int, ...], axis: int) -> int:
    """The value along one axis of what torch takes as an int or a pair."""
    return value if isinstance(value, int) else value[axis]
