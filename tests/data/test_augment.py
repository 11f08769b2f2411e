"""Augmentations against torchvision's per-sample functions, and what they promise of draws."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
import torchvision.transforms as tv
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from cnnkit.data import augment
from cnnkit.data.augment import _common
from cnnkit.errors import ArgumentError, DataError

tvf: Any = functional  # typed more narrowly than it behaves
BILINEAR, NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST

ALL: list[Any] = [
    augment.RandomFlip(),
    augment.RandomFlip(0.7, vertical=True),
    augment.RandomTranslate(3),
    augment.RandomTranslate(3, padding="reflect"),
    augment.RandomTranslate(3, padding="edge"),
    augment.RandomCrop(padding=2),
    augment.RandomCrop((7, 5), padding=1, padding_mode="reflect"),
    augment.RandomResizedCrop(),
    augment.RandomResizedCrop((6, 5)),
    augment.RandomResizedCrop((20, 5)),
    augment.RandomRotate(30),
    augment.RandomRotate((-200, 90), padding="reflect"),
    augment.RandomRotate(30, padding="edge"),
    augment.RandomShear(20),
    augment.RandomShear((5, 30), axis="xy", padding="reflect"),
    augment.Cutout(4),
    augment.Cutout((3, 5), fill=0.5),
    augment.ColorJitter(0.4, 0.4, 0.4, 0.2),
    augment.GaussianNoise(0.1),
]
each = pytest.mark.parametrize("augmentation", ALL, ids=repr)


def images_of(
    n: int = 6, channels: int = 3, height: int = 12, width: int = 9, seed: int = 0, **kwargs: Any
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, height, width, generator=generator).to(**kwargs)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Sharded(torch.Generator):
    """What a loader passes when several processes share one batch."""

    shard: tuple[int, int] | None = None


def sharded(seed: int, start: int, total: int) -> Sharded:
    generator = Sharded()
    generator.manual_seed(seed)
    generator.shard = (start, total)
    return generator


# What every augmentation promises


@each
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str
)
def test_shape_dtype_and_range(augmentation: Any, dtype: torch.dtype) -> None:
    images = images_of(dtype=dtype)
    images[0], images[1] = 1, 0
    before = images.clone()
    result = augmentation(images, seeded())
    size = getattr(augmentation, "size", None)
    side = size if isinstance(size, tuple) and "Crop" in repr(augmentation) else (12, 9)
    assert result.shape == (6, 3, *side)
    assert result.dtype == dtype
    assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(images, before)
    assert torch.isfinite(result).all()


@each
def test_the_seed_and_nothing_else_decides(augmentation: Any) -> None:
    images = images_of()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = augmentation(images, seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(augmentation(images, seeded(1)), first)
    assert not torch.equal(augmentation(images, seeded(2)), first)


@each
def test_equal_images_get_draws_of_their_own(augmentation: Any) -> None:
    same = images_of(1).expand(32, -1, -1, -1)
    result = augmentation(same, seeded())
    assert len(result.flatten(1).unique(dim=0)) > 1


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_draws_do_not_depend_on_the_dtype(augmentation: Any, dtype: torch.dtype) -> None:
    tolerance = 1e-5 if dtype == torch.float64 else 0.02
    result = augmentation(images_of(), seeded(3)).double()
    other = augmentation(images_of(dtype=dtype), seeded(3)).double()
    torch.testing.assert_close(other, result, rtol=0, atol=tolerance)


@each
def test_torch_defaults_do_not_matter(augmentation: Any) -> None:
    expected = augmentation(images_of(), seeded(3))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            result = augmentation(IMAGES, seeded(3))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(result, expected)


IMAGES = images_of()


@each
def test_shards_of_a_batch_are_augmented_as_the_whole(augmentation: Any) -> None:
    images = images_of(7)
    whole = augmentation(images, seeded(4))
    parts = [
        augmentation(images[a:b], sharded(4, a, 7)) for a, b in ((0, 3), (3, 4), (4, 4), (4, 7))
    ]
    assert torch.equal(torch.cat(parts), whole)
    first, second = seeded(4), sharded(4, 2, 7)
    augmentation(images, first)
    augmentation(images[2:5], second)
    assert torch.equal(first.get_state(), second.get_state())  # the next one agrees as well


@each
def test_runs_without_data(augmentation: Any) -> None:
    # The meta device has no values: an item() or an index of unknown length would raise.
    images = images_of()
    result = augmentation(images.to("meta"), seeded())
    assert result.shape == augmentation(images, seeded()).shape
    assert result.device.type == "meta"


@each
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_memory_layout_does_not_matter(augmentation: Any, channels: int) -> None:
    images = images_of(4, channels, 10, 10)
    expected = augmentation(images, seeded())
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(augmentation(last, seeded()), expected, rtol=0, atol=1e-6)
    transposed = images.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(augmentation(transposed, seeded()), expected, rtol=0, atol=1e-6)


@each
def test_an_empty_batch_stays_empty(augmentation: Any) -> None:
    assert len(augmentation(images_of(0), seeded())) == 0


@each
def test_pickle_repr_and_equality(augmentation: Any) -> None:
    again = pickle.loads(pickle.dumps(augmentation))
    assert again == augmentation
    assert hash(again) == hash(augmentation)
    assert eval(repr(augmentation), dict(vars(augment))) == augmentation
    with pytest.raises(AttributeError):
        augmentation.p = 1


@each
def test_refuses_what_is_no_batch_of_floats(augmentation: Any) -> None:
    with pytest.raises(DataError, match=r"torch.uint8 of shape \(2, 3, 4, 4\).*divide"):
        augmentation(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), seeded())
    with pytest.raises(DataError, match=r"shape \(3, 4, 4\).*images\[None\]"):
        augmentation(torch.zeros(3, 4, 4), seeded())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each
def test_on_cuda_as_on_cpu_and_without_waiting(augmentation: Any) -> None:
    images = images_of(16)
    expected = augmentation(images, seeded())
    moved = images.cuda()
    augmentation(moved, seeded())  # the first use of a kernel loads it, which waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = augmentation(moved, seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-5)


# Against torchvision


@pytest.mark.parametrize(("vertical", "flip"), [(False, tvf.hflip), (True, tvf.vflip)])
def test_flip(vertical: bool, flip: Any) -> None:
    images = images_of(4000, 1, 2, 3)
    result = augment.RandomFlip(0.3, vertical=vertical)(images, seeded())
    flipped = (result == flip(images)).all(dim=(1, 2, 3))
    assert torch.equal(result[~flipped], images[~flipped])
    assert abs(float(flipped.double().mean()) - 0.3) < 4 * math.sqrt(0.21 / 4000)
    assert torch.equal(augment.RandomFlip(1, vertical=vertical)(images, seeded()), flip(images))
    assert torch.equal(augment.RandomFlip(0, vertical=vertical)(images, seeded()), images)


PADDINGS = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def offsets_of(result: Tensor, images: Tensor, pixels: int, padding: str) -> Tensor:
    """Which crop of the image that torchvision padded each result is: (N, 2)."""
    height, width = result.shape[-2:]
    padded = tvf.pad(images, pixels, padding_mode=PADDINGS[padding])
    found = torch.full((len(images), 2), -1)
    for top in range(padded.shape[2] - height + 1):
        for left in range(padded.shape[3] - width + 1):
            crop = tvf.crop(padded, top, left, height, width)
            found[(crop == result).all(dim=(1, 2, 3))] = torch.tensor([top, left])
    assert (found >= 0).all(), "some result is no crop of its image"
    return found


def assert_uniform(offsets: Tensor, count: int) -> None:
    n = len(offsets)
    counts = torch.bincount(offsets.flatten(), minlength=count)
    assert len(counts) == count
    expected = offsets.numel() / count
    assert float(((counts - expected) ** 2 / expected).sum()) < 5 * count  # chi-squared
    if offsets.ndim == 2:
        pairs = offsets.double()
        assert abs(float(torch.corrcoef(pairs.T)[0, 1])) < 4 / math.sqrt(n)
        assert abs(float(torch.corrcoef(torch.stack([pairs[1:, 0], pairs[:-1, 0]]))[0, 1])) < 0.1


@pytest.mark.parametrize("padding", ["zeros", "reflect", "edge"])
def test_translate(padding: Any) -> None:
    images = images_of(2000, 2, 5, 6)
    result = augment.RandomTranslate(3, padding=padding)(images, seeded())
    assert_uniform(offsets_of(result, images, 3, padding), 7)


def test_translate_as_affine() -> None:
    images = images_of(40)
    result = augment.RandomTranslate(2)(images, seeded())
    for (top, left), image, shifted in zip(
        offsets_of(result, images, 2, "zeros").tolist(), images, result, strict=True
    ):
        expected = tvf.affine(image, 0, [2 - left, 2 - top], 1, [0.0])
        assert torch.equal(shifted, expected)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "edge"])
def test_crop(padding_mode: Any) -> None:
    images = images_of(2000, 1, 6, 6)
    crop = augment.RandomCrop(5, padding=2, padding_mode=padding_mode)
    assert_uniform(offsets_of(crop(images, seeded()), images, 2, padding_mode), 6)


def test_crop_of_unequal_sides() -> None:
    images = images_of(500, 1, 5, 9)
    offsets = offsets_of(augment.RandomCrop((4, 3))(images, seeded()), images, 0, "zeros")
    assert offsets[:, 0].unique().tolist() == [0, 1]
    assert offsets[:, 1].unique().tolist() == list(range(7))
    assert torch.equal(augment.RandomCrop()(images, seeded()), images)


@pytest.mark.parametrize("shape", [(12, 9), (8, 8), (1, 7)])
@pytest.mark.parametrize("angle", [-170.0, -30.0, 0.0, 12.5, 90.0])
def test_rotate(shape: tuple[int, int], angle: float) -> None:
    images = images_of(3, 2, *shape)
    result = augment.RandomRotate((angle, angle))(images, seeded())
    expected = torch.stack([tvf.rotate(image, angle, BILINEAR) for image in images])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 9), (8, 8), (1, 7)])
@pytest.mark.parametrize("angle", [-170.3, -31.7, 0.0, 12.5])  # no place between two pixels
def test_the_nearest_pixels(shape: tuple[int, int], angle: float) -> None:
    images = images_of(3, 2, *shape)
    rotate = augment.RandomRotate((angle, angle), interpolation="nearest")
    expected = torch.stack([tvf.rotate(image, angle, NEAREST) for image in images])
    assert torch.equal(rotate(images, seeded()), expected)
    tilt = angle / 4
    shear = augment.RandomShear((tilt, tilt), interpolation="nearest")
    expected = torch.stack([tvf.affine(i, 0, [0, 0], 1, [tilt, 0.0], NEAREST) for i in images])
    assert torch.equal(shear(images, seeded()), expected)


@pytest.mark.parametrize("angle", [-40.0, 0.0, 25.0])
@pytest.mark.parametrize("axis", ["x", "y", "xy"])
def test_shear(axis: Any, angle: float) -> None:
    images = images_of(3, 2)
    result = augment.RandomShear((angle, angle), axis=axis)(images, seeded())
    shear = [angle * ("x" in axis), angle * ("y" in axis)]
    expected = torch.stack([tvf.affine(i, 0, [0, 0], 1, shear, BILINEAR) for i in images])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("edge", "edge")])
def test_rotate_and_shear_see_the_padded_image(padding: Any, mode: str) -> None:
    images = images_of(3, 2, 11, 8)
    padded = tvf.pad(images, 7, padding_mode=mode)
    expected = tvf.rotate(padded, 20, BILINEAR)[..., 7:-7, 7:-7]
    result = augment.RandomRotate((20, 20), padding=padding)(images, seeded())
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    expected = tvf.affine(padded, 0, [0, 0], 1, [20.0, 0.0], BILINEAR)[..., 7:-7, 7:-7]
    result = augment.RandomShear((20, 20), padding=padding)(images, seeded())
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_angles_are_uniform_and_independent() -> None:
    # A bright pixel far from the centre says by how much its image was turned.
    images = torch.zeros(3000, 1, 41, 41)
    images[:, :, 19:22, 36:39] = 1
    result = augment.RandomRotate((-60, 30))(images, seeded())[:, 0]
    places = torch.arange(41.0) - 20
    x, y = (result.sum(1) * places).sum(1), (result.sum(2) * places).sum(1)
    degrees = torch.rad2deg(torch.atan2(-y, x))  # rows count downwards
    assert -60.5 < float(degrees.min()) < -59
    assert 29 < float(degrees.max()) < 30.5
    assert_uniform(((degrees + 60) / 9).clamp(0, 9.99).long(), 10)


@pytest.mark.parametrize("size", [None, (12, 9), (30, 40), (5, 4), (6, 30), 7])
def test_resized_crop(size: Any) -> None:
    images = images_of(40)
    crop = augment.RandomResizedCrop(size)
    boxes = crop._boxes(torch.rand(40, 22, generator=seeded(1)), 12, 9).tolist()
    height, width = (12, 9) if size is None else (size, size) if isinstance(size, int) else size
    expected = [
        tvf.resized_crop(image, *box, [height, width], BILINEAR, antialias=True)
        for image, box in zip(images, boxes, strict=True)
    ]
    result = crop(images, seeded(1))
    torch.testing.assert_close(result, torch.stack(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "scale", "ratio"),
    [
        ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((20, 60), (0.5, 1.0), (3 / 4, 4 / 3)),  # most boxes do not fit
        ((60, 20), (0.99, 1.0), (3 / 4, 4 / 3)),  # none does: the centre
        ((20, 60), (0.99, 1.0), (3 / 4, 4 / 3)),
        ((30, 30), (0.2, 0.2), (1.0, 1.0)),
    ],
)
def test_boxes_are_drawn_as_by_torchvision(shape: Any, scale: Any, ratio: Any) -> None:
    crop = augment.RandomResizedCrop(scale=scale, ratio=ratio)
    boxes = crop._boxes(torch.rand(2000, 22, generator=seeded()), *shape).double()
    image = torch.empty(1, *shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.tensor(
            [tv.RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(2000)]
        ).double()
    levels = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], dtype=torch.float64)
    for column in range(4):
        ours_at, theirs_at = (torch.quantile(b[:, column], levels) for b in (boxes, theirs))
        torch.testing.assert_close(ours_at, theirs_at, rtol=0, atol=2.0)
    assert ((boxes[:, :2] >= 0) & (boxes[:, 2:] >= 1)).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor(shape)).all()


@pytest.mark.parametrize("size", [4, 3, (2, 5), 40])
def test_cutout(size: Any) -> None:
    images = images_of(1500, 2, 8, 8).clamp(min=0.01)
    cut = augment.Cutout(size)(images, seeded())
    height, width = (size, size) if isinstance(size, int) else size
    centres = torch.full((1500, 2), -1)
    for row in range(8):
        for column in range(8):
            top, left = row - height // 2, column - width // 2
            bottom, right = top + height, left + width
            top, left = max(top, 0), max(left, 0)
            expected = tvf.erase(images, top, left, bottom - top, right - left, torch.zeros(()))
            centres[(expected == cut).all(dim=(1, 2, 3))] = torch.tensor([row, column])
    assert (centres >= 0).all()
    if size != 40:
        assert_uniform(centres, 8)
    assert float(augment.Cutout(40, fill=0.25)(images, seeded()).unique()) == 0.25


JITTERS = {
    "brightness": tvf.adjust_brightness,
    "contrast": tvf.adjust_contrast,
    "saturation": tvf.adjust_saturation,
    "hue": tvf.adjust_hue,
}


@pytest.mark.parametrize("name", JITTERS)
@pytest.mark.parametrize("amount", [-0.5, -0.3, 0.0, 0.01, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jitter_of_one_kind(name: str, amount: float, channels: int) -> None:
    if name == "hue":
        amount = min(amount, 0.5)
    amount = amount if name == "hue" else abs(amount)
    images = images_of(5, channels)
    images[0, :3] = 0.4  # grey has no hue
    images[1, :3, :6] = images[1, 0, :6].clone()
    images[2] = (images[2] * 2).round() / 2  # equal maxima in two channels
    result = augment.ColorJitter(**{name: (amount, amount)})(images, seeded())
    expected = torch.stack([JITTERS[name](image[:3], amount) for image in images])
    torch.testing.assert_close(result[:, :3], expected, rtol=0, atol=1e-5)
    assert torch.equal(result[:, 3:], images[:, 3:])


def test_jitter_in_its_order() -> None:
    jitter = augment.ColorJitter((0.8, 0.8), (1.3, 1.3), (0.6, 0.6), (0.1, 0.1))
    images = images_of(3)
    expected = tvf.adjust_contrast(tvf.adjust_brightness(images, 0.8), 1.3)
    expected = tvf.adjust_hue(tvf.adjust_saturation(expected, 0.6), 0.1)
    torch.testing.assert_close(jitter(images, seeded()), expected, rtol=0, atol=1e-5)


def test_jitter_draws_a_factor_a_sample() -> None:
    images = torch.full((3000, 1, 2, 2), 0.4)
    factors = augment.ColorJitter(0.5)(images, seeded())[:, 0, 0, 0] / 0.4
    assert 0.5 - 1e-6 <= float(factors.min()) < 0.51
    assert 1.49 < float(factors.max()) <= 1.5 + 1e-6
    assert_uniform((factors - 0.5).mul(10).clamp(0, 9.99).long(), 10)


def test_jitter_of_contrast_alone_draws_as_the_full_one() -> None:
    images = images_of(8, 1)
    full = augment.ColorJitter(0.0, 0.5, 0.5, 0.1)(images, seeded())
    assert torch.equal(augment.ColorJitter(contrast=0.5)(images, seeded()), full)


def test_noise() -> None:
    images = torch.full((64, 1, 40, 40), 0.5)
    noise = augment.GaussianNoise(0.1)(images, seeded()) - 0.5
    assert abs(float(noise.mean())) < 1e-3
    assert abs(float(noise.std()) - 0.1) < 1e-3
    assert abs(float((noise.abs() < 0.1).double().mean()) - 0.6827) < 5e-3
    assert abs(float(torch.corrcoef(noise[:2].flatten(1))[0, 1])) < 0.1
    assert torch.equal(augment.GaussianNoise(0)(images, seeded()), images)


# Values outside [0, 1]: what only moves pixels takes features as they are


@pytest.mark.parametrize("augmentation", [a for a in ALL if "Jitter" not in repr(a)], ids=repr)
def test_features_of_any_range_keep_it(augmentation: Any) -> None:
    if isinstance(augmentation, (augment.GaussianNoise, augment.Cutout)):
        return
    features = images_of() * 7 - 3
    result = augmentation(features, seeded())
    low, high = features.amin((1, 2, 3)).clamp(max=0), features.amax((1, 2, 3)).clamp(min=0)
    assert (result.amin((1, 2, 3)) >= low).all()
    assert (result.amax((1, 2, 3)) <= high).all()
    assert float(result.amax()) > 2


@pytest.mark.parametrize("constant", [0.1, 0.9, -2.0])
def test_interpolating_equal_values_gives_this_value(constant: float) -> None:
    images = torch.full((64, 1, 15, 15), constant)
    for augmentation in (
        augment.RandomRotate(180, padding="edge"),
        augment.RandomShear(60, padding="reflect"),
        augment.RandomResizedCrop(),
        augment.RandomResizedCrop(11),
    ):
        assert torch.equal(augmentation(images, seeded()).unique(), torch.tensor([constant]))
    turned = augment.RandomRotate((45, 45))(images, seeded())
    assert (turned[:, 0, 0, 0] == 0).all()
    assert (turned[:, 0, 7, 7] == constant).all()


# Draws and refusals


def test_whole_numbers_reach_every_value_and_no_more() -> None:
    largest = torch.tensor([1 - 2**-24])
    for count in (1, 7, 33, 2**20 + 1):
        assert _common.whole_numbers(largest, count).tolist() == [count - 1]


def test_a_shard_must_hold_the_batch() -> None:
    with pytest.raises(ArgumentError, match=r"\(3, 5\).*batch of 4"):
        augment.RandomFlip()(images_of(4), sharded(0, 3, 5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_generator_must_be_on_the_cpu() -> None:
    with pytest.raises(ArgumentError, match="generator is on cuda"):
        augment.RandomFlip()(images_of(4), torch.Generator("cuda"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: augment.RandomFlip(1.5), r"RandomFlip: p must be .* 0 to 1, received 1.5"),
        (lambda: augment.RandomFlip(True), "received True"),
        (lambda: augment.RandomFlip(math.nan), "received nan"),
        (lambda: augment.RandomTranslate(-1), r"pixels must be an int .* received -1"),
        (lambda: augment.RandomTranslate(0.1), r"received 0\.1"),  # type: ignore[arg-type]
        (
            lambda: augment.RandomTranslate(1, padding="wrap"),  # type: ignore[arg-type]
            r"one of \('zeros', 'reflect', 'edge'\), received 'wrap'",
        ),
        (lambda: augment.RandomCrop((3, 0)), r"size must be .* received \(3, 0\)"),
        (lambda: augment.RandomCrop(8, padding=-2), "padding must be .* received -2"),
        (lambda: augment.RandomCrop(8, padding_mode="x"), "padding_mode must be one of"),  # type: ignore[arg-type]
        (lambda: augment.RandomResizedCrop(8, scale=(0.5, 1.5)), r"received \(0.5, 1.5\)"),
        (lambda: augment.RandomResizedCrop(8, scale=(0.0, 1.0)), r"received \(0.0, 1.0\)"),
        (lambda: augment.RandomResizedCrop(8, ratio=(2.0, 1.0)), r"received \(2.0, 1.0\)"),
        (lambda: augment.RandomRotate(-5), r"0 or more, or a pair .* received -5"),
        (lambda: augment.RandomRotate((5, 2)), r"received \(5, 2\)"),
        (lambda: augment.RandomRotate((5, math.inf)), r"received \(5, inf\)"),
        (lambda: augment.RandomRotate(5, interpolation="cubic"), r"\('bilinear', 'nearest'\)"),  # type: ignore[arg-type]
        (lambda: augment.RandomShear(90), r"within -89 and 89, received 90"),
        (lambda: augment.RandomShear(9, axis="z"), r"\('x', 'y', 'xy'\), received 'z'"),  # type: ignore[arg-type]
        (lambda: augment.Cutout(0), "received 0"),
        (lambda: augment.Cutout(None), "received None"),  # type: ignore[arg-type]
        (lambda: augment.Cutout(3, fill=2), "fill must be .* received 2"),
        (lambda: augment.ColorJitter(-1), "brightness must be .* received -1"),
        (lambda: augment.ColorJitter(contrast=(-1, 1)), r"received \(-1, 1\)"),
        (lambda: augment.ColorJitter(hue=0.6), "hue must be .* -0.5 and 0.5, received 0.6"),
        (lambda: augment.GaussianNoise(-0.1), "std must be .* received -0.1"),
    ],
)
def test_arguments_that_make_no_sense(build: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()


def test_images_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"cut 12×20 .* images of 12×9 with padding=1"):
        augment.RandomCrop((12, 20), padding=1)(images_of(), seeded())
    with pytest.raises(DataError, match=r"reflect 9 pixels of images of 12×9"):
        augment.RandomTranslate(9, padding="reflect")(images_of(), seeded())
    with pytest.raises(DataError, match="received 2"):
        augment.ColorJitter(0.1)(images_of(channels=2), seeded())
