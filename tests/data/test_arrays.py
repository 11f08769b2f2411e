"""`ArrayDataset`: which arrays it takes, how it is indexed, where it comes from, and its file."""

from __future__ import annotations

import copy
import gzip
import io
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets as tvd
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.transforms import v2

from cnnkit.data import ArrayDataset, ImageFolder, Preprocess
from cnnkit.data import _storage as storage
from cnnkit.errors import DataError, NotFoundError, SavedFileError

tv: Any = transforms
Array = np.ndarray[Any, Any]


def levels(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def numbered(number: int = 6, classes: int = 3) -> ArrayDataset:
    """Images (1, 2, 2) whose pixels are their positions, in whole classes."""
    images = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return ArrayDataset(images, torch.arange(number) % classes)


# --- arrays -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 5),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    channels=st.sampled_from([1, 3, 4]),
    layout=st.sampled_from(["NHW", "NCHW", "NHWC"]),
    numpy=st.booleans(),
)
def test_uint8_images_become_channels_first(
    number: int, height: int, width: int, channels: int, layout: str, numpy: bool
) -> None:
    images = levels(number, channels, height, width)
    if layout == "NHW":
        images = images[:, :1]
    given_: Any = {"NHW": images[:, 0], "NCHW": images, "NHWC": images.transpose(0, 2, 3, 1)}[
        layout
    ]
    if not numpy:
        given_ = torch.from_numpy(images if layout == "NHWC" else np.ascontiguousarray(given_))
    ds = ArrayDataset(given_, [0] * number)
    assert ds.images.dtype == torch.uint8
    assert ds.images.is_contiguous()
    assert ds.image_shape == images.shape[1:]
    np.testing.assert_array_equal(ds.images.numpy(), images)
    assert ds.preprocess == Preprocess.of_shape(images.shape[1:])


def strided(images: Array) -> dict[str, Array]:
    readonly = images.copy()
    readonly.flags.writeable = False
    return {
        "reversed": images[::-1],
        "every other": images[::2],
        "fortran": np.asfortranarray(images),
        "read only": readonly,
        "turned": images.transpose(0, 1, 3, 2),
    }


@pytest.mark.parametrize("name", strided(levels(2, 1, 5, 5)))
def test_numpy_arrays_of_any_memory_layout(name: str) -> None:
    images = strided(levels(6, 3, 8, 7))[name]
    np.testing.assert_array_equal(ArrayDataset(images, [0] * len(images)).images.numpy(), images)


def test_the_array_of_the_caller_is_not_written_to() -> None:
    images = levels(4, 3, 5, 5)
    before = images.copy()
    got, _ = ArrayDataset(images, [0] * 4)[[0, 1]]
    got.zero_()
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("shape", [(4, 3, 8, 4), (4, 1, 5, 1), (2, 4, 4, 3)])
def test_a_numpy_array_that_could_be_either_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=re.escape(str(shape)) + r" could be \(N, C, H, W\) or"):
        ArrayDataset(levels(*shape), [0] * shape[0])
    as_tensor = torch.from_numpy(levels(*shape))  # a tensor is channels first
    assert ArrayDataset(as_tensor, [0] * shape[0]).image_shape == shape[1:]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 4, 4), (5, 2, 3, 4, 5)])
def test_float_features_are_taken_as_they_are(dtype: str, shape: tuple[int, ...]) -> None:
    features = (np.random.default_rng(0).normal(size=shape) * 300).astype(dtype)
    ds = ArrayDataset(features, [0, 1, 2, 1, 0])
    assert ds.images.dtype == torch.float32
    assert ds.image_shape == shape[1:]
    assert ds.preprocess is None
    np.testing.assert_array_equal(ds.images.numpy(), features.astype("f4"))
    native = torch.from_numpy(features.astype(features.dtype.newbyteorder("=")))
    assert torch.equal(ArrayDataset(native, [0, 1, 2, 1, 0]).images, ds.images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (levels(4, 3), r"\(N, H, W\) or \(N, C, H, W\).*received \(4, 3\)"),
        (levels(4), r"received \(4,\)"),
        (levels(4, 1, 1, 2, 2), r"received \(4, 1, 1, 2, 2\)"),
        (levels(4, 2, 2).astype("int64"), r"uint8 \(0 to 255\) or float, received torch.int64"),
        (torch.zeros(4, 2, 2, dtype=torch.int32), "received torch.int32"),
        (levels(4, 2, 2).astype("uint16"), "uint16"),
        (levels(4, 2, 2) > 9, "bool"),
        (torch.zeros(4), r"\(N, …\), received \(4,\)"),
        ([[1, 2], [3, 4]], "tensor or a numpy array, not list"),
        (None, "not NoneType"),
        (np.array([None] * 4), "object"),
        (np.array(["a"] * 4), "str|<U1"),
        (torch.zeros(4, 2, dtype=torch.complex64), "complex64"),
    ],
)
def test_other_images_are_an_error(images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ArrayDataset(images, [0, 0, 1, 1])


# --- labels and classes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 1, 2],
        (0, 2, 1, 2),
        np.array([0, 2, 1, 2]),
        np.array([0, 2, 1, 2], dtype="uint8"),
        np.array([0, 2, 1, 2], dtype=">i4"),
        torch.tensor([0, 2, 1, 2]),
        torch.tensor([0, 2, 1, 2], dtype=torch.int16),
        [torch.tensor(0), torch.tensor(2), torch.tensor(1), torch.tensor(2)],
        [np.int64(0), 2, 1, 2],
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_become_int64(labels: Any) -> None:
    ds = ArrayDataset(levels(4, 5, 5), labels)
    assert ds.labels.dtype == torch.int64
    assert ds.labels.tolist() == ds.targets.tolist() == [0, 2, 1, 2]
    assert ds.classes == ("0", "1", "2")
    assert ds.class_counts() == {"0": 1, "1": 1, "2": 2}


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2], None, r"shape \(4,\), received shape \(3,\)"),
        ([[0], [1], [2], [0]], None, r"received shape \(4, 1\)"),
        ([[0], [1, 2], [0], [0]], None, "label"),
        (["cat", "dog", "cat", "dog"], None, "integers"),
        ([0.0, 1.0, 0.0, 1.0], None, "integers .*float64"),
        ([True, False, True, False], None, "bool"),
        ([None, 1, 0, 1], None, "integers"),
        ([0, 1, -3, 0], None, "label -3 of image 2 is negative"),
        ([0, 1, 7, 0], ["a", "b"], r"label 7 of image 2 is outside the 2 classes \('a', 'b'\)"),
        ([0, 1, 0, 1], ["a", "b", "a"], r"more than once: \['a'\]"),
    ],
)
def test_other_labels_are_an_error(labels: Any, classes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ArrayDataset(levels(4, 5, 5), labels, classes=classes)


def test_classes_may_have_more_names_than_labels() -> None:
    ds = ArrayDataset(levels(2, 5, 5), [0, 2], classes=["a", "b", "c", "d"])
    assert ds.class_counts() == {"a": 1, "b": 0, "c": 1, "d": 0}
    assert ds.class_to_idx == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_nothing_at_all_is_a_data_set() -> None:
    ds = ArrayDataset(levels(0, 5, 5), [])
    assert (len(ds), ds.classes, ds.class_counts()) == (0, (), {})
    assert list(ds) == []  # type: ignore[call-overload]


def test_reading_settings_must_be_for_these_images() -> None:
    with pytest.raises(DataError, match=r"shape \(1, 5, 5\), but preprocess is for \(3, 5, 5\)"):
        ArrayDataset(levels(2, 5, 5), [0, 0], preprocess=Preprocess.of_mode(5, "RGB"))
    with pytest.raises(DataError, match="one path an image, 2, received 1"):
        ArrayDataset(levels(2, 5, 5), [0, 0], paths=["a.png"])


# --- indexing -----------------------------------------------------------------------------------


def test_an_int_is_a_sample_and_more_are_a_batch() -> None:
    ds = numbered()
    for index in (4, np.int64(4), -2):
        image, label = ds[index]
        assert image.shape == (1, 2, 2)
        assert image.unique().tolist() == [4]
        assert (label, type(label)) == (1, int)
    indices: list[Any] = [[4, 0, -1], torch.tensor([4, 0, 5]), np.array([4, 0, -1]), (4, 0, 5)]
    for index in indices:
        images, labels = ds[index]
        assert images[:, 0, 0, 0].tolist() == [4, 0, 5]
        assert labels.tolist() == [1, 0, 2]
        assert labels.dtype == torch.int64
    assert ds[1:6:2][0][:, 0, 0, 0].tolist() == [1, 3, 5]
    assert ds[::-1][1].tolist() == [2, 1, 0, 2, 1, 0]
    assert ds[[]][0].shape == (0, 1, 2, 2)
    assert [label for _, label in [ds[i] for i in range(len(ds))]] == ds.targets.tolist()


@pytest.mark.parametrize(
    ("index", "message"),
    [(6, "position 6 is outside"), (-7, "outside"), ([0, 9], "position 9"), ([True] * 6, "mask")],
)
def test_positions_outside_are_an_error(index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        numbered()[index]


def test_it_iterates_like_a_sequence() -> None:
    ds = numbered()
    assert [int(image[0, 0, 0]) for image, _ in (ds[i] for i in range(6))] == list(range(6))
    loader: DataLoader[Any] = DataLoader(ds, 4)  # type: ignore[arg-type]
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2, 0], [1, 2]]


class Counted(TorchDispatchMode):
    """Counts the operations on tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("part", [False, True])
def test_a_batch_is_one_indexing_operation(part: bool) -> None:
    ds = ArrayDataset(levels(500, 5, 5), np.arange(500) % 7)
    ds = ds.subset(range(0, 500, 2)) if part else ds
    operations = []
    for size in (2, 200):
        positions = torch.arange(size)
        with Counted() as counted:
            ds.get_batch(positions)
        operations.append(counted.names)
    assert operations[0] == operations[1]
    assert sum("index_select" in name for name in operations[0]) == 2  # images and labels
    assert len(operations[0]) <= 3


def test_a_batch_has_memory_of_its_own() -> None:
    ds = numbered()
    images, labels = ds[[0, 1]]
    images.fill_(99)
    labels.fill_(2)
    assert ds.images.max() == 5
    assert ds.targets.tolist() == [0, 1, 2, 0, 1, 2]


# --- parts --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_subset_of_any_subset(data: st.DataObject) -> None:
    ds = numbered(12)
    part, positions = ds, list(range(12))
    for _ in range(3):
        chosen = (
            data.draw(st.lists(st.integers(0, len(positions) - 1), max_size=12))
            if positions
            else []
        )
        part, positions = part.subset(chosen), [positions[place] for place in chosen]
        assert part.indices.tolist() == positions
        assert part.targets.tolist() == [position % 3 for position in positions]
        assert part.images[:, 0, 0, 0].tolist() == positions
        assert part.origin == ds.origin
        if positions:
            assert int(part[-1][0][0, 0, 0]) == positions[-1]
            assert part[[0]][0][0, 0, 0, 0] == positions[0]


def test_a_subset_shares_the_images() -> None:
    ds = ArrayDataset(levels(6, 5, 5), [0, 1, 2, 0, 1, 2], paths=[f"{n}.png" for n in range(6)])
    part = ds.subset([5, 2])
    assert part[0][0].data_ptr() == ds[5][0].data_ptr()
    assert part.paths == ["5.png", "2.png"]
    assert part.classes == ds.classes
    assert len(ds) == 6
    assert part.to_array() is part
    assert isinstance(part, ArrayDataset)


def test_moving_keeps_everything_else() -> None:
    ds = numbered().subset([4, 1])
    moved = ds.to("meta")
    assert moved.device.type == "meta"
    assert moved.targets.is_meta
    assert moved.image_shape == (1, 2, 2)
    assert moved.indices.tolist() == [4, 1]
    assert (moved.classes, moved.origin) == (ds.classes, ds.origin)
    same = ds.to("cpu")
    assert same.images[:, 0, 0, 0].tolist() == [4, 1]
    assert same.subset([1]).indices.tolist() == [1]


def test_repr_says_what_it_holds() -> None:
    assert repr(numbered()) == "ArrayDataset(6 images, 3 classes, torch.uint8 1x2x2)"


# --- other libraries' data sets -----------------------------------------------------------------


def write_idx(path: Path, array: Array) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.tobytes())


def mnist(cls: Any, root: Path, number: int = 20, **options: Any) -> Any:
    """One of torchvision's MNIST family over files of ours, in the format of the originals."""
    raw = root / cls.__name__ / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", levels(number, 28, 28))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(number, dtype=np.uint8) % 10)
    return cls(str(root), **options)


def cifar(cls: Any, number: int = 20, **options: Any) -> Any:
    ds = cls.__new__(cls)
    ds.data, ds.targets = levels(number, 32, 32, 3), [n % 10 for n in range(number)]
    ds.classes = [f"class {n}" for n in range(100 if cls is tvd.CIFAR100 else 10)]
    ds.transform, ds.target_transform = options.get("transform"), options.get("target_transform")
    return ds


def sources(root: Path, **options: Any) -> dict[str, Any]:
    return {
        "MNIST": mnist(tvd.MNIST, root, **options),
        "FashionMNIST": mnist(tvd.FashionMNIST, root, **options),
        "KMNIST": mnist(tvd.KMNIST, root, **options),
        "CIFAR10": cifar(tvd.CIFAR10, **options),
        "CIFAR100": cifar(tvd.CIFAR100, **options),
    }


NAMES = ["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transform", [None, tv.ToTensor(), tv.PILToTensor()], ids=str)
def test_torchvisions_in_memory_sets_are_taken_over_whole(
    name: str, transform: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = sources(tmp_path, transform=transform)[name]
    wanted = [tv.PILToTensor()(Image.fromarray(np.asarray(image))) for image in theirs.data]
    original = type(theirs).__getitem__

    def forbidden(self: Any, index: int) -> Any:
        raise AssertionError("read sample by sample")

    forbidden.__module__ = original.__module__
    monkeypatch.setattr(tvd.MNIST, "__getitem__", forbidden)
    monkeypatch.setattr(tvd.CIFAR10, "__getitem__", forbidden)
    ds = ArrayDataset.from_dataset(theirs)
    assert torch.equal(ds.images, torch.stack(wanted))
    assert ds.targets.tolist() == [n % 10 for n in range(20)]
    assert ds.classes == tuple(theirs.classes)


@pytest.mark.parametrize("name", NAMES)
def test_another_transform_is_applied(name: str, tmp_path: Path) -> None:
    chain = tv.Compose([tv.ToTensor(), tv.Normalize(0.5, 0.5)])
    theirs = sources(tmp_path, transform=chain)[name]
    ds = ArrayDataset.from_dataset(theirs)
    assert ds.images.dtype == torch.float32
    for position in (0, 7):
        torch.testing.assert_close(ds[position][0], theirs[position][0])
    other_way = sources(tmp_path, target_transform=lambda label: 9 - label)[name]
    turned = ArrayDataset.from_dataset(other_way)
    assert turned.targets.tolist() == [9 - n % 10 for n in range(20)]
    assert turned.images.dtype == torch.uint8


def test_a_subclass_that_reads_otherwise_is_read_through_its_own_method(tmp_path: Path) -> None:
    class Noisy(tvd.MNIST):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image, (int(label) + 1) % 10

    (tmp_path / "Noisy").mkdir()
    theirs = mnist(Noisy, tmp_path)
    assert ArrayDataset.from_dataset(theirs).targets[0] == theirs[0][1] == 1


def test_qmnist_has_more_than_a_label_and_is_taken_by_it() -> None:
    theirs: Any = tvd.QMNIST.__new__(tvd.QMNIST)
    theirs.data = torch.from_numpy(levels(3, 28, 28))
    theirs.targets = torch.tensor([[5, 1, 2], [0, 3, 4], [4, 5, 6]])
    theirs.transform = theirs.target_transform = None
    theirs.compat = True
    assert ArrayDataset.from_dataset(theirs).targets.tolist() == [5, 0, 4]


def test_fake_data_and_subsets_are_read_sample_by_sample(tmp_path: Path) -> None:
    fake = tvd.FakeData(7, (3, 6, 5), num_classes=4)
    ds = ArrayDataset.from_dataset(fake)
    assert ds.image_shape == (3, 6, 5)
    for position in range(7):
        image, label = fake[position]
        np.testing.assert_array_equal(ds[position][0].permute(1, 2, 0).numpy(), np.asarray(image))
        assert ds[position][1] == int(label)
    theirs = mnist(tvd.MNIST, tmp_path)
    part = ArrayDataset.from_dataset(Subset(Subset(theirs, [3, 5, 7]), [2, 0]))
    assert part.targets.tolist() == [7, 3]
    assert part.classes == tuple(theirs.classes)
    assert torch.equal(part.images[:, 0], theirs.data[[7, 3]])


def test_torchvisions_image_folder_keeps_its_classes(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    ds = ArrayDataset.from_dataset(tvd.ImageFolder(str(tmp_path)))
    assert (ds.classes, ds.image_shape) == (("a", "b"), (3, 3, 4))


def test_our_own_folder_keeps_how_it_was_read(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    ours = ImageFolder(tmp_path, image_size=2, resize="crop", interpolation="lanczos")
    ds = ArrayDataset.from_dataset(ours)
    assert ds.preprocess == ours.preprocess
    assert ds.paths == ours.paths


class Listed(Dataset[Any]):
    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


GREY = levels(6, 5)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.fromarray(GREY), torch.from_numpy(GREY)[None]),
        (Image.fromarray(GREY).convert("RGB"), torch.from_numpy(GREY).expand(3, -1, -1)),
        (Image.fromarray(GREY).convert("RGBA"), torch.from_numpy(GREY).expand(3, -1, -1)),
        (Image.fromarray(GREY.astype("uint16") * 257), torch.from_numpy(GREY)[None]),
        (GREY, torch.from_numpy(GREY)[None]),
        (np.dstack([GREY] * 3), torch.from_numpy(GREY).expand(3, -1, -1)),
        (torch.from_numpy(GREY), torch.from_numpy(GREY)[None]),
        (torch.from_numpy(GREY)[None], torch.from_numpy(GREY)[None]),
        (v2.functional.to_image(Image.fromarray(GREY)), torch.from_numpy(GREY)[None]),
        (torch.from_numpy(GREY)[None] / 255, torch.from_numpy(GREY)[None] / 255),
        (torch.from_numpy(GREY).double(), torch.from_numpy(GREY).float()),
        (torch.tensor([1.5, 2.5]), torch.tensor([1.5, 2.5])),
    ],
    ids=lambda value: (
        f"{type(value).__name__} {getattr(value, 'mode', getattr(value, 'dtype', ''))}"
    ),
)
@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), np.uint8(1)], ids=repr)
def test_any_map_style_data_set_is_read(image: Any, wanted: Tensor, label: Any) -> None:
    ds = ArrayDataset.from_dataset(Listed([(image, label)] * 3))
    assert len(ds) == 3
    assert torch.equal(ds[2][0], wanted)
    assert ds.targets.tolist() == [1, 1, 1]
    assert type(ds.images) is Tensor


def test_lists_and_tensor_datasets_are_map_style_too() -> None:
    pairs = [(GREY, 0), (GREY, 1)]
    assert ArrayDataset.from_dataset(pairs).targets.tolist() == [0, 1]
    tensors = TensorDataset(torch.rand(3, 4), torch.tensor([2, 1, 0]))
    assert torch.equal(ArrayDataset.from_dataset(tensors).images, tensors.tensors[0])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "at least one sample"),
        ([(GREY, 0), (GREY[:5], 1)], r"sample 0 is .*\(1, 6, 5\), but sample 1 .*\(1, 5, 5\)"),
        ([(GREY, 0), (GREY / 255, 1)], r"torch.uint8 .*but sample 1 is torch.float32"),
        ([GREY], "sample 0 is ndarray"),
        ([(GREY, 0), (GREY, 0, 1)], "sample 1 is tuple"),
        ([("text", 0)], "image 0 is str"),
        ([(GREY, 0), (GREY, "cat")], "label 1 is no integer: 'cat'"),
        ([(GREY, None)], "label 0 is no integer: None"),
        ([(GREY, torch.tensor([0, 1]))], "label 0 is no integer"),
        ([(GREY, 1.7)], "label 0 is no integer: 1.7"),
        ([(GREY, -1)], "label -1 of image 0"),
        ([(torch.zeros(2, 2, dtype=torch.int64), 0)], "int64"),
    ],
)
def test_what_cannot_be_taken_over(samples: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ArrayDataset.from_dataset(Listed(samples))


def test_it_says_no_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "available_memory", lambda: 100)
    with pytest.raises(DataError, match=r"9 images of shape \(1, 6, 5\) takes 270 B, but 100 B"):
        ArrayDataset.from_dataset(Listed([(GREY, 0)] * 9))
    assert len(ArrayDataset.from_dataset(Listed([(GREY, 0)] * 3))) == 3


# --- the file -----------------------------------------------------------------------------------


def saved(path: Path, number: int = 6) -> ArrayDataset:
    ds = ArrayDataset(
        levels(number, 3, 5, 6),
        np.arange(number) % 3,
        classes=["a", "b", "c", "d"],
        preprocess=Preprocess.of_mode((5, 6), "RGB", resize="pad"),
        paths=[f"/somewhere/{n}.png" for n in range(number)],
    )
    ds.save(path)
    return ds


def same(one: ArrayDataset, other: ArrayDataset) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.targets, other.targets)
        and (one.classes, one.preprocess, one.paths)
        == (other.classes, other.preprocess, other.paths)
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    ds = saved(tmp_path / "deeper" / "a.pt")
    loaded = ArrayDataset.load(str(tmp_path / "deeper" / "a.pt"))
    assert same(loaded, ds)
    assert loaded.indices.tolist() == list(range(6))
    assert os.listdir(tmp_path / "deeper") == ["a.pt"]  # noqa: PTH208
    features = ArrayDataset(torch.randn(4, 2, 3) * 99, [0, 1, 1, 0])
    features.save(tmp_path / "f.pt")
    assert same(ArrayDataset.load(tmp_path / "f.pt"), features)
    assert ArrayDataset.load(tmp_path / "f.pt").preprocess is None


def test_a_part_is_saved_as_a_whole_of_its_own(tmp_path: Path) -> None:
    ds = saved(tmp_path / "a.pt", 100)
    part = ds.subset([7, 3])
    part.save(tmp_path / "b.pt")
    loaded = ArrayDataset.load(tmp_path / "b.pt")
    assert same(loaded, part)
    assert loaded.indices.tolist() == [0, 1]
    loaded.subset([1]).save(tmp_path / "b.pt")  # over the file that it is mapped from
    assert same(ArrayDataset.load(tmp_path / "b.pt"), ds.subset([3]))


def test_a_view_saves_no_more_than_itself(tmp_path: Path) -> None:
    big = torch.zeros(20_000, 1, 8, 8, dtype=torch.uint8)
    ArrayDataset(big[:10], torch.zeros(20_000, dtype=torch.int64)[:10]).save(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 10_000


def test_loading_maps_the_file_and_reads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "big.pt"
    ArrayDataset(levels(2000, 1, 64, 64), [0] * 2000).save(path)
    loaded = ArrayDataset.load(path)
    maps = Path("/proc/self/smaps")
    if not maps.exists():
        pytest.skip("needs /proc")

    def resident() -> int:
        part = maps.read_text().split(str(path))[1]
        found = re.search(r"Rss:\s+(\d+) kB", part)
        assert found is not None
        return int(found[1])

    assert resident() < 4000  # of 8192: nothing but labels and what the kernel read ahead
    assert loaded[1999][0].shape == (1, 64, 64)


def test_the_file_does_not_change_with_the_images(tmp_path: Path) -> None:
    ds = saved(tmp_path / "a.pt")
    loaded = ArrayDataset.load(tmp_path / "a.pt")
    loaded.images.zero_()
    assert loaded.images.max() == 0
    assert same(ArrayDataset.load(tmp_path / "a.pt"), ds)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = saved(tmp_path / "a.pt")

    def full_disk(content: Any, path: Any) -> None:
        path.write(b"half") if isinstance(path, io.IOBase) else Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        numbered().save(tmp_path / "a.pt")
    assert same(ArrayDataset.load(tmp_path / "a.pt"), ds)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    for cut in [*range(0, len(data), len(data) // 12), len(data) - 1]:
        (tmp_path / "cut.pt").write_bytes(data[:cut])
        with pytest.raises(SavedFileError, match=r"cut\.pt"):
            ArrayDataset.load(tmp_path / "cut.pt")


class Attack:
    def __reduce__(self) -> Any:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": Attack()}, "could be code"),
        ({"kind": "Classifier"}, "not a saved ArrayDataset"),
        ({"format": 99}, "format 99, .* up to 1: upgrade"),
        ({"format": None}, "format"),
        ({"images": None}, "images"),
        ({"labels": None}, "labels"),
        ({"paths": None}, "paths"),
        ({"labels": torch.tensor([0, 1, 9, 0, 1, 2])}, "label 9 of image 2 is outside"),
        ({"preprocess": {"mode": "RGB"}}, "image_size"),
    ],
)
def test_altered_files_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True) | changes
    torch.save({key: part for key, part in content.items() if part is not None}, "other.pt")
    with pytest.raises(SavedFileError, match=rf"other\.pt.*{message}"):
        ArrayDataset.load(tmp_path / "other.pt")
    assert not Path("attacked").exists()


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {}], ids=["list", "tensor", "dict"])
def test_other_tensor_files_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(SavedFileError, match=r"other\.pt is not a saved ArrayDataset"):
        ArrayDataset.load(tmp_path / "other.pt")


@pytest.mark.parametrize("write", [pickle.dumps, lambda _: b"a text", lambda _: gzip.compress(b"")])
def test_files_of_other_kinds_are_refused(
    write: Callable[[Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.pt").write_bytes(write(Attack()))
    with pytest.raises(
        SavedFileError,
        match=r"other\.pt (is not a whole saved ArrayDataset|holds more than tensors)",
    ):
        ArrayDataset.load(tmp_path / "other.pt")
    assert not Path("attacked").exists()


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pt", tmp_path):
        with pytest.raises(NotFoundError, match=re.escape(str(path))):
            ArrayDataset.load(path)


def test_a_loaded_set_is_pickled_as_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.zeros(60_000, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(60_000) % 251
    ArrayDataset(images, torch.arange(60_000) % 10).save(tmp_path / "a.pt")
    monkeypatch.chdir(tmp_path)
    loaded = ArrayDataset.load("a.pt")
    monkeypatch.chdir(tmp_path.parent)
    assert len(pickle.dumps(loaded)) < 2000
    part = loaded.subset(range(5, 25)).subset([3, 1])
    assert len(pickle.dumps(part)) < 2000
    for ds in (loaded, part):
        again = pickle.loads(pickle.dumps(ds))
        assert same(again, ds)
        assert torch.equal(again.indices, ds.indices)
        assert again.origin == ds.origin
    assert again.indices.tolist() == [8, 6]
    assert len(pickle.dumps(ArrayDataset(images, [0] * 60_000))) > 240_000  # this one is in memory


def test_a_file_that_was_written_anew_is_not_taken_for_the_same(tmp_path: Path) -> None:
    path = tmp_path / "some.pt"
    numbered().save(path)
    part = ArrayDataset.load(path).subset([3, 2, 1, 0])
    assert torch.equal(pickle.loads(pickle.dumps(part)).images, part.images)
    expected = part.images.clone()
    part.save(path)  # as many bytes for the images, in another order
    assert torch.equal(part.images, expected), "what is open stays what it was"
    with pytest.raises(SavedFileError, match=r"some\.pt was written anew.*load it again"):
        pickle.loads(pickle.dumps(part))
    with pytest.raises(SavedFileError, match="written anew"):
        copy.deepcopy(part)
    assert torch.equal(copy.deepcopy(ArrayDataset.load(path)).images, expected)


def test_a_set_in_memory_survives_pickling() -> None:
    ds = numbered().subset([4, 1])
    for again in (pickle.loads(pickle.dumps(ds)), copy.copy(ds), copy.deepcopy(ds)):
        assert same(again, ds)
        assert again.indices.tolist() == [4, 1]


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_parts_of_a_loaded_set_are_of_what_was_loaded(change: str, tmp_path: Path) -> None:
    ds = saved(tmp_path / "a.pt")
    loaded = ArrayDataset.load(tmp_path / "a.pt")
    if change == "removed":
        (tmp_path / "a.pt").unlink()
    else:
        numbered().save(tmp_path / "a.pt")
    assert same(loaded.subset([3, 1]), ds.subset([3, 1]))
    assert same(loaded.subset([3, 1]).subset([1]), ds.subset([1]))
    assert same(loaded.to("cpu"), ds)
    assert same(copy.copy(loaded), ds)
