"""`Classifier.predict`: the same answer as in training, whatever an image comes as."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cnnkit import Classifier, Prediction, Preprocess
from cnnkit.data import ArrayDataset, ImageFolder, make_loader
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    CnnkitError,
    CnnkitWarning,
    DataError,
    ImageReadError,
    ModelError,
    NotFoundError,
)
from cnnkit.metrics import Report, probabilities
from cnnkit.models import MLP
from cnnkit.train import evaluate, fit

SIZE = 12


def pixels(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of files of other sizes, modes, formats and orientations."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("left", "right"):
        (root / name).mkdir()
    rotated = Image.Exif()
    rotated[0x0112] = 6  # the camera was turned
    palette = Image.fromarray(pixels(5, 15, 9, 3)).quantize(16)
    palette.info["transparency"] = 3
    Image.fromarray(pixels(0, 12, 12, 3)).save(root / "left" / "exact.png")
    Image.fromarray(pixels(1, 31, 20, 3)).save(root / "left" / "larger.png")
    Image.fromarray(pixels(2, 7, 9, 3)).save(root / "left" / "smaller.bmp")
    Image.fromarray(pixels(3, 20, 14)).save(root / "left" / "grey.png")
    palette.save(root / "left" / "palette.png")
    Image.fromarray(pixels(4, 30, 18, 4)).save(root / "right" / "alpha.png")
    Image.fromarray(pixels(6, 40, 17, 3)).save(root / "right" / "turned.jpg", exif=rotated)
    Image.fromarray(pixels(7, 200, 160, 3)).save(root / "right" / "large.jpg")
    Image.fromarray(pixels(8, 14, 22, 2).view(np.uint16)[..., 0]).save(root / "right" / "deep.png")
    Image.fromarray(pixels(9, 25, 25, 3)).convert("CMYK").save(root / "right" / "print.jpg")
    return root


def network(classes: int = 2, seed: int = 0, **options: Any) -> MLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(classes, **{"in_channels": 3, "image_size": SIZE, "hidden": (16,), **options})


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[MLP, DeviceDataLoader, Classifier]:
    ds = ImageFolder(folder, image_size=SIZE)
    preprocess = Preprocess.fit(ds)
    train = make_loader(ds, 4, shuffle=True, preprocess=preprocess, device="cpu")
    test = make_loader(ds, 4, preprocess=preprocess, device="cpu")
    model = network()
    fit(model, train, epochs=3, lr=0.1, progress=False)
    return model, test, Classifier.from_loader(model, test, report=evaluate(model, test))


def as_in_training(model: nn.Module, loader: DeviceDataLoader) -> Tensor:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return torch.cat([probabilities(model(images)) for images, _ in loader])


def close(found: Prediction, expected: Tensor) -> bool:
    values = torch.tensor(list(found.probabilities.values()))
    return torch.allclose(values, expected, rtol=0, atol=2e-6)


# --- one answer, whatever it comes as ------------------------------------------------------------


def decoded(path: Path) -> Image.Image:
    image: Image.Image
    with Image.open(path) as image:
        image.load()
    return image


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "string": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "pillow": decoded,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_file_is_answered_as_in_training(
    trained: tuple[MLP, DeviceDataLoader, Classifier], folder: Path, form: str
) -> None:
    model, loader, classifier = trained
    expected = as_in_training(model, loader)
    paths = [Path(path) for path, _ in ImageFolder(folder, image_size=SIZE).samples]
    assert len(paths) == 10
    for path, row in zip(paths, expected, strict=True):
        if form == "pillow" and path.suffix == ".jpg":
            continue  # what is decoded already is not decoded at a reduced size, nor resized so
        found = classifier.predict(FORMS[form](path))
        assert close(found, row), path.name
        assert found.label == ("left", "right")[int(row.argmax())]
    together = classifier.predict([FORMS[form](path) for path in paths if path.suffix != ".jpg"])
    kept = [row for path, row in zip(paths, expected, strict=True) if path.suffix != ".jpg"]
    assert all(close(one, row) for one, row in zip(together, kept, strict=True))


def test_answers_and_report_are_about_the_same_model(
    trained: tuple[MLP, DeviceDataLoader, Classifier], folder: Path
) -> None:
    _, _, classifier = trained
    samples = ImageFolder(folder, image_size=SIZE).samples
    found = classifier.predict([path for path, _ in samples])
    right = sum(
        one.label == ("left", "right")[y] for one, (_, y) in zip(found, samples, strict=True)
    )
    assert classifier.report is not None
    assert classifier.report.correct == right


@pytest.mark.parametrize("shape", [(12, 12, 3), (31, 20, 3), (14, 9), (16, 20, 1), (13, 15, 4)])
def test_arrays_are_answered_as_their_file(
    trained: tuple[MLP, DeviceDataLoader, Classifier], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    _, _, classifier = trained
    array = pixels(20, *shape)
    path = tmp_path / "image.png"
    Image.fromarray(array[..., 0] if shape[2:] == (1,) else array).save(path)
    expected = classifier.predict(path)
    assert classifier.predict(array) == expected
    turned = np.asfortranarray(array)[::-1][::-1]
    assert classifier.predict(turned) == expected, "however it lies in memory"
    tensor = torch.from_numpy(array)
    tensor = tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
    assert classifier.predict(tensor) == expected
    together = classifier.predict([path, array, tensor])
    assert together == [together[0]] * 3
    assert close(together[0], torch.tensor(list(expected.probabilities.values())))


def test_a_tensor_of_the_loader_is_answered(
    trained: tuple[MLP, DeviceDataLoader, Classifier], folder: Path
) -> None:
    model, loader, classifier = trained
    image, _ = ImageFolder(folder, image_size=SIZE)[4]
    assert close(classifier.predict(image), as_in_training(model, loader)[4])


@pytest.mark.parametrize("number", [0, 1, 63, 64, 65, 150])
def test_lists_of_any_length(
    trained: tuple[MLP, DeviceDataLoader, Classifier], number: int
) -> None:
    _, _, classifier = trained
    arrays = [pixels(seed, SIZE, SIZE, 3) for seed in range(number)]
    found = classifier.predict(arrays)
    assert len(found) == number
    assert isinstance(found, list)
    assert classifier.predict(tuple(arrays)) == found
    for array, one in list(zip(arrays, found, strict=True))[::29]:
        alone = classifier.predict(array)
        assert alone.label == one.label
        assert alone.probability == pytest.approx(one.probability, abs=2e-6)


def test_one_image_gives_one_prediction_and_a_list_a_list(
    trained: tuple[MLP, DeviceDataLoader, Classifier], folder: Path
) -> None:
    """For the type checkers as well: a str is a Sequence, too, but it is one path."""
    _, _, classifier = trained
    path = folder / "left" / "grey.png"
    one: Prediction = classifier.predict(str(path))
    content: Prediction = classifier.predict(path.read_bytes())
    several: list[Prediction] = classifier.predict([str(path), path])
    assert content == one
    assert [other.label for other in several] == [one.label] * 2


def test_a_prediction_is_readable(trained: tuple[MLP, DeviceDataLoader, Classifier]) -> None:
    _, _, classifier = trained
    found = classifier.predict(pixels(0, SIZE, SIZE, 3))
    assert list(found.probabilities) == ["left", "right"]
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert found.label is not None
    assert found.probability == found.probabilities[found.label]
    assert str(found) == f"{found.label} ({100 * found.probability:.1f}%)"
    assert str(Prediction("dog", 0.98765, {"dog": 0.98765, "cat": 0.01235})) == "dog (98.8%)"
    assert repr(classifier) == "Classifier(MLP, 2 classes, 12x12 RGB)"


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (np.zeros((12, 12, 3)), r"float64 of shape \(12, 12, 3\)"),
        (np.zeros((12, 12), dtype=bool), "bool"),
        (np.zeros((12, 12), dtype=np.uint16), "uint16"),
        (np.zeros((3, 12, 12), dtype=np.uint8), r"\(height, width, channels\).*\(3, 12, 12\)"),
        (np.zeros((2, 12, 12, 3), dtype=np.uint8), r"\(2, 12, 12, 3\)"),
        (np.zeros((0, 12, 3), dtype=np.uint8), r"no pixels.*\(0, 12, 3\): leave it out"),
        (np.zeros((5, 0), dtype=np.uint8), r"no pixels.*\(5, 0\)"),
        (torch.zeros(3, 12, 0, dtype=torch.uint8), r"no pixels.*\(3, 12, 0\)"),
        (torch.zeros(3, 12, 12), r"such as \(3, 12, 12\), received torch\.float32"),
        (torch.zeros(3, 12, 12, dtype=torch.int64), "int64"),
        (torch.zeros(12, 12, dtype=torch.uint8), r"\(12, 12\)"),
        (torch.zeros(12, 12, 3, dtype=torch.uint8), r"\(12, 12, 3\)"),
        (torch.zeros(2, 3, 12, 12, dtype=torch.uint8), r"\(2, 3, 12, 12\)"),
    ],
)
def test_other_shapes_and_types_are_refused(
    trained: tuple[MLP, DeviceDataLoader, Classifier], given: Any, values: str
) -> None:
    _, _, classifier = trained
    with pytest.raises(DataError, match=values):
        classifier.predict(given)
    with pytest.raises(DataError, match=values):
        classifier.predict([pixels(0, SIZE, SIZE, 3), given])


def test_files_that_cannot_be_read_are_named(
    trained: tuple[MLP, DeviceDataLoader, Classifier], tmp_path: Path
) -> None:
    _, _, classifier = trained
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(NotFoundError, match=r"missing\.png"):
        classifier.predict(tmp_path / "missing.png")
    with pytest.raises(ImageReadError, match=r"notes\.png"):
        classifier.predict(tmp_path / "notes.png")
    with pytest.raises(ImageReadError, match="10 bytes"):
        classifier.predict(b"no picture")
    with pytest.raises(ImageReadError, match=r"is a folder: predict_folder"):
        classifier.predict(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageReadError, match=r"nothing in .*empty\.png: copy"):
        classifier.predict(tmp_path / "empty.png")
    with pytest.raises(ImageReadError, match="nothing in the given 0 bytes"):
        classifier.predict(b"")
    with pytest.raises(ImageReadError, match=r"without pixels, 0 x 7: leave it out"):
        classifier.predict(Image.new("RGB", (0, 7)))


@pytest.mark.parametrize("given", [None, 5, io.BytesIO(b""), [[b""]], {"a": 1}])
def test_what_is_no_image_at_all(
    trained: tuple[MLP, DeviceDataLoader, Classifier], given: Any
) -> None:
    _, _, classifier = trained
    with pytest.raises(CnnkitError, match=type(given).__name__):
        classifier.predict(given)


def test_outputs_that_are_no_numbers() -> None:
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    classifier = Classifier(model, ["a", "b"], rgb())
    with pytest.raises(ModelError, match="diverged"):
        classifier.predict(pixels(0, SIZE, SIZE, 3))


# --- making one ----------------------------------------------------------------------------------


def rgb(size: int = SIZE, mean: float = 0.5) -> Preprocess:
    return Preprocess(size, "RGB", (mean,) * 3, (0.25,) * 3)


def test_the_model_is_copied() -> None:
    model = network(dropout=0.5).train()
    classifier = Classifier(model, ["a", "b"], rgb())
    image = pixels(0, SIZE, SIZE, 3)
    before = classifier.predict(image)
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert classifier.predict(image) == before
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in classifier.model.parameters())


def test_threads_get_the_answers_of_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(),
                          nn.Linear(400, 2)).train()  # fmt: skip
    classifier = Classifier(model, ["a", "b"], rgb())
    arrays = [pixels(seed, 10 + seed, 12, 3) for seed in range(24)]

    def answer(array: np.ndarray[Any, Any]) -> Prediction:
        return classifier.predict(array)

    expected = [answer(array) for array in arrays]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, arrays * 10)) == expected * 10


def test_a_binary_model_and_its_threshold() -> None:
    model = network(binary=True)
    array = pixels(0, SIZE, SIZE, 3)
    plain = Classifier(model, ["no", "yes"], rgb())
    yes = plain.predict(array).probabilities["yes"]
    assert plain.threshold == 0.5
    assert plain.predict(array).label == ("yes" if yes >= 0.5 else "no")
    below = Classifier(model, ["no", "yes"], rgb(), threshold=yes - 0.01).predict(array)
    above = Classifier(model, ["no", "yes"], rgb(), threshold=yes + 0.01).predict(array)
    exact = Classifier(model, ["no", "yes"], rgb(), threshold=yes).predict(array)
    assert (below.label, above.label, exact.label) == ("yes", "no", "yes")
    assert below.probability == yes
    assert above.probability == pytest.approx(1 - yes, abs=1e-6)
    model.threshold = yes + 0.01
    assert Classifier(model, ["no", "yes"], rgb()).predict(array).label == "no"


def test_a_threshold_is_for_two_classes() -> None:
    with pytest.raises(ArgumentError, match=r"of two classes; received 0\.5 for 3 classes"):
        Classifier(network(3), ["a", "b", "c"], rgb(), threshold=0.5)


@pytest.mark.parametrize("threshold", [50, -1.0, math.nan])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ArgumentError, match=f"{threshold}"):
        Classifier(network(), ["a", "b"], rgb(), threshold=threshold)


def test_equal_logits_are_the_class_that_the_report_counts() -> None:
    model = network()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    ds = ArrayDataset(torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8), [0] * 4, classes="ab")
    report = evaluate(model, make_loader(ds, 4, device="cpu"))
    label = Classifier(model, ["a", "b"], rgb()).predict(pixels(0, SIZE, SIZE, 3)).label
    assert report.accuracy == (1.0 if label == "a" else 0.0)


@pytest.mark.parametrize(
    ("model", "classes", "values"),
    [
        (network(2), "abc", r"3 classes.*\(1, 3\) for one image, received \(1, 2\); name a class"),
        (network(3), "ab", r"\(1, 2\) or \(1,\) for one image, received \(1, 3\)"),
        (network(2, binary=True), "abc", r"received \(1,\)"),
        (nn.Identity(), "ab", r"received \(1, 3, 12, 12\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(432, 1)), "ab", r"received \(1, 1\)"),
    ],
)
def test_outputs_must_match_the_classes(model: nn.Module, classes: str, values: str) -> None:
    with pytest.raises(ModelError, match=values):
        Classifier(model, list(classes), rgb())


def test_the_size_must_be_the_models() -> None:
    with pytest.raises(ModelError, match=r"\(N, 3, 12, 12\), received \(1, 3, 20, 20\)"):
        Classifier(network(), ["a", "b"], rgb(20))


def test_the_size_must_be_a_plain_models_too() -> None:
    with pytest.raises(ModelError, match="20"):
        Classifier(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), ["a", "b"], rgb(20))


def test_class_names_differ() -> None:
    with pytest.raises(CnnkitError, match="'a'"):
        Classifier(network(), ["a", "a"], rgb())


def test_a_report_on_other_classes_is_refused() -> None:
    report = Report([[1, 0], [0, 1]], ["cat", "dog"])
    with pytest.raises(ClassMismatchError, match=r"'cat', 'dog'.*'dog', 'cat'"):
        Classifier(network(), ["dog", "cat"], rgb(), report=report)


def test_a_model_of_other_classes_or_pixels_is_noticed(
    trained: tuple[MLP, DeviceDataLoader, Classifier],
) -> None:
    model, loader, _ = trained
    assert loader.preprocess is not None
    with pytest.raises(ClassMismatchError, match=r"0: left, 1: right.*0: right, 1: left"):
        Classifier(model, ["right", "left"], loader.preprocess)
    with pytest.warns(CnnkitWarning, match="preprocessed differently.*mean") as caught:
        Classifier(model, ["left", "right"], rgb())
    assert [warning.filename for warning in caught] == [__file__]


def test_a_loader_that_knows_too_little_is_refused() -> None:
    model = nn.Linear(4, 2)
    features = ArrayDataset(torch.zeros(4, 4), [0, 1, 0, 1])
    with pytest.raises(ArgumentError, match="does not know"):
        Classifier.from_loader(model, make_loader(features, 2, device="cpu"))
    foreign = DeviceDataLoader([(torch.zeros(2, 4), torch.zeros(2).long())], "cpu")
    with pytest.raises(ArgumentError, match=r"Classifier\(model, classes, preprocess\)"):
        Classifier.from_loader(model, foreign)
    wrong: Any = None
    with pytest.raises(ArgumentError, match=r"Preprocess.*NoneType"):
        Classifier(model, ["a", "b"], wrong)


def test_the_threshold_is_that_of_the_report() -> None:
    report = Report([[1, 0], [0, 1]], ["no", "yes"], threshold=0.7)
    assert Classifier(network(), ["no", "yes"], rgb(), report=report).threshold == 0.7
    other = Report([[1, 0], [0, 1]], ["no", "yes"], threshold=0.7, positive="no")
    assert Classifier(network(), ["no", "yes"], rgb(), report=other).threshold == pytest.approx(0.3)
    without = Report([[1, 0], [0, 1]], ["no", "yes"])
    assert Classifier(network(), ["no", "yes"], rgb(), report=without).threshold is None
    binary = network(binary=True)
    assert Classifier(binary, ["no", "yes"], rgb(), report=without).threshold == 0.5


@pytest.mark.parametrize("positive", ["left", "right"])
def test_the_classifier_decides_as_its_report_did(
    trained: tuple[MLP, DeviceDataLoader, Classifier], folder: Path, positive: str
) -> None:
    model, loader, _ = trained
    samples = ImageFolder(folder, image_size=SIZE).samples
    for threshold in (0.2, 0.45, 0.6, 0.9):
        report = evaluate(model, loader, threshold=threshold, positive=positive)
        found = Classifier.from_loader(model, loader, report=report).predict(
            [path for path, _ in samples]
        )
        labels = [("left", "right")[label] for _, label in samples]
        right = sum(one.label == label for one, label in zip(found, labels, strict=True))
        assert right == report.correct


def test_a_report_of_another_threshold_is_noticed() -> None:
    report = Report([[1, 0], [0, 1]], ["no", "yes"], threshold=0.7)
    with pytest.warns(
        CnnkitWarning, match=r"threshold 0\.7 .* with 0\.4.*threshold=0\.4"
    ) as caught:
        one = Classifier(network(), ["no", "yes"], rgb(), report=report, threshold=0.4)
    assert one.threshold == 0.4
    assert [warning.filename for warning in caught] == [__file__]
    plain = Report([[1, 0], [0, 1]], ["no", "yes"])
    with pytest.warns(CnnkitWarning, match=r"threshold 0\.5, the larger probability"):
        Classifier(network(), ["no", "yes"], rgb(), report=plain, threshold=0.4)
    Classifier(network(), ["no", "yes"], rgb(), report=plain, threshold=0.5)
    Classifier(network(), ["no", "yes"], rgb(), report=report, threshold=0.7)


class Viewing(nn.Module):
    """Flattens with `view`, which channels_last does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(400, 2)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images)
        logits: Tensor = self.fc(features.view(len(images), -1))
        return logits


@pytest.mark.parametrize("number", [1, 30])
def test_the_memory_format_is_one_that_the_model_takes(number: int) -> None:
    viewing = Viewing()
    flat = nn.Sequential(viewing.conv, nn.Flatten(), viewing.fc)
    arrays = [pixels(seed, SIZE, SIZE, 3) for seed in range(number)]
    found = Classifier(viewing, ["a", "b"], rgb()).predict(arrays)
    other = Classifier(flat, ["a", "b"], rgb()).predict(arrays)
    with torch.no_grad():
        images = torch.stack([torch.from_numpy(a).permute(2, 0, 1) for a in arrays])
        expected = flat.eval()(rgb()(images)).softmax(1)
    assert all(close(one, row) for one, row in zip(found, expected, strict=True))
    assert all(close(one, row) for one, row in zip(other, expected, strict=True))


def test_grey_and_odd_sizes() -> None:
    model = MLP(3, in_channels=1, image_size=(5, 9), hidden=())
    classifier = Classifier(model, ["a", "b", "c"], Preprocess((5, 9), "L", (0.0,), (1.0,)))
    array = pixels(0, 5, 9)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(array)[None, None] / 255).softmax(1)[0]
    assert close(classifier.predict(array), expected)
    assert classifier.predict(np.stack([array] * 3, axis=2)) == classifier.predict(array)


class Keeping(MLP):
    """Keeps what it computed, as some do who want to look at it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = super().forward(images)
        return self.seen


def test_a_model_that_cannot_be_copied_is_named() -> None:
    model = Keeping(2, image_size=4)
    model(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ModelError, match=r"the Keeping cannot be copied.*detach\(\) it"):
        Classifier(model, "ab", Preprocess(4, "L", (0.5,), (0.5,)))
