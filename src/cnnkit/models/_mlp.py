"""The fully connected network of the MNIST article."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch.nn.functional as F
from torch import Tensor, nn

from cnnkit._sizes import as_image_size
from cnnkit.errors import ArgumentError
from cnnkit.models._base import ImageClassificationBase, output_size
from cnnkit.models._init import Init, init_weights
from cnnkit.models._registry import register
from cnnkit.models._shapes import check_counts
from cnnkit.types import ImageSize

__all__ = ["MLP"]


@register
class MLP(ImageClassificationBase):
    """Linear layers on the flattened image, ReLU and dropout after each hidden one.

    The article ends in log-softmax; this returns logits, which under cross-entropy is the same
    loss, log-softmax being idempotent.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels.
        hidden: Units of each hidden layer; (256, 64) is the article's, (512, 512) the published
            version of the course behind it.
        dropout: Probability in [0, 1] of dropping a hidden unit while training.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`.

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `fc1`, `fc2`, ….

    Raises:
        ArgumentError: If a hidden layer or the channels are no int of at least 1.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> import torch
        >>> model = MLP(10)
        >>> model(torch.rand(8, 1, 28, 28)).shape
        torch.Size([8, 10])
        >>> sum(p.numel() for p in model.parameters())
        218058
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        image_size: ImageSize = 28,
        hidden: Sequence[int] = (256, 64),
        dropout: float = 0.2,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        if not isinstance(hidden, (list, tuple)) or not all(map(_is_width, hidden)):
            raise ArgumentError(
                f"expected hidden as a tuple with the units of each hidden layer, at least 1, "
                f"received {hidden!r}"
            )
        channels, height, width = self.image_shape
        widths = [channels * height * width, *hidden, output_size(num_classes, binary)]
        self.depth = len(hidden)
        for layer in range(1, self.depth + 2):
            self.add_module(f"fc{layer}", nn.Linear(widths[layer - 1], widths[layer]))
        self.dropout = nn.Dropout(dropout)
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = images.flatten(1)
        for layer in range(1, self.depth + 1):
            x = self.dropout(F.relu(getattr(self, f"fc{layer}")(x)))
        return self._as_logits(getattr(self, f"fc{self.depth + 1}")(x))


def _is_width(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1
