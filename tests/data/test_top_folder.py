"""Which folder of an archive holds the class folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnkit.data._top_folder import find_top_folder
from cnnkit.errors import ArgumentError, DataError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.mark.parametrize(
    ("files", "top"),
    [
        (["cats/1.jpg", "dogs/1.jpg"], "."),
        (["pets/cats/1.jpg", "pets/dogs/1.jpg"], "pets"),
        (["training_set/cats/1.jpg", "training_set/dogs/1.jpg"], "training_set"),
        (["a/b/c/cats/1.jpg", "a/b/c/dogs/1.jpg"], "a/b/c"),
        # One class alone is a class.
        (["cats/1.jpg"], "."),
        (["pets/cats/1.jpg"], "pets"),
        (["train/cats/1.jpg"], "train"),
        # What lies beside a single folder, unless it is an image.
        (["README.md", "labels.csv", "pets/cats/1.jpg", "pets/dogs/1.jpg"], "pets"),
        (["cover.JPG", "pets/cats/1.jpg", "pets/dogs/1.jpg"], "."),
        # What is no folder of the data set.
        ([".git/x/y", "__MACOSX/pets/z", ".ipynb_checkpoints/a/b", "pets/cats/1.jpg"], "pets"),
        # Classes that have sub-folders, or are called like a split, are still classes.
        (["dogs/poodle/1.jpg", "cats/persian/1.jpg"], "."),
        (["test/1.jpg", "train/1.jpg"], "."),
        (["train/steam/1.jpg", "plane/jet/1.jpg"], "."),
        ([], "."),
    ],
)
def test_a_single_top_folder_is_found(tmp_path: Path, files: list[str], top: str) -> None:
    assert find_top_folder(tree(tmp_path, *files)) == tmp_path / top


CIFAR10 = [
    f"cifar10/{part}/{name}/0001.jpg" for part in ("train", "test") for name in ("cat", "dog")
]


@pytest.mark.parametrize("folder", ["train", "cifar10/train"])
def test_a_folder_is_named_from_the_root_or_from_the_top(tmp_path: Path, folder: str) -> None:
    assert find_top_folder(tree(tmp_path, *CIFAR10), folder) == tmp_path / "cifar10" / "train"


def test_a_folder_at_the_root_goes_before_one_further_in(tmp_path: Path) -> None:
    tree(tmp_path, "data/data/cats/1.jpg", "data/data/dogs/1.jpg")
    assert find_top_folder(tmp_path, "data") == tmp_path / "data"
    assert find_top_folder(tmp_path, ".") == tmp_path


def test_parts_of_a_data_set_are_never_taken_for_classes(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"'test' and 'train', which are no classes.*folder='train'"
    ):
        find_top_folder(tree(tmp_path, *CIFAR10))
    (tmp_path / "cifar10" / "Validation").mkdir()
    with pytest.raises(DataError, match="'Validation' and 'test' and 'train'"):
        find_top_folder(tmp_path)


def test_a_folder_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    tree(tmp_path, *CIFAR10, "README.md", "__MACOSX/x/y")
    with pytest.raises(
        DataError,
        match=r"no folder 'val' in .*; it holds 'cifar10', 'cifar10/test', 'cifar10/train'$",
    ):
        find_top_folder(tmp_path, "val")


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    tree(tmp_path, *(f"c{i:02}/1.jpg" for i in range(30)))
    with pytest.raises(DataError, match=r"'c00', .*'c19' and 10 more$"):
        find_top_folder(tmp_path, "val")


@pytest.mark.parametrize("folder", ["../x", "/etc", "a/../../x"])
def test_a_folder_lies_inside(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ArgumentError, match=f"inside .*got '{folder}'"):
        find_top_folder(tmp_path, folder)
