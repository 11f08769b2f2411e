"""What happens to an image between its file and the model, kept in one object that travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from cnnkit._images import Reading, read_pixels
from cnnkit._pixels import from_uint8, moments, pixel_counts, scaled
from cnnkit._sizes import as_image_size as as_image_size
from cnnkit.errors import ArgumentError, DataError
from cnnkit.types import ImageSize, Interpolation, LabelledDataset, Mode, PathLike, Resize

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Self

__all__ = ["Preprocess", "as_image_size"]

_CHANNELS: dict[str, int] = {"L": 1, "RGB": 3, "RGBA": 4}
_MODES: dict[int, Mode] = {1: "L", 3: "RGB", 4: "RGBA"}


def _one_of(name: str, value: str | None, choices: Any) -> None:
    if value not in get_args(choices):
        raise ArgumentError(f"{name} must be one of {get_args(choices)}, received {value!r}")


@dataclass(frozen=True)
class Preprocess:
    """Size, colour mode, resizing, decoding and normalisation of a data set's images.

    It travels with data set, loader, checkpoint and `Classifier`, so that what is trained is what
    is shipped. Reading (`read`) gives uint8 images; calling it turns a batch of them into what the
    model sees: pixels scaled to [0, 1], minus `mean`, divided by `std`. Float images are taken as
    scaled already.

    Args:
        image_size: Pixels, an int (square) or (height, width).
        mode: "L", "RGB" or "RGBA"; None for images that come from no file (five channels, say).
        mean: One number a channel, on pixels scaled to [0, 1].
        std: One positive number a channel, on pixels scaled to [0, 1].
        resize: "stretch" to the size, "crop" the middle in the size's aspect, or "pad" with black.
        interpolation: Pillow's filter, "nearest", "bilinear", "bicubic" or "lanczos"; all but the
            first antialias when shrinking.
        exact_decode: Decode every JPEG at its full size and resize it by Pillow; takes longer.

    Raises:
        ArgumentError: A choice is unknown, a size is not positive, a std is not positive, or mean
            and std do not have one number a channel.

    Example:
        >>> grey = Preprocess(28, "L", mean=(0.5,), std=(0.25,))
        >>> grey(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)).unique()
        tensor([2.])
    """

    image_size: tuple[int, int]
    mode: Mode | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = field(default="stretch", kw_only=True)
    interpolation: Interpolation = field(default="bilinear", kw_only=True)
    exact_decode: bool = field(default=False, kw_only=True)

    if TYPE_CHECKING:

        def __init__(
            self,
            image_size: ImageSize,
            mode: Mode | None,
            mean: tuple[float, ...],
            std: tuple[float, ...],
            *,
            resize: Resize = "stretch",
            interpolation: Interpolation = "bilinear",
            exact_decode: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", as_image_size(self.image_size))
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if self.mode is not None:
            _one_of("mode", self.mode, Mode)
        _one_of("resize", self.resize, Resize)
        _one_of("interpolation", self.interpolation, Interpolation)
        channels = len(self.mean) if self.mode is None else _CHANNELS[self.mode]
        if len(self.mean) != channels or len(self.std) != channels:
            raise ArgumentError(
                f"mean and std need one number a channel, {channels} for mode {self.mode!r}, "
                f"received mean={self.mean} and std={self.std}"
            )
        if not all(value > 0 for value in self.std):
            raise ArgumentError(f"std must be positive in each channel, received {self.std}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return (len(self.mean), *self.image_size)

    def __call__(self, images: Tensor, *, one_thread: bool = False) -> Tensor:
        """Scale and normalise uint8 or float images (…, C, H, W); float32 of the same shape.

        With `one_thread`, uint8 images on the CPU leave the other cores to whoever is busy there.
        """
        if images.dtype != torch.uint8:
            return self.normalise(images)
        self._check_shape(images)
        if not self.normalises:
            return scaled(images, one_thread=one_thread)
        mean, std = moments(self.mean, self.std, images.device)
        # x / 255 / std - mean / std in two operations instead of three
        factor, shift = 1 / (255 * std), mean / std
        return from_uint8(images, lambda part: part.mul_(factor).sub_(shift), one_thread=one_thread)

    def normalise(self, images: Tensor) -> Tensor:
        """Float images (…, C, H, W) in [0, 1] to mean 0 and standard deviation 1."""
        self._check_shape(images)
        if not self.normalises:
            return images
        mean, std = moments(self.mean, self.std, images.device)
        return (images - mean).div_(std)

    def denormalise(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`, clamped to [0, 1]: images (…, C, H, W) for showing."""
        mean, std = moments(self.mean, self.std, images.device)
        return (images * std + mean).clamp_(0, 1)

    def read(self, source: PathLike | bytes | Image.Image) -> Tensor:
        """Read one image from a path, the bytes of a file, or a Pillow image.

        Returns:
            uint8 tensor (C, H, W) at `image_size`, EXIF orientation applied.

        Raises:
            ImageReadError: It is no readable image; the message names the file and the reason.
            NotFoundError: There is no such file.
        """
        if self.mode is None:
            raise ArgumentError(
                f"images with {len(self.mean)} channels cannot be read from a file: pass a tensor "
                f"of shape {self.image_shape} instead"
            )
        return read_pixels(source, **self._how_to_read).contiguous()

    @property
    def _how_to_read(self) -> Reading:
        """What the reader of image files is told."""
        return {
            "image_size": self.image_size,
            "mode": self.mode or "RGB",
            "resize": self.resize,
            "interpolation": self.interpolation,
            "exact_decode": self.exact_decode,
        }

    @property
    def normalises(self) -> bool:
        """Whether mean or std change anything after scaling to [0, 1]."""
        return any(self.mean) or any(value != 1 for value in self.std)

    @property
    def scale_only(self) -> Preprocess:
        """The same reading, with pixels scaled to [0, 1] and no more."""
        channels = len(self.mean)
        return replace(self, mean=(0.0,) * channels, std=(1.0,) * channels)

    def _check_shape(self, images: Tensor) -> None:
        if images.shape[-3:] != self.image_shape:
            raise DataError(
                f"expected images of shape (channels, height, width) = {self.image_shape}, "
                f"received {tuple(images.shape[-3:])}"
            )

    @classmethod
    def of_shape(cls, shape: tuple[int, int, int]) -> Preprocess:
        """Scale images of this (C, H, W) to [0, 1], and no more."""
        channels, height, width = shape
        zeros, ones = (0.0,) * channels, (1.0,) * channels
        return cls((height, width), _MODES.get(channels), zeros, ones)

    @classmethod
    def of_mode(cls, image_size: ImageSize, mode: Mode, **reading: Any) -> Preprocess:
        """Read files in this colour mode and scale them to [0, 1], and no more."""
        _one_of("mode", mode, Mode)
        channels = _CHANNELS[mode]
        return cls(image_size, mode, (0.0,) * channels, (1.0,) * channels, **reading)

    def with_size(self, image_size: ImageSize) -> Preprocess:
        """The same settings for images of another size."""
        return replace(self, image_size=as_image_size(image_size))

    @classmethod
    def fit(cls, ds: LabelledDataset) -> Preprocess:
        """Measure mean and standard deviation of a data set's pixels, channel by channel.

        The sums are exact integers over every pixel; measure on the training part only. A channel
        that never changes gets the standard deviation 1.

        Args:
            ds: An `ImageFolder` or a uint8 `ArrayDataset`.

        Returns:
            The data set's own reading settings with the measured `mean` and `std`.

        Example:
            >>> from cnnkit.data import ArrayDataset
            >>> ds = ArrayDataset(torch.tensor([[[0, 255]]], dtype=torch.uint8), [0])
            >>> Preprocess.fit(ds).mean, Preprocess.fit(ds).std
            ((0.5,), (0.5,))
        """
        reading = getattr(ds, "preprocess", None)
        if not isinstance(reading, Preprocess):
            raise DataError(
                "mean and std are measured on uint8 images (an ImageFolder without a transform, or "
                f"a uint8 ArrayDataset), received {type(ds).__name__} of something else; float "
                "features are taken as they are: use preprocess=None"
            )
        if len(ds) == 0:
            raise DataError("mean and std cannot be measured on a data set without images")
        levels = torch.arange(256, dtype=torch.float64) / 255
        counts = pixel_counts(ds, len(reading.mean)).double()  # (C, 256)
        total = counts.sum(dim=1)
        mean = (counts @ levels) / total
        variance = (counts * (levels - mean[:, None]) ** 2).sum(dim=1) / total
        # Rounding leaves a constant channel up to 1e-16; two levels differ by far more.
        std = [value if value > 1e-12 else 1.0 for value in variance.sqrt().tolist()]
        return replace(reading, mean=tuple(mean.tolist()), std=tuple(std))

    @classmethod
    def imagenet(cls, image_size: ImageSize = 224) -> Preprocess:
        """The normalisation that torchvision's ImageNet weights were trained with."""
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return cls(image_size, "RGB", mean, std, resize="crop")

    def to_dict(self) -> dict[str, Any]:
        """JSON-like: str, float, bool and lists of them."""
        return {
            "image_size": list(self.image_size),
            "mode": self.mode,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.resize,
            "interpolation": self.interpolation,
            "exact_decode": self.exact_decode,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        try:
            height, width = values["image_size"]
            options = {key: values[key] for key in ("resize", "interpolation", "exact_decode")}
            mean, std = tuple(values["mean"]), tuple(values["std"])
            return cls((height, width), values["mode"], mean, std, **options)
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"these are not the settings of a Preprocess ({error!r}): {dict(values)!r}"
            ) from error
