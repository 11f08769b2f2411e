"""`describe`: a data set in figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

from cnnkit.data import ArrayDataset, ImageFolder, train_val_split
from cnnkit.data._describe import describe
from cnnkit.errors import CnnkitWarning, DataError


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Three cats and a dog in sizes, modes and formats of their own."""
    root = tmp_path / "pets"
    (root / "cats").mkdir(parents=True)
    (root / "dogs").mkdir()
    Image.new("RGB", (10, 20), (7, 90, 200)).save(root / "cats" / "1.png")
    Image.new("L", (30, 40), 100).save(root / "cats" / "2.png")
    Image.new("RGB", (50, 30), (80, 80, 80)).save(root / "cats" / "3.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    Image.new("RGB", (64, 48), (80, 80, 80)).save(root / "dogs" / "1.png", exif=exif)
    return root


def test_a_folder_as_it_is_stored(pets: Path) -> None:
    found = describe(ImageFolder(pets, image_size=(8, 12)))
    assert (found.images, found.classes, found.shape) == (4, ("cats", "dogs"), (3, 8, 12))
    assert found.class_counts == {"cats": 3, "dogs": 1}
    assert (found.dtype, found.low, found.high, found.looked_at) == ("uint8", 7, 200, 4)
    files = found.files
    assert files is not None
    assert [*files.heights] == [20, 35, 64]
    assert [*files.widths] == [10, 39, 50]
    assert files.modes == {"RGB": 3, "L": 1}
    assert files.formats == {"PNG": 3, "BMP": 1}
    assert files.bytes == sum(path.stat().st_size for path in pets.rglob("*.*"))
    assert files.unreadable == 0


def test_the_table_of_a_folder(pets: Path) -> None:
    lines = str(describe(ImageFolder(pets, image_size=8))).splitlines()
    rows = dict(line.split(maxsplit=1) for line in lines if line)
    assert rows["shape"] == "3 x 8 x 8"
    assert rows["values"] == "7 to 200"
    assert rows["height"] == "20 to 64, median 35"
    assert rows["modes"] == "3 RGB, 1 L"
    assert rows["cats"].split() == ["3", "75.0%"]


def test_without_image_size_the_shape_may_differ(pets: Path) -> None:
    found = describe(ImageFolder(pets, mode="L"))
    assert found.shape is None
    assert found.looked_at == 4
    assert "differs" in str(found)


def test_unreadable_files_are_counted(pets: Path) -> None:
    (pets / "dogs" / "2.jpg").write_bytes(b"no image")
    found = describe(ImageFolder(pets, image_size=8))
    assert found.files is not None
    assert (found.images, found.files.unreadable, found.looked_at) == (5, 1, 4)
    assert "check(ds) says which" in str(found)
    only = ImageFolder.from_files([pets / "dogs" / "2.jpg"], [0])
    with pytest.raises(DataError, match="none of 1 file has a header"):
        describe(only)


def test_values_of_a_large_folder_are_from_some_of_its_images(pets: Path) -> None:
    ds = ImageFolder.from_files([pets / "cats" / "1.png"] * 600, [0] * 600)
    found = describe(ds)
    assert found.looked_at == 256
    assert "7 to 200 (of 256 images)" in str(found)


def test_a_transform_decides_shape_and_type(pets: Path) -> None:
    def halves(image: Image.Image) -> torch.Tensor:
        return torch.full((1, 2, 2), image.width / 128)

    found = describe(ImageFolder(pets, image_size=64, transform=halves))
    assert (found.shape, found.dtype, found.low) == ((1, 2, 2), "float32", 0.5)
    other: Any = ImageFolder(pets, image_size=64, transform=lambda image: image)
    assert describe(other).low is None
    assert "unknown" in str(describe(other))


def test_an_array_is_looked_at_whole() -> None:
    images = np.random.default_rng(0).integers(5, 250, (700, 6, 6), dtype=np.uint8)
    images[513, 2, 2] = 255
    ds = ArrayDataset(images, [0, 1, 1, 1] * 175, classes=["a", "b", "c"])
    found = describe(ds)
    assert (found.low, found.high, found.looked_at) == (images.min(), 255, 700)
    assert found.class_counts == {"a": 175, "b": 525, "c": 0}
    assert found.files is None
    part = train_val_split(ArrayDataset(images, [0, 1] * 350), val=0.2).val
    assert describe(part).images == 140


def test_float_features() -> None:
    found = describe(ArrayDataset(torch.tensor([[-1.5, 0.0], [2.0, 8.5]]), [0, 1]))
    assert (found.shape, found.dtype, found.low, found.high) == ((2,), "float32", -1.5, 8.5)


def test_data_sets_of_other_libraries() -> None:
    ds = TensorDataset(torch.arange(24.0).reshape(6, 1, 2, 2), torch.tensor([0, 1, 2, 2, 2, 2]))
    found = describe(ds)
    assert found.class_counts == {"0": 1, "1": 1, "2": 4}
    assert (found.shape, found.low, found.high) == ((1, 2, 2), 0, 23)
    assert describe(Subset(ds, [0, 1])).class_counts == {"0": 1, "1": 1}


def test_as_dict_and_json(pets: Path, tmp_path: Path) -> None:
    values = describe(ImageFolder(pets, image_size=8)).to_dict()
    assert values["files"]["heights"] == [20, 35, 64]
    assert values["class_counts"] == {"cats": 3, "dogs": 1}
    text = describe(ImageFolder(pets, image_size=8)).to_json(tmp_path / "pets.json")
    assert json.loads(text) == values
    assert json.loads((tmp_path / "pets.json").read_text(encoding="utf-8")) == values


def test_what_cannot_be_described() -> None:
    ds = ArrayDataset(np.zeros((3, 4, 4), np.uint8), [0, 1, 0])
    with pytest.raises(DataError, match="without samples"):
        describe(ds.subset([]))
    with pytest.raises(DataError, match=r"received Split; of a split pass one part"):
        describe(train_val_split(ds, val=1, stratify=False))
    with pytest.raises(DataError, match="received DataLoader"):
        describe(DataLoader(TensorDataset(torch.zeros(2, 1))))


def test_values_that_are_nan_are_left_out_and_said() -> None:
    values = torch.tensor([[0.25, math.nan], [0.5, 0.75], [math.nan, 1.0]])
    with pytest.warns(CnnkitWarning, match="2 of the values are nan") as caught:
        found = describe(ArrayDataset(values, [0, 1, 0]))
    assert [warning.filename for warning in caught] == [__file__]
    assert (found.low, found.high) == (0.25, 1.0)
    with pytest.warns(CnnkitWarning, match="4 of the values"):
        found = describe(ArrayDataset(torch.full((2, 2), math.nan), [0, 1]))
    assert json.loads(found.to_json())["low"] is None


def test_a_subset_of_torch_is_a_part(pets: Path) -> None:
    ds: Any = ImageFolder(pets)
    assert describe(Subset(ds, [3, 0])) == describe(ds.subset([3, 0]))
