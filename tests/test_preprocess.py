"""`Preprocess` against float64 arithmetic in numpy."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.models import ResNet18_Weights

from cnnkit import _pixels
from cnnkit._pixels import VALUES_AT_ONCE, from_uint8
from cnnkit.data import ArrayDataset, ImageFolder
from cnnkit.errors import ArgumentError, DataError, ImageReadError, NotFoundError
from cnnkit.preprocess import Preprocess, as_image_size

HALF = Preprocess(4, "L", (0.5,), (0.25,))
COLOUR = Preprocess((5, 7), "RGB", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def uint8(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def reference(images: Tensor, preprocess: Preprocess) -> np.ndarray[Any, Any]:
    levels = images.double().numpy() / (255 if images.dtype == torch.uint8 else 1)
    mean = np.array(preprocess.mean).reshape(-1, 1, 1)
    std = np.array(preprocess.std).reshape(-1, 1, 1)
    return np.asarray((levels - mean) / std)


# --- arguments ----------------------------------------------------------------------------------


def test_image_size_is_an_int_or_height_and_width() -> None:
    assert as_image_size(3) == (3, 3)
    assert as_image_size((3, 5)) == (3, 5)
    assert as_image_size([3, 5]) == (3, 5)  # type: ignore[arg-type]
    assert as_image_size(torch.zeros(3, 5).shape) == (3, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -3, 28.0, "28", None, True, (3,), (0, 3), (3, 4, 5), (3.0, 4)])
def test_another_image_size_is_an_error(size: Any) -> None:
    with pytest.raises(ArgumentError, match="positive int or a pair") as caught:
        as_image_size(size)
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "CMYK"}, r"mode must be one of \('L', 'RGB', 'RGBA'\), received 'CMYK'"),
        ({"resize": "squash"}, r"resize must be one of \('stretch', 'crop', 'pad'\).*'squash'"),
        ({"interpolation": "cubic"}, r"interpolation must be one of .*'bicubic'.*'cubic'"),
        ({"mean": (0.5,)}, r"3 for mode 'RGB', received mean=\(0.5,\)"),
        ({"std": (0.5,) * 4}, r"3 for mode 'RGB'.*std=\(0.5, 0.5, 0.5, 0.5\)"),
        ({"std": (0.5, 0.0, 1)}, r"std must be positive .*\(0.5, 0.0, 1.0\)"),
        ({"std": (0.5, -1, 1)}, "std must be positive"),
        ({"std": (0.5, float("nan"), 1)}, "std must be positive"),
        ({"image_size": 0}, "image_size must be a positive int"),
    ],
)
def test_arguments_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(COLOUR, **changes)


def test_it_is_a_value() -> None:
    same = Preprocess([5, 7], "RGB", [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])  # type: ignore[arg-type]
    assert same == COLOUR
    assert hash(same) == hash(COLOUR)
    assert pickle.loads(pickle.dumps(COLOUR)) == COLOUR
    assert copy.deepcopy(COLOUR) == COLOUR
    assert COLOUR != HALF
    with pytest.raises(dataclasses.FrozenInstanceError):
        COLOUR.resize = "pad"  # type: ignore[misc]


def test_image_shape_has_the_channels_of_the_mode() -> None:
    assert HALF.image_shape == (1, 4, 4)
    assert COLOUR.image_shape == (3, 5, 7)
    assert Preprocess.of_mode(2, "RGBA").image_shape == (4, 2, 2)
    assert Preprocess.of_shape((5, 2, 3)).image_shape == (5, 2, 3)
    assert Preprocess.of_shape((5, 2, 3)).mode is None
    assert Preprocess.of_shape((3, 2, 3)).mode == "RGB"
    assert COLOUR.with_size(9) == dataclasses.replace(COLOUR, image_size=(9, 9))


# --- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (1, 3, 5, 7), (4, 3, 5, 7), (2, 3, 3, 5, 7), (5200, 3, 5, 7), (0, 3, 5, 7)]
)
def test_uint8_is_scaled_and_normalised(shape: tuple[int, ...]) -> None:
    images = uint8(*shape)
    before = images.clone()
    got = COLOUR(images)
    assert got.dtype == torch.float32
    assert torch.equal(images, before)
    np.testing.assert_allclose(got.numpy(), reference(images, COLOUR), atol=2e-6)


@pytest.mark.parametrize("preprocess", [COLOUR, COLOUR.scale_only], ids=["normalised", "scaled"])
def test_a_big_batch_gives_the_bits_of_small_ones(preprocess: Preprocess) -> None:
    images = uint8(6000, 3, 5, 7)
    assert images.numel() > VALUES_AT_ONCE  # several parts
    small = torch.cat([preprocess(part) for part in images.split(7)])
    assert torch.equal(preprocess(images), small)
    assert torch.equal(preprocess(images)[13], preprocess(images[13]))


# Many small images, images larger than a piece, and rows that are larger than one.
@pytest.mark.parametrize("shape", [(900, 3, 5, 7), (5, 3, 150, 110), (2, 3, 6, 20_000)])
@pytest.mark.parametrize("preprocess", [COLOUR, COLOUR.scale_only], ids=["normalised", "scaled"])
def test_one_thread_gives_the_bits_of_many(preprocess: Preprocess, shape: tuple[int, ...]) -> None:
    preprocess = preprocess.with_size((shape[2], shape[3]))
    images = uint8(*shape)
    assert images.numel() > 1 << 15  # several pieces
    before = images.clone()
    wanted = preprocess(images)
    assert torch.equal(preprocess(images, one_thread=True), wanted)
    assert torch.equal(images, before)
    swapped = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last
    assert torch.equal(preprocess(swapped, one_thread=True), wanted)
    floats = torch.rand(2, *shape[1:])
    assert torch.equal(preprocess(floats, one_thread=True), preprocess(floats))


@pytest.mark.parametrize("shape", [(900, 3, 5, 7), (5, 3, 150, 110), (7, 1, 300, 200)])
def test_one_thread_is_given_pieces_that_torch_does_not_share_out(shape: tuple[int, ...]) -> None:
    images = uint8(*shape)
    pieces: list[torch.Tensor] = []

    def finish(piece: torch.Tensor) -> torch.Tensor:
        pieces.append(piece)
        return piece.div_(255)

    got = from_uint8(images, finish, one_thread=True)
    np.testing.assert_array_equal(got.numpy(), images.numpy() / np.float32(255))
    assert len(pieces) > 1
    assert max(piece.numel() for piece in pieces) <= 1 << 15  # torch: at::internal::GRAIN_SIZE
    assert sum(piece.numel() for piece in pieces) == images.numel()
    # An image larger than that is divided by its rows, so that channels stay together.
    assert all(piece.shape[1] == shape[1] and piece.shape[3] == shape[3] for piece in pieces)


def test_few_large_images_are_held_while_they_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[int] = []

    class Large(ArrayDataset):
        def get_batch(self, positions: Any) -> tuple[Tensor, Tensor]:
            held.append(len(positions))
            return super().get_batch(positions)

    ds = Large(uint8(90, 3, 20, 20), [0, 1] * 45)
    whole = Preprocess.fit(ds)
    assert held == [90]
    monkeypatch.setattr(_pixels, "_VALUES_IN_MEMORY", 12_000)
    assert Preprocess.fit(ds) == whole
    assert held[1:] == [max(10, torch.get_num_threads())] * 9


def test_images_need_not_be_contiguous() -> None:
    images = uint8(6, 5, 7, 3).permute(0, 3, 1, 2)[::2]
    assert torch.equal(COLOUR(images), COLOUR(images.contiguous()))


def test_float_images_are_not_scaled() -> None:
    images = torch.rand(4, 3, 5, 7)
    before = images.clone()
    np.testing.assert_allclose(COLOUR(images).numpy(), reference(images, COLOUR), atol=1e-6)
    assert torch.equal(COLOUR(images), COLOUR.normalise(images))
    assert torch.equal(images, before)


def test_without_normalisation_pixels_are_scaled_only() -> None:
    images = uint8(4, 3, 5, 7)
    plain = COLOUR.scale_only
    assert not plain.normalises
    assert COLOUR.normalises
    assert torch.equal(plain(images), images / 255)
    assert (plain.image_size, plain.mode, plain.resize) == ((5, 7), "RGB", "stretch")


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 5, 7), (2, 4, 5, 7), (5, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_another_shape_is_an_error(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(DataError, match=r"\(3, 5, 7\), received \(") as caught:
        COLOUR(torch.zeros(shape, dtype=dtype))
    assert str(tuple(shape[-3:])) in str(caught.value)
    with pytest.raises(DataError, match=r"\(3, 5, 7\)"):  # also where nothing is to be computed
        COLOUR.scale_only(torch.zeros(shape, dtype=dtype))


def test_denormalise_is_the_inverse() -> None:
    images = uint8(4, 3, 5, 7)
    back = COLOUR.denormalise(COLOUR(images))
    assert torch.equal((back * 255).round().to(torch.uint8), images)
    assert COLOUR.denormalise(torch.full((3, 5, 7), 99.0)).max() == 1
    assert COLOUR.denormalise(torch.full((3, 5, 7), -99.0)).min() == 0


def test_gradients_flow_also_after_a_first_use_in_inference_mode() -> None:
    preprocess = Preprocess(3, "L", (0.123,), (0.456,))
    with torch.inference_mode():
        preprocess(uint8(1, 3, 3))
        preprocess.denormalise(torch.zeros(1, 3, 3))
    images = torch.rand(2, 1, 3, 3, requires_grad=True)
    preprocess(images).sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, torch.full_like(images, 1 / 0.456))


# --- measuring ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(1, 40),
    channels=st.sampled_from([1, 2, 3, 4, 5]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_fit_measures_mean_and_std(
    number: int, channels: int, height: int, width: int, seed: int
) -> None:
    images = uint8(number, channels, height, width, seed=seed)
    fitted = Preprocess.fit(ArrayDataset(images, [0] * number))
    levels = images.double().numpy() / 255
    std = levels.std(axis=(0, 2, 3))
    np.testing.assert_allclose(fitted.mean, levels.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(fitted.std, np.where(std > 1e-9, std, 1), atol=1e-12)


def test_fit_reads_in_parts_and_only_its_own_part() -> None:
    images = uint8(600, 3, 4, 4)
    images[300:] //= 4
    whole = ArrayDataset(images, [0] * 600)
    part = whole.subset(range(0, 300, 2))
    assert Preprocess.fit(whole).mean != Preprocess.fit(part).mean
    wanted = Preprocess.fit(ArrayDataset(images[:300:2], [0] * 150))
    assert Preprocess.fit(part) == wanted
    normalised = wanted(part.images)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    deviation = normalised.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0, 3, 15, 77, 200, 255])
@pytest.mark.parametrize("number", [1, 10, 49])
def test_a_constant_channel_gets_the_std_one(level: int, number: int) -> None:
    images = torch.full((number, 1, 7, 9), level, dtype=torch.uint8)
    fitted = Preprocess.fit(ArrayDataset(images, [0] * number))
    assert fitted.std == (1.0,)
    assert fitted.mean == pytest.approx((level / 255,))
    assert fitted(images).abs().max() < 1e-6


def test_fit_of_float_features_or_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match=r"uint8 images.*received ArrayDataset.*preprocess=None"):
        Preprocess.fit(ArrayDataset(torch.rand(3, 1, 2, 2), [0, 0, 0]))
    empty = ArrayDataset(uint8(3, 1, 2, 2), [0, 0, 0]).subset([])
    with pytest.raises(DataError, match="without images"):
        Preprocess.fit(empty)


def test_fit_of_a_folder_keeps_how_it_reads(tmp_path: Path) -> None:
    for number in range(3):
        file = tmp_path / "a" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(uint8(8, 12, 3, seed=number).numpy()).save(file)
    options: dict[str, Any] = {"resize": "crop", "interpolation": "bicubic", "exact_decode": True}
    ds = ImageFolder(tmp_path, image_size=(4, 6), mode="L", **options)
    fitted = Preprocess.fit(ds)
    levels = torch.stack([image for image, _ in [ds[0], ds[1], ds[2]]]).double() / 255
    assert fitted.mean[0] == pytest.approx(levels.mean().item())
    assert fitted.std[0] == pytest.approx(levels.std(correction=0).item())
    assert dataclasses.replace(fitted, mean=(0,), std=(1,)) == ds.preprocess
    assert fitted.to_dict().items() >= options.items()
    with pytest.raises(DataError, match="without a transform"):
        Preprocess.fit(ImageFolder(tmp_path, image_size=4, transform=lambda image: image))


def test_imagenet_is_what_torchvisions_weights_were_trained_with() -> None:
    theirs = ResNet18_Weights.DEFAULT.transforms()
    ours = Preprocess.imagenet()
    assert list(ours.mean) == theirs.mean
    assert list(ours.std) == theirs.std
    assert ours.image_size == (224, 224)
    assert ours.resize == "crop"
    assert Preprocess.imagenet(96).image_size == (96, 96)


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_read_gives_uint8_at_the_size(mode: Any, tmp_path: Path) -> None:
    preprocess = Preprocess.of_mode((4, 6), mode, resize="pad", interpolation="nearest")
    image = Image.new("RGB", (12, 6), (10, 20, 30))
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image):
        got = preprocess.read(source)
        assert got.dtype == torch.uint8
        assert got.shape == preprocess.image_shape
        assert got[:3, :3].unique().tolist() == ([18] if mode == "L" else [10, 20, 30])
        assert not got[:, 3].any()  # padded


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no image format"):
        HALF.read(b"abc")
    with pytest.raises(NotFoundError, match=r"no\.png"):
        HALF.read(tmp_path / "no.png")
    with pytest.raises(ArgumentError, match=r"5 channels .*shape \(5, 2, 3\)"):
        Preprocess.of_shape((5, 2, 3)).read(Image.new("L", (3, 2)))


# --- saving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "preprocess", [COLOUR, Preprocess.imagenet(), Preprocess.of_shape((5, 2, 3))], ids=repr
)
def test_to_dict_survives_json(preprocess: Preprocess) -> None:
    saved = json.loads(json.dumps(preprocess.to_dict()))
    assert Preprocess.from_dict(saved) == preprocess


@pytest.mark.parametrize("key", COLOUR.to_dict())
def test_from_dict_misses_nothing(key: str) -> None:
    saved = COLOUR.to_dict()
    del saved[key]
    with pytest.raises(ArgumentError, match=key):
        Preprocess.from_dict(saved)


@pytest.mark.parametrize(
    "changes",
    [{"image_size": [1, 2, 3]}, {"image_size": 5}, {"mean": 3}, {"mean": "abc"}, {"mode": "X"}],
)
def test_from_dict_of_something_else_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        Preprocess.from_dict(COLOUR.to_dict() | changes)
