"""Loaders: order, draws, workers, caching, weights, and the loaders of a split."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision import datasets, transforms

from cnnkit import _pixels
from cnnkit.data import (
    ArrayDataset,
    ImageFolder,
    Loaders,
    Preprocess,
    Split,
    class_weights,
    k_fold,
    make_loader,
    make_loaders,
    train_val_split,
)
from cnnkit.data import _loaders as loaders_module
from cnnkit.data._order import BatchOrder
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, DataError, ImageReadError

tv: Any = transforms


def numbered(number: int, classes: int = 3) -> ArrayDataset:
    """Images (1, 1, 2) that spell their position in base 256."""
    positions = np.arange(number)
    images = np.stack([positions // 256, positions % 256], axis=-1).astype(np.uint8)
    return ArrayDataset(torch.from_numpy(images).view(-1, 1, 1, 2), positions % classes)


def positions_of(images: Tensor) -> list[int]:
    high, low = (images * 255).round().long().reshape(-1, 2).T
    positions: list[int] = (high * 256 + low).tolist()
    return positions


def visited(loader: Iterable[Any]) -> list[list[int]]:
    return [positions_of(images) for images, _ in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [position for batch in batches for position in batch]


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(len(images), 1, 1, 1, generator=generator)


def equal(one: Iterable[Any], other: Iterable[Any]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def random_states() -> tuple[Any, ...]:
    of_numpy: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), of_numpy[1].tolist(), of_numpy[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven noisy photographs of two classes, of differing sizes."""
    draw = np.random.default_rng(0)
    for number in range(11):
        path = tmp_path / "pets" / ("cats" if number % 3 else "dogs") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pets"


# --- order --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    number=st.integers(1, 70),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_every_sample_comes_once_an_epoch(
    number: int, batch_size: int, shuffle: bool, seed: int, epoch: int
) -> None:
    loader = make_loader(numbered(number), batch_size, shuffle=shuffle, seed=seed, device="cpu")
    loader.set_epoch(epoch)
    batches = visited(loader)
    assert sorted(flat(batches)) == list(range(number))
    assert len(batches) == len(loader)
    sizes = [len(batch) for batch in batches]
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] <= batch_size + 1
    if shuffle and min(number, batch_size) > 1:
        assert min(sizes) > 1
    if not shuffle:
        assert flat(batches) == list(range(number))
        assert sizes[-1] <= batch_size


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    ds = numbered(40)

    def loader(seed: int = 0) -> DeviceDataLoader:
        return make_loader(ds, 7, shuffle=True, seed=seed, device="cpu")

    ours = loader()
    epochs = [visited(ours) for _ in range(3)]
    again = loader()
    assert [visited(again) for _ in range(3)] == epochs
    assert len({str(epoch) for epoch in epochs}) == 3
    assert visited(loader(1)) != epochs[0]
    resumed = loader()
    resumed.set_epoch(2)
    assert visited(resumed) == epochs[2]
    ours.set_epoch(1)
    next(iter(ours))  # a pass that was left
    ours.set_epoch(1)
    assert visited(ours) == epochs[1]
    assert visited(make_loader(ds, 7, shuffle=True, seed=np.int64(0), device="cpu")) == epochs[0]  # pyright: ignore[reportArgumentType]


def test_another_batch_size_visits_in_the_same_order() -> None:
    ds = numbered(40)
    small, large = (make_loader(ds, size, shuffle=True, device="cpu") for size in (3, 20))
    assert flat(visited(small)) == flat(visited(large))


def test_a_shuffle_is_even() -> None:
    loader = make_loader(numbered(5), 5, shuffle=True, device="cpu")
    counts = np.zeros((5, 5))
    for _ in range(500):
        counts[np.arange(5), flat(visited(loader))] += 1
    assert np.abs(counts - 100).max() < 45  # five standard deviations


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "4", None])
def test_batch_size_is_a_positive_int(batch_size: Any) -> None:
    with pytest.raises(
        ArgumentError, match=f"batch_size must be a positive int, received {batch_size!r}"
    ):
        make_loader(numbered(4), batch_size)


def test_two_passes_at_once_do_not_disturb_each_other() -> None:
    loader = make_loader(numbered(20), 4, shuffle=True, device="cpu")
    first, second = visited(loader), visited(loader)
    loader.set_epoch(0)
    one, two = iter(loader), iter(loader)
    pairs = list(zip(one, two, strict=True))
    assert visited(pair[0] for pair in pairs) == first
    assert visited(pair[1] for pair in pairs) == second


# --- batches ------------------------------------------------------------------------------------


def test_pixels_are_scaled_and_no_more_without_preprocess() -> None:
    ds = numbered(6)
    loader = make_loader(ds, 4, device="cpu")
    images, labels = next(iter(loader))
    assert torch.equal(images, ds.images[:4] / 255)
    assert labels.tolist() == [0, 1, 2, 0]
    assert loader.classes == ("0", "1", "2")
    assert loader.image_shape == (1, 1, 2)
    assert loader.dataset is ds
    assert loader.preprocess == Preprocess.of_shape((1, 1, 2))


def test_float_features_are_taken_as_they_are() -> None:
    features = torch.randn(5, 7) * 100
    loader = make_loader(ArrayDataset(features, [0, 1, 0, 1, 0]), 5, device="cpu")
    assert loader.preprocess is None
    assert loader.image_shape == (7,)
    ((images, _),) = loader
    assert torch.equal(images, features)


def test_a_batch_is_one_call_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    get_batch = ArrayDataset.get_batch

    def counted(self: ArrayDataset, positions: Any) -> Any:
        calls.append(len(positions))
        return get_batch(self, positions)

    def forbidden(self: ArrayDataset, index: Any) -> Any:
        raise AssertionError("read sample by sample")

    monkeypatch.setattr(ArrayDataset, "get_batch", counted)
    monkeypatch.setattr(ArrayDataset, "__getitem__", forbidden)
    list(make_loader(numbered(250), 100, shuffle=True, device="cpu"))
    assert calls == [250], "small batches are gathered together"
    large = ArrayDataset(torch.zeros(5, 3, 300, 300, dtype=torch.uint8), [0, 1, 0, 1, 0])
    calls.clear()
    list(make_loader(large, 2, device="cpu"))
    assert calls == [2, 2, 1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 20, 64])
def test_an_epoch_may_begin_at_any_batch(workers: int, size: int) -> None:
    loader = make_loader(
        numbered(250), size, shuffle=True, augment=[noise], num_workers=workers, device="cpu"
    )
    loader.set_epoch(3)
    whole = list(loader)
    for start in {0, 1, len(whole) // 2, len(whole) - 1, len(whole)}:
        rest = list(loader.batches(3, start))
        assert len(rest) == len(whole) - start
        for ours, theirs in zip(rest, whole[start:], strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])


def test_a_foreign_loader_begins_at_any_batch_too() -> None:
    loader = DeviceDataLoader(
        DataLoader(TensorDataset(torch.rand(10, 2), torch.arange(10)), 3), "cpu"
    )
    whole = list(loader)
    rest = list(loader.batches(0, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(rest, whole[2:], strict=True))


class Foreign(Dataset[Any]):
    """A data set of another library: samples, and perhaps targets."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def test_a_foreign_data_set_is_collated() -> None:
    ds = Foreign([(torch.full((1, 2, 2), float(n)), n) for n in range(7)])
    loader = make_loader(ds, 3, shuffle=True, device="cpu")
    images, labels = next(iter(loader))
    assert images.shape == (3, 1, 2, 2)
    assert images[:, 0, 0, 0].tolist() == labels.tolist()
    assert loader.classes is None
    tensors = TensorDataset(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), torch.arange(6))
    listed = [tensors[position] for position in range(6)]
    assert equal(make_loader(tensors, 4, device="cpu"), make_loader(listed, 4, device="cpu"))


@pytest.mark.parametrize(
    "samples",
    [
        [(Image.new("L", (2, 2)), 0)] * 4,
        [(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 3, 2), 0)] * 2,
        [(torch.zeros(1, 2, 2), "cat")] * 4,
    ],
    ids=["images", "sizes", "names"],
)
def test_samples_that_make_no_batch_are_an_error(samples: list[Any]) -> None:
    with pytest.raises(DataError, match="batch"):
        list(make_loader(Foreign(samples), 2, device="cpu"))


def test_a_folder_with_a_transform_that_gives_no_tensors(folder: Path) -> None:
    ds = ImageFolder(folder, transform=tv.RandomHorizontalFlip())
    with pytest.raises(DataError, match="batch"):
        list(make_loader(ds, 2, device="cpu"))


def test_an_empty_data_set_is_an_error() -> None:
    for ds in (numbered(4).subset([]), Foreign([])):
        with pytest.raises(DataError, match="at least one sample"):
            make_loader(ds, 2)


# --- draws --------------------------------------------------------------------------------------


def test_augmentation_is_a_function_of_seed_epoch_and_position() -> None:
    ds = numbered(10)

    def loader(seed: int = 0) -> DeviceDataLoader:
        return make_loader(ds, 4, augment=noise, seed=seed, device="cpu")

    ours, again = loader(), loader()
    first, second = list(ours), list(ours)
    assert equal(again, first)
    assert equal(again, second)
    assert not equal(first, second)
    assert not equal(loader(1), first)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_iterating_touches_no_global_random_state(num_workers: int, folder: Path) -> None:
    before = random_states()
    options: dict[str, Any] = {"shuffle": True, "augment": noise, "device": "cpu", "cache": "off"}
    loader = make_loader(ImageFolder(folder, image_size=8), 4, num_workers=num_workers, **options)
    first = list(loader)
    loader.set_epoch(0)
    assert random_states() == before
    torch.rand(3)
    random.random()
    np.random.rand(3)
    assert equal(loader, first)


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker:UserWarning")  # 2 cores
def test_any_number_of_workers_gives_the_same_batches(folder: Path) -> None:
    options: dict[str, Any] = {"shuffle": True, "augment": noise, "device": "cpu", "cache": "off"}
    ds = ImageFolder(folder, image_size=(16, 12), resize="crop")
    alone, one, four = (make_loader(ds, 2, num_workers=number, **options) for number in (0, 1, 4))
    wanted: list[Any] = []
    for _ in range(2):
        wanted = list(alone)
        assert len(wanted) == 5, "the last one joins the one before"
        assert equal(one, wanted)
        assert equal(four, wanted)
    next(iter(four))  # a pass that was left
    four.set_epoch(1)
    assert equal(four, wanted)
    one.set_epoch(5)
    alone.set_epoch(5)
    assert equal(one, alone)


def test_beside_workers_pixels_are_scaled_by_one_thread_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def counted(images: Tensor, at_once: int) -> Any:
        made.append(at_once)
        return pieces(images, at_once)

    pieces = _pixels._pieces
    monkeypatch.setattr(_pixels, "_pieces", counted)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 3, 130, 120), np.uint8))
    ds = ArrayDataset(images, [0, 1, 0, 1, 0, 1, 0])  # each larger than a piece
    normalised = Preprocess((130, 120), "RGB", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    for preprocess in (None, normalised):
        for augment in ((), noise):
            options: dict[str, Any] = {"preprocess": preprocess, "augment": augment}
            alone, one = (
                make_loader(ds, 3, num_workers=number, device="cpu", **options) for number in (0, 1)
            )
            made.clear()
            wanted = list(alone)
            assert set(made) <= {1 << 18}
            made.clear()
            assert equal(list(one), wanted)
            assert set(made) == {1 << 15}


def test_workers_read_arrays_parts_and_foreign_sets_alike() -> None:
    part = numbered(30).subset(range(29, 4, -2))
    foreign = Foreign([(torch.full((1, 1, 2), n, dtype=torch.uint8), n) for n in range(9)])
    balanced = {"balanced": True}
    for ds, options in ((part, {}), (part, balanced), (foreign, {})):
        given_: dict[str, Any] = {"shuffle": True, "device": "cpu", **options}
        alone = make_loader(ds, 4, **given_)
        assert equal(make_loader(ds, 4, num_workers=1, **given_), alone)


def test_two_passes_of_workers_at_once_do_not_disturb_each_other() -> None:
    loader = make_loader(numbered(20), 4, shuffle=True, num_workers=1, device="cpu")
    first = visited(loader)
    loader.set_epoch(0)
    running = iter(loader)
    begun = [next(running)]
    next(iter(loader))  # somebody looks at a batch, to plot it say
    assert visited([*begun, *running]) == first


def test_a_broken_file_is_named_by_a_worker_too(folder: Path) -> None:
    (folder / "cats" / "bad.jpg").write_bytes(b"?")
    loader = make_loader(ImageFolder(folder, image_size=8), 4, num_workers=1, device="cpu")
    with pytest.raises(ImageReadError, match=r"bad\.jpg is not a readable image"):
        list(loader)


def test_workers_end_with_their_loader() -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    loader = make_loader(numbered(8), 4, num_workers=2, device="cpu")
    list(loader)
    started = {child.pid for child in multiprocessing.active_children()} - before
    assert len(started) == 2
    list(loader)
    assert {child.pid for child in multiprocessing.active_children()} - before == started
    del loader
    assert {child.pid for child in multiprocessing.active_children()} - before == set()


def test_a_transform_that_cannot_be_sent_is_reported_before_workers_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def local(image: Any) -> Any:
        return tv.functional.to_tensor(image)

    ours = ImageFolder(folder, image_size=8, transform=lambda image: local(image))
    theirs = datasets.ImageFolder(str(folder), transform=tv.Compose([tv.Resize(8), local]))
    labels = datasets.ImageFolder(str(folder), target_transform=lambda label: label)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    for ds, message in (
        (ours, r"the transform .* lambda .*num_workers=0"),
        (ours.subset([0, 1]), "the transform"),
        (theirs, "the transform .* local"),
        (Subset(theirs, [0, 1]), "the transform"),
        (train_val_split(theirs, val=4).train, "the transform"),
        (labels, "the target_transform"),
    ):
        with pytest.raises(ArgumentError, match=message):
            next(iter(make_loader(ds, 4, num_workers=1, device="cpu")))


IMPORTS = """
import multiprocessing, sys
from cnnkit.data import ArrayDataset, make_loader
"""
BODY = """
multiprocessing.set_start_method("spawn", force=True)
ds = ArrayDataset.load(sys.argv[1]).subset([5, 1, 3])
print([labels.tolist() for _, labels in make_loader(ds, 2, num_workers=1, device="cpu")])
"""
GUARDED = 'if __name__ == "__main__":' + BODY.replace("\n", "\n    ")


@pytest.mark.slow
def test_scripts_that_spawn_workers(tmp_path: Path) -> None:
    numbered(6).save(tmp_path / "a.pt")
    source = str(Path(__file__).parents[2] / "src")
    paths = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])

    def started(name: str, text: str) -> subprocess.Popen[str]:
        (tmp_path / name).write_text(text)
        command = [sys.executable, str(tmp_path / name), str(tmp_path / "a.pt")]
        pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": paths}
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    good, bad = started("good.py", IMPORTS + GUARDED), started("bad.py", IMPORTS + BODY)
    output, errors = good.communicate(timeout=120)
    assert output == "[[2, 1], [0]]\n", errors
    output, errors = bad.communicate(timeout=120)
    assert bad.returncode != 0
    assert output == ""
    assert 'put its code under if __name__ == "__main__":' in errors


@pytest.mark.parametrize("num_workers", [-1, 1.5])
def test_num_workers_is_not_negative(num_workers: Any) -> None:
    with pytest.raises(ArgumentError, match=f"num_workers .*received {num_workers}"):
        make_loader(numbered(4), 2, num_workers=num_workers)


# --- caching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "num_workers", "available", "kept"),
    [
        ("auto", 0, 1 << 30, True),
        ("auto", 0, 4 * 11 * 3 * 64, True),
        ("auto", 0, 4 * 11 * 3 * 64 - 4, False),
        ("auto", 0, None, False),
        ("auto", 1, 1 << 30, False),
        ("memory", 0, 1, True),
        ("memory", 1, 1 << 30, True),
        ("off", 0, 1 << 30, False),
    ],
)
def test_the_cache_keeps_decoded_images(
    cache: Any, num_workers: int, available: int | None, kept: bool, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loaders_module, "available_memory", lambda: available)
    ds = ImageFolder(folder, image_size=8, resize="pad")
    loader = make_loader(ds, 4, cache=cache, num_workers=num_workers, device="cpu")
    assert isinstance(loader.dataset, ArrayDataset if kept else ImageFolder)
    assert loader.classes == ds.classes
    assert loader.image_shape == (3, 8, 8)
    assert loader.preprocess == ds.preprocess
    assert loader.dataset.origin == ds.origin
    if num_workers == 0:
        assert equal(loader, make_loader(ds, 4, cache="off", device="cpu"))


def test_the_cache_is_one_of_its_choices() -> None:
    with pytest.raises(
        ArgumentError, match=r"cache must be one of \('auto', 'memory', 'off'\).*'disk'"
    ):
        make_loader(numbered(4), 2, cache="disk")  # type: ignore[arg-type]


def test_a_cache_asked_for_that_cannot_be_is_an_error(folder: Path) -> None:
    ds = ImageFolder(folder, image_size=8, transform=tv.ToTensor())
    assert len(list(make_loader(ds, 4, device="cpu"))) == 3
    with pytest.raises(DataError, match="transform"):
        make_loader(ds, 4, cache="memory", device="cpu")


# --- imbalance ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_class_weights_are_scikit_learns(labels: list[int]) -> None:
    labels = [*labels, *range(max(labels) + 1)]
    ds = ArrayDataset(torch.zeros(len(labels), 1), labels)
    wanted = compute_class_weight("balanced", classes=np.unique(labels), y=np.array(labels))
    weights = class_weights(ds)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.from_numpy(wanted).float())
    assert weights[ds.targets].mean().item() == pytest.approx(1, abs=1e-5)


def test_a_class_without_samples_has_no_weight() -> None:
    ds = ArrayDataset(torch.zeros(3, 1), [0, 2, 2], classes=["a", "b", "c"])
    for ask in (lambda: class_weights(ds), lambda: make_loader(ds, 2, balanced=True)):
        with pytest.raises(DataError, match=r"\['b'\] have no samples"):
            ask()


def test_balanced_draws_each_class_equally_often() -> None:
    labels = [0] * 90 + [1] * 9 + [2]
    ds = ArrayDataset(torch.zeros(100, 1), labels)
    loader = make_loader(ds, 10, balanced=True, device="cpu")
    drawn = torch.cat([labels for _ in range(60) for _, labels in loader])
    assert len(drawn) == 6000
    counts = torch.bincount(drawn).numpy()
    assert np.abs(counts - 2000).max() < 190  # five standard deviations
    assert len(loader) == 10


def test_balanced_follows_from_seed_and_epoch() -> None:
    ds = numbered(21, classes=2)

    def loader(seed: int = 0) -> DeviceDataLoader:
        return make_loader(ds, 4, balanced=True, seed=seed, device="cpu")

    ours, again = loader(), loader()
    first, second = visited(ours), visited(ours)
    assert (visited(again), visited(again)) == (first, second)
    assert first != second
    assert visited(loader(1)) != first
    assert [len(batch) for batch in first] == [4, 4, 4, 4, 5]  # and no batch of one


def test_balanced_takes_a_foreign_data_set_with_targets() -> None:
    class Named(Foreign):
        classes = ("a", "b")
        targets = (0, 0, 0, 1)

    ds = Named([(torch.zeros(1), 0)] * 3 + [(torch.zeros(1), 1)])
    torch.testing.assert_close(class_weights(ds), torch.tensor([2 / 3, 2.0]))
    assert len(list(make_loader(ds, 2, balanced=True, device="cpu"))) == 2
    with pytest.raises((DataError, ArgumentError), match="targets"):
        make_loader(Foreign([(torch.zeros(1), 0)] * 3), 2, balanced=True)


def test_order_of_weights_is_of_the_samples() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    order = BatchOrder(4, 2, weights=weights)
    drawn = torch.cat([order.positions(epoch) for epoch in range(300)])
    counts = torch.bincount(drawn, minlength=4).tolist()
    assert counts[0] == counts[2] == 0
    assert 2.5 < counts[3] / counts[1] < 3.6


# --- the loaders of a split ---------------------------------------------------------------------


@pytest.fixture
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 5, 4), dtype=torch.uint8, generator=generator)
    images[40:] //= 8  # were they measured, it would show
    ds = ArrayDataset(images, torch.arange(60) % 2, classes=["a", "b"])
    parts = ds.subset(range(40)), ds.subset(range(40, 50)), ds.subset(range(50, 60))
    return Split(*parts)


def test_make_loaders_measures_the_training_part_only(split: Split) -> None:
    loaders = make_loaders(split, 8, device="cpu")
    assert isinstance(loaders, Loaders)
    assert loaders.val is not None
    assert loaders.test is not None
    assert loaders.train.preprocess == Preprocess.fit(split.train)
    assert loaders.train.preprocess == loaders.val.preprocess == loaders.test.preprocess
    pixels = torch.cat([images for images, _ in loaders.train]).flatten()
    assert pixels.mean().item() == pytest.approx(0, abs=1e-5)
    assert pixels.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert loaders.train.classes == loaders.val.classes == ("a", "b")


def test_only_the_training_part_is_shuffled_and_augmented(split: Split) -> None:
    calls: list[int] = []

    def counted(images: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(len(images))
        return noise(images, generator)

    loaders = make_loaders(split, 8, augment=[counted], device="cpu")
    assert loaders.val is not None
    assert loaders.test is not None
    assert loaders.train.preprocess is not None
    for loader, part in ((loaders.val, split.val), (loaders.test, split.test)):
        assert part is not None
        whole: Any = part
        for _ in range(2):  # each epoch alike
            images = torch.cat([images for images, _ in loader])
            assert torch.equal(images, loaders.train.preprocess(whole.images))
            assert torch.equal(torch.cat([labels for _, labels in loader]), part.targets)
    assert calls == []
    labels = [torch.cat([labels for _, labels in loaders.train]).tolist() for _ in range(2)]
    assert calls == [8] * 10
    assert labels[0] != labels[1]
    assert labels[0] != split.train.targets.tolist()


def test_preprocess_of_a_split_can_be_given_or_left_out(split: Split) -> None:
    given_ = Preprocess((5, 4), "L", (0.1,), (0.2,))
    assert make_loaders(split, 8, preprocess=given_, device="cpu").train.preprocess == given_
    plain = make_loaders(split, 8, preprocess=None, device="cpu")
    assert plain.train.preprocess == Preprocess.of_shape((1, 5, 4))
    images, _ = next(iter(plain.train))
    assert images.min() >= 0
    assert images.max() <= 1
    with pytest.raises(ArgumentError, match=r'a Preprocess, None or "fit", received \'measure\''):
        make_loaders(split, 8, preprocess="measure")  # type: ignore[arg-type]


def test_parts_that_are_not_there_have_no_loader() -> None:
    loaders = make_loaders(Split(numbered(30)), 8, device="cpu")
    assert loaders.val is None
    assert loaders.test is None
    for part in k_fold(numbered(30), 3):
        loaders = make_loaders(part, 8, device="cpu")
        assert loaders.val is not None
        assert len(flat(visited(loaders.val))) == 10
        assert loaders.test is None


def test_float_features_of_a_split_are_taken_as_they_are() -> None:
    features = ArrayDataset(torch.randn(30, 4) * 50, torch.arange(30) % 3)
    loaders = make_loaders(train_val_split(features, val=6), 50, device="cpu")
    assert loaders.train.preprocess is None
    assert loaders.val is not None
    ((images, _),) = loaders.train
    assert images.abs().max() > 50


def test_loaders_of_a_folder_share_reading_and_measures(folder: Path) -> None:
    ds = ImageFolder(folder, image_size=(6, 8), mode="L", resize="pad", interpolation="bicubic")
    split = train_val_split(ds, val=4)
    by_cache = []
    for cache in ("auto", "off"):
        loaders = make_loaders(split, 4, device="cpu", cache=cache)
        assert loaders.val is not None
        assert loaders.train.preprocess == Preprocess.fit(split.train)
        assert loaders.train.preprocess is not None
        assert loaders.train.preprocess.resize == "pad"
        by_cache.append((list(loaders.train), list(loaders.val)))
    assert equal(by_cache[0][0], by_cache[1][0])
    assert equal(by_cache[0][1], by_cache[1][1])


def test_balanced_concerns_the_training_part_only() -> None:
    labels = [0] * 36 + [1] * 4
    ds = ArrayDataset(torch.zeros(40, 1), labels)
    loaders = make_loaders(train_val_split(ds, val=20), 5, balanced=True, device="cpu")
    assert loaders.val is not None
    assert torch.cat([labels for _, labels in loaders.val]).sum() == 2
    drawn = torch.cat([labels for _ in range(20) for _, labels in loaders.train])
    assert 0.35 < drawn.float().mean() < 0.65


def test_options_reach_every_loader(split: Split) -> None:
    loaders = make_loaders(split, 8, seed=5, device="meta", num_workers=0)
    for loader in (loaders.train, loaders.val, loaders.test):
        assert loader is not None
        assert loader.device.type == "meta"
        assert loader.seed == 5
    one, two = (make_loaders(split, 8, seed=seed, device="cpu").train for seed in (5, 6))
    assert not equal(one, two)


def test_a_preprocess_that_reads_otherwise_is_refused(folder: Path) -> None:
    ds = ImageFolder(folder, image_size=16)
    with pytest.raises(ArgumentError, match=r"resize='stretch' and 'crop'"):
        make_loader(ds, 4, preprocess=Preprocess.imagenet(16), device="cpu")
    with pytest.raises(ArgumentError, match=r"image_size=\[16, 16\] and \[8, 8\]"):
        make_loader(ds.to_array(), 4, preprocess=Preprocess.fit(ds).with_size(8), device="cpu")
    cropped = ImageFolder(folder, image_size=16, resize="crop")
    loader = make_loader(cropped, 4, preprocess=Preprocess.imagenet(16), device="cpu")
    assert loader.preprocess == Preprocess.imagenet(16)


def test_a_subset_of_torch_is_a_part() -> None:
    ds: Any = ArrayDataset(torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8), [0, 1] * 6)
    nested: Any = Subset(Subset(ds, [11, 3, 5, 0, 1, 2]), [0, 4, 3])
    loaders = make_loaders(Split(Subset(ds, range(8)), nested), 3, device="cpu", seed=1)
    expected = make_loaders(Split(ds.subset(range(8)), ds.subset([11, 1, 0])), 3, device="cpu")
    assert loaders.train.classes == ds.classes
    assert loaders.train.preprocess == expected.train.preprocess is not None
    assert loaders.val is not None
    assert expected.val is not None
    for one, other in zip(loaders.val, expected.val, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert torch.equal(class_weights(nested), torch.tensor([1.5, 0.75]))
    foreign = Subset(TensorDataset(torch.rand(4, 2), torch.zeros(4)), [0, 1])
    assert make_loader(foreign, 2, device="cpu").dataset is foreign


class Grouped(Dataset[tuple[Tensor, int]]):
    """As torchvision's data sets: a `target_transform` changes the labels, not `targets`."""

    classes = ("cat", "car", "dog", "bus")

    def __init__(self) -> None:
        self.targets = [0, 1, 2, 3] * 5 + [0] * 20
        self.target_transform: Callable[[int], int] = lambda label: int(label in (1, 3))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 2, 2), self.target_transform(self.targets[index])


def test_labels_count_as_a_target_transform_gives_them() -> None:
    ds = Grouped()
    assert torch.equal(class_weights(ds), torch.tensor([40 / 60, 2.0]))
    loader = make_loader(ds, 40, balanced=True, device="cpu", seed=2)
    drawn = torch.cat([labels for epoch in range(20) for _, labels in loader.batches(epoch)])
    assert 0.45 < drawn.float().mean() < 0.55
    assert loader.classes is None, "the names are those of other labels"
    assert ArrayDataset.from_dataset(ds).classes == ("0", "1")
