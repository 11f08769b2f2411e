"""The pictures in the docs: all there, small, and made by the script that says so."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "guides" / "plots.md"
PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)\s]+)\)")
MOST_BYTES = 60_000
DRAWN = (
    *("batch", "classes", "confusion_matrix", "folds", "history", "lr_curve"),
    *("mistakes", "precision_recall", "predictions", "roc"),
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(DOCS / "pictures"))
    return importlib.import_module("make")


def shown() -> dict[str, Path]:
    pictures = PICTURE.findall(GUIDE.read_text(encoding="utf-8"))
    assert all(len(said) > 20 for said, _ in pictures), "said for those who do not see it"
    return {Path(link).stem: (GUIDE.parent / link).resolve() for _, link in pictures}


def test_every_plot_has_its_lines_and_its_picture() -> None:
    text, pictures = GUIDE.read_text(encoding="utf-8"), shown()
    assert [name for name in DRAWN if f"plot.{name}(" not in text or name not in pictures] == []


def test_the_script_makes_what_is_shown_and_no_more(script: Any) -> None:
    assert set(script.PICTURES) == set(shown())


@pytest.mark.parametrize("name", shown())
def test_a_picture_is_small_and_whole(name: str) -> None:
    path = shown()[name]
    assert path.stat().st_size < MOST_BYTES
    with Image.open(path) as image:
        image.load()
        assert 400 <= image.width <= 1500


def test_the_script_runs(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr("sys.argv", ["make.py", "classes", "confusion_matrix_100"])
    script.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.png",
        "confusion_matrix_100.png",
    ]
    assert "classes.png: 900 x " in capsys.readouterr().out
