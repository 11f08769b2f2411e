"""`predict_folder`, and "none of these"."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cnnkit import Classifier, Prediction, Preprocess
from cnnkit.classifier import FolderPredictions, PredictedFile
from cnnkit.classifier import _batches as batches
from cnnkit.errors import ArgumentError, DataError, ImageReadError, ModelError, NotFoundError

GREY = Preprocess(4, "L", (0.0,), (1.0,))


class Bright(nn.Module):
    """Says "light" as probably as the mean pixel is bright; of three classes the last never."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        light = images.double().mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        rows = [(1 - light).log(), light.log()] + [torch.full_like(light, -50)] * (self.classes - 2)
        return torch.stack(rows, dim=1)


def classifier(**options: Any) -> Classifier:
    return Classifier(Bright(), ["dark", "light"], GREY, **options)


def grey(level: int) -> np.ndarray[Any, Any]:
    return np.full((6, 5), level, dtype=np.uint8)


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey(level)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    levels = {"2.png": 250, "10.png": 250, "1.png": 20, "deep/er/3.png": 90, "deep/4.bmp": 255}
    for name, level in levels.items():
        save(root / name, level)
    save(root / ".hidden.png", 0)
    save(root / "__MACOSX" / "5.png", 0)
    (root / "broken.jpg").write_bytes(b"no picture")
    (root / "empty.png").touch()
    (root / "notes.txt").write_text("no image")
    return root


# --- the table -----------------------------------------------------------------------------------


def test_the_table_is_sorted_and_complete(folder: Path) -> None:
    found = classifier().predict_folder(folder)
    rows = [(row.label, round(row.probability * 255), row.path) for row in found]
    assert rows == [
        ("dark", 235, str(folder / "1.png")),
        ("dark", 165, str(folder / "deep" / "er" / "3.png")),
        ("light", 255, str(folder / "deep" / "4.bmp")),
        ("light", 250, str(folder / "2.png")),  # natural order: 2 before 10
        ("light", 250, str(folder / "10.png")),
    ]
    assert len(found) == 5
    assert found.counts == {"dark": 2, "light": 3}
    assert repr(found) == "FolderPredictions(5 images, 2 unreadable)"


def test_each_row_is_what_predict_says(folder: Path) -> None:
    one = classifier()
    for row in one.predict_folder(str(folder)):
        alone = one.predict(row.path)
        assert (row.label, row.probability) == (alone.label, alone.probability)


def test_unreadable_files_are_listed(folder: Path) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    found = classifier().predict_folder(folder)
    assert [path for path, _ in found.unreadable] == [
        str(folder / name) for name in ("broken.jpg", "empty.png", "gone.png")
    ]
    assert "no image format" in found.unreadable[0][1]
    assert "there is none" in found.unreadable[2][1]
    assert len(found) == 5


def test_a_folder_in_which_nothing_is_readable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    found = classifier().predict_folder(tmp_path)
    assert (len(found), found.counts, len(found.unreadable)) == (0, {"dark": 0, "light": 0}, 1)
    assert str(found).startswith("0 images: 0 dark, 0 light\n1 cannot be read:\n")
    assert found.to_csv().splitlines()[1].startswith(",,")


@pytest.mark.parametrize("read_at_once", [1, 2, 3, 5, 7, 100])
def test_chunks_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    expected = classifier().predict_folder(folder)
    monkeypatch.setattr(batches, "_READ_AT_ONCE", read_at_once)
    assert classifier().predict_folder(folder) == expected
    assert classifier().predict_folder(folder, workers=1) == expected


def test_a_large_folder_goes_through_in_batches(tmp_path: Path) -> None:
    for number in range(300):
        save(tmp_path / f"{number}.png", number % 256)
    one = classifier()
    one.model.seen.clear()  # type: ignore[operator, union-attr]
    found = one.predict_folder(tmp_path, progress=False)
    sizes: Any = one.model.seen
    assert sum(sizes) == 300
    assert max(sizes) == 128
    assert len({row.path for row in found}) == 300
    assert [row.probability for row in found if row.label == "light"] == sorted(
        (row.probability for row in found if row.label == "light"), reverse=True
    )


def test_progress_counts_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from cnnkit.classifier import _folder

    told: list[Any] = []

    class Bar:
        def update(self, n: float | None = 1) -> None:
            told.append(n)

        def set_postfix_str(self, s: str = "", refresh: bool = True) -> None: ...

    @contextmanager
    def bar(total: int | None, description: str, enabled: bool, **_: Any) -> Any:
        told.append((total, enabled))
        yield Bar()

    monkeypatch.setattr(_folder, "progress_bar", bar)
    classifier().predict_folder(folder)
    classifier().predict_folder(folder, progress=False)
    assert told == [(7, True), 7, (7, False), 7]


# --- as text -------------------------------------------------------------------------------------


def test_the_csv_is_read_back_by_the_csv_module(folder: Path, tmp_path: Path) -> None:
    save(folder / 'odd, "name"\n.png', 20)
    found = classifier().predict_folder(folder, unknown_below=0.9)
    path = tmp_path / "out" / "found.csv"
    assert found.to_csv(path) == path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["label", "probability", "path", "error"]
    named = [row for row in rows if not row["error"]]
    assert [row["path"] for row in named] == [row.path for row in found]
    assert [row["label"] for row in named] == [row.label or "" for row in found]
    assert [float(row["probability"]) for row in named] == pytest.approx(
        [row.probability for row in found], abs=1e-6
    )
    assert [row["path"] for row in rows if row["error"]] == [p for p, _ in found.unreadable]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_name_that_is_no_text_is_written_as_its_bytes(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    save(tmp_path / "a.png", 20)
    os.rename(root + b"/a.png", root + b"/\xff.png")  # noqa: PTH104
    found = classifier().predict_folder(tmp_path)
    found.to_csv(tmp_path / "found.csv")
    assert b"/\xff.png" in (tmp_path / "found.csv").read_bytes()


def test_printing_shows_some_rows_and_counts_all() -> None:
    rows = tuple(PredictedFile("cat", 0.9, f"{number}.jpg") for number in range(1050))
    bad = tuple((f"bad{number}.jpg", "it is cut") for number in range(41))
    shown = str(FolderPredictions((*rows, PredictedFile(None, 0.5, "x")), bad, ("cat", "dog")))
    lines = shown.splitlines()
    assert lines[0].split() == ["label", "probability", "path"]
    assert lines[41] == "… and 1,011 more images; to_csv() has all"
    assert lines[42] == "1,051 images: 1,050 cat, 0 dog, 1 none of these"
    assert lines[-1] == "… and 1 more files"
    assert str(FolderPredictions(rows[:1], (), ("cat", "dog"))).endswith("1 image: 1 cat, 0 dog")


# --- what is refused -----------------------------------------------------------------------------


def test_a_folder_must_be_there_and_hold_images(folder: Path, tmp_path: Path) -> None:
    one = classifier()
    with pytest.raises(NotFoundError, match=r"nothing at .*missing"):
        one.predict_folder(tmp_path / "missing")
    with pytest.raises(DataError, match=r"2\.png is a file: predict takes one"):
        one.predict_folder(folder / "2.png")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no image in .*none \(1 other files.*\.png"):
        one.predict_folder(tmp_path / "none")
    with pytest.raises(ArgumentError, match="workers must be at least 1, received 0"):
        one.predict_folder(folder, workers=0)


def test_images_of_other_channels_are_not_files(folder: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(80, 2))
    five = Classifier(model, "ab", Preprocess(4, None, (0.5,) * 5, (1.0,) * 5))
    with pytest.raises(ArgumentError, match=r"\(5, 4, 4\)"):
        five.predict_folder(folder)


def test_a_model_put_into_training_mode_is_refused(folder: Path) -> None:
    one = Classifier(nn.Sequential(nn.Dropout(), Bright()), ["dark", "light"], GREY)
    one.model.get_submodule("0").train()
    for ask in (lambda: one.predict(grey(5)), lambda: one.predict_folder(folder)):
        with pytest.raises(ModelError, match=r"training mode.*classifier\.model\.eval\(\)"):
            ask()
    one.model.eval()
    assert one.predict(grey(5)).label == "dark"


def test_the_position_in_a_list_is_named(folder: Path) -> None:
    one = classifier()
    with pytest.raises(ImageReadError, match=r"^image 1 of the list: .*broken\.jpg"):
        one.predict([folder / "2.png", folder / "broken.jpg"])
    with pytest.raises(NotFoundError, match=r"image 2 of the list: .*missing\.png"):
        one.predict([grey(1), grey(2), "missing.png"])
    with pytest.raises(DataError, match=r"image 0 of the list.*list\(images\)"):
        one.predict([np.zeros((2, 4, 4, 3), dtype=np.uint8), grey(1)])
    with pytest.raises(ImageReadError, match=r"^.*broken\.jpg is not"):
        one.predict(folder / "broken.jpg")


def test_no_number_for_one_image_of_many() -> None:
    class Diverged(Bright):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return logits.where(images.mean(dim=(1, 2, 3))[:, None] < 0.9, math.nan)

    one = Classifier(Diverged(), ["dark", "light"], GREY)
    with pytest.raises(ModelError, match=r"no numbers for image 11: .*diverged"):
        one.predict([grey(10)] * 11 + [grey(255)] + [grey(10)] * 3)


# --- none of these -------------------------------------------------------------------------------


def test_below_the_limit_it_is_none_of_these() -> None:
    one = classifier()
    sure, unsure = one.predict([grey(250), grey(140)], unknown_below=0.75)
    assert (sure.label, str(sure)) == ("light", "light (98.0%)")
    assert unsure.label is None
    assert unsure.probability == pytest.approx(140 / 255, abs=1e-6)
    assert list(unsure.probabilities) == ["dark", "light"]
    assert str(unsure) == "none of these (light 54.9%)"
    assert one.predict(grey(140)).label == "light", "without the limit"


def test_the_limit_itself_is_known() -> None:
    one = classifier()
    exact = one.predict(grey(200)).probability
    assert one.predict(grey(200), unknown_below=exact).label == "light"
    assert one.predict(grey(200), unknown_below=math.nextafter(exact, 1)).label is None
    assert one.predict(grey(128), unknown_below=0.0).label == "light"
    assert one.predict(grey(250), unknown_below=1.0).label is None


def test_a_threshold_chooses_the_class_and_the_largest_probability_says_known() -> None:
    one = classifier(threshold=0.95)
    found = one.predict(grey(230), unknown_below=0.8)  # light by 0.90: known, but not enough
    assert found.label == "dark"
    assert found.probability == pytest.approx(1 - 230 / 255, abs=1e-6)
    assert one.predict(grey(180), unknown_below=0.8).label is None


def test_none_of_these_in_a_folder_comes_last(folder: Path) -> None:
    found = classifier().predict_folder(folder, unknown_below=0.8)
    assert [row.label for row in found] == ["dark", "light", "light", "light", None]
    assert found.counts == {"dark": 1, "light": 3, None: 1}
    assert "none of these        64.7%  " in str(found)
    assert "1 dark, 3 light, 1 none of these" in str(found)


@pytest.mark.parametrize("value", [-0.1, 1.1, 60, math.nan])
def test_the_limit_is_a_probability(folder: Path, value: float) -> None:
    one = classifier()
    with pytest.raises(ArgumentError, match=f"unknown_below must be a probability.*{value}"):
        one.predict(grey(5), unknown_below=value)
    with pytest.raises(ArgumentError, match=f"{value}"):
        one.predict_folder(folder, unknown_below=value)


def test_three_classes_keep_their_order(folder: Path) -> None:
    one = Classifier(Bright(3), ["zebra", "ant", "bee"], GREY)
    found = one.predict_folder(folder)
    assert [row.label for row in found] == ["zebra"] * 2 + ["ant"] * 3
    assert found.counts == {"zebra": 2, "ant": 3, "bee": 0}


def test_a_prediction_is_still_plain_data() -> None:
    assert Prediction(None, 0.6, {"a": 0.4, "b": 0.6}) != Prediction("b", 0.6, {"a": 0.4, "b": 0.6})
