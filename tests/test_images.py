"""The one reader of image files, against numpy, Pillow, torch and hand-made files."""

from __future__ import annotations

import colorsys
import gc
import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin
from torchvision.transforms.v2 import functional as tvf

from cnnkit._images import (
    DRAFT_MARGIN,
    IMAGE_EXTENSIONS,
    image_header,
    read_image,
    read_pixels,
    resized,
    to_mode,
    to_tensor,
)
from cnnkit.errors import DataError, ImageReadError, NotFoundError
from cnnkit.types import Interpolation, Mode, Resize

Array = np.ndarray[Any, Any]
MODES: list[Mode] = ["L", "RGB", "RGBA"]
RESIZES: list[Resize] = ["stretch", "crop", "pad"]


def read(source: Any, **options: Any) -> Image.Image:
    settings_: dict[str, Any] = {
        "image_size": None,
        "mode": "RGB",
        "resize": "stretch",
        "interpolation": "bilinear",
        "exact_decode": False,
    }
    return read_image(source, **(settings_ | options))


def pixels(source: Any, **options: Any) -> Array:
    return np.asarray(read(source, **options)).astype(int)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def colours(height: int = 6, width: int = 5, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def photograph(height: int, width: int) -> Image.Image:
    """Something smooth without any symmetry, as photographs are."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(5 * x + 3 * y), np.cos(4 * y - 2 * x), np.sin(7 * x * y + 1)]
    levels = np.stack([127 + 90 * wave + 30 * (x - y) for wave in waves], axis=-1)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


# --- colour modes -------------------------------------------------------------------------------


def grey_of(rgb: Array) -> Array:
    """ITU-R 601-2 luma, with which Pillow says that it converts."""
    luma: Array = (rgb.astype(float) @ [0.299, 0.587, 0.114]).round()
    return luma


def on_white(levels: Array, alpha: Array) -> Array:
    share = alpha[..., None].astype(float) / 255
    shown: Array = (levels * share + 255 * (1 - share)).round()
    return shown


def expected(rgba: Array, mode: Mode) -> Array:
    """What an image with these colours must look like in `mode`, by arithmetic."""
    if mode == "RGBA":
        return rgba
    shown = on_white(rgba[..., :3], rgba[..., 3])
    return shown if mode == "RGB" else grey_of(shown)


def opaque(rgb: Array) -> Array:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255)])


def grey_rgba(grey: Array, alpha: Array | None = None) -> Array:
    return np.dstack([grey, grey, grey, np.full(grey.shape, 255) if alpha is None else alpha])


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(width: int, depth: int, colour: int, raw: bytes, transparent: bytes | None = None) -> bytes:
    """A PNG of one row, by hand: Pillow does not write all that it reads."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    key = b"" if transparent is None else chunk(b"tRNS", transparent)
    data = chunk(b"IDAT", zlib.compress(b"\0" + raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + data + chunk(b"IEND", b"")


def palette_image(rgb: Array) -> Image.Image:
    """A palette image in which every pixel is an entry of its own."""
    height, width, _ = rgb.shape
    image = Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, width))
    image.putpalette(rgb.reshape(-1, 3).tobytes())
    assert image.mode == "P"
    return image


def _cases() -> dict[str, tuple[Any, Array, float]]:
    """Name -> (source, its colours as RGBA, the rounding that a conversion may cost)."""
    rgb, alpha = colours(), colours(seed=1)[..., 0]
    grey = colours(seed=2)[..., 0]
    plain, cut_out = Image.fromarray(rgb), Image.fromarray(np.dstack([rgb, alpha]))
    row = np.arange(30).reshape(6, 5)
    cases: dict[str, tuple[Any, Array, float]] = {}

    bits = np.where(grey > 127, 255, 0)
    cases["1"] = encoded(Image.fromarray(grey > 127), "PNG"), grey_rgba(bits), 0
    cases["L"] = encoded(Image.fromarray(grey), "PNG"), grey_rgba(grey), 0
    cases["L jpeg"] = encoded(Image.new("L", (5, 6), 77), "JPEG"), grey_rgba(grey * 0 + 77), 0
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    cases["LA"] = encoded(both, "PNG"), grey_rgba(grey, alpha), 0
    with_alpha = palette_image(rgb).convert("PA")
    with_alpha.putalpha(Image.fromarray(alpha))
    cases["PA"] = with_alpha, np.dstack([rgb, alpha]), 0
    cases["La"] = both.convert("La"), grey_rgba(grey, alpha), 24

    cases["P gif"] = encoded(palette_image(rgb), "GIF"), opaque(rgb), 0
    cases["P png"] = encoded(palette_image(rgb), "PNG"), opaque(rgb), 0
    hole = np.where(row == 7, 0, 255)
    cases["P index gif"] = (
        encoded(palette_image(rgb), "GIF", transparency=7),
        np.dstack([rgb, hole]),
        0,
    )
    cases["P index png"] = (
        encoded(palette_image(rgb), "PNG", transparency=7),
        np.dstack([rgb, hole]),
        0,
    )
    table = alpha.tobytes()
    cases["P bytes"] = (
        encoded(palette_image(rgb), "PNG", transparency=table),
        np.dstack([rgb, alpha]),
        0,
    )

    cases["RGB"] = encoded(plain, "PNG"), opaque(rgb), 0
    key = tuple(int(level) for level in rgb[2, 3])
    hole = np.where((rgb == rgb[2, 3]).all(-1), 0, 255)
    cases["RGB tRNS"] = encoded(plain, "PNG", transparency=key), np.dstack([rgb, hole]), 0
    hole = np.where(grey == grey[1, 1], 0, 255)
    keyed = encoded(Image.fromarray(grey), "PNG", transparency=int(grey[1, 1]))
    cases["L tRNS"] = keyed, grey_rgba(grey, hole), 0
    cases["RGBA png"] = encoded(cut_out, "PNG"), np.dstack([rgb, alpha]), 0
    cases["RGBA tiff"] = encoded(cut_out, "TIFF"), np.dstack([rgb, alpha]), 0
    lossless = encoded(cut_out, "WEBP", lossless=True, exact=True)
    cases["RGBA webp"] = lossless, np.dstack([rgb, alpha]), 0
    strong = alpha | 128  # what is premultiplied with little alpha is lost for good
    translucent = np.dstack([rgb, strong])
    cases["RGBa"] = Image.fromarray(translucent).convert("RGBa"), translucent, 2
    cases["RGBX"] = plain.convert("RGBX"), opaque(rgb), 0

    ink = colours(channels=4, seed=3)
    light = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    cmyk = Image.frombytes("CMYK", (5, 6), ink.tobytes())
    cases["CMYK tiff"] = encoded(cmyk, "TIFF"), opaque(light.round()), 2
    flat = Image.new("CMYK", (16, 16), (30, 60, 90, 20))
    of_flat = [(255 - level) * 235 / 255 for level in (30, 60, 90)]
    flat_rgb = np.broadcast_to(np.array(of_flat).round(), (16, 16, 3))
    cases["CMYK jpeg"] = encoded(flat, "JPEG", quality=100), opaque(flat_rgb), 3
    to_ycbcr = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    jfif = (rgb @ np.array(to_ycbcr).T + [0, 128, 128]).round().clip(0, 255).astype(np.uint8)
    cases["YCbCr"] = Image.frombytes("YCbCr", (5, 6), jfif.tobytes()), opaque(rgb), 2
    hues = colours(seed=5)
    by_hand = [colorsys.hsv_to_rgb(*(pixel / 255)) for pixel in hues.reshape(-1, 3)]
    turned = (np.array(by_hand).reshape(6, 5, 3) * 255).round()
    cases["HSV"] = Image.frombytes("HSV", (5, 6), hues.tobytes()), opaque(turned), 3
    srgb, cielab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    muted = 96 + rgb // 4  # 8 bits of L, a, b are coarse for saturated colours
    lab = ImageCms.profileToProfile(Image.fromarray(muted), srgb, cielab, outputMode="LAB")
    assert lab is not None
    cases["LAB"] = lab, opaque(muted), 4

    deep = np.random.default_rng(6).integers(0, 65536, (6, 5), dtype=np.uint16)
    deep[0] = [0, 255, 256, 65535, 32896]
    shallow = grey_rgba((deep / 257).round())
    cases["I;16 png"] = encoded(Image.fromarray(deep), "PNG"), shallow, 1
    cases["I;16 tiff"] = encoded(Image.fromarray(deep), "TIFF"), shallow, 1
    cases["I;16B"] = Image.frombytes("I;16B", (5, 6), deep.astype(">u2").tobytes()), shallow, 1
    cases["I"] = encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"), shallow, 1
    real = grey.astype(np.float32)
    cases["F"] = encoded(Image.fromarray(real), "TIFF"), grey_rgba(grey), 1
    return cases


CASES = _cases()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_every_mode_becomes_the_one_asked_for(name: str, mode: Mode) -> None:
    source, rgba, rounding = CASES[name]
    image = read(source, mode=mode)
    assert image.mode == mode
    wanted = expected(rgba, mode)
    got = np.asarray(image).astype(int)
    if mode == "RGBA":  # the colour under full transparency means nothing
        visible = rgba[..., 3] > 0
        np.testing.assert_array_equal(got[..., 3], rgba[..., 3])
        got, wanted = got[visible], wanted[visible]
    # one level for the compositing on white, and one for the luma
    assert np.abs(got - wanted).max() <= rounding + 2


@pytest.mark.parametrize("mode", MODES)
def test_the_case_names_say_which_modes_pillow_opens_them_as(mode: Mode) -> None:
    opened = {}
    for name, (source, _, _) in CASES.items():
        image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
        opened[name] = image.mode
    assert {"1", "L", "LA", "P", "PA", "La", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB",
            "I;16", "I;16B", "I", "F"} <= set(opened.values())  # fmt: skip


def test_lab_grey_is_the_grey_of_its_lightness() -> None:
    # L* = 128 / 255 * 100 = 50.2 is the sRGB level 119.4, by the formulas of CIE and sRGB
    image = read(Image.new("LAB", (2, 2), (128, 128, 128)))
    assert np.abs(np.asarray(image).astype(int) - 119).max() <= 2


def test_sixteen_bit_grey_keeps_its_upper_bits() -> None:
    levels = np.array([[0, 128, 129, 257, 300, 32896, 65406, 65535]], dtype=np.uint16)
    got = pixels(encoded(Image.fromarray(levels), "PNG"), mode="L")
    np.testing.assert_array_equal(got, (levels / 257).round())
    assert (np.diff(got[0]) >= 0).all()


@pytest.mark.parametrize("format", ["TIFF", "PFM"])
def test_float_grey_of_which_nothing_would_be_left_is_an_error(format: str) -> None:
    levels = np.array([[0, 0.2, 1.0]], dtype=np.float32)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "TIFF" if format == "TIFF" else "PPM")
    with pytest.raises(ImageReadError, match=r"from 0 to 1.*black.*Multiply them by 255"):
        read(stream.getvalue())
    for sound in (levels * 255, levels * 0):
        got = pixels(encoded(Image.fromarray(sound), "TIFF"), mode="L")
        np.testing.assert_array_equal(got, sound.astype(np.uint8))


def test_pixels_of_deep_colour_with_alpha() -> None:
    raw = struct.pack(">8H", 1000, 1000, 1000, 0, 40000, 40000, 40000, 65535)
    np.testing.assert_allclose(pixels(png(2, 16, 6, raw), mode="L"), [[255, 156]], atol=1)


def test_one_bit_transparency() -> None:
    # black is transparent, white is not: both are white on a white page
    assert pixels(png(2, 1, 0, bytes([0b01000000]), struct.pack(">H", 0)), mode="L").tolist() == [
        [255, 255]
    ]


def test_sixteen_bit_transparency() -> None:
    data = png(2, 16, 0, struct.pack(">HH", 1000, 40000), struct.pack(">H", 1000))
    assert pixels(data, mode="L").tolist() == [[255, 156]]


def test_a_transparent_image_is_shown_on_white_and_not_on_its_hidden_colour() -> None:
    hidden = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert (pixels(encoded(hidden, "PNG")) == 255).all()


def test_converting_leaves_the_image_as_it_was() -> None:
    image = Image.fromarray(colours(channels=4))
    before = image.tobytes()
    to_mode(image, "L")
    assert image.tobytes() == before
    assert image.mode == "RGBA"


# --- animations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "options"),
    [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})],
    ids=["gif", "webp", "apng", "tiff pages"],
)
def test_animations_give_their_first_frame(form: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    assert (pixels(data) == [255, 0, 0]).all()


# --- EXIF ---------------------------------------------------------------------------------------

TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95},
    "MPO": {},
}


def oriented(image: Image.Image, form: str, orientation: Any, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif, **options)


@pytest.mark.parametrize("form", LOSSLESS)
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_is_applied(form: str, orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(colours(10, 16))
    plain = np.asarray(Image.open(io.BytesIO(encoded(image, form, **LOSSLESS[form]))))
    data = oriented(image, form, orientation, **LOSSLESS[form])
    wanted = TURNS[orientation](plain)
    np.testing.assert_array_equal(pixels(data), wanted)
    np.testing.assert_array_equal(pixels(Image.open(io.BytesIO(data))), wanted)
    file = tmp_path / "image"
    file.write_bytes(data)
    assert image_header(file) == (*wanted.shape[:2], "RGB")


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_unknown_orientation_turns_nothing(orientation: int, tmp_path: Path) -> None:
    image = Image.fromarray(colours(10, 16))
    data = oriented(image, "PNG", orientation)
    np.testing.assert_array_equal(pixels(data), np.asarray(image))
    (tmp_path / "a.png").write_bytes(data)
    assert image_header(tmp_path / "a.png") == (10, 16, "RGB")


@pytest.mark.parametrize("where", ["before", "after", "nowhere"])
def test_a_png_tells_its_size_without_being_decoded(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    plain = png(5, 8, 0, bytes(5))
    ends = {"before": plain.index(b"IDAT") - 4, "after": plain.index(b"IEND") - 4}
    at = ends.get(where, 0)
    turn = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path = tmp_path / "a.png"
    path.write_bytes(plain if where == "nowhere" else plain[:at] + turn + plain[at:])
    decoded: list[str] = []
    load = PngImagePlugin.PngImageFile.load

    def counted(image: Any) -> Any:
        decoded.append(where)
        return load(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    assert image_header(path) == ((1, 5, "L") if where == "nowhere" else (5, 1, "L"))
    assert decoded == ["after"] * (where == "after")
    assert read(path).size == ((5, 1) if where == "nowhere" else (1, 5))


def test_an_oriented_image_is_not_turned_a_second_time() -> None:
    once = read(oriented(Image.fromarray(colours(10, 16)), "JPEG", 6))
    np.testing.assert_array_equal(np.asarray(read(once)), np.asarray(once))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("resize", RESIZES)
def test_orientation_and_reduced_decoding_go_together(orientation: int, resize: Resize) -> None:
    data = oriented(photograph(240, 320), "JPEG", orientation, quality=92)
    options = {"image_size": (24, 40), "resize": resize}
    drafted = pixels(data, **options)
    whole = pixels(data, exact_decode=True, **options)
    assert drafted.shape == whole.shape == (24, 40, 3)
    assert np.abs(drafted - whole).mean() < 1


def corrupt_exif() -> list[bytes]:
    """JPEG files with sound pixels, EXIF orientation 6, and one byte of the other tags broken."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010F] = 6, 72.0, "Maker"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0xA002: 5}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    data = encoded(Image.new("RGB", (20, 12), (90, 100, 110)), "JPEG", exif=exif)
    start = data.index(b"Exif\0\0") + 6
    length = struct.unpack(">H", data[start - 8 : start - 6])[0] - 8
    draw = random.Random(0)
    broken = []
    for position in range(length):
        changed = bytearray(data)
        changed[start + position] = draw.choice([0, 1, 5, 127, 255])
        broken.append(bytes(changed))
    broken.append(data[:start] + bytes(length) + data[start + length :])
    return broken


def test_a_corrupt_exif_block_does_not_hide_sound_pixels() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of the block
        for data in corrupt_exif():
            got = pixels(data)
            assert got.shape in {(12, 20, 3), (20, 12, 3)}
            assert np.abs(got - [90, 100, 110]).max() <= 2


# --- files that are no images -------------------------------------------------------------------


def _truncatable() -> dict[str, bytes]:
    image = Image.fromarray(
        np.asarray(photograph(48, 64)) ^ (colours(48, 64) & 31)  # noise: data up to the end
    )
    palette, grey = image.quantize(64), image.convert("L")
    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg progressive": encoded(image, "JPEG", progressive=True),
        "jpeg grey": encoded(grey, "JPEG"),
        "jpeg cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "jpeg restarts": encoded(image, "JPEG", restart_marker_blocks=2),
        "png": encoded(image, "PNG"),
        "png palette": encoded(palette, "PNG"),
        "png 1 bit": encoded(grey.convert("1"), "PNG"),
        "gif": encoded(palette, "GIF"),
        "gif interlaced": encoded(palette, "GIF", interlace=1),
        "bmp": encoded(image, "BMP"),
        "bmp palette": encoded(palette, "BMP"),
        "webp": encoded(image, "WEBP"),
        "webp lossless": encoded(image, "WEBP", lossless=True),
        "tiff": encoded(image, "TIFF"),
        "tiff lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encoded(image, "TIFF", compression="jpeg"),
        "ppm": encoded(image, "PPM"),
        "tga": encoded(image, "TGA"),
    }


TRUNCATABLE = _truncatable()


@pytest.mark.parametrize("image_size", [None, (6, 8)], ids=["whole", "small"])
@pytest.mark.parametrize("name", TRUNCATABLE)
def test_a_truncated_file_is_refused_or_whole(
    name: str, image_size: tuple[int, int] | None
) -> None:
    data = TRUNCATABLE[name]
    whole = pixels(data, image_size=image_size)
    cuts = {*range(0, len(data), len(data) // 25 + 1), *range(len(data) - 40, len(data), 3)}
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cut in sorted(cuts):
            try:
                got = pixels(data[:cut], image_size=image_size)
            except ImageReadError as error:
                assert f"the given {cut} bytes" in str(error)  # noqa: PT017
                refused += 1
            else:  # only what comes after the pixels is missing
                np.testing.assert_array_equal(got, whole)
                assert cut > len(data) * 0.9
    assert refused >= 20


@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "bmp", "webp", "tif"])
def test_the_error_names_the_truncated_file_and_the_reason(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"half.{extension}"
    photograph(60, 80).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=rf"half\.{extension} is not a readable image: \w+"):
        read(file)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_damaged_png_is_refused(share: float) -> None:
    data = bytearray(TRUNCATABLE["png"])
    data[int(len(data) * share)] ^= 0xFF  # in the compressed pixels
    with pytest.raises(ImageReadError, match="not a readable image"):
        read(bytes(data))


def test_no_image_at_all(tmp_path: Path) -> None:
    for name, content, said in [
        ("empty.jpg", b"", "nothing in .*empty.jpg: copy the image again"),
        ("text.jpg", b"hello, I am a text\n" * 9, "text.jpg is not a readable image: its content"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageReadError, match=said):
            read(tmp_path / name)
        with pytest.raises(ImageReadError, match=name):
            image_header(tmp_path / name)
        with pytest.raises(ImageReadError, match=rf"the given {len(content)} bytes"):
            read(content)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none at .*gone\.jpg"):
        read(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        image_header(str(tmp_path / "gone.jpg"))


def test_a_directory_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(ImageReadError, match=r"x\.jpg cannot be opened: Is a directory"):
        read(tmp_path / "x.jpg")


def test_an_error_is_also_the_builtin_that_one_would_expect() -> None:
    for kind in (DataError, ValueError, OSError):
        with pytest.raises(kind):
            read(b"nothing")


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageReadError, match="0 x 3"):
        read(Image.new("RGB", (0, 3)))


def test_a_decompression_bomb_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bomb.png"
    Image.new("1", (40, 40)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 // 2 - 1)
    with pytest.raises(ImageReadError, match=r"bomb\.png is refused as a decompression bomb"):
        read(file)
    with pytest.raises(ImageReadError, match="decompression bomb"):
        image_header(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 - 1)  # Pillow only warns up to twice
    with pytest.warns(Image.DecompressionBombWarning):
        assert read(file).size == (40, 40)


def test_a_header_that_claims_a_huge_image_costs_nothing() -> None:
    data = png(60_000, 8, 2, b"")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(ImageReadError, match="3600000000 pixels"):
        read(data[:16] + header + checksum + data[33:])


def open_files() -> int:
    handles = Path("/proc/self/fd")
    return len(list(handles.iterdir())) if handles.exists() else 0


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gif", tmp_path / "bad.gif"
    encoded_frames = encoded(Image.new("L", (9, 9)), "GIF")
    good.write_bytes(encoded_frames)
    bad.write_bytes(encoded_frames[:30])

    def once() -> None:
        read(good)
        image_header(good)
        with pytest.raises(ImageReadError):
            read(bad)

    once()
    gc.collect()
    before = open_files()
    for _ in range(5):
        once()
    assert open_files() == before


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("resize", RESIZES)
def test_path_bytes_and_pillow_image_are_one(form: str, resize: Resize, tmp_path: Path) -> None:
    data = encoded(photograph(60, 90), form)
    file = tmp_path / "ein bild – 图.bin"
    file.write_bytes(data)
    opened = Image.open(io.BytesIO(data))
    options: dict[str, Any] = {"image_size": (20, 15), "resize": resize, "exact_decode": True}
    sources = [file, str(file), data, bytearray(data), memoryview(data), opened]
    first, *others = [pixels(source, **options) for source in sources]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_given_image_is_left_as_it_was() -> None:
    image = Image.open(io.BytesIO(oriented(Image.fromarray(colours(10, 16)), "PNG", 6)))
    image.load()
    before = image.tobytes(), image.size, image.mode, dict(image.info)
    result = read(image, image_size=(3, 3), mode="L")
    result.paste(0, (0, 0, 3, 3))
    assert (image.tobytes(), image.size, image.mode, dict(image.info)) == before
    same = read(Image.fromarray(colours()))
    assert same.size == (5, 6)


def test_the_result_is_an_image_of_its_own() -> None:
    image = Image.fromarray(colours())
    before = image.tobytes()
    read(image).paste(0, (0, 0, 5, 6))
    assert image.tobytes() == before


def test_to_tensor_is_uint8_channels_first_and_writable() -> None:
    for channels in (1, 3, 4):
        levels = colours(channels=channels)
        image = Image.fromarray(levels[..., 0] if channels == 1 else levels)
        tensor = to_tensor(image)
        assert tensor.dtype == torch.uint8
        assert tensor.shape == (channels, 6, 5)
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), levels)
        tensor.zero_()
        assert np.asarray(image).any()


def test_extensions_are_those_of_pillows_raster_formats() -> None:
    known = Image.registered_extensions()
    formats = {known[extension] for extension in IMAGE_EXTENSIONS}
    assert {extension for extension, of in known.items() if of in formats} == IMAGE_EXTENSIONS
    assert not IMAGE_EXTENSIONS & {".pdf", ".eps", ".ps", ".wmf", ".emf", ".mpg", ".mpeg", ".hdf"}
    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"} <= IMAGE_EXTENSIONS


# --- resizing -----------------------------------------------------------------------------------

FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@pytest.mark.parametrize("interpolation", FILTERS)
def test_stretch_is_pillows_resize_to_the_size(interpolation: Interpolation) -> None:
    image = photograph(40, 60)
    got = read(image, image_size=(17, 23), interpolation=interpolation)
    wanted = image.resize((23, 17), FILTERS[interpolation])
    assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrinking_is_antialiased(interpolation: Interpolation) -> None:
    image = Image.fromarray(colours(64, 96))  # noise, where a missing antialiasing shows most
    got = to_tensor(read(image, image_size=(16, 12), interpolation=interpolation)).float()
    wanted = F.interpolate(
        to_tensor(image)[None].float(), (16, 12), mode=interpolation, antialias=True
    )[0]
    assert (got - wanted.clamp(0, 255)).abs().max() <= 1.1


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50), (16, 24), (90, 30)])
def test_crop_is_torchvisions_resize_and_center_crop(shape: tuple[int, int]) -> None:
    image = photograph(*shape)
    got = pixels(image, image_size=(20, 20), resize="crop")
    as_any: Any = image
    wanted = tvf.center_crop(tvf.resize(as_any, [20]), [20])
    # torchvision rounds the long side and the offset to whole pixels; a smooth image forgives it
    assert np.abs(got - np.asarray(wanted).astype(int)).mean() < 1.5


def test_crop_keeps_the_middle_in_the_aspect_asked_for() -> None:
    image = np.zeros((30, 100, 3), dtype=np.uint8)
    image[:, 35:65] = 200  # the middle square
    assert (pixels(Image.fromarray(image), image_size=(30, 30), resize="crop") == 200).all()
    tall = Image.fromarray(image.swapaxes(0, 1))
    assert (pixels(tall, image_size=(30, 30), resize="crop") == 200).all()
    wide = pixels(Image.fromarray(image), image_size=(15, 30), resize="crop")
    assert wide.shape == (15, 30, 3)  # 60 x 30 of the image: 15 dark, 30 light, 15 dark
    assert (wide[:, 9:21] == 200).all()
    assert (wide[:, :6] == 0).all()
    assert (wide[:, 24:] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_pad_keeps_the_whole_image_on_black(mode: Mode) -> None:
    image = Image.new("RGB", (40, 20), (200, 200, 200))
    got = pixels(image, image_size=(32, 32), resize="pad", mode=mode)
    got = got.reshape(32, 32, -1)
    assert (got[8:24, :, 0] == 200).all()
    assert (got[:8] == 0).all()
    assert (got[24:] == 0).all()  # black, and where there is alpha, transparent
    tall = pixels(image.rotate(90, expand=True), image_size=(32, 32), resize="pad", mode=mode)
    np.testing.assert_array_equal(tall.reshape(32, 32, -1).swapaxes(0, 1), got)


def test_pad_is_the_resized_image_in_the_middle() -> None:
    image = photograph(30, 50)
    got = pixels(image, image_size=(40, 24), resize="pad")
    inner = np.asarray(image.resize((24, 14), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(got[13:27], inner)
    assert not got[:13].any()
    assert not got[27:].any()


@pytest.mark.parametrize("resize", RESIZES)
def test_an_image_of_the_right_size_is_untouched(resize: Resize) -> None:
    levels = colours(7, 9)
    np.testing.assert_array_equal(
        pixels(Image.fromarray(levels), image_size=(7, 9), resize=resize), levels
    )


@settings(max_examples=80, deadline=None)
@given(
    source=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    resize=st.sampled_from(RESIZES),
    mode=st.sampled_from(MODES),
)
def test_any_size_becomes_any_other(
    source: tuple[int, int], target: tuple[int, int], resize: Resize, mode: Mode
) -> None:
    image = Image.new(mode, source, 255 if mode == "L" else (255, 255, 255, 255)[: len(mode)])
    got = resized(image, target, resize, "bilinear")
    assert got.size == (target[1], target[0])
    assert got.mode == mode
    assert np.asarray(got).any()
    if resize != "pad":
        assert (np.asarray(got) == 255).all()


# --- reduced-size decoding ----------------------------------------------------------------------


def watched(patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The (width, height) at which each JPEG is decoded from now on."""
    sizes: list[tuple[int, int]] = []
    load = JpegImagePlugin.JpegImageFile.load

    def spy(self: Any) -> Any:
        sizes.append(self.size)
        return load(self)

    patch.setattr(JpegImagePlugin.JpegImageFile, "load", spy)
    return sizes


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("mode", MODES)
def test_reduced_decoding_changes_a_photograph_little(resize: Resize, mode: Mode) -> None:
    data = encoded(photograph(360, 400), "JPEG", quality=90)
    options: dict[str, Any] = {"image_size": (128, 128), "resize": resize, "mode": mode}
    difference = np.abs(pixels(data, **options) - pixels(data, exact_decode=True, **options))
    assert difference.mean() < 1.2
    assert difference.max() < 25


def test_reduced_decoding_happens_when_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_sizes = watched(monkeypatch)
    data = encoded(photograph(320, 400), "JPEG")
    for side, divisor in [(320, 1), (170, 1), (120, 2), (60, 4), (30, 8), (2, 8)]:
        decoded_sizes.clear()
        read(data, image_size=(side, side))
        assert decoded_sizes[0] == (400 // divisor, 320 // divisor), side


@pytest.mark.parametrize(
    "options", [{"image_size": None}, {"image_size": (9, 9), "exact_decode": True}]
)
def test_reduced_decoding_can_be_kept_off(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded_sizes = watched(monkeypatch)
    read(encoded(photograph(320, 400), "JPEG"), **options)
    assert decoded_sizes[0] == (400, 320)


def test_reduced_decoding_changes_nothing_when_not_shrinking() -> None:
    data = encoded(photograph(40, 60), "JPEG")
    for size in [(40, 60), (50, 50), (100, 200), (39, 59)]:
        np.testing.assert_array_equal(
            pixels(data, image_size=size), pixels(data, image_size=size, exact_decode=True)
        )


@settings(max_examples=60, deadline=None)
@given(
    source=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    target=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    orientation=st.sampled_from([1, 6]),
    resize=st.sampled_from(RESIZES),
)
def test_reduced_decoding_never_falls_short(
    source: tuple[int, int], target: tuple[int, int], orientation: int, resize: Resize
) -> None:
    height, width = source
    data = oriented(Image.new("L", (width, height), 99), "JPEG", orientation)
    with pytest.MonkeyPatch.context() as patch:
        loads = watched(patch)
        got = pixels(data, image_size=target, resize=resize, mode="L")
    decoded_width, decoded_height = loads[0]
    if loads[0] != (width, height):
        wanted_height, wanted_width = target if orientation == 1 else target[::-1]
        across, down = decoded_width / wanted_width, decoded_height / wanted_height
        spare = max(across, down) if resize == "pad" else min(across, down)
        assert spare >= DRAFT_MARGIN
    if resize != "pad":
        assert np.abs(got - 99).max() <= 1


# --- resizing by torch --------------------------------------------------------------------------


def shrunk(**options: Any) -> dict[str, Any]:
    """The settings for a JPEG that shrinks."""
    return {
        "image_size": (70, 90),
        "mode": "RGB",
        "resize": "stretch",
        "interpolation": "bilinear",
        "exact_decode": False,
        **options,
    }


def of_pillow(data: bytes, **options: Any) -> Array:
    """What Pillow alone makes of a JPEG that is decoded in full and stretched."""
    settings_ = shrunk(**options)
    height, width = settings_["image_size"]
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert(settings_["mode"])
    named: str = settings_["interpolation"].upper()
    return np.asarray(image.resize((width, height), Image.Resampling[named])).astype(int)


# Shrunk by less than a half, so that decoding is the same, and by more.
@pytest.mark.parametrize("side", [(120, 160), (33, 25)])
@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_that_shrinks_is_the_same_image_and_tensor(
    side: tuple[int, int], interpolation: Interpolation, resize: Resize, mode: Mode
) -> None:
    data = encoded(photograph(200, 180), "JPEG", quality=90)
    options = shrunk(image_size=side, interpolation=interpolation, resize=resize, mode=mode)
    tensor = read_pixels(data, **options)
    image = read_image(data, **options)
    assert tensor.dtype == torch.uint8
    assert image.mode == mode
    assert torch.equal(tensor, to_tensor(image))


@pytest.mark.parametrize("mode", MODES)
def test_a_jpeg_that_shrinks_is_pillows_to_two_grey_levels(mode: Mode) -> None:
    data = encoded(photograph(130, 140), "JPEG", quality=90)
    difference = np.abs(pixels(data, **shrunk(mode=mode)) - of_pillow(data, mode=mode))
    assert 0 < difference.max() <= 2, "less than a half: only the resizing differs"
    assert difference.mean() < 0.05


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
@pytest.mark.parametrize("side", [(70, 90), (20, 30)])
def test_exact_decoding_resizes_as_pillow_does(
    interpolation: Interpolation, side: tuple[int, int]
) -> None:
    data = encoded(photograph(130, 140), "JPEG", quality=90)
    options: dict[str, Any] = {"interpolation": interpolation, "image_size": side}
    exact = pixels(data, **shrunk(exact_decode=True, **options))
    np.testing.assert_array_equal(exact, of_pillow(data, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"resize": "crop"},
        {"resize": "pad"},
        {"interpolation": "nearest"},
        {"interpolation": "lanczos"},
        {"interpolation": "bicubic"},
        {"resize": "crop", "interpolation": "bicubic"},
        {"image_size": (140, 150)},  # nothing shrinks
        {"image_size": (70, 150)},  # one side grows
    ],
)
def test_other_ways_of_resizing_are_pillows(options: dict[str, Any]) -> None:
    data = encoded(photograph(130, 140), "JPEG", quality=90)
    np.testing.assert_array_equal(
        pixels(data, **shrunk(**options)),
        pixels(data, **shrunk(exact_decode=True, **options)),
    )


def test_other_formats_are_resized_by_pillow() -> None:
    for form in ("PNG", "BMP", "TIFF"):
        data = encoded(photograph(130, 140), form)
        np.testing.assert_array_equal(pixels(data, **shrunk()), of_pillow(data))
