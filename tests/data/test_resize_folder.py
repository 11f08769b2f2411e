"""`resize_folder`: the same pixels as the reader's, written once and kept up to date."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnkit._images import read_image
from cnnkit.data import ImageFolder
from cnnkit.data import _resize as module
from cnnkit.data._resize import resize_folder
from cnnkit.errors import ArgumentError, DataError, NotFoundError, SavedFileError


def picture(seed: int, height: int = 60, width: int = 90) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("cats/1.jpg", "cats/holiday/2.jpg", "dogs/1.png", "dogs/3.JPEG", "dogs/4.webp"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(len(name)).save(path)
    (root / "cats" / "notes.txt").write_text("no image")
    return root


def files(root: Path) -> list[str]:
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("."))


def test_same_names_one_size_and_the_same_order_of_samples(photos: Path, tmp_path: Path) -> None:
    done = resize_folder(photos, tmp_path / "small", (20, 24))
    assert (done.written, done.kept, done.unreadable, done.left_over) == (5, 0, (), ())
    assert str(done) == f"{tmp_path / 'small'}: 5 images written, 0 kept"
    expected = [name for name in files(photos) if not name.endswith(".txt")]
    assert files(tmp_path / "small") == expected
    copy, original = ImageFolder(tmp_path / "small"), ImageFolder(photos)
    assert copy.targets.tolist() == original.targets.tolist()
    assert [Path(path).name for path in copy.paths] == [Path(path).name for path in original.paths]
    assert copy[0][0].shape == (3, 20, 24)
    formats = set()
    for path in (tmp_path / "small").rglob("*.*"):
        if path.is_file() and not path.name.startswith("."):
            with Image.open(path) as image:
                formats.add(image.format)
    assert formats == {"JPEG", "PNG", "WEBP"}


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_as_png_the_pixels_are_the_readers(
    photos: Path, tmp_path: Path, resize: Any, mode: Any
) -> None:
    Image.new("P", (30, 30), 3).save(photos / "cats" / "palette.gif")
    picture(8).convert("CMYK").save(photos / "cats" / "cmyk.jpg")
    settings: dict[str, Any] = {"resize": resize, "mode": mode, "interpolation": "lanczos"}
    resize_folder(photos, tmp_path / "small", 32, format="png", **settings)
    assert all(name.endswith(".png") for name in files(tmp_path / "small"))
    expected = ImageFolder(photos, image_size=32, exact_decode=True, **settings)
    found = ImageFolder(tmp_path / "small", mode=mode)
    both = zip(sorted(found.paths), sorted(expected.paths), strict=True)
    for copy, original in both:
        place, other = found.paths.index(copy), expected.paths.index(original)
        assert found[place][0].equal(expected[other][0]), original


def test_jpegs_are_close_to_what_was_resized(photos: Path, tmp_path: Path) -> None:
    exact = ImageFolder(photos, image_size=32, exact_decode=True)
    differences = {}
    for quality in (95, 30):
        target = tmp_path / str(quality)
        resize_folder(photos, target, 32, format="jpeg", quality=quality)
        assert {Path(name).suffix for name in files(target)} == {".jpg"}
        found = ImageFolder(target).to_array(progress=False).images.float()
        expected = exact.to_array(progress=False).images.float()
        differences[quality] = float((found - expected).abs().mean())
    assert differences[95] < 2 < differences[30]


def test_called_again_it_makes_what_is_missing_or_changed(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "small"
    resize_folder(photos, target, 16)
    before = {name: (target / name).stat().st_mtime_ns for name in files(target)}
    assert resize_folder(photos, target, 16).written == 0
    assert {name: (target / name).stat().st_mtime_ns for name in files(target)} == before

    (target / "dogs" / "1.png").unlink()
    picture(99).save(photos / "cats" / "1.jpg")
    later = (target / "cats" / "1.jpg").stat().st_mtime_ns + 10**9
    os.utime(photos / "cats" / "1.jpg", ns=(later, later))
    picture(50).save(photos / "dogs" / "new.png")
    done = resize_folder(photos, target, 16)
    assert (done.written, done.kept) == (3, 3)
    ds, other = ImageFolder(target), ImageFolder(photos, image_size=16, exact_decode=True)
    assert ds.classes == other.classes
    assert len(ds) == len(other) == 6
    assert (ds[0][0].float() - other[0][0].float()).abs().mean() < 3

    picture(7).save(photos / "cats" / "1.jpg")  # as an archive or `cp -p` brings it
    os.utime(photos / "cats" / "1.jpg", (1e9, 1e9))
    done = resize_folder(photos, target, 16)
    assert (done.written, done.kept) == (1, 5)
    assert (ImageFolder(target)[0][0].float() - other[0][0].float()).abs().mean() < 3


def test_an_interrupted_run_can_be_gone_on_with(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stop_at_the_third(*arguments: Any, **options: Any) -> Image.Image:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(*arguments, **options)

    read = read_image
    monkeypatch.setattr(module, "read_image", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        resize_folder(photos, tmp_path / "small", 16, workers=1)
    assert len(files(tmp_path / "small")) == 2
    monkeypatch.undo()
    done = resize_folder(photos, tmp_path / "small", 16)
    assert (done.written, done.kept) == (3, 2)


def test_no_half_written_file_is_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Image.Image, path: Path, *arguments: Any, **options: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", no_room)
    with pytest.raises(OSError, match="No space left"):
        resize_folder(photos, tmp_path / "small", 16)
    assert files(tmp_path / "small") == []


def test_unreadable_sources_are_listed_and_have_no_copy(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "cats" / "1.jpg").read_bytes()
    (photos / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    done = resize_folder(photos, tmp_path / "small", 16)
    assert done.written == 5
    ((path, reason),) = done.unreadable
    assert path == str(photos / "cats" / "cut.jpg")
    assert "truncated" in reason
    assert "1 image cannot be read:" in str(done)
    assert not (tmp_path / "small" / "cats" / "cut.jpg").exists()


def test_copies_without_a_source_are_named_and_not_deleted(photos: Path, tmp_path: Path) -> None:
    resize_folder(photos, tmp_path / "small", 16)
    (photos / "dogs" / "1.png").unlink()
    done = resize_folder(photos, tmp_path / "small", 16)
    assert done.left_over == (str(tmp_path / "small" / "dogs" / "1.png"),)
    assert "1 file without a source" in str(done)
    assert (tmp_path / "small" / "dogs" / "1.png").exists()


def test_other_settings_are_refused(photos: Path, tmp_path: Path) -> None:
    resize_folder(photos, tmp_path / "small", 16)
    with pytest.raises(DataError, match=r"made with image_size=\[16, 16\], not \[20, 20\]: delete"):
        resize_folder(photos, tmp_path / "small", 20)
    with pytest.raises(DataError, match="quality=95, not 80"):
        resize_folder(photos, tmp_path / "small", 16, quality=80)
    marker = tmp_path / "small" / ".cnnkit-resized.json"
    assert json.loads(marker.read_text(encoding="utf-8"))["settings"]["resize"] == "stretch"
    marker.write_text("{", encoding="utf-8")
    with pytest.raises(SavedFileError, match="does not say how"):
        resize_folder(photos, tmp_path / "small", 16)


def test_a_folder_of_something_else_is_left_alone(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("the only copy")
    with pytest.raises(DataError, match="not made by resize_folder"):
        resize_folder(photos, tmp_path / "mine", 16)
    assert files(tmp_path / "mine") == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert resize_folder(photos, tmp_path / "empty", 16).written == 5


@pytest.mark.parametrize("target", [".", "cats", "new", ".."])
def test_source_and_target_must_not_lie_in_each_other(photos: Path, target: str) -> None:
    with pytest.raises(ArgumentError, match="must not lie in each other"):
        resize_folder(photos, photos / target, 16)


def test_choices_that_make_no_sense(photos: Path, tmp_path: Path) -> None:
    small: Any = (photos, tmp_path / "small", 16)
    with pytest.raises(ArgumentError, match=r"\('png', 'jpeg'\), received 'gif'"):
        resize_folder(*small, format="gif")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="quality must be 1 to 100, received 0"):
        resize_folder(*small, quality=0)
    with pytest.raises(ArgumentError, match=r"resize must be one of .*received 'squash'"):
        resize_folder(*small, resize="squash")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"1\.jpg cannot be written .* 'RGBA': pass format"):
        resize_folder(*small, mode="RGBA")
    with pytest.raises(ArgumentError, match="jpeg has no mode 'RGBA'"):
        resize_folder(*small, mode="RGBA", format="jpeg")
    with pytest.raises(NotFoundError, match="nothing at"):
        resize_folder(tmp_path / "nowhere", *small[1:])
    assert not (tmp_path / "small").exists()


def test_two_images_of_one_name_are_an_error(photos: Path, tmp_path: Path) -> None:
    picture(1).save(photos / "dogs" / "1.bmp")
    with pytest.raises(DataError, match=r"would have one name: .*dogs/1\.bmp.*dogs/1\.png"):
        resize_folder(photos, tmp_path / "small", 16, format="png")
    assert resize_folder(photos, tmp_path / "small", 16).written == 6


def test_the_orientation_is_applied_once(photos: Path, tmp_path: Path) -> None:
    shutil.rmtree(photos / "dogs")
    for path in (photos / "cats").rglob("*.jpg"):
        exif = Image.Exif()
        exif[0x0112] = 6
        picture(3).save(path, exif=exif)
    resize_folder(photos, tmp_path / "small", (30, 20), format="png")
    found = ImageFolder(tmp_path / "small")[0][0]
    expected = picture(3).rotate(-90, expand=True).resize((20, 30), Image.Resampling.BILINEAR)
    pixels = np.asarray(expected).transpose(2, 0, 1).astype(float)
    assert np.abs(found.numpy() - pixels).mean() < 3
