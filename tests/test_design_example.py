"""The ten lines that the whole library is measured by: they run as they stand."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

#: At the head of DESIGN.md; the README's example. Nothing in it is said twice.
EXAMPLE = """\
from cnnkit import Classifier, data, models, train
from cnnkit.data import augment

pets = data.ImageFolder.from_zip("pets.zip", image_size=128)
split = data.train_val_split(pets, val=0.15, test=0.15)
data.check(split).raise_for_errors()
loaders = data.make_loaders(split, 64, augment=[augment.RandomFlip()])
model = models.create_model("ThreeConvCIFAR", like=loaders)
history = train.fit(model, loaders.train, loaders.val, epochs=20, lr=0.05)
report = train.evaluate(model, loaders.test)
Classifier.from_loader(model, loaders.test, report=report).save("pets.pt")
print(report, Classifier.load("pets.pt").predict("cat.jpg"))
"""
COLOURS = {"cats": (200, 120, 60), "dogs": (60, 90, 180)}


def photo(name: str, seed: int) -> bytes:
    """A small noisy JPEG in the colours of its class."""
    generator = np.random.default_rng([seed, len(name), ord(name[0])])
    height, width = generator.integers(30, 60, 2)
    pixels = generator.normal(COLOURS[name], 40, (height, width, 3)).clip(0, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def make_files(folder: Path) -> None:
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for name in COLOURS:
            for seed in range(20):
                archive.writestr(f"pets/{name}/{seed}.jpg", photo(name, seed))
    (folder / "cat.jpg").write_bytes(photo("cats", 99))


def test_the_ten_lines_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    make_files(work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("CNNKIT_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    exec(compile(EXAMPLE, "DESIGN.md", "exec"), names)

    assert sorted(path.name for path in work.iterdir()) == ["cat.jpg", "pets.pt", "pets.zip"]
    split, report, history = names["split"], names["report"], names["history"]
    assert len(split.train) + len(split.val) + len(split.test) == 40
    assert report.samples == len(split.test)
    assert report.classes == ("cats", "dogs")
    assert report.accuracy == 1.0, "red and blue are not hard to tell apart"
    assert (len(history), history.stop_reason) == (20, "finished")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:20]] == [f"{n}/20" for n in range(1, 21)]
    assert lines[20].split() == ["precision", "recall", "f1", "support"]
    assert any(line.startswith("accuracy 100.0%") for line in lines)
    assert re.search(r" cats \(\d+\.\d%\)$", lines[-1])


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def normalised(code: str) -> str:
    return "\n".join(line.rstrip() for line in code.strip().splitlines())


def test_the_readme_shows_this_very_code() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    blocks = [normalised(block) for block in code_blocks(readme.read_text(encoding="utf-8"))]
    assert normalised(EXAMPLE) in blocks


def test_it_is_ten_lines() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line and "import" not in line]) <= 10
