"""Where data moves, and what `DeviceDataLoader` does to a batch on its way."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
)

from cnnkit.device import DeviceDataLoader, default_device, derived_seed, to_device
from cnnkit.errors import DataError
from cnnkit.preprocess import Preprocess

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Pair(NamedTuple):
    images: Any
    labels: Any


def uint8(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def batches(number: int = 3, size: int = 4, **kwargs: Any) -> list[tuple[Tensor, Tensor]]:
    return [(uint8(size, 1, 5, 6, seed=seed), torch.arange(size) % 3) for seed in range(number)]


def loader_of(number: int = 10, batch_size: int = 4, **kwargs: Any) -> DataLoader[Any]:
    data = TensorDataset(uint8(number, 1, 5, 6), torch.arange(number))
    return DataLoader(data, batch_size, **kwargs)


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)


def drawn(loader: DeviceDataLoader) -> Tensor:
    return torch.cat([images.flatten() for images, _ in loader])


def random_states() -> tuple[Any, ...]:
    of_numpy: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), of_numpy[1].tolist()


# --- default_device and to_device ---------------------------------------------------------------


def test_default_device_is_an_available_accelerator_or_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert default_device() == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert default_device() == torch.device("mps")


def test_to_device_goes_into_everything_nested() -> None:
    one = torch.ones(1)
    nested: dict[str, Any] = {
        "list": [one, (one, "text")],
        "pair": Pair(one, None),
        "ordered": OrderedDict(b=one, a=2),
        "number": 3,
    }
    moved = to_device(nested, "meta")
    assert moved["list"][0].is_meta
    assert moved["list"][1][0].is_meta
    assert moved["list"][1][1] == "text"
    assert isinstance(moved["pair"], Pair)
    assert moved["pair"].images.is_meta
    assert moved["pair"].labels is None
    assert list(moved["ordered"]) == ["b", "a"]
    assert moved["ordered"]["b"].is_meta
    assert moved["number"] == 3
    assert not one.is_meta
    assert nested["list"][0] is one


@pytest.mark.parametrize(
    "mapping", [defaultdict(Tensor, {"x": torch.ones(1)}), MappingProxyType({"x": torch.ones(1)})]
)
def test_to_device_takes_any_mapping(mapping: Any) -> None:
    assert to_device(mapping, "meta")["x"].is_meta


def test_to_device_moves_a_module_in_place_and_leaves_the_rest() -> None:
    model = nn.Linear(2, 2)
    assert to_device(model, "meta") is model
    assert model.weight.is_meta
    tensor, other = torch.ones(2), object()
    assert to_device(tensor, "cpu") is tensor
    assert to_device(other, "cpu") is other


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="gpu9"):
        to_device(torch.ones(1), "gpu9")
    with pytest.raises(RuntimeError, match="gpu9"):
        DeviceDataLoader([], "gpu9")


def test_derived_seed_is_a_function_of_the_numbers() -> None:
    assert derived_seed(1, 2) == derived_seed(1, 2)
    assert len({derived_seed(a, b, c) for a in range(9) for b in range(9) for c in range(9)}) == 729
    assert derived_seed(1, 23) != derived_seed(12, 3)
    assert derived_seed(np.int64(1), np.int32(2)) == derived_seed(1, 2)
    assert 0 <= derived_seed(-5) < 2**63


# --- what a batch becomes -----------------------------------------------------------------------


def test_uint8_is_scaled_to_unit_floats() -> None:
    (images, labels), *_ = DeviceDataLoader(batches(), "cpu")
    assert images.dtype == torch.float32
    assert torch.equal(images, batches()[0][0] / 255)
    assert torch.equal(labels, batches()[0][1])
    assert labels.dtype == torch.int64


def test_float_images_are_not_scaled() -> None:
    features = torch.rand(4, 1, 5, 6) * 300
    given = [(features, torch.arange(4))]
    assert torch.equal(drawn(DeviceDataLoader(given, "cpu")), features.flatten())
    half = Preprocess((5, 6), "L", (0.5,), (0.5,))
    got = drawn(DeviceDataLoader(given, "cpu", preprocess=half))
    torch.testing.assert_close(got, (features.flatten() - 0.5) / 0.5)


def test_normalisation_comes_last() -> None:
    half = Preprocess((5, 6), "L", (0.5,), (0.25,))
    seen: list[Tensor] = []

    def first(images: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images.clone())
        return images * 0.5

    def second(images: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images.clone())
        return images + 0.1

    loader = DeviceDataLoader(batches(1), "cpu", preprocess=half, augment=[first, second])
    ((images, _),) = loader
    scaled = batches()[0][0] / 255
    torch.testing.assert_close(seen[0], scaled)
    torch.testing.assert_close(seen[1], scaled * 0.5)
    torch.testing.assert_close(images, (scaled * 0.5 + 0.1 - 0.5) / 0.25)


def test_one_augmentation_needs_no_list() -> None:
    alone = DeviceDataLoader(batches(), "cpu", augment=noise)
    assert torch.equal(drawn(alone), drawn(DeviceDataLoader(batches(), "cpu", augment=[noise])))


def test_given_batches_are_left_as_they_were() -> None:
    def spoil(images: Tensor, generator: torch.Generator) -> Tensor:
        return images.zero_()

    given = batches(1)
    before = given[0][0].clone()
    list(DeviceDataLoader(given, "cpu", augment=spoil, preprocess=None))
    assert torch.equal(given[0][0], before)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.uint8, torch.int64),
        (torch.int32, torch.int64),
        (torch.int64, torch.int64),
        (torch.float32, torch.float32),
    ],
)
def test_labels_are_what_the_losses_take(given: torch.dtype, expected: torch.dtype) -> None:
    ((_, labels),) = DeviceDataLoader(
        [(torch.rand(2, 3), torch.tensor([0, 1], dtype=given))], "cpu"
    )
    assert labels.dtype == expected
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_batches_arrive_on_the_device(device: str) -> None:
    preprocess = Preprocess((5, 6), "L", (0.5,), (0.25,))
    for images, labels in DeviceDataLoader(batches(), device, preprocess=preprocess):
        assert images.device.type == labels.device.type == device
        assert images.dtype == torch.float32


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(3, 2), "received Tensor"),
        ({"x": torch.zeros(2)}, "received dict of 1 parts"),
        ((torch.zeros(2),), "received tuple of 1 parts"),
        ((torch.zeros(2), torch.zeros(2), torch.zeros(2)), "received tuple of 3 parts"),
        ((torch.zeros(2), [0, 1]), r"received \(Tensor, list\)"),
        ((np.zeros(2), torch.zeros(2)), r"received \(ndarray, Tensor\)"),
        ((torch.zeros(4, 2), torch.zeros(3)), "4 images but 3 labels"),
        ((torch.zeros(1, 2), torch.tensor(3)), "label"),
        ((torch.tensor(1.0), torch.tensor(3)), "image"),
        (None, "received NoneType"),
    ],
)
def test_another_kind_of_batch_is_an_error(batch: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(DeviceDataLoader([batch], "cpu"))


def test_images_of_another_shape_than_preprocess_are_an_error() -> None:
    loader = DeviceDataLoader(batches(), "cpu", preprocess=Preprocess(7, "L", (0,), (1,)))
    with pytest.raises(DataError, match=r"\(1, 7, 7\), received \(1, 5, 6\)"):
        next(iter(loader))


# --- which loaders it wraps ---------------------------------------------------------------------


def test_it_wraps_torchs_loader_lists_and_generators() -> None:
    theirs = loader_of()
    wrapped = DeviceDataLoader(theirs, "cpu")
    wanted = [(images / 255, labels) for images, labels in theirs]
    assert len(wrapped) == 3
    assert wrapped.dataset is theirs.dataset
    for source in (theirs, list(theirs), iter(theirs), (batch for batch in theirs)):
        got = list(DeviceDataLoader(source, "cpu"))
        assert len(got) == 3
        for (images, labels), (wanted_images, wanted_labels) in zip(got, wanted, strict=True):
            assert torch.equal(images, wanted_images)
            assert torch.equal(labels, wanted_labels)


def test_what_a_loader_does_not_know() -> None:
    wrapped = DeviceDataLoader(iter(batches()), "cpu")
    assert wrapped.dataset is None
    assert wrapped.classes is None
    with pytest.raises(TypeError, match="list_iterator does not know how many batches"):
        len(wrapped)
    assert len(DeviceDataLoader(batches(5), "cpu")) == 5


def test_an_iterable_data_set_works() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(image, 1) for image in uint8(5, 1, 5, 6)])

    assert [len(labels) for _, labels in DeviceDataLoader(DataLoader(Stream(), 2), "cpu")] == [
        2,
        2,
        1,
    ]


def test_classes_are_those_of_the_data_set() -> None:
    class Named(TensorDataset):
        classes = ("a", 7)

    named = DataLoader(Named(uint8(2, 1, 5, 6), torch.arange(2)))
    assert DeviceDataLoader(named, "cpu").classes == ("a", "7")


def test_image_shape_of_a_foreign_loader_leaves_no_trace() -> None:
    loader = DeviceDataLoader(loader_of(shuffle=True), "cpu")
    before = random_states()
    assert loader.image_shape == (1, 5, 6)
    assert random_states() == before
    assert loader.epoch == 0
    preprocess = Preprocess((2, 3), "RGB", (0,) * 3, (1,) * 3)
    assert DeviceDataLoader([], "cpu", preprocess=preprocess).image_shape == (3, 2, 3)


def test_leaving_a_pass_early_does_no_harm() -> None:
    loader = DeviceDataLoader(batches(), "cpu")
    next(iter(loader))
    for _ in loader:
        break
    assert len(list(loader)) == 3


def test_the_loaders_error_is_not_swallowed() -> None:
    def broken() -> Iterator[Any]:
        yield batches()[0]
        raise KeyError("boom")

    passed = iter(DeviceDataLoader(broken(), "cpu"))
    next(passed)
    with pytest.raises(KeyError, match="boom"):
        next(passed)


# --- epochs and draws ---------------------------------------------------------------------------


def test_draws_follow_from_seed_epoch_and_position() -> None:
    def loader(seed: int = 0) -> DeviceDataLoader:
        return DeviceDataLoader(batches(), "cpu", augment=noise, seed=seed)

    ours = loader()
    first, second = drawn(ours), drawn(ours)
    again = loader()
    assert torch.equal(drawn(again), first)
    assert torch.equal(drawn(again), second)
    assert not torch.equal(first, second)
    assert not torch.equal(drawn(loader(seed=1)), first)
    again.set_epoch(0)
    assert again.epoch == 0
    assert torch.equal(drawn(again), first)
    assert again.epoch == 1
    fresh = loader()
    fresh.set_epoch(1)
    assert torch.equal(drawn(fresh), second)
    same = [(batches(1)[0]) for _ in range(3)]
    parts = [images for images, _ in DeviceDataLoader(same, "cpu", augment=noise)]
    assert not torch.equal(parts[0], parts[1])


def test_draws_of_a_batch_do_not_hang_on_the_ones_before() -> None:
    def greedy(images: Tensor, generator: torch.Generator) -> Tensor:
        torch.rand(len(images) * 100, generator=generator)
        return noise(images, generator)

    def of_third(sizes: list[int]) -> Tensor:
        given = [(uint8(size, 1, 2, 2), torch.zeros(size)) for size in sizes]
        return list(DeviceDataLoader(given, "cpu", augment=greedy))[2][0]

    assert torch.equal(of_third([4, 4, 3]), of_third([1, 9, 3]))


def test_the_global_random_state_is_neither_read_nor_written() -> None:
    before = random_states()
    first = drawn(DeviceDataLoader(batches(), "cpu", augment=noise))
    assert random_states() == before
    torch.rand(7)
    assert torch.equal(drawn(DeviceDataLoader(batches(), "cpu", augment=noise)), first)


def test_epochs_reach_a_distributed_sampler() -> None:
    data = TensorDataset(uint8(20, 1, 5, 6), torch.arange(20))
    sampler: DistributedSampler[Any] = DistributedSampler(data, num_replicas=2, rank=1, seed=3)
    loader = DeviceDataLoader(DataLoader(data, 4, sampler=sampler), "cpu")
    order = [torch.cat([labels for _, labels in loader]).tolist() for _ in range(3)]
    wanted = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        wanted.append(list(sampler))
    assert order == wanted
    assert order[0] != order[1]


class Heard:
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_epochs_reach_the_loader_and_a_batch_sampler() -> None:
    class Loader(Heard):
        def __iter__(self) -> Iterator[Any]:
            return iter(batches(1))

    class Batches(BatchSampler, Heard):
        def __init__(self) -> None:
            BatchSampler.__init__(self, SequentialSampler(range(4)), 2, drop_last=False)
            Heard.__init__(self)

    own, sampler = Loader(), Batches()
    data = TensorDataset(uint8(4, 1, 5, 6), torch.arange(4))
    for loader in (
        DeviceDataLoader(own, "cpu"),
        DeviceDataLoader(DataLoader(data, batch_sampler=sampler), "cpu"),
    ):
        list(loader)
        loader.set_epoch(5)
        list(loader)
        list(loader)
    assert own.epochs == sampler.epochs == [0, 5, 6]


# --- an accelerator -----------------------------------------------------------------------------


class Levels(Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 64, 64), index, dtype=torch.uint8), index


class TestCuda:
    pytestmark = gpu

    @pytest.mark.parametrize("augment", [(), (noise,)], ids=["plain", "augmented"])
    @pytest.mark.parametrize("size", [1, 7, 40])
    def test_batches_equal_those_of_the_cpu(self, size: int, augment: Any) -> None:
        preprocess = Preprocess(64, "RGB", (0.5,) * 3, (0.25,) * 3)

        def loader(device: str) -> DeviceDataLoader:
            source: DataLoader[Any] = DataLoader(Levels(), size)
            return DeviceDataLoader(source, device, preprocess=preprocess, augment=augment)

        weight = torch.rand(4096, 4096, device="cuda")
        got = []
        for images, labels in loader("cuda"):
            assert images.is_cuda
            assert labels.is_cuda
            for _ in range(5):  # keeps the stream busy, so that a missing wait would show
                weight = (weight @ weight).clamp(0, 1)
            got.append((images.clone(), labels.clone()))
            images.zero_()  # must not reach the batch that is being copied
            labels.zero_()
        wanted = list(loader("cpu"))
        assert len(got) == len(wanted)
        for (images, labels), (wanted_images, wanted_labels) in zip(got, wanted, strict=True):
            torch.testing.assert_close(images.cpu(), wanted_images, atol=1e-6, rtol=0)
            assert torch.equal(labels.cpu(), wanted_labels)

    def test_coming_back_to_the_cpu_waits(self) -> None:
        weight = torch.rand(4096, 4096, device="cuda")
        for _ in range(20):
            weight = (weight @ weight).clamp(0, 1)
        big = weight.expand(8, -1, -1).contiguous()
        wanted = big.sum().item()
        for _ in range(20):
            weight = (weight @ weight).clamp(0, 1)
        assert to_device({"x": big}, "cpu")["x"].sum().item() == pytest.approx(wanted, rel=1e-4)
        ((images, _),) = DeviceDataLoader([(big, torch.zeros(8, device="cuda"))], "cpu")
        assert images.device.type == "cpu"
        assert images.sum().item() == pytest.approx(wanted, rel=1e-4)

    def test_batches_that_lie_there_already_stay(self) -> None:
        features = torch.rand(4, 3, device="cuda")
        ((images, labels),) = DeviceDataLoader([(features, torch.zeros(4))], "cuda")
        assert images.data_ptr() == features.data_ptr()
        assert labels.is_cuda

    def test_leaving_early_and_errors(self) -> None:
        loader = DeviceDataLoader(batches(5), "cuda")
        next(iter(loader))
        assert len(list(loader)) == 5
        with pytest.raises(DataError, match="received tuple of 1 parts"):
            list(DeviceDataLoader([(torch.zeros(2),)], "cuda"))
        assert list(DeviceDataLoader([], "cuda")) == []


ON_FAKE_ACCELERATOR = """
import torch
import fake_accelerator
from cnnkit.data import ArrayDataset, Preprocess, make_loader
from cnnkit.device import DeviceDataLoader, default_device, to_device

assert default_device().type == "fakegpu", default_device()
images = torch.arange(240, dtype=torch.uint8).reshape(8, 1, 5, 6)
labels = torch.arange(8)
half = Preprocess((5, 6), "L", (0.5,), (0.25,))

def noise(images, generator):
    return images + torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)

ds = ArrayDataset(images, labels)
assert Preprocess.fit(ds.to("fakegpu")) == Preprocess.fit(ds)
for options in ({}, {"preprocess": half}, {"preprocess": half, "augment": noise}):
    wanted = list(make_loader(ds, 3, shuffle=True, device="cpu", **options))
    for held in (ds, ds.to("fakegpu"), ds.to("fakegpu").subset(range(8))):
        got = list(make_loader(held, 3, shuffle=True, **options))
        assert len(got) == len(wanted)
        for (images, labels), (wanted_images, wanted_labels) in zip(got, wanted):
            assert images.device.type == labels.device.type == "fakegpu"
            assert torch.equal(images.cpu(), wanted_images)
            assert torch.equal(labels.cpu(), wanted_labels)
assert to_device({"x": [images]}, "cpu")["x"][0].device.type == "cpu"
assert to_device(torch.nn.Linear(2, 2), "fakegpu").weight.device.type == "fakegpu"
try:
    images + torch.ones(images.shape)
except RuntimeError as error:
    assert "meets" in str(error)
else:
    raise AssertionError("the fake accelerator lets everything meet")
"""


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no backend written in Python",
)
def test_an_accelerator_is_found_and_everything_meets_there() -> None:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_FAKE_ACCELERATOR],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
