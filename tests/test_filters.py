"""Filters set by hand: OpenCV's grey levels, and maps that plain loops give too."""

from __future__ import annotations

import warnings
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnkit.errors import ArgumentError, DataError, ImageTooSmallError
from cnnkit.filters import FilterNet, apply_filter, blur, course_filters, sobel_x, sobel_y

Array = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- the kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "side"), [("3x3", 3), ("5x5", 5)])
def test_sobel_is_opencvs(kind: Any, side: int) -> None:
    along, across = cv2.getDerivKernels(1, 0, side)
    np.testing.assert_array_equal(sobel_x(kind).numpy(), across @ along.T)
    along, across = cv2.getDerivKernels(0, 1, side)
    np.testing.assert_array_equal(sobel_y(kind).numpy(), across @ along.T)


def test_the_decimal_sobel() -> None:
    assert sobel_x("decimal").tolist() == [[-1.5, 0, 1.5], [-2.5, 0, 2.5], [-1.5, 0, 1.5]]
    assert torch.equal(sobel_y("decimal"), sobel_x("decimal").T)


def test_the_four_filters_of_the_course() -> None:
    columns = [[-1, -1, 1, 1]] * 4
    rows = [[-1] * 4, [-1] * 4, [1] * 4, [1] * 4]
    expected = torch.tensor(
        [columns, (-np.array(columns)).tolist(), rows, (-np.array(rows)).tolist()]
    )
    assert torch.equal(course_filters(), expected.float())


def test_a_kernel_may_be_changed_without_changing_the_next() -> None:
    sobel_x().mul_(2)
    course_filters().zero_()
    assert sobel_x()[1, 2] == 2
    assert course_filters().abs().sum() == 64


def test_an_unknown_kind_is_answered_with_the_kinds() -> None:
    with pytest.raises(ArgumentError, match=r"'3x3', 'decimal', '5x5'.*received '7x7'"):
        sobel_x("7x7")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_blur_has_a_positive_side(size: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"positive int.*received {size}"):
        blur(size)


# --- apply_filter --------------------------------------------------------------------------------

KERNELS = {
    "sobel x": sobel_x(),
    "sobel y": sobel_y(),
    "decimal": sobel_x("decimal"),
    "5x5": sobel_y("5x5"),
    **{f"blur {side}": blur(side) for side in (1, 2, 3, 5, 8)},
    **{f"course {n}": one for n, one in enumerate(course_filters())},
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_grey_levels_are_opencvs(name: str) -> None:
    smooth = cv2.GaussianBlur(noise(121, 150), (0, 0), 4)
    for image in (noise(67, 90), cv2.equalizeHist(smooth)):
        expected = cv2.filter2D(image, -1, KERNELS[name].numpy())
        np.testing.assert_array_equal(apply_filter(image, KERNELS[name]), expected)


@settings(max_examples=150, deadline=None)
@given(
    image=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32),
    unit=st.sampled_from([1, 2, 4, 1024]),
)
def test_any_kernel_and_any_size(
    image: tuple[int, int], kernel: tuple[int, int], seed: int, unit: int
) -> None:
    """Sums of quarters often lie on a half, and a kernel is often larger than the image."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, image, dtype=np.uint8)
    weights = generator.integers(-3 * unit, 3 * unit, kernel, endpoint=True) / unit
    expected = cv2.filter2D(pixels, -1, weights)
    np.testing.assert_array_equal(apply_filter(pixels, weights), expected)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 40))
def test_kernels_that_binary_cannot_hold(seed: int, width: int) -> None:
    """Tenths: where the true sum is a half, float32's rounding decides, on some CPUs otherwise."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (12, width), dtype=np.uint8)
    tenths = generator.integers(-9, 9, (4, 3), endpoint=True)
    found = apply_filter(pixels, tenths / 10).astype(int)
    expected = cv2.filter2D(pixels, -1, tenths / 10).astype(int)
    ten_times = cv2.filter2D(pixels, cv2.CV_32F, tenths.astype(np.float32))  # whole numbers
    half = ten_times % 10 == 5
    np.testing.assert_array_equal(found[~half], expected[~half])
    assert np.abs(found - expected).max() <= 1


def test_levels_saturate_and_are_not_wrapped() -> None:
    image = np.array([[0, 0, 200, 200]] * 3, dtype=np.uint8)
    assert apply_filter(image, sobel_x()).tolist() == [[0, 255, 255, 0]] * 3
    assert apply_filter(image, -sobel_x()).tolist() == [[0, 0, 0, 0]] * 3


def test_what_comes_out_is_of_the_kind_that_went_in() -> None:
    image = noise(6, 9)
    expected = cv2.filter2D(image, -1, sobel_x().numpy())
    given_array = apply_filter(image, sobel_x().tolist())
    assert isinstance(given_array, np.ndarray)
    assert given_array.dtype == np.uint8
    np.testing.assert_array_equal(given_array, expected)
    channel_first = torch.from_numpy(image)[None]
    given_tensor = apply_filter(channel_first, sobel_x().numpy())
    assert given_tensor.dtype == torch.uint8
    assert torch.equal(given_tensor, torch.from_numpy(expected)[None])
    assert torch.equal(channel_first[0], torch.from_numpy(noise(6, 9))), "the image was changed"


def test_an_array_that_is_read_only_is_welcome() -> None:
    image = np.asarray(Image.fromarray(noise(5, 5)))
    image.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = apply_filter(image, image.astype(float))
    np.testing.assert_array_equal(found, apply_filter(image.copy(), image.astype(float)))


def test_blur_then_edges_are_two_calls() -> None:
    image = noise(20, 20)
    expected = cv2.filter2D(cv2.filter2D(image, -1, blur(5).numpy()), -1, sobel_x().numpy())
    np.testing.assert_array_equal(apply_filter(apply_filter(image, blur(5)), sobel_x()), expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((0, 5), np.uint8), r"no pixels.*\(0, 5\)"),
        (np.zeros((5, 5, 3), np.uint8), r"grey.*\(5, 5, 3\).*mode=\"L\""),
        (torch.zeros(3, 5, 5, dtype=torch.uint8), r"grey.*\(3, 5, 5\).*mode=\"L\""),
        (torch.zeros(5, 5), r"float32 of shape \(5, 5\).*whole, from 0 to 255"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (Image.new("RGB", (4, 4)), r"received Image.*convert\(\"L\"\)"),
        ("cat.jpg", r"received str"),
    ],
    ids=["empty", "colour array", "colour tensor", "float", "line", "pillow", "path"],
)
def test_what_is_no_grey_image_is_refused(image: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        apply_filter(image, sobel_x())


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ([1, 2, 3], r"shape \(3,\)"),
        ([[1, 2], [3]], r"one size"),
        ([[1, float("nan")]], r"nan or infinity"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        (course_filters(), r"received \(4, 1\) of them.*one by one"),
        ("sobel", r"expected filters"),
        (None, r"expected filters"),
        ([], r"expected filters"),
    ],
    ids=["vector", "ragged", "nan", "empty", "four", "text", "none", "nothing"],
)
def test_what_is_no_kernel_is_refused(kernel: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        apply_filter(noise(5, 5), kernel)


# --- FilterNet -----------------------------------------------------------------------------------


def slow_maps(image: Array, filters: Array) -> Array:
    """Correlation without padding, place by place."""
    number, _, height, width = filters.shape
    rows, columns = image.shape[1] - height + 1, image.shape[2] - width + 1
    maps = np.zeros((number, rows, columns))
    for k in range(number):
        for y in range(rows):
            for x in range(columns):
                maps[k, y, x] = (image[:, y : y + height, x : x + width] * filters[k]).sum()
    return maps


def test_maps_are_those_of_plain_loops() -> None:
    image = np.random.default_rng(0).random((1, 9, 12), dtype=np.float32)
    net = FilterNet(course_filters(), pool=2)
    convolved, activated, pooled = net(torch.from_numpy(image)[None])
    expected = slow_maps(image, course_filters()[:, None].numpy())  # (4, 6, 9)
    np.testing.assert_allclose(convolved[0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(activated[0].numpy(), expected.clip(min=0), atol=1e-5)
    windows = expected.clip(min=0)[:, :, :8].reshape(4, 3, 2, 4, 2)
    np.testing.assert_allclose(pooled[0].numpy(), windows.max(axis=(2, 4)), atol=1e-5)


def test_without_a_pool_there_are_two() -> None:
    convolved, activated = FilterNet(sobel_x())(torch.rand(2, 1, 5, 6))
    assert convolved.shape == activated.shape == (2, 1, 3, 4)
    assert FilterNet(sobel_x()).pool is None


def test_filters_of_colour_images() -> None:
    filters = np.random.default_rng(1).normal(size=(2, 3, 3, 5))
    image = np.random.default_rng(2).random((3, 8, 8), dtype=np.float32)
    convolved, _ = FilterNet(filters)(torch.from_numpy(image)[None])
    np.testing.assert_allclose(convolved[0].numpy(), slow_maps(image, filters), atol=1e-5)


@pytest.mark.parametrize(
    "filters",
    [[sobel_x(), sobel_y()], [sobel_x().numpy(), sobel_y().numpy()],
     torch.stack([sobel_x(), sobel_y()]), [sobel_x().tolist(), sobel_y().tolist()]],
    ids=["tensors", "arrays", "one tensor", "nested lists"],
)  # fmt: skip
def test_filters_come_in_several_ways(filters: Any) -> None:
    weight = FilterNet(filters).conv.weight
    assert torch.equal(weight, torch.stack([sobel_x(), sobel_y()])[:, None])


def test_grey_levels_are_scaled() -> None:
    image = torch.from_numpy(noise(1, 1, 8, 8))
    net = FilterNet(course_filters())
    assert torch.equal(net(image)[0], net(image / 255)[0])


def test_nothing_is_learnt_nor_drawn_by_chance() -> None:
    filters = course_filters()
    state = torch.get_rng_state()
    net = FilterNet(filters, pool=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in net.parameters()] == [False]
    filters.zero_()
    assert net.conv.weight.abs().sum() == 64, "the net's filters are its own"
    assert list(net.state_dict()) == ["conv.weight"]
    assert net.conv.bias is None


def test_images_that_do_not_fit_are_named() -> None:
    net = FilterNet(course_filters(), pool=2)
    with pytest.raises(DataError, match=r"\(N, 1, height, width\), received \(2, 3, 8, 8\)"):
        net(torch.rand(2, 3, 8, 8))
    with pytest.raises(DataError, match=r"received \(1, 8, 8\); image\[None\]"):
        net(torch.rand(1, 8, 8))
    with pytest.raises(ImageTooSmallError, match=r"4x4 and a pool of 2.*5x5.*received 4x9"):
        net(torch.rand(1, 1, 4, 9))
    assert net(torch.rand(1, 1, 5, 5))[2].shape == (1, 4, 1, 1)


@pytest.mark.parametrize("pool", [0, -2, 1.5, True])
def test_a_pool_is_a_positive_int(pool: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"pool.*received {pool}"):
        FilterNet(sobel_x(), pool)


def test_filters_of_several_sizes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="of one size"):
        FilterNet([sobel_x(), sobel_x("5x5")])
