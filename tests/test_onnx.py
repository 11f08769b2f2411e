"""`Classifier.export_onnx`: the same answers from onnxruntime, which knows neither torch nor us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cnnkit import Classifier, Preprocess, models
from cnnkit.classifier import _onnx as exporter
from cnnkit.data import ImageFolder, make_loader
from cnnkit.errors import DataError, ImageReadError, MissingExtraError, ModelError
from cnnkit.train import fit

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

#: Small images that each of the zoo takes.
SIZES = {"AlexNet": 67, "LeNetVariant": 116}
ZOO = [name for name in models.list_models() if hasattr(models, name)]
TOLERANCE = 1e-5


def made(name: str, classes: int = 3, **options: Any) -> Classifier:
    size = SIZES.get(name, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.create_model(
            name, num_classes=classes, in_channels=3, image_size=size, **options
        )
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # as if it had seen images
                assert module.running_mean is not None
                nn.init.normal_(module.running_mean, std=0.2)
    names = [f"class {number}" for number in range(classes)]
    return Classifier(model, names, Preprocess(size, "RGB", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))


def pictures(classifier: Classifier, number: int, seed: int = 1) -> np.ndarray[Any, Any]:
    shape = (number, *classifier.preprocess.image_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def session_of(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def expected(classifier: Classifier, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = classifier.predict([torch.from_numpy(image) for image in images])
    return np.array([list(one.probabilities.values()) for one in found])


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("binary", [False, True], ids=["classes", "binary"])
def test_every_model_of_the_zoo(name: str, binary: bool, tmp_path: Path) -> None:
    one = made(name, 2, binary=True) if binary else made(name)
    path = tmp_path / "one.onnx"
    one.export_onnx(path)
    session = session_of(path)
    for number in (1, 2, 5):  # any batch size
        images = pictures(one, number)
        (found,) = session.run(None, {"images": images})
        assert found.shape == (number, len(one.classes))
        assert found.dtype == np.float32
        assert np.abs(found - expected(one, images)).max() < TOLERANCE
    assert [file.name for file in tmp_path.iterdir()] == ["one.onnx"], "one file, weights inside"


@pytest.fixture(scope="module")
def small() -> Classifier:
    return made("TwoLayerCNN")


@pytest.fixture(scope="module")
def exported(small: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "models" / "small.onnx"
    small.export_onnx(path)
    return path


def test_inputs_and_outputs(exported: Path) -> None:
    session = session_of(exported)
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == (
        "images",
        "tensor(uint8)",
        ["batch", 3, 32, 32],
    )
    assert (returned.name, returned.type) == ("probabilities", "tensor(float)")
    assert returned.shape == ["batch", 3]
    graph = onnx.load(exported)
    onnx.checker.check_model(graph, full_check=True)
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", 18)]


def test_the_metadata_say_what_the_numbers_mean(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = made("MLP", 2, binary=True, hidden=(4,))
    one = Classifier(one.model, ["Käfer", "no"], one.preprocess, threshold=0.7)
    one.export_onnx(tmp_path / "one.onnx")
    assert capfd.readouterr() == ("", ""), "the exporter talks"
    found = session_of(tmp_path / "one.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == ["Käfer", "no"]
    assert json.loads(found["threshold"]) == 0.7
    assert Preprocess.from_dict(json.loads(found["preprocess"])) == one.preprocess


def test_no_threshold_is_null_and_no_path_of_this_machine_is_in_it(exported: Path) -> None:
    found = session_of(exported).get_modelmeta().custom_metadata_map
    assert json.loads(found["threshold"]) is None
    content = exported.read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content


def test_what_was_trained_is_what_is_exported(tmp_path: Path) -> None:
    for number in range(12):
        name = tmp_path / "in" / ("dark", "light")[number % 2] / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 120, (40, 30, 3))
        Image.fromarray((noise + 100 * (number % 2)).astype(np.uint8)).save(name)
    ds = ImageFolder(tmp_path / "in", image_size=(20, 24))
    loader = make_loader(ds, 4, preprocess=Preprocess.fit(ds), device="cpu")
    model = models.create_model("ThreeConvCIFAR", like=loader)
    fit(model, loader, epochs=2, lr=0.05, progress=False)
    one = Classifier.from_loader(model, loader)
    before = torch.get_rng_state()
    one.export_onnx(tmp_path / "one.onnx", images=[path for path, _ in ds.samples])
    assert torch.equal(torch.get_rng_state(), before)
    session = session_of(tmp_path / "one.onnx")
    for image in (ds[number][0] for number in range(len(ds))):
        (found,) = session.run(None, {"images": image[None].numpy()})
        values = list(one.predict(image).probabilities.values())
        assert np.abs(found[0] - values).max() < TOLERANCE


def test_it_runs_where_there_is_no_torch(exported: Path, small: Classifier) -> None:
    code = (
        "import sys, json, numpy, onnxruntime\n"
        "sys.modules['torch'] = sys.modules['cnnkit'] = None\n"
        "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "images = numpy.zeros((1, 3, 32, 32), numpy.uint8)\n"
        "print(json.dumps(session.run(None, {'images': images})[0].tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=True
    )
    images = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    assert np.abs(np.array(json.loads(done.stdout)) - expected(small, images)).max() < TOLERANCE


@pytest.mark.slow
def test_torchvisions_networks(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.from_torchvision("resnet18", 2)
    one = Classifier(model, ["a", "b"], Preprocess.imagenet(64))
    one.export_onnx(tmp_path / "one.onnx")
    images = pictures(one, 3)
    (found,) = session_of(tmp_path / "one.onnx").run(None, {"images": images})
    assert np.abs(found - expected(one, images)).max() < TOLERANCE


# --- what is refused -----------------------------------------------------------------------------


class Asking(nn.Module):
    """Computes otherwise for bright images: that is no graph."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(images.flatten(1))
        return logits if float(images.mean()) > 0 else 5 - logits


RGB8 = Preprocess(8, "RGB", (0.5,) * 3, (0.5,) * 3)


def test_a_model_that_is_no_graph(tmp_path: Path) -> None:
    one = Classifier(Asking(), ["a", "b"], RGB8)
    with pytest.raises(ModelError, match=r"Asking cannot be exported to ONNX|differs") as caught:
        one.export_onnx(tmp_path / "one.onnx")
    assert len(str(caught.value)) < 600
    assert list(tmp_path.iterdir()) == []


class Leaning(nn.Module):
    """Exported without what it does when it runs: a graph that is not the model."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(images.flatten(1))
        exporting = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
        return logits if exporting else logits + torch.tensor([0.0, 3.0])


def test_a_graph_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(b"the old one")
    one = Classifier(Leaning(), ["a", "b"], RGB8)
    with pytest.raises(ModelError, match=r"graph of Leaning differs .* by 0\.\d+ .* on 8 images"):
        one.export_onnx(path)
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(ModelError, match=r"on 2 images"):
        one.export_onnx(path, images=[image, Image.fromarray(image)])
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["one.onnx"]


def test_images_to_compare_on(small: Classifier, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no")
    wrong: Any = "photos"
    for given, values in (([], "list without any"), (wrong, "received str")):
        with pytest.raises(DataError, match=values):
            small.export_onnx(tmp_path / "one.onnx", images=given)
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        small.export_onnx(tmp_path / "one.onnx", images=[tmp_path / "broken.png"])


def test_a_model_in_training_mode(tmp_path: Path) -> None:
    one = made("MLP")
    one.model.train()
    with pytest.raises(ModelError, match="training mode"):
        one.export_onnx(tmp_path / "one.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(
    small: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*cnnkit\[onnx\]"):
        small.export_onnx(tmp_path / "one.onnx")


def test_made_images_are_of_any_shape() -> None:
    for shape in ((1, 1, 1), (3, 5, 70), (5, 16, 16)):
        preprocess = Preprocess.of_shape(shape)
        found = exporter._pictures(preprocess)
        assert (found.shape, found.dtype) == ((8, *shape), torch.uint8)
        assert (int(found.min()), int(found.max())) == (0, 255)
