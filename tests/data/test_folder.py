"""`ImageFolder`: what it finds, what it reads, and what it says about what it cannot read."""

from __future__ import annotations

import os
import pickle
import random
import re
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision import transforms

from cnnkit.data import ArrayDataset, ImageFolder, Preprocess, _scan
from cnnkit.data import _memory as memory
from cnnkit.data import _storage as storage
from cnnkit.data._scan import natural_key, scan
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    CnnkitWarning,
    DataError,
    ImageReadError,
    NotFoundError,
)

tv: Any = transforms


def draw(path: Path, size: tuple[int, int] = (8, 6), level: int = 100) -> Path:
    """An image file of one grey level, (width, height) in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def tree(root: Path, *names: str, **options: Any) -> Path:
    """Image files with these names; the n-th has the grey level n."""
    for number, name in enumerate(names):
        draw(root / name, level=number, **options)
    return root


def found(ds: ImageFolder, root: Path) -> list[tuple[str, int]]:
    return [(Path(path).relative_to(root).as_posix(), label) for path, label in ds.samples]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return tree(
        tmp_path / "pets", "cats/1.png", "cats/2.png", "cats/10.png", "dogs/1.png", "dogs/2.png"
    )


# --- what it finds ------------------------------------------------------------------------------


def test_one_folder_is_one_class(pets: Path) -> None:
    ds = ImageFolder(pets)
    assert ds.classes == ("cats", "dogs")
    assert ds.class_to_idx == {"cats": 0, "dogs": 1}
    wanted = [
        ("cats/1.png", 0),
        ("cats/2.png", 0),
        ("cats/10.png", 0),
        ("dogs/1.png", 1),
        ("dogs/2.png", 1),
    ]
    assert found(ds, pets) == wanted
    assert ds.targets.tolist() == [0, 0, 0, 1, 1]
    assert ds.targets.dtype == torch.int64
    assert ds.indices.tolist() == [0, 1, 2, 3, 4]
    assert ds.class_counts() == {"cats": 3, "dogs": 2}
    assert ds.paths == [path for path, _ in ds.samples]
    assert len(ds) == 5
    assert repr(ds) == "ImageFolder(5 images, 2 classes, as stored, RGB)"
    assert found(ImageFolder(str(pets), image_size=(3, 4)), pets) == wanted


def test_samples_are_uint8_channels_first(pets: Path) -> None:
    ds = ImageFolder(pets)
    image, label = ds[3]
    assert isinstance(image, Tensor)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 6, 8)
    assert image.unique().tolist() == [3]
    assert (label, type(label)) == (1, int)
    assert torch.equal(ds[-2][0], image)
    assert ImageFolder(pets, image_size=(3, 4), mode="L")[0][0].shape == (1, 3, 4)
    assert ImageFolder(pets, image_size=3, mode="RGBA")[0][0].shape == (4, 3, 3)
    for position in (5, -6):
        with pytest.raises(IndexError, match=f"position {position} is outside .* 5 images"):
            ds[position]
    assert len(list(iter(ds))) == 5


def test_the_order_is_natural_and_does_not_hang_on_the_file_system(tmp_path: Path) -> None:
    names = [f"class {c}/{n}.png" for c in (1, 2, 10) for n in ("a1", "a2", "a10", "b", "B")]
    shuffled = random.Random(0).sample(names, len(names))
    tree(tmp_path, *shuffled)
    ds = ImageFolder(tmp_path)
    assert ds.classes == ("class 1", "class 2", "class 10")
    wanted = [f"class {c}/{n}.png" for c in (1, 2, 10) for n in ("B", "a1", "a2", "a10", "b")]
    assert [name for name, _ in found(ds, tmp_path)] == wanted


@given(st.lists(st.text(st.sampled_from("a1²٣0.Z-é"), max_size=8)))
def test_natural_order_is_an_order(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_the_order_does_not_hang_on_what_separates_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["clip/1.png", "clipA/1.png", "clip-2/1.png", "clip_3/1.png", "clip0.png", "Clip.png"]
    here = sorted(names, key=_scan._path_key)
    monkeypatch.setattr(os, "sep", "\\")
    elsewhere = sorted((name.replace("/", "\\") for name in names), key=_scan._path_key)
    assert elsewhere == [name.replace("/", "\\") for name in here]


def test_torchvision_finds_the_same_files(pets: Path) -> None:
    theirs = torchvision.datasets.ImageFolder(str(pets))
    ours = ImageFolder(pets)
    assert sorted(ours.samples) == sorted(theirs.samples)
    assert list(ours.classes) == theirs.classes


def test_images_may_lie_deeper(tmp_path: Path) -> None:
    tree(tmp_path, "a/x/y/1.png", "a/2.png", "b/z/1.png")
    assert found(ImageFolder(tmp_path), tmp_path) == [
        ("a/2.png", 0),
        ("a/x/y/1.png", 0),
        ("b/z/1.png", 1),
    ]


def test_litter_is_no_class_and_no_image(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "b/1.png")
    tree(
        tmp_path,
        "__MACOSX/a/1.png",
        ".ipynb_checkpoints/1.png",
        ".hidden/1.png",
        "a/.ipynb_checkpoints/1.png",
        "a/__MACOSX/1.png",
        "a/.hidden.png",
    )
    for name in ("a/._1.png", "a/Thumbs.db", "a/.DS_Store", "desktop.ini", "a/notes.txt", "a/png"):
        (tmp_path / name).write_bytes(b"litter")
    assert found(ImageFolder(tmp_path), tmp_path) == [("a/1.png", 0), ("b/1.png", 1)]


def test_extensions_of_any_case_and_names_of_any_script(tmp_path: Path) -> None:
    names = [
        "Кошки/фото 1.PNG",
        "Кошки/é.JpG",
        "犬/图.jpeg",
        "犬/b.BMP",
        "🐶/c.Tiff",
        "with space/a.b.c.GIF",
    ]
    tree(tmp_path, *names)
    ds = ImageFolder(tmp_path, image_size=4)
    assert {name for name, _ in found(ds, tmp_path)} == set(names)
    assert set(ds.classes) == {"Кошки", "犬", "🐶", "with space"}
    assert ds.to_array(progress=False).images.shape == (6, 3, 4, 4)


def test_a_folder_named_as_an_image_is_a_folder(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.jpg/1.png", "b/1.png")
    assert found(ImageFolder(tmp_path), tmp_path) == [("a/x.jpg/1.png", 0), ("b/1.png", 1)]


def test_linked_files_and_folders_count(pets: Path, tmp_path: Path) -> None:
    birds = tree(tmp_path / "elsewhere", "1.png")
    (pets / "birds").symlink_to(birds, target_is_directory=True)
    (pets / "dogs" / "3.png").symlink_to(birds / "1.png")
    assert ImageFolder(pets).class_counts() == {"birds": 1, "cats": 3, "dogs": 3}


@pytest.mark.parametrize("target", ["pets/cats", "pets", ".", "pets/cats/deep"])
def test_a_link_to_a_folder_above_brings_nothing_twice(target: str, tmp_path: Path) -> None:
    pets = tree(tmp_path / "pets", "cats/1.png", "cats/deep/2.png", "dogs/1.png")
    wanted = found(ImageFolder(pets), pets)
    (pets / "cats" / "deep" / "loop").symlink_to(tmp_path / target, target_is_directory=True)
    assert found(ImageFolder(pets), pets) == wanted


@pytest.mark.parametrize("target", ["pets", "."])
def test_a_link_to_a_folder_above_is_no_class(target: str, tmp_path: Path) -> None:
    pets = tree(tmp_path / "pets", "cats/1.png", "dogs/1.png")
    (pets / "loop").symlink_to(tmp_path / target, target_is_directory=True)
    assert ImageFolder(pets).classes == ("cats", "dogs")


def test_opening_decodes_nothing(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"no image")
    assert len(ImageFolder(tmp_path)) == 2


# --- folders that cannot be used ----------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"folder of class folders.*nothing at .*gone"):
        ImageFolder(tmp_path / "gone")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"pets\.zip is a file; .*from_zip"):
        ImageFolder(tmp_path / "pets.zip")


def test_no_class_folders(tmp_path: Path) -> None:
    tree(tmp_path, "1.png", "2.png")
    with pytest.raises(
        DataError, match=r"no class folders \(it holds 2 images directly\).*one folder"
    ):
        ImageFolder(tmp_path)


def test_class_folders_without_any_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "a.heic").write_bytes(b"?")
    with pytest.raises(DataError, match=r"\['cats', 'dogs'\] in .* holds an image.*\.jpg.*\.png"):
        ImageFolder(tmp_path)


def test_an_empty_class_is_left_out_with_a_warning_at_the_callers_line(pets: Path) -> None:
    (pets / "birds").mkdir()
    (pets / "birds" / "notes.txt").write_text("none yet")
    with pytest.warns(CnnkitWarning, match=r"left out: \['birds'\]") as caught:
        ds = ImageFolder(pets)
    assert caught[0].filename == __file__
    assert ds.classes == ("cats", "dogs")
    assert ds.targets.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "rgb"}, r"mode must be one of \('L', 'RGB', 'RGBA'\), received 'rgb'"),
        ({"resize": "squash"}, r"resize must be one of .*'pad'.*'squash'"),
        ({"interpolation": "area"}, "interpolation must be one of .*'area'"),
        (
            {"on_corrupt": "ignore"},
            r"on_corrupt must be one of \('raise', 'skip'\), received 'ignore'",
        ),
        ({"image_size": 0}, "image_size must be a positive int .*received 0"),
        ({"image_size": (4, 4, 3)}, r"received \(4, 4, 3\)"),
        ({"image_size": "64"}, "received '64'"),
    ],
)
def test_choices_are_checked(pets: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ImageFolder(pets, **options)


# --- classes= -----------------------------------------------------------------------------------


def test_classes_of_the_training_folder_fix_the_labels(pets: Path, tmp_path: Path) -> None:
    train = ImageFolder(tree(tmp_path / "train", "birds/1.png", "cats/1.png", "dogs/1.png"))
    test = ImageFolder(pets, classes=train.classes)  # has no birds
    assert test.classes == ("birds", "cats", "dogs")
    assert test.targets.tolist() == [1, 1, 1, 2, 2]
    assert test.class_counts() == {"birds": 0, "cats": 3, "dogs": 2}
    assert ImageFolder(pets, classes=["dogs", "cats"]).targets.tolist() == [1, 1, 1, 0, 0]


def test_a_folder_outside_the_classes_is_named(pets: Path) -> None:
    with pytest.raises(ClassMismatchError, match=r"\['dogs'\] in .*pets.*\('cats', 'birds'\)"):
        ImageFolder(pets, classes=["cats", "birds"])
    (pets / "notes").mkdir()  # without images it is in nobody's way
    with pytest.warns(CnnkitWarning, match="notes"):
        assert ImageFolder(pets, classes=["cats", "dogs"]).classes == ("cats", "dogs")


def test_class_names_must_differ(pets: Path) -> None:
    with pytest.raises(DataError, match=r"more than once: \['cats'\]"):
        ImageFolder(pets, classes=["cats", "cats", "dogs"])


# --- sizes --------------------------------------------------------------------------------------


def test_without_image_size_the_images_share_one(pets: Path) -> None:
    ds = ImageFolder(pets)
    assert ds.preprocess is not None
    assert ds.preprocess.image_size == (6, 8)
    odd = draw(pets / "dogs" / "3.png", (9, 5))
    ds = ImageFolder(pets)
    message = (
        rf"one size: .*1\.png is \(6, 8\) .*{re.escape(str(odd))} is \(5, 9\); pass image_size="
    )
    for read in (lambda: ds[5], lambda: ds.to_array(progress=False), lambda: ds.get_batch([0, 5])):
        with pytest.raises(DataError, match=message):
            read()
    assert ImageFolder(pets, image_size=4).to_array(progress=False).image_shape == (3, 4, 4)


def test_turned_photographs_have_their_turned_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.new("RGB", (6, 8))
    for name in ("1.jpg", "3.tiff"):
        draw(tmp_path / "a" / name, (6, 8))
    for name in ("0.jpg", "2.tiff"):
        upright.rotate(90, expand=True).save(tmp_path / "a" / name, exif=exif)
    for names in (("0.jpg", "1.jpg"), ("2.tiff", "3.tiff")):
        ds = ImageFolder.from_files([tmp_path / "a" / name for name in names], [0, 0])
        assert ds.preprocess is not None
        assert ds.preprocess.image_size == (8, 6)
        assert ds.to_array(progress=False).image_shape == (3, 8, 6)


def test_preprocess_says_how_the_images_are_read(pets: Path) -> None:
    options: dict[str, Any] = {"resize": "pad", "interpolation": "lanczos", "exact_decode": True}
    ds = ImageFolder(pets, image_size=(3, 5), mode="L", **options)
    assert ds.preprocess == Preprocess((3, 5), "L", (0,), (1,), **options)
    assert ds.subset([1]).preprocess == ds.preprocess
    assert ds.to_array(progress=False).preprocess == ds.preprocess
    assert ds.preprocess is not None
    for position in range(5):
        assert torch.equal(ds.preprocess.read(ds.paths[position]), ds[position][0])


# --- transform ----------------------------------------------------------------------------------


def test_transform_gets_the_resized_image_and_gives_the_sample(pets: Path) -> None:
    seen: list[Any] = []

    def note(image: Any) -> str:
        seen.append((type(image).__module__.split(".")[0], image.size, image.mode))
        return "what it returned"

    ds = ImageFolder(pets, image_size=(3, 4), mode="L", transform=note)
    assert ds[4] == ("what it returned", 1)
    assert seen == [("PIL", (4, 3), "L")]
    assert ds.preprocess is None


def test_a_transform_may_be_set_and_taken_away_later(pets: Path) -> None:
    ds = ImageFolder(pets)
    plain = ds.get_batch([0, 1])[0]
    assert ds.preprocess is not None
    ds.transform = lambda image: torch.full((2,), float(image.width))
    part = ds.subset([1, 0])
    for some in (ds, part):
        assert some.preprocess is None
        assert some.get_batch([0])[0].tolist() == [[8.0, 8.0]] == [some[0][0].tolist()]
    ds.transform = None
    assert torch.equal(ds.get_batch([0, 1])[0], plain)


def test_torchvisions_classic_transforms_work(pets: Path) -> None:
    chain = tv.Compose(
        [
            tv.Resize(5),
            tv.CenterCrop(5),
            tv.RandomHorizontalFlip(),
            tv.ToTensor(),
            tv.Normalize(0.5, 0.5),
        ]
    )
    ds = ImageFolder(pets, transform=chain)
    theirs = torchvision.datasets.ImageFolder(str(pets), transform=chain)
    by_path = {path: position for position, (path, _) in enumerate(theirs.samples)}
    for position in range(5):
        image, label = ds[position]
        wanted, wanted_label = theirs[by_path[ds.paths[position]]]
        torch.testing.assert_close(image, wanted)
        assert label == wanted_label
    images, labels = ds.get_batch([0, 4])
    assert images.shape == (2, 3, 5, 5)
    assert labels.tolist() == [0, 1]


def test_with_a_transform_the_sizes_may_differ(pets: Path) -> None:
    draw(pets / "dogs" / "3.png", (9, 5))
    ds = ImageFolder(pets, transform=tv.Compose([tv.Resize((4, 4)), tv.ToTensor()]))
    assert ds.get_batch(range(6))[0].shape == (6, 3, 4, 4)


def test_a_transform_keeps_the_folder_from_becoming_an_array(pets: Path) -> None:
    with pytest.raises(DataError, match="with a transform cannot become an array"):
        ImageFolder(pets, image_size=4, transform=tv.ToTensor()).to_array()


@pytest.mark.parametrize("transform", [lambda image: image, tv.ToTensor()], ids=["image", "sizes"])
def test_samples_that_make_no_batch(pets: Path, transform: Callable[[Any], Any]) -> None:
    draw(pets / "dogs" / "3.png", (9, 5))
    ds = ImageFolder(pets, transform=transform)
    with pytest.raises(DataError, match="batch"):
        ds.get_batch([0, 5])


def test_an_oriented_image_is_not_turned_again_by_a_transform(tmp_path: Path) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a").mkdir()
    Image.new("RGB", (12, 6)).save(tmp_path / "a" / "1.jpg", exif=exif)
    ds = ImageFolder(tmp_path, transform=lambda image: ImageOps.exif_transpose(image).size)
    assert ds[0][0] == (6, 12)


# --- broken files -------------------------------------------------------------------------------


def broken(pets: Path) -> list[str]:
    """Files broken in their header, in their pixels, empty, and one that is text."""
    half = pets / "cats" / "3.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((80, 60)).save(half)
    half.write_bytes(half.read_bytes()[:-200])
    (pets / "cats" / "0.png").write_bytes(b"")
    (pets / "dogs" / "0.gif").write_text("a text")
    (pets / "dogs" / "4.png").write_bytes((pets / "dogs" / "1.png").read_bytes()[:30])
    return ["cats/0.png", "cats/3.jpg", "dogs/0.gif", "dogs/4.png"]


def test_a_broken_file_is_named_when_it_is_read(pets: Path) -> None:
    names = broken(pets)
    ds = ImageFolder(pets, image_size=4)
    assert len(ds) == 9
    position = [name for name, _ in found(ds, pets)].index("cats/3.jpg")
    for read in (
        lambda: ds[position],
        lambda: ds.get_batch([position]),
        lambda: ds.subset([position]).to_array(progress=False),
    ):
        with pytest.raises(
            ImageReadError, match=r"cats/3\.jpg is not a readable image: .*truncated"
        ):
            read()
    with pytest.raises(ImageReadError, match="|".join(map(re.escape, names))):
        ds.to_array(progress=False)


@pytest.mark.parametrize("image_size", [4, None])
def test_skip_leaves_them_out_once_and_for_all(pets: Path, image_size: int | None) -> None:
    names = broken(pets)
    with pytest.warns(
        CnnkitWarning, match="4 of 9 images cannot be read and are left out"
    ) as caught:
        ds = ImageFolder(pets, image_size=image_size, on_corrupt="skip")
    assert caught[0].filename == __file__
    assert [Path(path).relative_to(pets).as_posix() for path, _ in ds.skipped] == names
    assert all(path in reason for path, reason in ds.skipped)
    assert "truncated" in ds.skipped[1][1]
    assert len(ds) == 5
    kept = ["cats/1.png", "cats/2.png", "cats/10.png", "dogs/1.png", "dogs/2.png"]
    assert found(ds, pets) == list(zip(kept, [0, 0, 0, 1, 1], strict=True))
    assert ds.indices.tolist() == [0, 1, 2, 3, 4]
    images, labels = ds.to_array(progress=False)[:]
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 0, 0, 1, 1]


def test_skip_with_nothing_broken_is_silent(pets: Path) -> None:
    ds = ImageFolder(pets, on_corrupt="skip")
    assert (len(ds), ds.skipped) == (5, [])


def test_skip_when_everything_is_broken_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(3):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"?")
    with pytest.raises(ImageReadError, match=r"none of the 3 images can be read: .*0\.png"):
        ImageFolder(tmp_path, image_size=3, on_corrupt="skip")


def test_skip_looks_at_files_and_not_at_what_a_transform_makes(pets: Path) -> None:
    draw(pets / "dogs" / "3.png", (9, 5))
    (pets / "dogs" / "4.png").write_bytes(b"?")
    calls: list[Any] = []
    chain = tv.Compose([tv.Resize((4, 4)), calls.append])
    with pytest.warns(CnnkitWarning, match="1 of 7"):
        ds = ImageFolder(pets, on_corrupt="skip", transform=chain)
    assert calls == []
    assert ds.transform is chain
    assert ds.preprocess is None
    assert len(ds) == 6


def test_skip_leaves_out_what_a_link_no_longer_leads_to(pets: Path) -> None:
    (pets / "cats" / "5.png").symlink_to(pets / "gone.png")
    with pytest.warns(CnnkitWarning, match="1 of 6"):
        ds = ImageFolder(pets, image_size=4, on_corrupt="skip")
    assert len(ds) == 5
    assert ds.skipped[0][0].endswith("5.png")


def test_a_class_that_loses_all_its_images_keeps_its_label(pets: Path) -> None:
    (pets / "dogs" / "1.png").write_bytes(b"?")
    (pets / "dogs" / "2.png").write_bytes(b"?")
    draw(pets / "fish" / "1.png")
    with pytest.warns(CnnkitWarning, match="2 of 6"):
        ds = ImageFolder(pets, on_corrupt="skip")
    assert ds.classes == ("cats", "dogs", "fish")
    assert ds.targets.tolist() == [0, 0, 0, 2]


def test_what_no_reader_may_wait_for(pets: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(pets / "cats" / "pipe.png")  # reading it would wait forever
    assert "cats/pipe.png" not in [name for name, _ in found(ImageFolder(pets), pets)]


# --- lists and tables of files ------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [draw(tmp_path / "loose" / f"{number}.png", level=number) for number in range(4)]


def test_from_files_with_class_names(files: list[Path]) -> None:
    ds = ImageFolder.from_files(files, ["b10", "b2", "a", "b2"], image_size=(3, 3), mode="L")
    assert ds.classes == ("a", "b2", "b10")
    assert ds.targets.tolist() == [2, 1, 0, 1]
    assert ds.paths == [str(file) for file in files]
    assert [int(ds[position][0][0, 0, 0]) for position in range(4)] == [0, 1, 2, 3]
    fixed = ImageFolder.from_files(files[:2], np.array(["b", "a"]), classes=["c", "b", "a"])
    assert fixed.classes == ("c", "b", "a")
    assert fixed.targets.tolist() == [1, 2]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_from_files_with_integers(files: list[Path], kind: Callable[[list[int]], Any]) -> None:
    ds = ImageFolder.from_files(files, kind([0, 2, 1, 2]))
    assert ds.classes == ("0", "1", "2")
    assert ds.targets.tolist() == [0, 2, 1, 2]
    named = ImageFolder.from_files(files, kind([0, 2, 1, 2]), classes="abcd")
    assert named.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1], None, r"shape \(4,\), received shape \(2,\)"),
        ([0, 1, 2, 5], ["a", "b", "c"], r"label 5 of image 3 is outside the 3 classes"),
        ([0, 1, -1, 0], None, "label -1 of image 2 is negative"),
        ([0.0, 1.0, 0.5, 0.0], None, "labels must be integers"),
        (["a", "b", "c", "d"], ["a", "b"], r"\['c', 'd'\] are not among the classes \('a', 'b'\)"),
        (["a", "b"], None, r"shape \(4,\)"),
        ([None, 1, 2, 3], None, "label"),
        ([0, 1, 0, 1], ["a", "a"], r"more than once: \['a'\]"),
        (["a", "b", 3, "b"], ["a", "b"], "'3'"),
    ],
)
def test_from_files_checks_its_labels(
    files: list[Path], labels: Any, classes: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageFolder.from_files(files, labels, classes=classes)


def test_from_files_counts_what_is_missing(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"2 of 6 .* not there, the first is .*gone1\.png"):
        ImageFolder.from_files([*files, tmp_path / "gone1.png", tmp_path / "gone2.png"], [0] * 6)
    with pytest.raises(DataError, match="at least one image file"):
        ImageFolder.from_files([], [])


def write_table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_from_csv_reads_a_kaggle_style_table(files: list[Path], tmp_path: Path) -> None:
    rows = "\n".join(f'{number},"breed, {number % 2}",x' for number in (3, 1, 2))
    table = write_table(tmp_path / "labels.csv", f"\ufeffid,breed,note\r\n{rows}\n\n")
    ds = ImageFolder.from_csv(
        table, files[0].parent, path="id", label="breed", suffix=".png", image_size=2
    )
    assert ds.classes == ("breed, 0", "breed, 1")
    assert ds.targets.tolist() == [1, 1, 0]
    assert ds.paths == [str(files[number]) for number in (3, 1, 2)]
    assert ds.preprocess is not None
    assert ds.preprocess.image_size == (2, 2)


def test_from_csv_looks_beside_the_table_and_takes_numbers_as_names(files: list[Path]) -> None:
    table = write_table(files[0].parent / "t.csv", "path,label\n1.png,10\n2.png,9\n0.png,9\n")
    ds = ImageFolder.from_csv(table)
    assert ds.classes == ("9", "10")
    assert ds.targets.tolist() == [1, 0, 0]
    assert ds.paths == [str(files[number]) for number in (1, 2, 0)]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("path,label\n9.png,a\n", NotFoundError, r"1 of 1 .*9\.png"),
        ("file,label\n1.png,a\n", DataError, r"no column \['path'\]; .* \['file', 'label'\]"),
        ("path;label\n1.png;a\n", DataError, r"no column \['path', 'label'\].*\['path;label'\]"),
        ("", DataError, r"no column .*columns are \[\]"),
        ("path,label\n", DataError, "at least one image file"),
        ("path,label\n1.png,a\n2.png\n", DataError, r"row 2 of .*t\.csv has no 'path' or"),
        ("path,label\n1.png,\n", DataError, "row 1"),
        ("path,label\n,a\n", DataError, "row 1"),
    ],
)
def test_from_csv_says_what_is_wrong_with_the_table(
    files: list[Path], text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ImageFolder.from_csv(write_table(files[0].parent / "t.csv", text))


def test_from_csv_without_a_table_or_in_another_encoding(files: list[Path]) -> None:
    with pytest.raises(NotFoundError, match=r"none at .*gone\.csv"):
        ImageFolder.from_csv("gone.csv")
    table = files[0].parent / "latin.csv"
    table.write_bytes("path,label\n1.png,Bär\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv.*UTF-8"):
        ImageFolder.from_csv(table)


def test_from_zip_opens_what_is_inside(pets: Path, tmp_path: Path) -> None:
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(pets.rglob("*.png")):
            packed.write(file, Path("data/pets") / file.relative_to(pets))
    ds = ImageFolder.from_zip(archive, tmp_path / "out", image_size=3, mode="L")
    assert ds.class_counts() == {"cats": 3, "dogs": 2}
    assert ds[0][0].shape == (1, 3, 3)


# --- parts --------------------------------------------------------------------------------------


def test_subsets_nest(pets: Path) -> None:
    ds = ImageFolder(pets, image_size=3)
    part = ds.subset([4, 0, 3])
    assert found(part, pets) == [("dogs/2.png", 1), ("cats/1.png", 0), ("dogs/1.png", 1)]
    assert part.indices.tolist() == [4, 0, 3]
    assert part.targets.tolist() == [1, 0, 1]
    assert part.classes == ds.classes
    inner = part.subset(torch.tensor([-1, 0]))
    assert inner.indices.tolist() == [3, 4]
    assert torch.equal(inner[0][0], ds[3][0])
    assert isinstance(inner, ImageFolder)
    assert inner.origin == ds.origin != ImageFolder(pets).origin
    assert inner.class_counts() == {"cats": 0, "dogs": 2}
    assert len(ds) == 5
    assert len(ds.subset([])) == 0
    assert ds.subset(range(1, 5, 2)).indices.tolist() == [1, 3]
    as_numpy: Any = np.array([1])
    assert ds.subset(as_numpy).indices.tolist() == [1]
    assert ds.subset([2, 2]).indices.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("positions", "message"),
    [([5], "position 5 is outside"), ([-6], "position -1 is outside|-6"), ([True] * 5, "mask")],
)
def test_positions_outside_are_an_error(pets: Path, positions: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        ImageFolder(pets).subset(positions)


def test_positions_are_whole_numbers(pets: Path) -> None:
    with pytest.raises((IndexError, TypeError)):
        ImageFolder(pets).subset([0.7])  # type: ignore[list-item]


def test_a_batch_is_its_samples(pets: Path) -> None:
    ds = ImageFolder(pets, image_size=4)
    images, labels = ds.get_batch([3, -5, 3])
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == [3, 0, 3]
    assert labels.tolist() == [1, 0, 1]


def test_it_can_be_pickled(pets: Path) -> None:
    ds = ImageFolder(pets, image_size=4).subset([1, 3])
    again = pickle.loads(pickle.dumps(ds))
    assert torch.equal(again[1][0], ds[1][0])
    assert again.samples == ds.samples
    assert again.origin == ds.origin


# --- into memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_to_array_holds_the_same(pets: Path, workers: int | None) -> None:
    ds = ImageFolder(pets, image_size=(4, 5), resize="pad").subset([4, 1, 0])
    array = ds.to_array(workers=workers, progress=False)
    assert isinstance(array, ArrayDataset)
    assert array.images.dtype == torch.uint8
    for position in range(3):
        assert torch.equal(array[position][0], ds[position][0])
    assert array.targets.tolist() == ds.targets.tolist()
    assert array.classes == ds.classes
    assert array.paths == ds.paths
    assert array.indices.tolist() == [4, 1, 0]
    assert array.origin == ds.origin
    assert array.preprocess == ds.preprocess


@pytest.mark.parametrize("workers", [0, -1])
def test_to_array_needs_a_thread(pets: Path, workers: int) -> None:
    with pytest.raises(ArgumentError, match=f"workers must be at least 1, received {workers}"):
        ImageFolder(pets).to_array(workers=workers)


def test_to_array_says_no_before_memory_runs_out(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "available_memory", lambda: 1 << 20)
    with pytest.raises(
        DataError, match=r"5 images .*\(3, 500, 400\) takes 2\.9 MiB, but 1\.0 MiB .*subset"
    ):
        ImageFolder(pets, image_size=(500, 400)).to_array()
    monkeypatch.setattr(storage, "available_memory", lambda: None)  # the system does not say
    assert len(ImageFolder(pets, image_size=4).to_array(progress=False)) == 5


def test_what_a_container_may_take_counts_without_its_file_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    whole = memory.available_memory()
    assert whole is not None
    assert whole > 1 << 20  # no container
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert memory.available_memory() > 1 << 20  # type: ignore[operator]
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory.available_memory() == 100_000
    # pages of files that were read are given back when memory is asked for
    (tmp_path / "memory.stat").write_text("anon 200000\ninactive_file 600000\n")
    assert memory.available_memory() == 700_000


def test_streaming_holds_no_images(tmp_path: Path) -> None:
    for number in range(120):
        draw(tmp_path / "a" / f"{number}.png", (64, 64), number)

    def peak(number: int) -> int:
        ds = ImageFolder(tmp_path).subset(range(number))
        ds.get_batch([0])
        tracemalloc.start()
        for start in range(0, number, 10):
            ds.get_batch(range(start, start + 10))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    # numpy's buffers are traced, torch's are not: a decoded image is 12 KiB of the former
    assert peak(120) < peak(20) + 300 * 1024


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_subset_of_any_subset(data: st.DataObject) -> None:
    samples = [(f"/{number}.png", number % 3) for number in range(12)]
    ds = ImageFolder.__new__(ImageFolder)
    ds._open(samples, ("a", "b", "c"), image_size=2)
    positions = list(range(12))
    part = ds
    for _ in range(3):
        chosen = data.draw(st.lists(st.integers(0, max(0, len(positions) - 1)), max_size=12))
        chosen = chosen if positions else []
        part, positions = part.subset(chosen), [positions[place] for place in chosen]
        assert part.indices.tolist() == positions
        assert part.samples == [samples[position] for position in positions]


def test_scan_gives_paths_and_labels(pets: Path) -> None:
    classes, samples = scan(pets)
    assert classes == ("cats", "dogs")
    assert samples[0] == (str(pets / "cats" / "1.png"), 0)


def test_no_bar_where_there_is_no_terminal(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(pets).to_array(progress=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_bar_in_a_terminal(
    pets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ImageFolder(pets).to_array(progress=True)
    captured = capsys.readouterr()
    assert "decoding" in captured.err
    assert captured.out == ""
    ImageFolder(pets).to_array(progress=False)
    assert capsys.readouterr().err == ""
