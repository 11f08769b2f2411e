"""The AlexNet of the cat article."""

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

__all__ = ["AlexNet"]


@register
class AlexNet(ImageClassificationBase):
    """Five convolutions, three overlapping max-pools and three linear layers.

    At 3×240×240 the maps are 96×58×58 → 96×28×28 → 256×28×28 → 256×13×13 → 384×13×13 →
    384×13×13 → 256×13×13 → 256×6×6. The article ends in softmax and trains with cross-entropy,
    which takes a softmax twice and cannot fall below 0.313 for two classes; this returns logits.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels; at least 65.
        dropout: Probability in [0, 1] of dropping a hidden linear unit while training.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`; the article's is "xavier".

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `conv1` to `conv5`, `fc1` to `fc3`.

    Raises:
        ArgumentError: If `in_channels` is no int of at least 1.
        ImageTooSmallError: If the image does not survive the layers.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # shapes without the 222 MiB of numbers
        ...     model = AlexNet(2, in_channels=3, image_size=240)
        >>> model.fc1.in_features, sum(p.numel() for p in model.parameters())
        (9216, 58289538)

    Source: Krizhevsky, Sutskever & Hinton, NeurIPS 2012, with the paddings of the article.
    """

    def __init__(
        self,
        num_classes: int = 2,
        *,
        in_channels: int = 3,
        image_size: ImageSize = 240,
        dropout: float = 0.5,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        self.conv1 = nn.Conv2d(in_channels, 96, 11, stride=4, padding=1)
        self.pool1 = nn.MaxPool2d(3, stride=2)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2)
        self.pool2 = nn.MaxPool2d(3, stride=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1)
        self.pool3 = nn.MaxPool2d(3, stride=2)
        features = feature_shape(self.named_children(), in_channels, image_size, model="AlexNet")
        self.fc1 = nn.Linear(math.prod(features), 4096)
        self.fc2 = nn.Linear(4096, 4096)
        self.fc3 = nn.Linear(4096, output_size(num_classes, binary))
        self.dropout = nn.Dropout(dropout)
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = self.pool1(F.relu(self.conv1(images)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = F.relu(self.conv4(x))
        x = self.pool3(F.relu(self.conv5(x)))
        x = self.dropout(F.relu(self.fc1(x.flatten(1))))
        x = self.dropout(F.relu(self.fc2(x)))
        return self._as_logits(self.fc3(x))
