"""The one reader of image files: path, bytes or Pillow image in, uint8 tensor out.

`ImageFolder` and `Classifier` both read through `read_image`, so a file gives the same pixels in
training and in use. `Preprocess` holds the settings and passes them here.
"""

from __future__ import annotations

import io
import logging
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import IO, Any, TypedDict, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from typing_extensions import Unpack

from cnnkit.errors import ImageReadError, NotFoundError
from cnnkit.types import Interpolation, Mode, PathLike, Resize

T = TypeVar("T")

IMAGE_EXTENSIONS = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".bw", ".dib", ".gif", ".icb", ".icns", ".ico", ".im",
    ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".msp",
    ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".rgb", ".rgba", ".sgi",
    ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
})  # fmt: skip
"""Raster formats that Pillow reads, by lower-case extension; not the working files of programs."""

# A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for less work. It is done when what is
# decoded is still this many times the size asked for; docs/guides/your-own-images.md has what that
# changes in the pixels, benchmarks/reading.py measures it. 2.0 would change next to nothing, and
# save nothing for photographs below twice the size.
DRAFT_MARGIN = 1.0

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 swap width and height
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAYS_ORIENTATION = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")
_PNG_TEXT = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
_SIXTEEN_BIT = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_WITH_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}

_logger = logging.getLogger("cnnkit")


class Reading(TypedDict):
    """How an image is read.

    Attributes:
        image_size: (height, width) in pixels, or None for the size that the image has.
        mode: Colour mode of the result.
        resize: How another shape becomes `image_size`.
        interpolation: Pillow's filter by name.
        exact_decode: Never decode a JPEG at a reduced size, nor shrink it by torch.
    """

    image_size: tuple[int, int] | None
    mode: Mode
    resize: Resize
    interpolation: Interpolation
    exact_decode: bool


def read_image(source: PathLike | bytes | Image.Image, **how: Unpack[Reading]) -> Image.Image:
    """Read, orient, convert and resize one image; `read_pixels` gives the same as a tensor.

    Args:
        source: A path, the bytes of a file, or an open Pillow image (which is left as it was).
        **how: As `Reading` says.

    Returns:
        A Pillow image of its own.

    Raises:
        ImageReadError: The source is no readable image, is truncated, or is a decompression bomb.
        NotFoundError: There is no file at the path.
    """
    read = _read(source, **how)
    if isinstance(read, Image.Image):
        return read
    channels_last = read.permute(1, 2, 0) if read.shape[0] > 1 else read[0]
    return Image.fromarray(channels_last.contiguous().numpy())


def read_pixels(source: PathLike | bytes | Image.Image, **how: Unpack[Reading]) -> Tensor:
    """`read_image` as a uint8 tensor (C, H, W), whose strides may be those of (H, W, C).

    Raises:
        ImageReadError: The source is no readable image, is truncated, or is a decompression bomb.
        NotFoundError: There is no file at the path.
    """
    read = _read(source, **how)
    return read if isinstance(read, Tensor) else _as_channels_first(read)


def _read(
    source: PathLike | bytes | Image.Image,
    *,
    image_size: tuple[int, int] | None,
    mode: Mode,
    resize: Resize,
    interpolation: Interpolation,
    exact_decode: bool,
) -> Image.Image | Tensor:
    """The image in whichever form its last step gave it."""

    def finish(image: Image.Image, quickly: bool = False) -> Image.Image | Tensor:
        if 0 in image.size:
            raise ImageReadError(
                f"an image without pixels, {image.width} x {image.height}: leave it out, or look "
                "for the crop that left nothing of it"
            )
        image = to_mode(_upright(image), mode)
        if image_size is None:
            return image
        if quickly and resize == "stretch" and interpolation == "bilinear":
            return _quickly_resized(image, image_size)
        return resized(image, image_size, resize, interpolation)

    if isinstance(source, Image.Image):
        return _guarded("the given Pillow image", lambda: finish(source.copy()))
    name, stream = _stream(source)
    with stream, _guarded(name, lambda: Image.open(stream)) as opened:

        def decode() -> Image.Image | Tensor:
            quickly = False
            if image_size is not None and not exact_decode:
                quickly = _draft(opened, image_size, resize)
            opened.load()
            return finish(opened, quickly)

        return _guarded(name, decode)


def image_header(path: PathLike) -> tuple[int, int, str]:
    """(height, width) after EXIF orientation and the stored mode, without decoding the pixels."""
    name, stream = _stream(path, whole=False)
    with stream, _guarded(name, lambda: Image.open(stream)) as image:
        width, height = image.size
        if image.format == "PNG" and not _says_more_after_its_pixels(stream):
            # Pillow's own getexif decodes a PNG, for what may follow the pixels.
            orientation = _orientation(image, partial(Image.Image.getexif, image))
        else:
            orientation = _orientation(image)
        if orientation >= 5 and image.format != "TIFF":  # of a TIFF Pillow swaps them
            width, height = height, width
        return height, width, image.mode


def resized(
    image: Image.Image, image_size: tuple[int, int], resize: Resize, interpolation: Interpolation
) -> Image.Image:
    """Bring a Pillow image to (height, width) by the named policy, antialiased."""
    height, width = image_size
    if image.size == (width, height):
        return image
    resample = _FILTERS[interpolation]
    if resize == "stretch":
        return image.resize((width, height), resample)
    if resize == "crop":
        scale = max(width / image.width, height / image.height)
        box_width, box_height = min(width / scale, image.width), min(height / scale, image.height)
        left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
        box = (left, top, left + box_width, top + box_height)
        return image.resize((width, height), resample, box=box)
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = Image.new(image.mode, (width, height))  # black, and transparent where there is alpha
    padded.paste(image.resize(inner, resample), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return padded


def _quickly_resized(image: Image.Image, image_size: tuple[int, int]) -> Tensor:
    """Pillow's bilinear stretch by torch, which is twice as quick, and off by 2 levels at most.

    (Bicubic could be off by 30 where black and white pixels alternate: it overshoots, and each cuts
    that off at another moment.) It is for JPEGs of which no exact decoding was asked, which
    `_draft` may have changed more.
    """
    pixels = _as_channels_first(image)[None]
    return nn.functional.interpolate(pixels, image_size, mode="bilinear", antialias=True)[0]


def to_mode(image: Image.Image, mode: Mode) -> Image.Image:
    """Convert any mode that Pillow reads to the named one.

    Transparency is shown on white, as a page would show it, unless `mode` keeps it. 16-bit grey
    keeps its upper 8 bits (Pillow's own conversion clips everything above 255 to white), and 32-bit
    grey is taken for such.

    Raises:
        ValueError: Float pixels go from 0 to 1, which would be two levels of 256.
    """
    if image.mode in _SIXTEEN_BIT:
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        hidden = image.info.get("transparency")  # the one level that is transparent
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
        if hidden is not None:
            image.putalpha(Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8)))
    elif image.mode == "F" and 0 < np.asarray(image).max() <= 1:
        raise ValueError(
            "its float pixels go from 0 to 1, and 256 levels were expected: all would be black. "
            "Multiply them by 255 and save it as PNG"
        )
    elif image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        image = converted
    elif image.mode == "La":
        image = image.convert("LA")  # the only mode that Pillow converts it to
    if image.mode == mode and "transparency" not in image.info:
        return image
    if mode != "RGBA" and (image.mode in _WITH_ALPHA or "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _stream(source: PathLike | bytes, *, whole: bool = True) -> tuple[str, IO[bytes]]:
    """A readable stream and the name that error messages give it.

    Args:
        source: A path, or the bytes of a file.
        whole: Read the file at once: a decoder would read it in dozens of small pieces, for each
            of which threads that decode beside it wait. For a header alone it is left open.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = f"the given {len(source)} bytes"
        return name, _not_empty(source, name)
    path = os.fspath(source)
    try:
        stream = open(path, "rb")  # noqa: PTH123, SIM115 - a Path costs 30 us an image
        if not whole:
            return path, stream
        with stream:
            content = stream.read()
    except FileNotFoundError:
        raise NotFoundError(f"expected an image file, but there is none at {path}") from None
    except OSError as error:
        raise ImageReadError(f"{path} cannot be opened: {error.strerror or error}") from error
    return path, _not_empty(content, path)


def _not_empty(content: bytes | bytearray | memoryview, name: str) -> io.BytesIO:
    """To Pillow nothing is of an unknown format, and its reader would look for a broken file."""
    if not len(content):
        raise ImageReadError(f"there is nothing in {name}: copy the image again, or leave it out")
    return io.BytesIO(content)


def _guarded(name: str, step: Callable[[], T]) -> T:
    """Run one decoding step; whatever a Pillow plugin raises becomes one error with the name."""
    try:
        return step()
    except (MemoryError, ImageReadError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{name} is refused as a decompression bomb: {error}. If it is genuine, raise "
            "PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except Exception as error:  # plugins raise OSError, SyntaxError, struct.error, EOFError, …
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "its content is no image format that Pillow knows"
        raise ImageReadError(f"{name} is not a readable image: {reason}") from error


def _draft(image: Image.Image, image_size: tuple[int, int], resize: Resize) -> bool:
    """Let a JPEG decode at a reduced size that is still DRAFT_MARGIN times the size asked for.

    Returns:
        Whether it is a JPEG that shrinks.
    """
    if image.format != "JPEG":
        return False
    height, width = image_size
    if _orientation(image) >= 5:
        height, width = width, height
    ratios = (width / image.width, height / image.height)
    # Cropping and padding keep the aspect: the larger or the smaller ratio scales both sides.
    # Stretching scales each side by its own, and neither may fall short.
    kept = min(ratios) if resize == "pad" else max(ratios)
    side = kept * DRAFT_MARGIN
    if side >= 1:
        return False
    image.draft(None, (int(image.width * side) + 1, int(image.height * side) + 1))
    return True


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF block says, and forget that it said so.

    Pillow's own exif_transpose writes the block anew, which fails where another tag is broken.
    """
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    image = image.transpose(turn)
    for key in _SAYS_ORIENTATION:
        image.info.pop(key, None)
    return image


def _says_more_after_its_pixels(png: IO[bytes]) -> bool:
    """Whether a PNG has text or EXIF behind its pixels; the stream is left where it was."""
    before, met = png.tell(), False
    png.seek(8)
    try:
        while len(head := png.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if met and kind in _PNG_TEXT:
                return True
            met = met or kind == b"IDAT"
            png.seek(length + 4, os.SEEK_CUR)
        return False
    finally:
        png.seek(before)


def _orientation(image: Image.Image, getexif: Callable[[], Image.Exif] | None = None) -> int:
    try:
        orientation = int((getexif or image.getexif)().get(_ORIENTATION, 1))
        return orientation if 1 <= orientation <= 8 else 1
    except Exception as error:  # a broken EXIF block says nothing about the pixels beside it
        _logger.debug("EXIF of %s ignored: %r", getattr(image, "filename", image), error)
        return 1


def to_tensor(image: Image.Image) -> Tensor:
    """The pixels of a Pillow image (L, RGB, RGBA) as uint8 (C, H, W)."""
    return _as_channels_first(image).contiguous()


def _as_channels_first(image: Image.Image) -> Tensor:
    """The same, as a view of (H, W, C)."""
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.array(image)  # a copy: asarray is read-only
    tensor = torch.from_numpy(pixels)
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)
