"""The LeNet-like network of the cat article, with kernels as large as its images."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from cnnkit._sizes import as_image_size
from cnnkit.models._base import ImageClassificationBase, output_size
from cnnkit.models._init import Init, init_weights
from cnnkit.models._registry import register
from cnnkit.models._shapes import check_counts, feature_shape
from cnnkit.types import ImageSize

__all__ = ["LeNetVariant"]


@register
class LeNetVariant(ImageClassificationBase):
    """Two convolutions with very large kernels and average pools, and three linear layers.

    At 3×240×240 the maps are 6×196×196 → 6×90×90 → 9×71×71 → 9×32×32. The article ends in softmax
    and trains with cross-entropy, which takes a softmax twice and cannot fall below 0.313 for two
    classes; this returns logits.

    On a CPU `fit` keeps the images contiguous: in `channels_last` the 45×45 convolution is 20 times
    slower.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels; at least 116.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`; the article's is "xavier".

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `conv1`, `conv2`, `fc1` to `fc3`.

    Raises:
        ArgumentError: If `in_channels` is no int of at least 1.
        ImageTooSmallError: If the image does not survive the layers.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> model = LeNetVariant(2, in_channels=3, image_size=240)
        >>> model.fc1.in_features, sum(p.numel() for p in model.parameters())
        (9216, 5109311)
    """

    def __init__(
        self,
        num_classes: int = 2,
        *,
        in_channels: int = 3,
        image_size: ImageSize = 240,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        self.conv1 = nn.Conv2d(in_channels, 6, 45)
        self.pool1 = nn.AvgPool2d(18, stride=2)
        self.conv2 = nn.Conv2d(6, 9, 20)
        self.pool2 = nn.AvgPool2d(9, stride=2)
        features = feature_shape(
            self.named_children(), in_channels, image_size, model="LeNetVariant"
        )
        self.fc1 = nn.Linear(math.prod(features), 544)
        self.fc2 = nn.Linear(544, 68)
        self.fc3 = nn.Linear(68, output_size(num_classes, binary))
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = self.pool1(F.relu(self.conv1(images)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(x))
        return self._as_logits(self.fc3(x))
