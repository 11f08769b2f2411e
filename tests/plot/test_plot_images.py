"""Pictures of images: which ones, un-normalised how, and what stands above them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from cnnkit import plot
from cnnkit.data import ArrayDataset, ImageFolder, augment, make_loader
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, ClassMismatchError, DataError, ModelError
from cnnkit.metrics import Report
from cnnkit.preprocess import Preprocess
from cnnkit.train import evaluate, fit

pytest.importorskip("matplotlib")

from layout_checks import check_layout
from matplotlib.figure import Figure
from PIL import Image

CLASSES = ("cat", "dog", "emu")


def some(number: int = 9, shape: tuple[int, int, int] = (3, 6, 8)) -> ArrayDataset:
    """Random images whose first pixel is ten times their position."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (number, *shape), dtype=torch.uint8, generator=generator)
    images[:, :, 0, 0] = (torch.arange(number) * 10).to(torch.uint8)[:, None]
    return ArrayDataset(images, [i % 3 for i in range(number)], classes=CLASSES)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def shown(figure: Figure) -> list[Any]:
    """The pixels of each image, uint8 (H, W) or (H, W, channels)."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def which(figure: Figure) -> list[int]:
    """The position of each image in `some`."""
    return [round(int(pixels[0, 0].ravel()[0]) / 10) for pixels in shown(figure)]


NORMALISED = Preprocess((6, 8), "RGB", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


# --- batch: sources ------------------------------------------------------------------------------


def sources(ds: ArrayDataset) -> dict[str, Any]:
    loader = make_loader(ds, 9, preprocess=NORMALISED, device="cpu")
    images, labels = ds[:]
    floats = TensorDataset(images / 255, labels)
    return {
        "data set": ds,
        "view": Subset(ds, range(9)),  # type: ignore[arg-type]
        "loader": loader,
        "batch": (images, labels),
        "batch as a list": [images, labels],
        "float batch": (images.float() / 255, labels),
        "foreign loader": DataLoader(floats, batch_size=9),
        "wrapped loader": DeviceDataLoader(DataLoader(floats, batch_size=9), "cpu"),
    }


@pytest.mark.parametrize("name", sources(some()))
def test_every_source_shows_its_images_as_they_were(name: str) -> None:
    ds = some()
    source = sources(ds)[name]
    figure = plot.batch(source, classes=CLASSES)
    assert titles(figure) == ["cat", "dog", "emu"] * 3
    for pixels, (image, _) in zip(shown(figure), (ds[i] for i in range(9)), strict=True):
        np.testing.assert_array_equal(pixels, image.permute(1, 2, 0).numpy())


def test_a_normalised_batch_needs_its_preprocess() -> None:
    ds = some()
    images, labels = ds[:]
    normalised = NORMALISED(images), labels
    with pytest.raises(DataError, match=r"image 0 has values from -.* to .*preprocess="):
        plot.batch(normalised)
    figure = plot.batch(normalised, preprocess=NORMALISED)
    np.testing.assert_array_equal(shown(figure)[8], images[8].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_colour_and_transparency(channels: int) -> None:
    ds = some(shape=(channels, 6, 8))
    figure = plot.batch(ds, number=2)
    assert shown(figure)[0].shape == ((6, 8) if channels == 1 else (6, 8, channels))
    image = figure.axes[0].images[0]
    assert image.get_clim() == (0, 255), "a dark image stays dark"
    check_layout(figure)


def test_the_batch_of_a_training_loader_is_augmented_and_the_loader_does_not_notice() -> None:
    ds = some()

    def blacken(images: Tensor, generator: torch.Generator) -> Tensor:
        return images * 0

    def loader() -> DeviceDataLoader:
        flip = augment.RandomFlip()
        return make_loader(ds, 4, shuffle=True, augment=[flip], device="cpu", preprocess=NORMALISED)

    looked_at, other = loader(), loader()
    plot.batch(looked_at)
    plot.batch(looked_at, seed=1)
    for (images, labels), (expected, others) in zip(looked_at, other, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, others)
    black = make_loader(ds, 4, augment=[blacken], device="cpu")
    assert all(not pixels.any() for pixels in shown(plot.batch(black)))


def test_a_foreign_loader_draws_from_torchs_random_state_but_leaves_it_alone() -> None:
    images, labels = some()[:]
    shuffled = DataLoader(TensorDataset(images / 255, labels), batch_size=3, shuffle=True)
    before = torch.get_rng_state()
    figure = plot.batch(shuffled)
    assert torch.equal(torch.get_rng_state(), before)
    assert which(plot.batch(shuffled)) == which(figure), "so that the labels can be revealed"


def test_a_stream_is_a_loader_too() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from ((image, label) for image, label in (some()[i] for i in range(9)))

    figure = plot.batch(DataLoader(Stream(), batch_size=4))
    assert which(figure) == [0, 1, 2, 3]
    assert titles(figure) == ["0", "1", "2", "0"]


def test_images_of_files_and_of_a_transform(tmp_path: Any) -> None:
    for name, size in (("cat", (8, 6)), ("dog", (5, 9))):
        (tmp_path / name).mkdir()
        Image.new("RGB", size, (200, 100, 0)).save(tmp_path / name / "1.png")
    figure = plot.batch(ImageFolder(tmp_path, image_size=7))
    assert [pixels.shape for pixels in shown(figure)] == [(7, 7, 3)] * 2
    assert titles(figure) == ["cat", "dog"]
    kept = plot.batch(ImageFolder(tmp_path, image_size=7, transform=lambda image: image))
    np.testing.assert_array_equal(shown(kept)[0], shown(figure)[0])
    array = plot.batch(ImageFolder(tmp_path, image_size=7, transform=np.asarray))
    np.testing.assert_array_equal(shown(array)[1], shown(figure)[1])


# --- batch: which and how ------------------------------------------------------------------------


def test_the_first_or_random_ones() -> None:
    ds = some(20)
    assert which(plot.batch(ds, number=5)) == [0, 1, 2, 3, 4]
    drawn = which(plot.batch(ds, number=5, seed=0))
    assert drawn == which(plot.batch(ds, number=5, seed=0))
    assert drawn != which(plot.batch(ds, number=5, seed=1))
    assert len(set(drawn)) == 5
    assert sorted(which(plot.batch(ds, number=99, seed=0))) == list(range(20))


def test_labels_are_hidden_and_revealed() -> None:
    ds = some()
    hidden = plot.batch(ds, number=3, seed=5, labels="hidden")
    assert titles(hidden) == ["1", "2", "3"]
    assert not any(name in text.get_text() for name in CLASSES for text in hidden.texts)
    assert hidden.get_supxlabel() == ""
    revealed = plot.batch(ds, number=3, seed=5)
    assert which(hidden) == which(revealed)
    below = plot.batch(ds, number=3, seed=5, labels="below")
    assert titles(below) == ["1", "2", "3"]
    answers = [f"{n} {name}" for n, name in enumerate(titles(revealed), start=1)]
    assert below.get_supxlabel().split("   ") == answers
    (text,) = [text for text in below.texts if text.get_text() == below.get_supxlabel()]
    assert text.get_rotation() == 180
    with pytest.raises(ArgumentError, match=r"'shown', 'hidden', 'below'.*'no'"):
        plot.batch(ds, labels="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1, 2, 10, 26, 100])
def test_long_names_are_readable_for_any_number(number: int) -> None:
    names = [
        f"a rather long name of class {n}" if n % 2 else f"n{n}-terrier" for n in range(number)
    ]
    images = torch.zeros(number, 3, 8, 8, dtype=torch.uint8)
    ds = ArrayDataset(images, list(range(number)), classes=names)
    figure = plot.classes(ds)
    check_layout(figure)
    assert len(set(titles(figure))) == number
    assert figure.get_size_inches()[0] <= 9.01
    if number < 50:  # they take a second each
        check_layout(plot.batch(ds, number=number))
        check_layout(plot.batch(ds, number=number, labels="below"))


@pytest.mark.parametrize("shape", [(3, 100, 10), (3, 10, 100), (1, 1, 1)])
def test_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    check_layout(plot.batch(some(7, shape), columns=3))


def test_a_title_may_be_added() -> None:
    figure = plot.batch(some(), columns=3)
    figure.suptitle("Nine animals")
    check_layout(figure)
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    (title,) = [text for text in figure.texts if text.get_text() == "Nine animals"]
    assert not any(title.get_window_extent().overlaps(box) for box in boxes)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (some(), {"number": 0}, ArgumentError, "number must be a positive int, received 0"),
        (some(), {"number": True}, ArgumentError, "number.*True"),
        (some(), {"columns": 0}, ArgumentError, "columns.*0"),
        (some(), {"classes": ["cat"]}, DataError, "label 1 is outside the 1 classes"),
        (3, {}, ArgumentError, "a loader or a data set, received int"),
        (None, {}, ArgumentError, "received NoneType"),
        ([], {}, DataError, "list has no images"),
        (some().subset([]), {}, DataError, "ArrayDataset has no images"),
        (
            DataLoader(TensorDataset(torch.zeros(0, 1, 2, 2), torch.zeros(0))),
            {},
            DataError,
            "no im",
        ),
        ((torch.zeros(3, 1, 2, 2), torch.zeros(2)), {}, DataError, r"\(3, 1, 2, 2\) and \(2,\)"),
        ((torch.zeros(3, 4), torch.zeros(3)), {}, DataError, r"\(3, 4\)"),
        ((torch.zeros(3, 1, 2, 2), torch.rand(3)), {}, DataError, "label 0 is no integer: 0"),
        ((torch.zeros(1, 2, 4, 4), torch.zeros(1)), {}, DataError, r"\[1, 3, 4\].*\(2, 4, 4\)"),
        (
            (torch.zeros(1, 3, 0, 4), torch.zeros(1)),
            {},
            DataError,
            r"image 0 has no pixels.*\(3, 0, 4\)",
        ),
        ((torch.full((1, 1, 2, 2), torch.nan), torch.zeros(1)), {}, DataError, "no numbers"),
        (ArrayDataset(torch.zeros(2, 5), [0, 1]), {}, DataError, r"shape \(5,\)"),
    ],
)
def test_what_cannot_be_shown(
    source: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plot.batch(source, **options)


# --- classes -------------------------------------------------------------------------------------


def test_one_image_of_each_class_with_its_count() -> None:
    ds = some(8)
    figure = plot.classes(ds)
    assert titles(figure) == ["cat\n3 images", "dog\n3 images", "emu\n2 images"]
    assert which(figure) == [0, 1, 2]
    drawn = [which(plot.classes(ds, seed=seed)) for seed in range(6)]
    assert all([i % 3 for i in chosen] == [0, 1, 2] for chosen in drawn)
    assert len(set(map(tuple, drawn))) > 1
    assert drawn[0] == which(plot.classes(ds, seed=0))
    assert which(plot.classes(make_loader(ds, 2, device="cpu"))) == [0, 1, 2]


def test_a_class_without_images_has_an_empty_place() -> None:
    ds = some(8).subset([0, 2])
    figure = plot.classes(ds)
    assert titles(figure) == ["cat\n1 image", "dog\n0 images", "emu\n1 image"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["no image"]
    check_layout(figure)


def test_there_are_no_classes_to_show() -> None:
    with pytest.raises(DataError, match="no images"):
        plot.classes(some().subset([]))
    with pytest.raises(DataError, match=r"\.targets.*TensorDataset"):
        plot.classes(TensorDataset(torch.zeros(2, 3, 4, 4), torch.zeros(2)))


# --- predictions ---------------------------------------------------------------------------------


class Says(nn.Module):
    """Class by the brightness of the first pixel, which is ten times the position in `some`."""

    def __init__(self, preprocess: Preprocess | None = None) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.dropout = nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        if self.preprocess is not None:
            images = self.preprocess.denormalise(images)
        position = (self.dropout(images)[:, 0, 0, 0] * 25.5).round().long()
        return nn.functional.one_hot(position.clamp(max=8) // 3, 3).float()


EXPECTED = [f"{CLASSES[i // 3]} ({CLASSES[i % 3]})" for i in range(9)]


@pytest.mark.parametrize("name", ["data set", "loader", "batch", "float batch", "foreign loader"])
def test_predicted_and_truth_for_every_source(name: str) -> None:
    ds = some()
    model = Says(NORMALISED if name == "loader" else None)
    figure = plot.predictions(model, sources(ds)[name], classes=CLASSES)
    assert titles(figure) == EXPECTED
    assert model.training
    assert model.dropout.training


def test_a_data_set_is_normalised_as_the_model_was_trained() -> None:
    ds = some()
    model = Says(NORMALISED)
    assert titles(plot.predictions(model, ds, preprocess=NORMALISED)) == EXPECTED
    other = Preprocess((6, 8), "RGB", (0.9,) * 3, (0.1,) * 3)
    assert titles(plot.predictions(model, ds, preprocess=other)) != EXPECTED


def test_right_and_wrong_differ_in_colour_and_without() -> None:
    axes = plot.predictions(Says(), some()).axes
    right = [title.get_text() for title in (a.title for a in axes) if "green" in colour(title)]
    assert right == ["cat (cat)", "dog (dog)", "emu (emu)"]
    for one in axes:
        wrong = one.title.get_text() not in right
        assert ("red" in colour(one.title)) == wrong
        assert (one.title.get_fontweight() == "bold") == wrong
        assert one.spines["left"].get_linewidth() == (3 if wrong else 1)


def colour(text: Any) -> str:
    from matplotlib.colors import to_rgb

    red, green, _ = to_rgb(text.get_color())
    return "red" if red > green else "green"


def test_long_names_stand_in_two_lines() -> None:
    ds = some(16)
    names = ["a golden retriever of great age", "n02085936-Maltese_dog", "cat"]
    figure = plot.predictions(Says(), ds, classes=names)
    check_layout(figure)
    assert all("\n(" in title or title == "cat (cat)" for title in titles(figure))


class OneLogit(nn.Module):
    binary, threshold = True, 0.6

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(images[:, 0, 0, 0] + 0.5)  # 0.5, 0.54, 0.58, 0.62, …


def test_one_logit_and_the_models_threshold() -> None:
    images, _ = some(4)[:]
    batch = images, torch.tensor([0, 0, 1, 1])
    figure = plot.predictions(OneLogit(), batch, classes=["mario", "wario"])
    said = [title.split(" (")[0] for title in titles(figure)]
    assert said == ["mario", "mario", "mario", "wario"]
    figure = plot.predictions(OneLogit(), batch, classes=["mario", "wario"], threshold=0.55)
    assert [title.split(" (")[0] for title in titles(figure)] == [
        "mario",
        "mario",
        "wario",
        "wario",
    ]


def test_a_model_trained_by_fit_knows_classes_and_normalisation() -> None:
    ds = some()
    loader = make_loader(ds, 9, preprocess=NORMALISED, device="cpu")
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 3))
    fit(model, loader, epochs=1, lr=0.1, progress=False)
    images, labels = ds[:]
    expected = model(NORMALISED(images)).argmax(dim=1)
    said = [f"{CLASSES[a]} ({CLASSES[b]})" for a, b in zip(expected, labels, strict=True)]
    assert titles(plot.predictions(model, (images, labels))) == said
    assert titles(plot.predictions(model, ds)) == said
    assert titles(plot.predictions(model, loader)) == said
    with pytest.raises(ClassMismatchError, match=r"2: emu.*2: owl"):
        plot.predictions(model, ds, classes=["cat", "dog", "owl"])


def test_images_of_different_sizes_are_no_batch() -> None:
    pairs = [(torch.zeros(3, 6, 8), 0), (torch.zeros(3, 6, 9), 1)]
    with pytest.raises(DataError, match=r"\(3, 6, 8\), \(3, 6, 9\)"):
        plot.predictions(Says(), pairs)
    assert titles(plot.batch(pairs)) == ["0", "1"]


class Gives(nn.Module):
    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> Any:
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(9, 2), r"\(9, 3\) for 9 images of 3 classes.*received \(9, 2\)"),
        (torch.zeros(9, 1), r"received \(9, 1\)"),
        (torch.zeros(9), r"of 3 classes.*received \(9,\)"),
        (torch.zeros(()), r"received \(\)"),
        (torch.zeros(2, 3), r"received \(2, 3\)"),
        ("text", "received str"),
        (torch.full((9, 3), torch.nan), "no numbers.*diverged"),
    ],
)
def test_outputs_that_are_no_predictions(outputs: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        plot.predictions(Gives(outputs), some())


def test_the_model_comes_first() -> None:
    with pytest.raises(ArgumentError, match=r"received ArrayDataset.*classifier\.model"):
        plot.predictions(some(), Says())  # type: ignore[arg-type]


# --- mistakes ------------------------------------------------------------------------------------


def judged(ds: Any, **options: Any) -> Report:
    class Sure(nn.Module):
        """Says dog, the surer the brighter the first pixel."""

        def forward(self, images: Tensor) -> Tensor:
            sure = images[:, 0, 0, 0] * 5
            return torch.stack([torch.zeros_like(sure), sure + 0.1, torch.zeros_like(sure)], dim=1)

    return evaluate(Sure(), make_loader(ds, 4, device="cpu", **options))


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_most_confident_mistakes_come_first(shuffle: bool) -> None:
    ds = some()
    report = judged(ds, shuffle=shuffle)
    figure = plot.mistakes(report, ds, number=4)
    assert which(figure) == [8, 6, 5, 3]  # 7, 4 and 1 are dogs
    assert [axes.get_xlabel() for axes in figure.axes] == [f"image {i}" for i in (8, 6, 5, 3)]
    logits = torch.tensor([0.0, 80 / 255 * 5 + 0.1, 0.0])
    expected = logits.softmax(dim=0)
    assert titles(figure)[0] == f"dog {expected[1]:.0%}\n(emu {expected[2]:.0%})"
    assert titles(figure)[1].endswith("%)")
    assert "(cat" in titles(figure)[1]
    assert which(plot.mistakes(report, make_loader(ds, 2, device="cpu"), number=1)) == [8]


def test_suspect_labels_and_what_is_unknown() -> None:
    ds = some()
    report = judged(ds)
    figure = plot.mistakes(report, ds, which="suspect_labels")
    if report.suspect_labels:
        assert which(figure) == [mistake.index for mistake in report.suspect_labels]
    with pytest.raises(ArgumentError, match=r"'mistakes', 'suspect_labels'.*'all'"):
        plot.mistakes(report, ds, which="all")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"number.*-1"):
        plot.mistakes(report, ds, number=-1)


def test_files_are_named(tmp_path: Any) -> None:
    for name, file in (("cat", "felix.png"), ("dog", "a very long name of a file indeed.png")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 6), (200, 100, 0)).save(tmp_path / name / file)
    ds = ImageFolder(tmp_path, image_size=(6, 8), classes=CLASSES)
    figure = plot.mistakes(judged(ds), ds)
    assert [axes.get_xlabel() for axes in figure.axes] == ["felix.png"]
    check_layout(figure)


def test_no_mistake_is_said() -> None:
    figure = plot.mistakes(Report([[3, 0, 0], [0, 3, 0], [0, 0, 3]], CLASSES), some())
    assert [text.get_text() for text in figure.axes[0].texts] == ["no mistakes among 9 images"]
    check_layout(figure)


def test_a_report_and_a_data_set_that_do_not_belong_together() -> None:
    ds = some()
    report = judged(ds)
    with pytest.raises(DataError, match=r"speaks of image 8, the data set has 5.*as a whole"):
        plot.mistakes(report, ds.subset(range(5)))
    with pytest.raises(DataError, match=r"image 8 is a 'cat'.*a 'emu' in the report"):
        plot.mistakes(report, ds.subset(list(range(8, -1, -1))))
    other = ArrayDataset(ds.images, ds.labels, classes=["a", "b", "c"])
    with pytest.raises(ClassMismatchError, match=r"'cat'.*'a'"):
        plot.mistakes(report, other)
    with pytest.raises(ArgumentError, match="received NoneType"):
        plot.mistakes(report, None)
    with pytest.raises(DataError, match="counts 2 mistakes but does not say which"):
        plot.mistakes(Report([[3, 2, 0], [0, 3, 0], [0, 0, 3]], CLASSES), ds)


def test_indices_into_a_loader_lead_nowhere() -> None:
    ds = some()
    images, labels = ds[:]
    report = evaluate(Says(), [(images.float() / 255, labels)])
    assert report.indices_into == "loader"
    with pytest.raises(DataError, match=r"what its loader yielded.*make_loader"):
        plot.mistakes(report, ds)


def test_loaders_of_torch_are_loaders_too() -> None:
    ds: Any = some()
    loader: Any = DataLoader(ds, batch_size=4)
    assert titles(plot.classes(loader)) == titles(plot.classes(ds))
    report = judged(ds)
    assert titles(plot.mistakes(report, loader)) == titles(plot.mistakes(report, ds))
