"""The examples run from start to end, on their own data or on a little that is made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnkit import Classifier

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
    said = run("quickstart.py", "--epochs", "2", "--out", str(tmp_path))
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
        "confusion_matrix.png", "fashion.pt", "history.png", "result.json",
    }  # fmt: skip


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
