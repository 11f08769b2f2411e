"""`check`: what it must find, what it must not, and what it says."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset

from cnnkit.data import ArrayDataset, ImageFolder, Split, train_val_split
from cnnkit.data import _candidates as candidates
from cnnkit.data import _duplicates as duplicates
from cnnkit.data._check import check
from cnnkit.data._report import DataReport, Finding
from cnnkit.data._signature import Signatures, of_file, of_images
from cnnkit.errors import ArgumentError, CnnkitWarning, DataError

Pixels = NDArray[np.uint8]


def photo(seed: int, height: int = 120, width: int = 160) -> Image.Image:
    """Something like a photograph: amplitudes fall as 1/f, the channels agree for the most part."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = 1.0

    def field() -> NDArray[np.float64]:
        noise = np.fft.rfft2(generator.normal(size=(height, width)))
        values = np.fft.irfft2(noise / frequency, (height, width))
        scaled: NDArray[np.float64] = (values - values.mean()) / values.std()
        return scaled

    grey = field()
    channels = np.stack([110 + 42 * grey + 22 * field() for _ in range(3)], axis=2)
    return Image.fromarray(channels.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def put(path: Path, content: bytes | Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else jpeg(content))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve different photographs of each of two classes."""
    for seed in range(24):
        name = "cats" if seed < 12 else "dogs"
        put(tmp_path / "photos" / name / f"{seed}.jpg", photo(seed))
    return tmp_path / "photos"


def kinds(report: DataReport) -> list[str]:
    return [finding.kind for finding in report.findings]


def the(report: DataReport, kind: str) -> Finding:
    found = [finding for finding in report.findings if finding.kind == kind]
    assert len(found) == 1, f"{kind} is not among {kinds(report)}"
    return found[0]


def names(finding: Finding) -> list[list[str]]:
    return [
        [f"{sample.part}/{Path(sample.path).name}" for sample in group if sample.path]
        for group in finding.groups
    ]


# --- copies -------------------------------------------------------------------------------------

resample = Image.Resampling.BICUBIC
COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "quality 50": lambda image: jpeg(image, 50),
    "quality 95": lambda image: jpeg(image, 95),
    "half": lambda image: jpeg(image.resize((80, 60), resample)),
    "double": lambda image: jpeg(image.resize((320, 240), resample)),
    "another shape": lambda image: jpeg(image.resize((128, 128), resample)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
    "darker": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(0.9)),
    "grey": lambda image: jpeg(image.convert("L")),
    "all at once": lambda image: jpeg(
        ImageEnhance.Brightness(image.resize((80, 60), resample)).enhance(1.1), 50
    ),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("search", ["all pairs", "hash"])
def test_near_copies_across_parts_are_found_and_nothing_else(
    photos: Path, tmp_path: Path, kind: str, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if search == "hash":
        monkeypatch.setattr(candidates, "_COMPARE_ALL", 0)
    train = ImageFolder(photos, image_size=32)
    for seed in (3, 7, 15):
        name = "cats" if seed < 12 else "dogs"
        with Image.open(photos / name / f"{seed}.jpg") as original:
            put(tmp_path / "test" / name / f"copy{seed}.jpg", COPIES[kind](original))
    for seed in range(100, 104):
        put(tmp_path / "test" / "dogs" / f"new{seed}.jpg", photo(seed))
    test = ImageFolder(tmp_path / "test", image_size=32)

    report = check(train=train, test=test)
    finding = the(report, "near copy across parts")
    assert finding.severity == "warning"
    assert names(finding) == [[f"train/{seed}.jpg", f"test/copy{seed}.jpg"] for seed in (3, 7, 15)]
    assert finding.message.startswith("3 pictures are in more than one part")
    others = ["few images", "several modes"] if kind == "grey" else ["few images"]
    assert sorted(kinds(report)[1:]) == others
    assert report.ok


def test_an_image_of_a_folder_is_found_in_an_array_of_another_size(photos: Path) -> None:
    folder = ImageFolder(photos, image_size=(96, 80))
    report = check(folder, folder.subset([2, 20]).to_array())
    assert [group[0].index for group in the(report, "near copy across parts").groups] == [2, 20]


def test_equal_bytes_across_parts_are_an_error(photos: Path, tmp_path: Path) -> None:
    copied = (photos / "cats" / "5.jpg").read_bytes()
    put(tmp_path / "test" / "cats" / "other name.jpg", copied)
    put(tmp_path / "test" / "dogs" / "new.jpg", photo(50))
    report = check(Split(ImageFolder(photos), test=ImageFolder(tmp_path / "test")))
    finding = the(report, "same image across parts")
    assert finding.severity == "error"
    assert names(finding) == [["train/5.jpg", "test/other name.jpg"]]
    assert not report.ok
    assert kinds(report) == ["same image across parts", "few images"]
    with pytest.raises(DataError, match=r"1 picture is in more than one part(.|\n)*other name.jpg"):
        report.raise_for_errors()


def test_copies_within_a_part_and_under_two_labels(photos: Path) -> None:
    put(photos / "cats" / "again.jpg", (photos / "cats" / "1.jpg").read_bytes())
    put(photos / "dogs" / "a cat.jpg", (photos / "cats" / "2.jpg").read_bytes())
    with Image.open(photos / "cats" / "3.jpg") as original:
        put(photos / "cats" / "saved.jpg", jpeg(original, 60))
    with Image.open(photos / "dogs" / "20.jpg") as original:
        put(photos / "cats" / "a dog.jpg", jpeg(original, 60))
    report = check(ImageFolder(photos))
    expected = {
        "same image, other label": ("error", {"2.jpg", "a cat.jpg"}),
        "same image twice": ("warning", {"1.jpg", "again.jpg", "2.jpg", "a cat.jpg"}),
        "near copy, other label": ("warning", {"20.jpg", "a dog.jpg"}),
        "near copy within a part": ("note", {"3.jpg", "saved.jpg", "20.jpg", "a dog.jpg"}),
    }
    assert kinds(report) == list(expected)
    for kind, (severity, files) in expected.items():
        finding = the(report, kind)
        assert finding.severity == severity
        found = {Path(s.path or "").name for group in finding.groups for s in group}
        assert found == files
    labels = {(s.label, Path(s.path or "").name) for s in report.errors[0].groups[0]}
    assert labels == {("cats", "2.jpg"), ("dogs", "a cat.jpg")}


def test_without_near_only_bytes_are_compared(photos: Path) -> None:
    with Image.open(photos / "cats" / "3.jpg") as original:
        put(photos / "cats" / "saved.jpg", jpeg(original, 60))
    put(photos / "cats" / "again.jpg", (photos / "cats" / "1.jpg").read_bytes())
    assert kinds(check(ImageFolder(photos), near=False)) == ["same image twice"]
    assert Signatures(1000, near=False).grey.nbytes == 0


def flat_shapes(*colours: tuple[int, int, int], ground: int) -> torch.Tensor:
    """The same rectangle in each colour, and thirty photographs, uint8 (n, 3, 32, 32)."""
    images = np.full((len(colours), 32, 32, 3), ground, np.uint8)
    for image, colour in zip(images, colours, strict=True):
        image[8:20, 6:28] = colour
    others = np.stack([np.asarray(photo(seed, 32, 32)) for seed in range(30)])
    return torch.from_numpy(np.concatenate([images, others])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("ground", [0, 255])
def test_the_colour_of_a_shape_makes_another_image(ground: int) -> None:
    red, green = (200, 0, 0), (0, 102, 0)  # of the same luma, 60
    ds = ArrayDataset(flat_shapes(red, green, ground=ground), [0, 1] * 16)
    assert kinds(check(ds)) == []
    ds = ArrayDataset(flat_shapes(red, (210, 5, 2), ground=ground), [0, 1] * 16)
    assert "near copy, other label" in kinds(check(ds))


def test_what_brightening_clips_is_still_the_same_picture() -> None:
    dark = np.stack([np.asarray(photo(seed, 32, 32).convert("L")) for seed in range(20)])
    bright = (dark * 1.5).clip(0, 255).astype(np.uint8)
    assert (bright == 255).mean() > 0.05
    no_colour = np.zeros((20, 2, 8, 8), np.int8)
    for one, other in [(dark, bright), (bright, dark)]:
        same, likeness = duplicates._same_picture(one, other, no_colour, no_colour)
        assert same.all()
        assert likeness.min() > 0.99


def test_colours_must_agree_unless_there_are_none() -> None:
    grey = np.asarray(photo(0, 32, 32).convert("L"))[None]
    orange, blue, none = (np.full((1, 2, 8, 8), chroma, np.int8) for chroma in (40, -40, 2))
    expected = {(0, 0): True, (0, 1): False, (0, 2): True, (2, 1): True, (2, 2): True}
    colours = [orange, blue, none]
    for (one, other), same in expected.items():
        (found,), _ = duplicates._same_picture(grey, grey, colours[one], colours[other])
        assert found == same, (one, other)


def test_of_many_copies_those_are_shown_that_are_in_different_parts() -> None:
    images = noise(50)
    images[1:6] = images[0]
    ds = ArrayDataset(images, [0] * 50)
    report = check(train=ds.subset(range(5)), test=ds.subset(range(5, 50)))
    shown = "train[0] (0) = test[5] (0) = train[1] (0)"
    assert shown in str(report)


def test_more_copies_of_one_picture_than_are_looked_at_for_comparison() -> None:
    placeholder = photo(0)
    copies = [Image.open(io.BytesIO(jpeg(placeholder, quality))) for quality in range(60, 96)]
    images = [np.asarray(image.resize((64, 64))) for image in copies]
    images += [np.asarray(photo(seed, 64, 64)) for seed in range(1, 60)]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    report = check(ArrayDataset(pixels, [0] * len(images)))
    (group,) = the(report, "near copy within a part").groups
    assert [sample.index for sample in group] == list(range(36))


def test_no_alarm_on_images_that_are_only_alike() -> None:
    digits: Any = load_digits()
    pixels = (digits.images * 255 / 16).astype(np.uint8)
    split = train_val_split(ArrayDataset(pixels, digits.target), val=0.15, test=0.2)
    report = check(split)
    assert report.findings == ()
    report.raise_for_errors()


@pytest.mark.parametrize("number", [10, 60, 300])
def test_no_alarm_among_strokes_that_differ_a_little(number: int) -> None:
    generator = np.random.default_rng(number)
    images = []
    for _ in range(number):
        large = Image.new("L", (224, 224))
        ends = generator.normal([100, 30, 124, 194], [12, 8, 12, 8]).tolist()
        ImageDraw.Draw(large).line(ends, fill=255, width=int(generator.integers(16, 40)))
        images.append(np.asarray(large.resize((28, 28), Image.Resampling.BOX)))
    ds = ArrayDataset(np.stack(images), [0] * number)
    assert not [kind for kind in kinds(check(ds)) if "copy" in kind]


def test_groups_keep_copies_together_in_a_split(photos: Path) -> None:
    for seed in range(8):
        name = f"copy{seed}.jpg"
        with Image.open(photos / "cats" / f"{seed}.jpg") as original:
            put(photos / "cats" / name, jpeg(original, 70))
    ds = ImageFolder(photos)
    groups = check(ds).groups
    assert len(groups) == len(ds) == 32
    assert len(set(groups)) == 24
    split = train_val_split(ds, val=0.25, groups=groups)
    assert "near copy across parts" not in kinds(check(split))
    places = {Path(path).name: group for path, group in zip(ds.paths, groups, strict=True)}
    assert all(places[f"{seed}.jpg"] == places[f"copy{seed}.jpg"] for seed in range(8))


# --- the search ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(1, 120))
def test_hash_pairs_are_those_of_brute_force(seed: int, number: int) -> None:
    generator = random.Random(seed)
    hashes = [generator.getrandbits(64) for _ in range(number)]
    for _ in range(number):  # near ones, up to beyond the radius
        changed = generator.choice(hashes)
        for bit in generator.sample(range(64), generator.randint(0, 13)):
            changed ^= 1 << bit
        hashes.append(changed)
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i)
        if (hashes[i] ^ hashes[j]).bit_count() <= candidates.RADIUS
    }
    found = [
        (max(pair), min(pair))
        for first, second in candidates.hash_pairs(np.array(hashes, np.uint64))
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert len(found) == len(set(found)), "each pair once"
    assert set(found) == expected


def test_pairs_come_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_PAIRS", 50)
    same = np.full(40, 12345, np.uint64)
    pieces = [len(first) for first, _ in candidates.hash_pairs(same)]
    assert sum(pieces) == 40 * 39 // 2
    assert max(pieces) <= 50


def test_thumbnails_of_files_and_of_arrays_agree(tmp_path: Path) -> None:
    for seed, size in enumerate([(32, 32), (28, 28), (100, 90), (20, 300)]):
        image = photo(seed, *size)
        image.save(tmp_path / "image.png")
        from_file = of_file(str(tmp_path / "image.png"))
        (from_array,) = of_images(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])
        assert from_file.grey is not None
        assert from_array.grey is not None
        difference = np.abs(from_file.grey.astype(int) - from_array.grey.astype(int))
        assert difference.max() <= 8
        assert difference.mean() < 1.5
        assert from_file.size == from_array.size == size
        assert from_file.spread == from_array.spread or size == (20, 300)


def test_what_is_kept_of_an_image_is_small() -> None:
    kept = Signatures(1000, near=True)
    arrays = [value for value in vars(kept).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 1200 * 1000


# --- files --------------------------------------------------------------------------------------


def test_unreadable_files_are_listed_with_the_reason(photos: Path) -> None:
    whole = (photos / "cats" / "0.jpg").read_bytes()
    put(photos / "cats" / "cut.jpg", whole[: len(whole) // 2])
    put(photos / "dogs" / "empty.png", b"")
    put(photos / "dogs" / "page.jpg", b"<html>not found</html>")
    report = check(ImageFolder(photos))
    finding = the(report, "unreadable")
    assert finding.severity == "error"
    remarks = {Path(s.path or "").name: s.remark for group in finding.groups for s in group}
    assert sorted(remarks) == ["cut.jpg", "empty.png", "page.jpg"]
    assert "truncated" in remarks["cut.jpg"]
    assert "no image format" in remarks["page.jpg"]
    assert not any(str(photos) in remark for remark in remarks.values())
    assert [part.unreadable for part in report.parts] == [3]
    assert len(set(report.groups)) == 27
    with pytest.raises(DataError, match=r"unreadable: 3 images cannot be read(.|\n)*cut\.jpg"):
        report.raise_for_errors()


def test_a_file_that_went_away_is_unreadable(photos: Path) -> None:
    ds = ImageFolder(photos)
    (photos / "dogs" / "15.jpg").unlink()
    ((sample,),) = the(check(ds), "unreadable").groups
    assert Path(sample.path or "").name == "15.jpg"
    assert "No such file" in sample.remark


def test_sizes_modes_and_single_colours(photos: Path) -> None:
    put(photos / "dogs" / "strip.jpg", photo(60, 20, 400))
    put(photos / "dogs" / "tiny.jpg", photo(61, 20, 20))
    put(photos / "cats" / "grey.jpg", photo(62).convert("L"))
    Image.new("RGB", (150, 120), (200, 10, 10)).save(photos / "cats" / "red.jpg")
    with_alpha = photo(63).convert("RGBA")
    with_alpha.save(photos / "cats" / "alpha.png")
    report = check(ImageFolder(photos))
    assert kinds(report) == ["one colour", "odd size", "several modes", "not compared"]
    assert names(the(report, "one colour")) == [["data set 1/red.jpg"]]
    odd = {Path(s.path or "").name: s.remark for (s,) in the(report, "odd size").groups}
    assert odd == {"strip.jpg": "20 x 400", "tiny.jpg": "20 x 20"}
    assert "120 x 160 (height x width)" in the(report, "odd size").message
    modes = {Path(s.path or "").name: s.remark for (s,) in the(report, "several modes").groups}
    assert modes == {"grey.jpg": "L", "alpha.png": "RGBA"}
    assert the(report, "several modes").message.startswith("1 grey, 27 in colour, 1 with alpha")
    assert report.ok


def test_the_stored_size_counts_after_the_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(0, 100, 60).save(tmp_path / "turned.jpg", exif=exif)
    assert of_file(str(tmp_path / "turned.jpg")).size == (60, 100)


# --- classes ------------------------------------------------------------------------------------


def noise(number: int, seed: int = 0, size: int = 12) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (number, size, size), dtype=np.uint8)


def test_class_maps_that_differ_are_an_error() -> None:
    one = ArrayDataset(noise(30), [0, 1] * 15, classes=["cat", "dog"])
    other = ArrayDataset(noise(30, 1), [0, 1] * 15, classes=["dog", "cat"])
    report = check(one, other)
    assert kinds(report) == ["classes differ"]
    message = r"data set 1 has 'cat', 'dog', data set 2 has 'dog', 'cat'"
    with pytest.raises(DataError, match=message):
        report.raise_for_errors()


def test_labels_are_compared_by_the_names_of_their_classes() -> None:
    images = noise(30)
    one = ArrayDataset(images, [0] * 30, classes=["cat", "dog"])
    other = ArrayDataset(images[:15], [1] * 15, classes=["dog", "cat"])
    found = kinds(check(one, other))
    assert "same image across parts" in found
    assert "same image, other label" not in found


def test_missing_rare_and_outnumbered_classes() -> None:
    train = ArrayDataset(noise(210), [0] * 200 + [1] * 10, classes=["a", "b", "c"])
    val = ArrayDataset(noise(23, 1), [0] * 20 + [2] * 3, classes=["a", "b", "c"])
    report = check(train=train, val=val)
    assert kinds(report) == ["class missing", "imbalance", "few images"]
    assert "train has none of 'c'; val has none of 'b'" in the(report, "class missing").message
    shown = "train has 10 images of 'b' and 200 of 'a', 20 times as many"
    assert shown in the(report, "imbalance").message
    assert the(report, "few images").message.startswith("3 of 'c' in val")
    assert [finding.severity for finding in report.findings] == ["warning", "warning", "note"]


def test_an_empty_part_is_an_error() -> None:
    ds = ArrayDataset(noise(20), [0, 1] * 10)
    assert "data set 2 has no samples" in the(check(ds, ds.subset([])), "empty").message


# --- kinds of data sets -------------------------------------------------------------------------


def test_indices_are_those_of_the_whole() -> None:
    images = noise(100)
    images[71] = images[13]
    split = train_val_split(ArrayDataset(images, [0, 1] * 50), val=0.3, test=0.2, seed=4)
    report = check(split)
    assert [part.name for part in report.parts] == ["train", "val", "test"]
    assert [part.images for part in report.parts] == [50, 30, 20]
    ((one, other),) = [g for f in report.findings for g in f.groups if "same image" in f.kind][:1]
    assert {one.index, other.index} == {13, 71}
    for sample in (one, other):
        assert sample.index in getattr(split, sample.part).indices.tolist()
        assert str(sample) == f"{sample.part}[{sample.index}] (1)"


class Pictures:
    """A map-style data set of another library."""

    classes = ("even", "odd")

    def __init__(self, number: int, make: Callable[[Image.Image], Any]) -> None:
        self.number, self.make = number, make

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index == 7:
            raise RuntimeError("sample seven is locked")
        return self.make(photo(3 if index == 20 else index)), index % 2


def to_floats(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("make", [Image.Image.copy, np.array, to_floats])
def test_data_sets_of_other_libraries(make: Callable[[Image.Image], Any]) -> None:
    report = check(Pictures(30, make))
    ((sample,),) = the(report, "unreadable").groups
    assert (sample.index, sample.remark) == (7, "RuntimeError: sample seven is locked")
    (twice,) = the(report, "same image twice").groups
    assert [(s.index, s.label) for s in twice] == [(3, "odd"), (20, "even")]
    assert the(report, "same image, other label").severity == "error"


def test_a_subset_names_samples_by_their_place_in_the_whole() -> None:
    report = check(Subset(Pictures(30, np.array), [*list(range(25, 30)), 20, 3]))  # type: ignore[arg-type]
    (twice,) = the(report, "same image twice").groups
    assert sorted(sample.index for sample in twice) == [3, 20]


def test_floats_are_looked_at_as_images_only_where_they_are() -> None:
    pictures = torch.stack([to_floats(photo(seed, 40, 40)) for seed in range(20)])
    brighter = (pictures[:2] * 1.1).clamp(0, 1)
    report = check(
        ArrayDataset(pictures, [0, 1] * 10), ArrayDataset(brighter, [0, 1], classes=["0", "1"])
    )
    assert len(the(report, "near copy across parts").groups) == 2
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    features[30] = features[4]
    report = check(ArrayDataset(features, [0, 1] * 20))
    assert kinds(report) == ["same image twice", "not compared"]
    assert the(report, "not compared").message.startswith("40 samples of features")


def test_what_is_no_data_set_is_refused() -> None:
    ds = ArrayDataset(noise(4), [0, 1] * 2)
    with pytest.raises(ArgumentError, match="at least one data set"):
        check()
    named: dict[str, Any] = {"data set 2": ds}
    with pytest.raises(ArgumentError, match=r"come twice: \['data set 2'\]"):
        check(ds, ds, **named)
    with pytest.raises(DataError, match="data set 1 is DataLoader"):
        check(DataLoader(ds))  # type: ignore[arg-type]


def test_several_splits_have_names_of_their_own() -> None:
    ds = ArrayDataset(noise(40), [0, 1] * 20)
    one, other = train_val_split(ds, val=0.5), train_val_split(ds, val=0.5, seed=1)
    report = check(one, second=other, near=False)
    shown = ["split 1 train", "split 1 val", "second train", "second val"]
    assert [part.name for part in report.parts] == shown


# --- the report ---------------------------------------------------------------------------------


def test_a_clean_data_set_passes_without_a_word(photos: Path) -> None:
    report = check(ImageFolder(photos))
    report.raise_for_errors()
    assert report.ok
    assert report.findings == ()
    assert str(report).endswith("0 errors, 0 warnings, 0 notes")


def test_warnings_are_not_passed_over() -> None:
    images = noise(40)
    images[9] = images[3]
    report = check(ArrayDataset(images, [0, 1] * 20))
    assert report.ok
    with pytest.warns(CnnkitWarning, match="same image twice: 1 picture is more than once"):
        report.raise_for_errors()


def test_the_report_as_dict_as_json_and_as_text(tmp_path: Path) -> None:
    images = noise(60)
    images[40:50] = images[:10]
    ds = ArrayDataset(images, [0, 1] * 30)
    report = check(train=ds.subset(range(30)), test=ds.subset(range(30, 60)))
    values = report.to_dict()
    assert json.loads(report.to_json(tmp_path / "report.json")) == values
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == values
    (error,) = values["findings"]
    assert error["kind"] == "same image across parts"
    assert len(error["groups"]) == 10
    assert error["groups"][2] == [
        {"part": "train", "index": 2, "label": "0", "path": None, "remark": ""},
        {"part": "test", "index": 42, "label": "0", "path": None, "remark": ""},
    ]
    text = str(report)
    assert re.search(r"^train +30 +2 +0$", text, flags=re.MULTILINE)
    assert "train[0] (0) = test[40] (0)" in text
    assert "… and 7 more" in text
    assert text.endswith("1 error, 0 warnings, 0 notes")
    assert repr(report) == "DataReport(errors=1, warnings=0, notes=0)"


def test_the_global_random_state_is_left_alone(photos: Path) -> None:
    before = random.getstate(), torch.get_rng_state().tolist(), numpy_state()
    check(ImageFolder(photos))
    assert (random.getstate(), torch.get_rng_state().tolist(), numpy_state()) == before


def numpy_state() -> list[int]:
    state: Any = np.random.get_state()
    return [*state[1].tolist(), state[2]]


def test_a_subset_of_torch_is_a_part_of_the_folder(tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number % 11).integers(0, 256, (9 + number, 8, 3), np.uint8)
        Image.fromarray(pixels[:9] if number in (0, 11) else pixels).save(folder / f"{number}.png")
    ds: Any = ImageFolder(tmp_path)  # of several sizes
    halves: Any = Subset(ds, [0, 1, 2, 3, 4, 5]), Subset(ds, [6, 7, 8, 9, 10, 11])
    found = check(train=halves[0], test=halves[1], progress=False)
    parts = check(train=ds.subset(range(6)), test=ds.subset(range(6, 12)), progress=False)
    assert found.to_dict() == parts.to_dict()
    kinds = {finding.kind for finding in found.errors}
    assert kinds == {"same image across parts", "same image, other label"}


def scenes(number: int, noise: float) -> NDArray[np.uint8]:
    """Thumbnails of one scene, each with noise of its own, and as many that are all different."""
    rng = np.random.default_rng(5)
    scene = np.kron(rng.integers(0, 200, (8, 8)), np.ones((4, 4)))
    frames = (scene + rng.normal(0, noise, (number, 32, 32))).clip(0, 255)
    others = np.kron(rng.integers(0, 200, (number, 8, 8)), np.ones((4, 4)))
    return (
        np.concatenate([frames, others + rng.normal(0, noise, others.shape)])
        .clip(0, 255)
        .astype(np.uint8)
    )


def test_images_that_are_all_alike_are_compared_with_the_most_alike() -> None:
    grey = scenes(300, 2.0)
    both = np.concatenate([grey, grey[[3, 140, 310, 590]] + np.uint8(9)])  # brighter copies
    (pairs,) = candidates.proposed_pairs(both)
    correlated = candidates.gradients(both) @ candidates.gradients(both).T
    expected = np.triu(correlated > 0.85, 1)
    assert expected.sum() > 300 * 299 / 2 > 64 * len(both) >= len(pairs[0])
    assert expected[pairs].all()
    assert len({*zip(*(side.tolist() for side in pairs), strict=True)}) == len(pairs[0])
    chosen = np.zeros_like(expected)
    chosen[pairs] = True
    for row in (3, 77, 299):  # no image that was left out is more alike than one that was not
        near = np.argsort(-correlated[row])
        assert (chosen | chosen.T)[row, near[near != row][:64]].all()
    found = duplicates.near_pairs(both, np.zeros((len(both), 8, 8, 2), np.int8))
    assert {*zip(*(side.tolist() for side in found), strict=True)} == {
        (3, 600), (140, 601), (310, 602), (590, 603)
    }  # fmt: skip


def test_few_images_that_are_alike_are_all_compared() -> None:
    grey = scenes(40, 2.0)
    (pairs,) = candidates.proposed_pairs(grey)
    correlated = candidates.gradients(grey) @ candidates.gradients(grey).T
    first, second = np.nonzero(np.triu(correlated > 0.85, 1))
    assert np.array_equal(pairs[0], first)
    assert np.array_equal(pairs[1], second)
    assert len(first) == 40 * 39 / 2
