"""The small convolutional networks of the Fashion-MNIST and CIFAR-10 articles."""

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

__all__ = ["SixConvCIFAR", "ThreeConvCIFAR", "TwoLayerCNN"]


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution that keeps the size; an even kernel makes the map one pixel larger."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    """Batch-norm or nothing, without parameters, so that the names of all others stay the same."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


@register
class TwoLayerCNN(ImageClassificationBase):
    """Two convolutions, each with ReLU and a pool, and one linear layer.

    At 1×28×28 the maps are 16×28×28 → 16×14×14 → 32×14×14 → 32×7×7.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels.
        kernel_size: Side of the kernels; padding is half of it, which keeps the size for an odd
            one and makes each map one pixel larger for an even one.
        batch_norm: Batch-norm between convolution and ReLU.
        dropout: Probability in [0, 1] of dropping an input of the linear layer while training.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`.

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `cnn1`, `cnn2`, `fc1`, with `batch_norm` also `bn1`, `bn2`.

    Raises:
        ArgumentError: If a channel count, kernel or layer is no int of at least 1.
        ImageTooSmallError: If the image does not survive the layers.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> import torch
        >>> model = TwoLayerCNN(10)
        >>> model(torch.rand(8, 1, 28, 28)).shape
        torch.Size([8, 10])
        >>> sum(p.numel() for p in model.parameters())
        28938
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        image_size: ImageSize = 28,
        kernel_size: int = 5,
        batch_norm: bool = False,
        dropout: float = 0.0,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, kernel_size=kernel_size)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        self.cnn1 = _conv(in_channels, 16, kernel_size)
        self.bn1 = _norm(16, batch_norm)
        self.pool1 = nn.MaxPool2d(2)
        self.cnn2 = _conv(16, 32, kernel_size)
        self.bn2 = _norm(32, batch_norm)
        self.pool2 = nn.MaxPool2d(2)
        features = feature_shape(
            self.named_children(), in_channels, image_size, model="TwoLayerCNN"
        )
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(math.prod(features), output_size(num_classes, binary))
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = self.pool1(F.relu(self.bn1(self.cnn1(images))))
        x = self.pool2(F.relu(self.bn2(self.cnn2(x))))
        return self._as_logits(self.fc1(self.dropout(x.flatten(1))))


@register
class ThreeConvCIFAR(ImageClassificationBase):
    """Three convolutions of 16, 32 and 64 maps, each with ReLU and a pool, and two linear layers.

    At 3×32×32 the maps are 16×16×16 → 32×8×8 → 64×4×4. `hidden=500, dropout=0.25` is the
    published solution of the course behind the article; `image_size=128, hidden=128, dropout=0.25,
    num_classes=2, binary=True` is the Mario-vs-Wario network.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels.
        hidden: Units of the hidden linear layer.
        dropout: Probability in [0, 1] of dropping an input of either linear layer while training.
        kernel_size: Side of the kernels; padding is half of it, which keeps the size for an odd
            one and makes each map one pixel larger for an even one.
        batch_norm: Batch-norm between convolution and ReLU.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`.

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `conv1` to `conv3`, `fc1`, `fc2`, with `batch_norm` also `bn1` to `bn3`.

    Raises:
        ArgumentError: If a channel count, kernel or layer is no int of at least 1.
        ImageTooSmallError: If the image does not survive the layers.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> import torch
        >>> model = ThreeConvCIFAR(10)
        >>> model(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 10])
        >>> sum(p.numel() for p in model.parameters())
        230594
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        image_size: ImageSize = 32,
        hidden: int = 200,
        dropout: float = 0.2,
        kernel_size: int = 3,
        batch_norm: bool = False,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, hidden=hidden, kernel_size=kernel_size)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        self.conv1 = _conv(in_channels, 16, kernel_size)
        self.bn1 = _norm(16, batch_norm)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = _conv(16, 32, kernel_size)
        self.bn2 = _norm(32, batch_norm)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = _conv(32, 64, kernel_size)
        self.bn3 = _norm(64, batch_norm)
        self.pool3 = nn.MaxPool2d(2)
        features = feature_shape(
            self.named_children(), in_channels, image_size, model="ThreeConvCIFAR"
        )
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(math.prod(features), hidden)
        self.fc2 = nn.Linear(hidden, output_size(num_classes, binary))
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = self.pool1(F.relu(self.bn1(self.conv1(images))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = self.pool3(F.relu(self.bn3(self.conv3(x))))
        x = F.relu(self.fc1(self.dropout(x.flatten(1))))
        return self._as_logits(self.fc2(self.dropout(x)))


@register
class SixConvCIFAR(ImageClassificationBase):
    """Six convolutions in pairs of 32-64, 128-128 and 256-256 maps, and three linear layers.

    Each convolution is followed by ReLU and each pair by a pool: at 3×32×32 the maps are
    64×16×16 → 128×8×8 → 256×4×4. The article shows no layers; these are of the public notebook that
    it links.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images.
        image_size: An int or (height, width), in pixels.
        kernel_size: Side of the kernels; padding is half of it, which keeps the size for an odd
            one and makes each map one pixel larger for an even one.
        batch_norm: Batch-norm between convolution and ReLU.
        dropout: Probability in [0, 1] of dropping an input of a linear layer while training.
        binary: One logit a sample, (N,), for two classes.
        init: How the weights are drawn, see `init_weights`.

    Shape:
        (N, in_channels, H, W) to logits (N, C), or (N,) with `binary`. Parameters are named
        `conv1` to `conv6`, `fc1` to `fc3`, with `batch_norm` also `bn1` to `bn6`.

    Raises:
        ArgumentError: If a channel count, kernel or layer is no int of at least 1.
        ImageTooSmallError: If the image does not survive the layers.
        ModelError: If the number of classes makes no sense; in `forward`, if images have another
            shape.

    Example:
        >>> import torch
        >>> model = SixConvCIFAR(10)
        >>> model(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 10])
        >>> sum(p.numel() for p in model.parameters())
        5851338
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        image_size: ImageSize = 32,
        kernel_size: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.0,
        binary: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, kernel_size=kernel_size)
        self.binary = binary
        self.image_shape = (in_channels, *as_image_size(image_size))
        widths = [in_channels, 32, 64, 128, 128, 256, 256]
        for layer in range(1, 7):
            self.add_module(f"conv{layer}", _conv(widths[layer - 1], widths[layer], kernel_size))
            self.add_module(f"bn{layer}", _norm(widths[layer], batch_norm))
            if layer % 2 == 0:
                self.add_module(f"pool{layer // 2}", nn.MaxPool2d(2))
        features = feature_shape(
            self.named_children(), in_channels, image_size, model="SixConvCIFAR"
        )
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(math.prod(features), 1024)
        self.fc2 = nn.Linear(1024, 512)
        self.fc3 = nn.Linear(512, output_size(num_classes, binary))
        init_weights(self, init)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C), or (N,) with `binary`, of images (N, in_channels, H, W)."""
        self._check_images(images)
        x = images
        for layer in range(1, 7):
            x = getattr(self, f"conv{layer}")(x)
            x = F.relu(getattr(self, f"bn{layer}")(x))
            if layer % 2 == 0:
                x = getattr(self, f"pool{layer // 2}")(x)
        x = F.relu(self.fc1(self.dropout(x.flatten(1))))
        x = F.relu(self.fc2(self.dropout(x)))
        return self._as_logits(self.fc3(self.dropout(x)))
