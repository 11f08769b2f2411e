"""The examples run from start to end, on their own data or on a little that is made here."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnkit import Classifier
from cnnkit.data import ImageFolder

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script), "--device", "cpu", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # see conftest.py
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(tmp_path: Path) -> None:
    run("quickstart.py", "--quick", "--out", str(tmp_path))
    assert json.loads((tmp_path / "result.json").read_text())["epochs"] == 2
    said = run("quickstart.py", "--epochs", "2", "--out", str(tmp_path))  # and once more
    assert "Split(train=1168, val=270, test=359)" in said
    assert "a fresh process says: " in said
    for picture in ("history.png", "confusion_matrix.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    report = Classifier.load(tmp_path / "digits.pt", device="cpu").report
    assert report is not None
    assert report.samples == 359
    assert report.accuracy > 0.5


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """Ten classes, each bright in a row of its own; 6,000 images to train, 200 to test."""
    generator = np.random.default_rng(0)
    for part, number in (("train", 6000), ("t10k", 200)):
        labels = np.arange(number) % 10
        images = generator.integers(0, 60, (number, 28, 28))
        images[np.arange(number), 2 * labels, :] = 255
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_fashion_mnist(fashion: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("fashion_mnist.py", "--data", str(fashion), "--epochs", "2", "--out", str(out))
    assert json.loads((out / "result.json").read_text())["accuracy"] > 0.9
    assert {path.name for path in out.iterdir()} == {
        "confusion_matrix.png", "fashion.pt", "history.png", "mistakes.png", "result.json",
    }  # fmt: skip


def test_filters_and_feature_maps(tmp_path: Path) -> None:
    run("filters_and_feature_maps.py", "--quick", "--out", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["bars_accuracy"] > 0.9
    assert len(result["pictures"]) == 8
    for name in result["pictures"]:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_covers_are_sorted_with_cats_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another class comes first in the order of the names."""
    monkeypatch.syspath_prepend(EXAMPLES)
    covers = importlib.import_module("covers")
    classes, given = ("background", "cat"), tmp_path / "given"
    for name, grey in (("background", 90), ("cat", 160)):
        (given / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((8, 8), grey + 20 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(given / name / f"{number}.png")
    test = ImageFolder(given, image_size=8, mode="L")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        for weight, value in zip(model.parameters(), (0.1, -4.2), strict=True):
            weight.zero_()[1] = value  # the brighter, the more of a cat
    assert test.preprocess is not None
    sure = Classifier(model, classes, test.preprocess)
    assert covers.sort_out(sure, test, "cat", tmp_path) == 2
    rows = [line.split(",") for line in (tmp_path / "covers.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["cat"] * 2 + ["background"] * 4
    assert [Path(row[2]).stem for row in rows] == [f"{n:04}" for n in (5, 4, 3, 2, 1, 0)]
    assert (tmp_path / "covers.png").exists()


@pytest.mark.parametrize(
    ("script", "option", "pictures"),
    [
        ("mnist_mlp.py", None, 5),
        ("fashion_mnist.py", None, 3),
        ("fashion_mnist.py", "--batch-norm", 3),
        ("cifar10_three_conv.py", None, 5),
        ("cifar10_six_conv.py", "--regularised", 5),
        ("cifar10_fast.py", "--wide", 3),
    ],
)
def test_articles_on_made_images(
    script: str, option: str | None, pictures: int, tmp_path: Path
) -> None:
    said = run(script, "--quick", "--out", str(tmp_path), *([option] if option else []))
    assert "the article: " in said.splitlines()[-1]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["accuracy"] > 0.8
    assert result["seed"] == 0
    drawn = list(tmp_path.glob("*.png"))
    assert len(drawn) == pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert len(list(tmp_path.glob("*.pt"))) == 1


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_cifar_is_read_from_class_folders(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(EXAMPLES)
    cifar = importlib.import_module("cifar")
    root = tmp_path / "images"
    for part, number in (("train", 3), ("test", 2)):
        for level, name in ((40, "cat"), (200, "dog")):
            folder = root / "cifar10" / part / name
            folder.mkdir(parents=True)
            for n in range(number):
                pixels = np.full((32, 32, 3), level + n, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{n}.png")
    if kind == "zip":
        shutil.make_archive(str(root), "zip", root)
    train, test = cifar.load(root if kind == "folder" else root.with_suffix(".zip"))
    assert (len(train), len(test)) == (6, 4)
    assert train.classes == test.classes == ("cat", "dog")
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert test.images[:, 0, 0, 0].tolist() == [40, 41, 200, 201]


def test_mario_vs_wario(tmp_path: Path) -> None:
    said = run("mario_vs_wario.py", "--quick", "--out", str(tmp_path))
    assert "epoch 2 as the article" in said
    assert "(the article: 15 of 2000)" in said
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["wrong"].endswith(" of 120")
    assert {"precision", "recall", "f1", "accuracy"} <= set(result)
    assert len(list((tmp_path / "checkpoints_240_0").glob("epoch-*.pt"))) == 2
    shipped = Classifier.load(tmp_path / "mario_or_wario.pt", device="cpu")
    assert shipped.classes == ("mario", "wario")


def test_mario_vs_wario_with_the_articles_zips(tmp_path: Path) -> None:
    for part in ("training_set", "test_set"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for game, colour in (("mario", 200), ("wario", 60)):
                for number in range(40):
                    png = BytesIO()
                    Image.new("RGB", (32, 32), (colour, number, 0)).save(png, "png")
                    archive.writestr(f"{part}/{game}/{number:03}.png", png.getvalue())
    train, test = tmp_path / "training_set.zip", tmp_path / "test_set.zip"
    zips = ("--train-zip", str(train), "--test-zip", str(test))
    run("mario_vs_wario.py", *zips, "--quick", "--out", str(tmp_path / "out"))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["wrong"].endswith(" of 80")


def test_cat_covers(tmp_path: Path) -> None:
    said = run("cat_covers.py", "--quick", "--out", str(tmp_path))
    assert "validation predictions are" in said or "outputs are the same" in said
    assert "AlexNet" in said
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["alarms"]
    assert set(result["folds"]) == {"LeNetVariant", "AlexNet"}
    table = (tmp_path / "covers.csv").read_text().splitlines()
    assert len(table) == 1 + 6  # a fifth of 30 was put aside
    assert len(list((tmp_path / "covers").iterdir())) == 6


def test_distributed(tmp_path: Path) -> None:
    run("distributed.py", "--quick", "--out", str(tmp_path))
    assert json.loads((tmp_path / "result.json").read_text())["processes"] == 1
    assert Classifier.load(tmp_path / "digits.pt").classes == tuple("0123456789")


def test_own_images(tmp_path: Path) -> None:
    said = run("own_images.py", "--quick", "--out", str(tmp_path))
    assert "0 errors" in said
    assert json.loads((tmp_path / "result.json").read_text())["accuracy"] > 0.9
    assert (tmp_path / "classifier.pt").is_file()


def test_custom_loop_has_the_figures_of_fit(tmp_path: Path) -> None:
    run("custom_loop.py", "--quick", "--out", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["val_loss"] == pytest.approx(result["val_loss_of_fit"], rel=1e-5)
    assert result["accuracy"] > 0.8


def test_custom_model(tmp_path: Path) -> None:
    said = run("custom_model.py", "--quick", "--out", str(tmp_path))
    assert "Epoch [3], train_loss: " in said
    assert json.loads((tmp_path / "result.json").read_text())["accuracy"] > 0.5


def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNKIT_CACHE", str(tmp_path / "cache"))
    namespace: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [], "clear the outputs before committing"
                code = "".join(line for line in cell["source"] if not line.startswith("%"))
                code = code.replace("epochs=25", "epochs=2")
                exec(compile(code, f"cell {number}", "exec"), namespace)
    assert namespace["report"].accuracy > 0.5
    assert namespace["prediction"].label in namespace["images"].classes


def test_a_folder_without_idx_files_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "fashion_mnist.py"), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert str(tmp_path) in done.stderr
    assert "train-images-idx3-ubyte" in done.stderr
