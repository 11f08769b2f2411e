"""`Report`: its means against scikit-learn, its table, and its way through JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from cnnkit.errors import DataError, SavedFileError
from cnnkit.metrics import Report

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes

#: Counts with many zeros, so that whole rows and columns are empty.
MATRICES = st.integers(1, 5).flatmap(
    lambda c: st.lists(
        st.lists(st.sampled_from([0, 0, 0, 1, 2, 7]), min_size=c, max_size=c),
        min_size=c,
        max_size=c,
    )
)


def names(matrix: list[list[int]]) -> list[str]:
    return [f"class {label}" for label in range(len(matrix))]


def pairs(matrix: list[list[int]]) -> tuple[list[int], list[int]]:
    """Labels and predictions that give this matrix."""
    cells = [(i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) for _ in range(n)]
    return [true for true, _ in cells], [predicted for _, predicted in cells]


@settings(max_examples=300, deadline=None)
@given(MATRICES)
def test_means_are_scikit_learns(matrix: list[list[int]]) -> None:
    report = Report(matrix, names(matrix), loss=0.5)
    true, predicted = pairs(matrix)
    assert report.samples == len(true)
    if not true:
        assert math.isnan(report.accuracy)
        return
    assert report.accuracy == reference.accuracy_score(true, predicted)
    labels = list(range(len(matrix)))
    for average, means in (("macro", report.macro), ("weighted", report.weighted)):
        expected = reference.precision_recall_fscore_support(
            true, predicted, labels=labels, average=average, zero_division=np.nan
        )
        assert list(means) == ["precision", "recall", "f1"]
        for mean, theirs in zip(means.values(), expected[:3], strict=True):
            # Also where it is defined for classes without samples only.
            assert mean == pytest.approx(theirs, abs=1e-12, nan_ok=True)
    per_class = reference.precision_recall_fscore_support(
        true, predicted, labels=labels, zero_division=np.nan
    )
    ours = (report.precision, report.recall, report.f1, report.support)
    for figure, theirs in zip(ours, per_class, strict=True):
        np.testing.assert_allclose(figure.numpy(), theirs, rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(matrix=MATRICES, loss=st.one_of(st.floats(allow_infinity=False), st.just(math.nan)))
def test_round_trip_through_dict(matrix: list[list[int]], loss: float) -> None:
    report = Report(matrix, names(matrix), loss)
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = Report.from_dict(json.loads(text))
    assert again.to_dict() == report.to_dict()
    assert torch.equal(again.confusion_matrix, report.confusion_matrix)
    assert again.classes == report.classes
    assert again.loss == report.loss or (math.isnan(again.loss) and math.isnan(report.loss))
    assert str(again) == str(report)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    report = Report([[3, 1], [0, 2]], ["Käfer", "蝶"], loss=1 / 3)
    path = tmp_path / "made" / "report.json"
    text = report.to_json(path)
    assert path.read_text(encoding="utf-8") == text
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]
    again = Report.from_json(path)
    assert (again.classes, again.loss) == (report.classes, 1 / 3)
    assert again.confusion_matrix.tolist() == [[3, 1], [0, 2]]


def test_the_dict_says_what_a_reader_needs() -> None:
    values = Report([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["a", "b", "c"], loss=0.25).to_dict()
    assert values["accuracy"] == pytest.approx(5 / 6)
    assert values["samples"] == 6
    assert values["per_class"]["a"] == {
        "precision": 1.0,
        "recall": 0.75,
        "f1": pytest.approx(6 / 7),
        "support": 4,
    }
    assert values["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert values["macro"]["recall"] == pytest.approx((0.75 + 1) / 2)
    assert values["weighted"]["recall"] == pytest.approx(5 / 6)
    assert values["confusion_matrix"] == [[3, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_the_table_has_every_figure_in_its_column() -> None:
    report = Report([[90, 10], [25, 75]], ["cat", "a long name of a dog"], loss=0.12345)
    header, cat, dog, macro, weighted, last, *_ = str(report).splitlines()
    assert header.split() == ["precision", "recall", "f1", "support"]
    # 90 of 115 and 90 of 100; 2 · 90 / (2 · 90 + 25 + 10)
    assert cat.split() == ["cat", "78.3%", "90.0%", "83.7%", "100"]
    assert dog.split()[-4:] == ["88.2%", "75.0%", "81.1%", "100"]
    assert dog.startswith("a long name of a dog ")
    assert macro.split() == ["macro", "mean", "83.2%", "82.5%", "82.4%", "200"]
    assert weighted.split()[-1] == "200"
    assert last == "accuracy 82.5% (165 of 200), loss 0.1235"
    for word, cell in zip(header.split(), ["78.3%", "90.0%", "83.7%", "100"], strict=True):
        assert header.index(word) + len(word) == cat.index(cell) + len(cell)


def test_the_table_names_what_is_undefined() -> None:
    table = str(Report([[3, 0], [0, 0]], ["a", "b"]))
    assert "nan" not in table.replace("loss nan", "")
    assert table.count("undefined") == 3
    empty = str(Report([[0, 0], [0, 0]], ["a", "b"]))
    assert "accuracy undefined (0 of 0)" in empty


def test_the_columns_stay_straight_where_figures_are_undefined() -> None:
    rows = str(Report([[3, 0], [0, 0]], ["a", "b"])).splitlines()[:5]
    assert rows[-1].startswith("weighted mean")
    assert len({len(row) for row in rows}) == 1, "\n".join(rows)


def test_repr_is_one_line() -> None:
    text = repr(Report([[3, 1], [0, 2]], ["a", "b"], loss=0.5))
    assert text == "Report(accuracy=0.8333, loss=0.5000, samples=6, classes=2)"


@pytest.mark.parametrize(
    "matrix", [[[1, 2]], [[1, 2, 0], [1, 0, 0], [0, 0, 0]], [1, 2], [[[1, 2], [1, 2]]]]
)
def test_a_matrix_of_another_shape_is_refused(matrix: Any) -> None:
    shape = str(tuple(torch.tensor(matrix).shape)).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(DataError, match=rf"\(2, 2\).*'cat', 'dog'.*received {shape}"):
        Report(matrix, ["cat", "dog"])


WHOLE = Report([[1, 0], [0, 1]], ["a", "b"], 0.5).to_dict()


@pytest.mark.parametrize("key", ["format", "classes", "loss", "confusion_matrix"])
def test_figures_without_a_part_are_refused(key: str) -> None:
    with pytest.raises(SavedFileError, match=key):
        Report.from_dict({name: value for name, value in WHOLE.items() if name != key})


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(SavedFileError, match=r"format 99.*up to 2"):
        Report.from_dict({**WHOLE, "format": 99})


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", "null", '{"format": 1'])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SavedFileError):
        Report.from_json(path)


@pytest.mark.parametrize(
    "part",
    [
        {"confusion_matrix": [[1, 0], [0]]},
        {"confusion_matrix": [["x", 0], [0, 1]]},
        {"confusion_matrix": [[1]]},
        {"loss": "much"},
    ],
)
def test_figures_of_another_kind_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(SavedFileError):
        Report.from_dict({**WHOLE, **part})


def test_an_infinite_loss_is_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    text = Report([[1, 0], [0, 1]], ["a", "b"], math.inf).to_json(path)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert Report.from_json(path).loss == math.inf


def test_the_report_is_not_changed_from_outside() -> None:
    matrix = torch.tensor([[3, 1], [0, 2]])
    report = Report(matrix, ["a", "b"])
    before = report.accuracy
    matrix.zero_()
    assert report.accuracy == before
