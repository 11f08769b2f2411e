"""What `check` keeps of an image: about a kilobyte, whatever its size, and enough to compare it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnkit._images import image_header, read_image
from cnnkit.errors import ImageReadError

__all__ = ["Signature", "Signatures", "of_features", "of_file", "of_images"]

SIDE = 32  # pixels of a thumbnail: enough to tell photographs apart, 1 KB each
COLOUR_SIDE = 8
# A thumbnail is made from a decode at no less than this, so that copies in two sizes, which Pillow
# decodes at two scales, still have the same one.
_DECODED_SIDE = 128
# JFIF's luma and chroma, the ones of Pillow's "YCbCr".
_YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


class Signature(NamedTuple):
    """Of one image."""

    digest: bytes  # of the file, or of the pixels where there is none
    size: tuple[int, int]  # (height, width) as stored
    mode: str
    spread: int  # the widest range of values in one channel; 0 for one colour
    grey: NDArray[np.uint8] | None  # (SIDE, SIDE); None where there is no image to compare
    colour: NDArray[np.int8] | None  # (2, COLOUR_SIDE, COLOUR_SIDE), blue and red against grey


class Signatures:
    """Signatures of all samples, in arrays.

    Args:
        number: How many samples there are.
        near: Keep what near copies are found by.
    """

    def __init__(self, number: int, *, near: bool) -> None:
        self.digests = np.zeros((number, 2), np.uint64)
        self.sizes = np.zeros((number, 2), np.int32)
        self.spread = np.full(number, 255, np.uint8)
        self.modes = np.zeros(number, np.uint8)  # places in mode_names
        self.mode_names = [""]
        self.readable = np.zeros(number, bool)
        self.comparable = np.zeros(number, bool)
        kept = number if near else 0
        self.grey = np.zeros((kept, SIDE, SIDE), np.uint8)
        self.colour = np.zeros((kept, 2, COLOUR_SIDE, COLOUR_SIDE), np.int8)
        self.near = near

    def put(self, place: int, signature: Signature) -> None:
        """Keep one; calls for different places may come from different threads."""
        self.digests[place] = np.frombuffer(signature.digest, np.uint64)
        self.sizes[place] = signature.size
        self.spread[place] = signature.spread
        self.modes[place] = self._mode_number(signature.mode)
        self.readable[place] = True
        if self.near and signature.grey is not None and signature.colour is not None:
            self.grey[place], self.colour[place] = signature.grey, signature.colour
            self.comparable[place] = True

    def _mode_number(self, mode: str) -> int:
        if mode not in self.mode_names:
            self.mode_names.append(mode)  # twice at worst, by two threads: the first one is used
        return self.mode_names.index(mode)


def of_file(path: str) -> Signature:
    """Read and decode one file, once.

    Raises:
        ImageReadError: It is no readable image; the message is the reason, with the path.
        OSError: It cannot be opened.
    """
    data = Path(path).read_bytes()
    height, width, mode = image_header(path)
    try:
        image = read_image(
            data,
            image_size=(min(height, _DECODED_SIDE), min(width, _DECODED_SIDE)),
            mode="RGB",
            resize="stretch",
            interpolation="bilinear",
            exact_decode=False,
        )
    except ImageReadError as error:
        text = str(error).replace(f"the given {len(data)} bytes", path)
        raise ImageReadError(text) from error
    ranges: Any = image.getextrema()
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("YCbCr")
    luma, blue, red = small.split()
    shrunk = [c.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX) for c in (blue, red)]
    return Signature(
        _digest(b"file", data),
        (height, width),
        mode,
        max(high - low for low, high in ranges),
        np.asarray(luma),
        (np.stack([np.asarray(channel) for channel in shrunk]).astype(np.int16) - 128).astype(
            np.int8
        ),
    )


def of_images(images: Tensor) -> list[Signature]:
    """Signatures of a batch of uint8 images (n, C, H, W), by their pixels."""
    number, channels, height, width = images.shape
    grey, colour = _thumbnails(images)
    flat = images.reshape(number, channels, -1)
    spread = (flat.amax(dim=2) - flat.amin(dim=2)).amax(dim=1).tolist()
    pixels = images.contiguous().numpy()
    return [
        Signature(
            _digest(f"{channels}x{height}x{width}".encode(), pixels[row].tobytes()),
            (height, width),
            {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels"),
            spread[row],
            grey[row],
            colour[row],
        )
        for row in range(number)
    ]


def of_features(features: Tensor) -> list[Signature]:
    """Signatures of a batch (n, …) of anything that is no uint8 image, by their values."""
    values = features.detach().cpu().contiguous()
    flat = values.reshape(len(values), -1)
    constant = (flat == flat[:, :1]).all(dim=1).tolist()
    return [
        Signature(
            _digest(f"{values.dtype} {tuple(row.shape)}".encode(), row.numpy().tobytes()),
            (0, 0),
            "features",
            0 if constant[place] else 255,
            None,
            None,
        )
        for place, row in enumerate(values)
    ]


def _thumbnails(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The same thumbnails of pixels as Pillow makes of a file's."""
    floats = images.to(torch.float32)
    if images.shape[1] == 4:  # shown on white, as files with transparency are
        alpha = floats[:, 3:] / 255
        floats = floats[:, :3] * alpha + 255 * (1 - alpha)
    elif images.shape[1] != 3:
        floats = floats.mean(dim=1, keepdim=True)
    small = F.interpolate(
        floats, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    colour = torch.zeros(len(images), 2, COLOUR_SIDE, COLOUR_SIDE)
    luma = small[:, 0]
    if small.shape[1] == 3:
        luma, *chroma = torch.einsum("kc,nchw->knhw", _YCBCR, small).unbind()
        colour = F.avg_pool2d(torch.stack(chroma, dim=1), SIDE // COLOUR_SIDE)
    return (
        luma.round().clamp(0, 255).to(torch.uint8).numpy(),
        colour.round().clamp(-128, 127).to(torch.int8).numpy(),
    )


def _digest(kind: bytes, data: bytes) -> bytes:
    # 128 bits: by chance two of a million images agree once in 10^27.
    return hashlib.blake2b(data, digest_size=16, person=kind[:16]).digest()
