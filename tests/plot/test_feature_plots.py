"""Channels, pixels, filters and feature maps: what is drawn is what is there."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from cnnkit import Preprocess, data, plot, train
from cnnkit.errors import ArgumentError, DataError, ImageReadError, MissingExtraError, ModelError
from cnnkit.filters import FilterNet, course_filters, sobel_x
from cnnkit.models import ThreeConvCIFAR, TwoLayerCNN

pytest.importorskip("matplotlib")

from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOUR = torch.arange(3 * 6 * 8).view(3, 6, 8).to(torch.uint8)
PLOTS: dict[str, Callable[[], Figure]] = {
    "channels": lambda: plot.channels(COLOUR),
    "pixels": lambda: plot.pixels(COLOUR),
    "filters": lambda: plot.filters(course_filters()),
    "feature_maps": lambda: plot.feature_maps(TwoLayerCNN(10), torch.rand(1, 28, 28), "cnn1"),
    "filters of 1x1": lambda: plot.filters(torch.rand(3, 5, 1, 1)),
    "filters of 3x1": lambda: plot.filters(torch.rand(3, 2, 3, 1)),
    "filters of long names": lambda: plot.filters({f"a long $name$ {n}": sobel_x() for n in "ab"}),
    "maps of a deep layer": lambda: plot.feature_maps(deep(), torch.rand(1, 9, 9), LONG, most=1),
}
LONG = "a_block_of_some_name.a_layer_of_some_name.0"
NORMALISED = Preprocess((6, 8), "RGB", (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))


def deep() -> nn.Module:
    """A layer whose dotted name is longer than its picture is wide."""
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    for name in LONG.split(".")[-2::-1]:
        outer = nn.Sequential()
        outer.add_module(name, inner)
        inner = outer
    return inner


def shown(axes: Axes) -> np.ndarray[Any, Any]:
    (image,) = axes.images
    return np.asarray(image.get_array())


def written(axes: Axes) -> np.ndarray[Any, Any]:
    """The texts on an image, where they stand."""
    texts: np.ndarray[Any, Any] = np.full(shown(axes).shape, "", dtype=object)
    for text in axes.texts:
        column, row = text.get_position()
        texts[int(row), int(column)] = text.get_text()
    return texts


def used(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_returned_and_pyplot_never_hears_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(Gcf.figs)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figure = PLOTS[name]()
    assert isinstance(figure, Figure)
    assert list(Gcf.figs) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize("name", PLOTS)
def test_without_matplotlib_the_error_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"cnnkit\[plot\]\""):
        PLOTS[name]()


@pytest.mark.parametrize("name", PLOTS)
def test_no_text_is_cut_or_lies_on_another(name: str) -> None:
    figure = PLOTS[name]()
    figure.canvas.draw()
    page = figure.bbox
    for axes in used(figure):
        boxes = [t.get_window_extent() for t in axes.texts]
        (image,) = axes.images
        room = image.get_window_extent().width / shown(axes).shape[1]
        assert all(box.width < room for box in boxes), "a value is wider than its pixel"
        for text in (axes.title, axes.yaxis.label):
            box = text.get_window_extent()
            assert not text.get_text() or (box.x0 >= page.x0 and box.x1 <= page.x1)
            assert not text.get_text() or (box.y0 >= page.y0 and box.y1 <= page.y1)
    labels = [axes.yaxis.label.get_window_extent() for axes in used(figure) if axes.get_ylabel()]
    assert not any(one.overlaps(other) for one in labels for other in labels if one is not other)
    titles = [axes.title.get_window_extent() for axes in used(figure) if axes.get_title()]
    assert not any(one.overlaps(other) for one in titles for other in titles if one is not other)


# --- channels ------------------------------------------------------------------------------------


def test_channels_are_three_grey_images() -> None:
    figure = plot.channels(COLOUR)
    assert [axes.get_title() for axes in figure.axes] == ["red", "green", "blue"]
    for axes, channel in zip(figure.axes, COLOUR, strict=True):
        np.testing.assert_array_equal(shown(axes), channel.numpy())
        assert axes.images[0].get_cmap().name == "gray"
        assert axes.images[0].get_clim() == (0, 255)


def test_an_image_may_come_in_any_way(tmp_path: Path) -> None:
    pixels = COLOUR.permute(1, 2, 0).numpy()
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    read_only = pixels.copy()
    read_only.setflags(write=False)
    ways: list[Any] = [path, str(path), path.read_bytes(), Image.open(path), read_only]
    ways += [COLOUR[None], NORMALISED.scale_only(COLOUR)]
    for image in ways:
        for axes, channel in zip(plot.channels(image).axes, COLOUR, strict=True):
            np.testing.assert_array_equal(shown(axes), channel.numpy())


def test_normalisation_is_undone() -> None:
    figure = plot.channels(NORMALISED(COLOUR), preprocess=NORMALISED)
    np.testing.assert_array_equal(shown(figure.axes[2]), COLOUR[2].numpy())
    with pytest.raises(DataError, match=r"expected 0 to 1.*preprocess="):
        plot.channels(NORMALISED(COLOUR))
    with pytest.raises(DataError, match=r"has 1 channels.*images with 3"):
        plot.pixels(torch.rand(1, 6, 8), values="raw", preprocess=NORMALISED)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(1, 5, 5, dtype=torch.uint8), r"3 channels.*received 1.*mode=\"RGB\""),
        (torch.zeros(3, 0, 5, dtype=torch.uint8), r"no pixels.*\(3, 0, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"no pixels.*\(0, 4, 3\)"),
        (torch.zeros(8, 3, 5, 5), r"one image.*\(8, 3, 5, 5\); images\[0\]"),
        (torch.zeros(3, 5, 5, dtype=torch.int64), r"uint8 or floats, received torch.int64"),
        (None, r"received NoneType"),
    ],
    ids=["grey", "empty", "empty array", "batch", "int64", "none"],
)
def test_what_is_no_colour_image_is_refused(image: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        plot.channels(image)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(ImageReadError, match=r"notes\.png"):
        plot.channels(path)


# --- pixels --------------------------------------------------------------------------------------


def test_every_pixel_has_its_value_written_on_it() -> None:
    for axes, channel in zip(plot.pixels(COLOUR).axes, COLOUR.numpy(), strict=True):
        np.testing.assert_array_equal(shown(axes), channel)
        np.testing.assert_array_equal(written(axes).astype(int), channel)


def test_a_file_without_colour_is_one_channel() -> None:
    file = io.BytesIO()
    Image.fromarray(COLOUR[0].numpy()).convert("RGB").save(file, "png")
    (axes,) = plot.pixels(file.getvalue()).axes
    assert axes.get_title() == "grey"
    np.testing.assert_array_equal(written(axes).astype(int), COLOUR[0].numpy())


@pytest.mark.parametrize("channel", ["green", 1])
def test_one_channel(channel: Any) -> None:
    (axes,) = plot.pixels(COLOUR, channel=channel).axes
    assert axes.get_title() == "green"
    np.testing.assert_array_equal(written(axes).astype(int), COLOUR[1].numpy())


def test_raw_and_normalised_values() -> None:
    normalised = NORMALISED(COLOUR)
    as_text = np.vectorize(lambda value: f"{value:.2f}")(normalised[0].numpy())
    for image, values, preprocess in [
        (COLOUR, "normalised", NORMALISED),
        (normalised, "normalised", None),
        (normalised, "given", None),
    ]:
        options: Any = {"values": values, "preprocess": preprocess, "channel": "red"}
        (axes,) = plot.pixels(image, **options).axes
        assert set(written(axes)[0]) <= {*as_text[0], "0.00"}
        np.testing.assert_allclose(shown(axes), normalised[0].numpy())
    (axes,) = plot.pixels(normalised, values="raw", preprocess=NORMALISED, channel=0).axes
    np.testing.assert_array_equal(written(axes).astype(int), COLOUR[0].numpy())


def test_values_stand_out_from_their_pixels() -> None:
    image = torch.tensor([[[0, 90, 160, 255]]], dtype=torch.uint8)
    (axes,) = plot.pixels(image).axes
    assert [text.get_color() for text in axes.texts] == ["white", "white", "black", "black"]


def test_given_axes_take_one_channel_and_set_the_size_of_its_values() -> None:
    figure = Figure(figsize=(6, 3))
    left, right = figure.subplots(1, 2)
    assert plot.pixels(torch.zeros(20, 20, dtype=torch.uint8) + 200, ax=right) is figure
    assert not left.images
    figure.canvas.draw()
    room = right.images[0].get_window_extent().width / 20
    assert all(text.get_window_extent().width < room for text in right.texts)
    with pytest.raises(ArgumentError, match=r"one channel, the image has 3.*'red'"):
        plot.pixels(COLOUR, ax=left)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channel": "grey"}, r"\('red', 'green', 'blue'\) or a number from 0 to 2.*'grey'"),
        ({"channel": 3}, r"from 0 to 2, received 3"),
        ({"channel": True}, r"received True"),
        ({"values": "scaled"}, r"'given', 'raw', 'normalised'.*received 'scaled'"),
        ({"values": "normalised"}, r"needs preprocess=.*loader\.preprocess"),
        ({"preprocess": NORMALISED}, r"changes nothing.*values=\"raw\""),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        plot.pixels(COLOUR, **options)


def test_an_image_too_large_to_read_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"65x20 pixels.*64x64.*cut a part out.*Preprocess"):
        plot.pixels(torch.zeros(1, 65, 20, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"no numbers"):
        plot.pixels(torch.full((1, 2, 2), float("nan")))


# --- filters -------------------------------------------------------------------------------------


def test_filters_by_hand_have_their_values_written_on_them() -> None:
    figure = plot.filters(course_filters())
    assert [axes.get_title() for axes in figure.axes] == [f"filter {n}" for n in range(4)]
    for axes, kernel in zip(figure.axes, course_filters(), strict=True):
        np.testing.assert_array_equal(written(axes).astype(int), kernel.numpy())
        assert axes.images[0].get_clim() == (-1, 1)
    (axes,) = plot.filters(sobel_x("decimal").tolist()).axes
    assert written(axes)[1].tolist() == ["-2.5", "0.0", "2.5"]


def test_filters_may_have_names() -> None:
    figure = plot.filters({"Sobel x": sobel_x(), "$y$": sobel_x().T})
    assert [axes.get_title() for axes in figure.axes] == ["Sobel x", "$y$"]
    np.testing.assert_array_equal(shown(figure.axes[1]), sobel_x().T.numpy())


def test_kernels_of_a_layer() -> None:
    model = TwoLayerCNN(10)
    figure = plot.filters(model, "cnn1", most=3)
    kernels = model.cnn1.weight.detach()
    assert len(used(figure)) == 3
    for axes, kernel in zip(used(figure), kernels[:3, 0], strict=True):
        np.testing.assert_array_equal(shown(axes), kernel.numpy())
        np.testing.assert_allclose(written(axes).astype(float), kernel.numpy(), atol=0.0051)
    assert figure.get_suptitle() == "3 of 16 filters of cnn1"
    # One scale for all that are shown.
    assert len({axes.images[0].get_clim() for axes in used(figure)}) == 1


def test_a_kernel_of_several_channels_is_a_row() -> None:
    model = ThreeConvCIFAR(10)
    figure = plot.filters(model, "conv1", most=2)
    assert len(used(figure)) == 6
    np.testing.assert_array_equal(shown(used(figure)[5]), model.conv1.weight[1, 2].detach())
    assert [axes.get_ylabel() for axes in used(figure)] == ["filter 0", "", "", "filter 1", "", ""]
    few = plot.filters(model, "conv2")
    assert (
        few.get_suptitle().replace("\n", " ")
        == "8 of 32 filters of conv2, input channels 0 to 3 of 16"
    )
    one = plot.filters(model, "conv2", channel=15, most=1)
    np.testing.assert_array_equal(shown(used(one)[0]), model.conv2.weight[0, 15].detach())
    assert (
        one.get_suptitle().replace("\n", " ") == "1 of 32 filters of conv2, input channel 15 of 16"
    )


def test_the_layer_need_not_be_named_where_there_is_one() -> None:
    assert len(used(plot.filters(FilterNet(course_filters())))) == 4
    assert len(used(plot.filters(nn.Conv2d(1, 2, 3)))) == 2
    with pytest.raises(ArgumentError, match=r"layer= which.*conv1, conv2, conv3"):
        plot.filters(ThreeConvCIFAR(10))


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    layer = nn.ConvTranspose2d(3, 2, 3)
    figure = plot.filters(layer)
    assert len(used(figure)) == 6
    np.testing.assert_array_equal(shown(used(figure)[1]), layer.weight[1, 0].detach())


def test_values_of_large_kernels_are_a_bar() -> None:
    figure = plot.filters(torch.rand(2, 20, 20))
    assert not any(axes.texts for axes in figure.axes)
    assert figure.axes[-1].get_ylabel() == "value"
    plot.filters(torch.zeros(1, 3, 3)).canvas.draw()


def test_layers_without_kernels_and_unknown_ones() -> None:
    model = ThreeConvCIFAR(10)
    with pytest.raises(ModelError, match=r"no layer 'convl'\. Did you mean 'conv[123]'"):
        plot.filters(model, "convl")
    with pytest.raises(ModelError, match=r"'fc1' is Linear and has no kernels.*conv1, conv2"):
        plot.filters(model, "fc1")
    with pytest.raises(ModelError, match="Linear has no layer with kernels"):
        plot.filters(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match=r"layer='conv1' is of models"):
        plot.filters(sobel_x(), "conv1")
    with pytest.raises(ArgumentError, match=r"from 0 to 2, received 3"):
        plot.filters(model, "conv1", channel=3)
    with pytest.raises(ArgumentError, match=r"most.*received 0"):
        plot.filters(model, "conv1", most=0)
    with pytest.raises(ArgumentError, match=r"expected filters.*\(5,\)"):
        plot.filters(torch.zeros(5))


# --- feature maps --------------------------------------------------------------------------------


class Functions(nn.Module):
    """Functions instead of modules, the pool before the activation, a dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4 * 4 * 4, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(images), 2)
        out: Tensor = self.head(F.leaky_relu(F.dropout(x, training=self.training)).flatten(1))
        return out


class Skip(nn.Module):
    """The convolution's maps meet the image before the activation."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.conv(images).contiguous()
        if self.how == "+":
            x = x + images
        elif self.how == "+=":  # as torchvision's ResNet does
            x += images
        elif self.how == "add_":
            x.add_(images)
        else:
            x[:, :, 1:] = images[:, :, 1:]
        return torch.relu(x)


def maps_of(figure: Figure) -> dict[str, list[np.ndarray[Any, Any]]]:
    """The maps by stage; the label of a stage is at its first map."""
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    for axes in used(figure):
        if axes.get_ylabel():
            *name, size = axes.get_ylabel().split("\n")
            found["".join(name) + " " + size] = []
        next(reversed(found.values())).append(shown(axes))
    return found


def check(figure: Figure, expected: dict[str, Tensor], number: int) -> None:
    found = maps_of(figure)
    assert list(found) == list(expected)
    for stage, maps in expected.items():
        assert len(found[stage]) == number
        for one, other in zip(found[stage], maps[0], strict=False):
            np.testing.assert_allclose(one, other.numpy(), atol=1e-6)


def test_before_and_after_the_activation_and_after_the_pool() -> None:
    net = FilterNet(course_filters(), pool=2)
    image = torch.rand(1, 23, 43)
    convolved, activated, pooled = net(image[None])
    expected = {"conv 20×40": convolved, "relu 20×40": activated, "max_pool2d 10×20": pooled}
    figure = plot.feature_maps(net, image, "conv")
    check(figure, expected, 4)
    # The axes are kept: half the size is seen at their ends.
    ends = {axes.get_ylabel()[:4]: axes.get_xlim()[1] for axes in used(figure) if axes.get_ylabel()}
    assert ends == {"conv": 39.5, "relu": 39.5, "max_": 19.5}
    assert all(axes.axison and len(axes.get_xticks()) for axes in used(figure))
    assert used(figure)[0].get_title().startswith("map 0\n-")
    assert used(figure)[4].get_title().startswith("0 to ")


def test_any_layer_of_the_zoo_with_its_normalisation() -> None:
    model = ThreeConvCIFAR(10, batch_norm=True).eval()
    image = torch.rand(3, 32, 32)
    with torch.no_grad():
        first = model.pool1(F.relu(model.bn1(model.conv1(image[None]))))
        maps = model.conv2(first)
        normed = model.bn2(maps)
        expected = {"conv2 16×16": maps, "batch_norm 16×16": normed}
        expected["relu 16×16"] = F.relu(normed)
        expected["max_pool2d 8×8"] = F.max_pool2d(F.relu(normed), 2)
    check(plot.feature_maps(model, image, "conv2", most=7), expected, 7)
    check(plot.feature_maps(model, image, "pool1"), {"pool1 16×16": first}, 6)


def test_functions_are_followed_in_their_own_order() -> None:
    model = Functions()
    image = torch.rand(1, 8, 8)
    with torch.no_grad():
        maps = model.conv(image[None])
        pooled = F.max_pool2d(maps, 2)
    expected = {"conv 8×8": maps, "max_pool2d 4×4": pooled}
    expected["leaky_relu 4×4"] = F.leaky_relu(pooled)
    check(plot.feature_maps(model, image, "conv"), expected, 4)


def test_an_activation_in_place_does_not_overwrite_what_was_before_it() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    image = torch.rand(1, 6, 6)
    with torch.no_grad():
        maps = model[0](image[None])
    assert maps.min() < 0
    expected = {"0 4×4": maps, "relu 4×4": maps.clamp(min=0)}
    expected["adaptive_avg_pool2d 1×1"] = maps.clamp(min=0).mean((2, 3), keepdim=True)
    check(plot.feature_maps(model, image, "0"), expected, 2)


@pytest.mark.parametrize("how", ["+", "+=", "add_", "="])
def test_another_tensor_ends_the_way(how: str) -> None:
    model = Skip(how)
    image = torch.rand(1, 6, 6)
    with torch.no_grad():
        maps = model.conv(image[None])
    check(plot.feature_maps(model, image, "conv"), {"conv 6×6": maps}, 1)


def test_looking_changes_nothing() -> None:
    model = ThreeConvCIFAR(10, batch_norm=True)
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    plot.feature_maps(model, torch.rand(3, 32, 32, generator=torch.Generator()), "conv1")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert model.training
    assert not model.bn1.training
    assert not any(part._forward_hooks for part in model.modules())


def test_hooks_go_when_the_model_fails() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(5, 2))
    with pytest.raises(ModelError, match=r"Sequential does not take.*\(1, 8, 8\).*preprocess="):
        plot.feature_maps(model, torch.rand(1, 8, 8), "0")
    assert not any(part._forward_hooks for part in model.modules())


def test_a_file_is_read_as_in_training(tmp_path: Path) -> None:
    """The size, the mode and the normalisation that `fit` noted on the model."""
    images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    ds = data.ArrayDataset(images, [0, 1] * 4)
    loader = data.make_loader(ds, 4, preprocess=Preprocess.fit(ds), device="cpu")
    model = TwoLayerCNN(2)
    train.fit(model, loader, epochs=1, progress=False)
    path = tmp_path / "image.png"
    Image.fromarray(images[0, 0].numpy()).resize((56, 56)).save(path)
    read = Preprocess.fit(ds).read(path)
    with torch.no_grad():
        expected = model.cnn1(Preprocess.fit(ds)(read)[None])
    for image in (path, Image.open(path), read, Preprocess.fit(ds)(read)):
        found = maps_of(plot.feature_maps(model, image, "cnn1", most=1))
        np.testing.assert_allclose(found["cnn1 28×28"][0], expected[0, 0].numpy(), atol=1e-5)


def test_an_untrained_model_reads_at_its_own_size(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (50, 40), "orange").save(path)
    assert "conv1 32×32" in maps_of(plot.feature_maps(ThreeConvCIFAR(10), path, "conv1"))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("cnn", r"TwoLayerCNN has no layer 'cnn'\. Did you mean 'cnn[12]'"),
        ("xyz", r"no layer 'xyz'\. Its layers are cnn1, bn1, pool1"),
        ("", r"no layer ''"),
        ("fc1", r"'fc1' makes \(1, 10\), expected maps.*are cnn1, bn1, pool1, cnn2, bn2, pool2$"),
    ],
)
def test_a_layer_without_maps_and_unknown_ones(layer: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        plot.feature_maps(TwoLayerCNN(10), torch.rand(1, 28, 28), layer)


def test_a_layer_that_is_not_used() -> None:
    model = Functions()
    model.other = nn.Conv2d(1, 1, 3)
    with pytest.raises(ModelError, match=r"'other' is not used.*make maps are conv"):
        plot.feature_maps(model, torch.rand(1, 8, 8), "other")


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (torch.rand(3, 28, 28), ModelError, r"\(N, 1, 28, 28\).*received \(1, 3, 28, 28\)"),
        (torch.rand(4, 1, 28, 28), DataError, r"one image.*\(4, 1, 28, 28\); images\[0\]"),
        (torch.zeros(1, 0, 28), DataError, r"no pixels"),
        (torch.full((1, 28, 28), float("nan")), ModelError, r"'cnn1' hold values.*no numbers"),
    ],
    ids=["colour", "batch", "empty", "nan"],
)
def test_images_that_the_model_cannot_take(image: Tensor, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        plot.feature_maps(TwoLayerCNN(10), image, "cnn1")


def test_other_arguments_that_make_no_sense() -> None:
    with pytest.raises(ArgumentError, match=r"nn\.Module, received str.*classifier\.model"):
        plot.feature_maps("model.pt", torch.rand(1, 8, 8), "cnn1")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"most.*received -1"):
        plot.feature_maps(TwoLayerCNN(10), torch.rand(1, 28, 28), "cnn1", most=-1)
