"""`History`: its best row, its tables, and its way through files."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnkit.errors import SavedFileError
from cnnkit.train import History

ROWS: list[dict[str, float]] = [
    {"epoch": 0, "val_loss": 1.1, "val_acc": 0.3, "lr": 0.1, "seconds": 0.25},
    {"epoch": 1, "train_loss": 0.9, "train_acc": 0.5, "val_loss": 0.8, "val_acc": 0.6, "lr": 0.1,
     "seconds": 1.5},
    {"epoch": 2, "train_loss": 0.7, "train_acc": 0.6, "val_loss": 0.8, "val_acc": 0.7, "lr": 0.05,
     "seconds": 1.25},
]  # fmt: skip


def history(rows: list[dict[str, float]] | None = None, **options: Any) -> History:
    made = History(**{"monitor": "val_loss", **options})
    made.rows += ROWS if rows is None else rows
    return made


def test_the_best_row_is_the_first_of_the_smallest_losses() -> None:
    assert history().best is ROWS[1]
    assert history(monitor="val_acc").best is ROWS[2]
    assert history(monitor="train_loss").best is ROWS[2]
    assert history(monitor=None).best is None
    assert history(monitor="val_f1").best is None
    assert History(monitor="val_loss").best is None


def test_losses_are_best_when_small_and_the_rest_when_large() -> None:
    expected = {"val_loss": "min", "val_error": "min", "val_acc": "max", "val_f1": "max"}
    assert {name: History(monitor=name).mode for name in expected} == expected
    assert history(monitor="val_acc", mode="min").best is ROWS[0]


def test_a_nan_is_never_best() -> None:
    rows: list[dict[str, float]] = [
        {"epoch": epoch, "val_loss": loss}
        for epoch, loss in enumerate([math.nan, 2.0, math.nan], 1)
    ]
    assert history(rows).best is rows[1]
    assert history(rows, mode="max").best is rows[1]
    assert history(rows[:1]).best is None


def test_a_column_has_a_value_for_every_row() -> None:
    assert history().column("val_loss") == [1.1, 0.8, 0.8]
    missing, *rest = history().column("train_loss")
    assert math.isnan(missing)
    assert rest == [0.9, 0.7]
    assert len(history()) == 3


def test_the_table_has_all_columns_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "made" / "run.csv"
    text = history().to_csv(path)
    assert path.read_text(encoding="utf-8") == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert set(rows[0]) == {name for row in ROWS for name in row}
    assert rows[0]["train_loss"] == ""
    for read, row in zip(rows, ROWS, strict=True):
        assert {name: float(cell) for name, cell in read.items() if cell} == row


def test_the_table_of_no_rows() -> None:
    assert list(csv.DictReader(io.StringIO(History().to_csv()))) == []


FIGURES = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["train_loss", "val_loss", "ä"]), FIGURES), max_size=4
    ),
    st.sampled_from(["val_loss", "val_acc", None]),
)
def test_round_trip_through_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float]], monitor: str | None
) -> None:
    made = history([{"epoch": i, **row} for i, row in enumerate(rows)], monitor=monitor)
    made.stop_reason, made.restored = "finished", 1 if rows else None
    path = tmp_path_factory.mktemp("history") / "run.json"
    text = made.to_json(path)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = History.from_json(path)
    assert str(again.rows) == str(made.rows)  # as text: nan is not equal to itself
    assert (again.monitor, again.mode) == (made.monitor, made.mode)
    assert (again.stop_reason, again.restored) == (made.stop_reason, made.restored)


def test_files_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    history().to_json(path)
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        history([]).to_json(path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "7", "null", "{}", '{"format": "x"}', '{"format": 1, "rows": []}',
     '{"format": 1, "monitor": null, "mode": "min", "stop_reason": "nan", "restored": null, '
     '"rows": [5]}'],
)  # fmt: skip
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SavedFileError, match=r"run\.json"):
        History.from_json(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    history().to_json(path)
    newer = path.read_text(encoding="utf-8").replace('"format": 1', '"format": 2')
    path.write_text(newer, encoding="utf-8")
    with pytest.raises(SavedFileError, match=r"format 2.*up to 1"):
        History.from_json(path)


@pytest.mark.parametrize(
    ("key", "value"), [("rows", [{"epoch": "one"}]), ("mode", "middle"), ("rows", [{"epoch": []}])]
)
def test_wrong_values_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**history().to_dict(), key: value}), encoding="utf-8")
    with pytest.raises(SavedFileError):
        History.from_json(path)


def test_it_prints_a_line_an_epoch_and_how_it_ended() -> None:
    made = history()
    made.stop_reason = "finished"
    lines = str(made).splitlines()
    assert lines[0] == "epoch 0  val_loss 1.1000  val_acc 0.3000  lr 0.1  seconds 0.2"
    assert lines[2].startswith("epoch 2  train_loss 0.7000  train_acc 0.6000  val_loss 0.8000")
    assert lines[3:] == ["best epoch 1 by val_loss 0.8000", "stopped: finished"]
    assert repr(made) == "History(3 epochs, stop_reason='finished')"
