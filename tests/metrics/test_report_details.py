"""What a `Report` tells beside its rows of classes: intervals, pairs, curves, lines, HTML, JSON."""

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
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError, SavedFileError
from cnnkit.metrics import (
    Report,
    confusion_matrix,
    precision_recall_curve,
    predicted_classes,
    probabilities,
    roc_curve,
    wilson_interval,
)
from cnnkit.metrics._gather import DetailTally

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes


def evaluated(
    n: int = 200, classes: int = 3, seed: int = 0, *, paths: bool = False, **options: Any
) -> Report:
    """A report as `evaluate` makes it, of random logits."""
    logits, labels = random_samples(n, classes, seed)
    details = DetailTally(classes)
    details.add(logits, labels)
    details.place(torch.arange(n) + 1000)
    found = details.details((lambda some: [f"/cats/{i}.jpg" for i in some]) if paths else None)
    matrix = confusion_matrix(predicted_classes(logits), labels, classes)
    return Report(matrix, [f"c{i}" for i in range(classes)], 0.5, details=found, **options)


def random_samples(n: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def test_interval_and_balanced_accuracy() -> None:
    report = Report([[90, 10], [5, 5]], ["many", "few"])
    assert report.accuracy_interval == wilson_interval(95, 110)
    assert report.balanced_accuracy == pytest.approx((0.9 + 0.5) / 2)
    empty = Report([[0, 0], [0, 0]], ["a", "b"])
    assert all(math.isnan(end) for end in empty.accuracy_interval)
    assert math.isnan(empty.balanced_accuracy)


def test_lines_of_the_article() -> None:
    report = Report([[534, 466, 0], [1, 1999, 0], [0, 0, 0]], ["cat", "dog", "emu"])
    assert report.accuracy_lines().splitlines() == [
        "Test Accuracy of cat: 53% (534/1000)",
        "Test Accuracy of dog: 99% (1999/2000)",  # 99.95 %
        "Test Accuracy of emu: N/A (no examples)",
        "",
        "Test Accuracy (Overall): 84% (2533/3000)",
    ]
    assert Report([[0]], ["a"]).accuracy_lines("Training").endswith("(Overall): N/A (no examples)")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=4, max_size=4))
def test_confused_pairs_are_all_there_by_number(matrix: list[list[int]]) -> None:
    report = Report(matrix, "abcd")
    expected = {
        ("abcd"[i], "abcd"[j]): matrix[i][j]
        for i in range(4)
        for j in range(4)
        if i != j and matrix[i][j]
    }
    assert {(pair.true, pair.predicted): pair.count for pair in report.most_confused} == expected
    counts = [count for _, _, count in report.most_confused]
    assert counts == sorted(counts, reverse=True)


def test_the_positive_class_is_named() -> None:
    report = Report([[80, 20], [5, 45]], ["mario", "wario"])
    assert report.positive == "wario"
    assert report.binary.precision == pytest.approx(45 / 65)
    assert report.binary.recall == pytest.approx(45 / 50)
    assert report.binary.specificity == pytest.approx(80 / 100)
    other = Report([[80, 20], [5, 45]], ["mario", "wario"], positive="mario")
    assert other.binary.precision == pytest.approx(80 / 85)
    assert (other.binary.recall, other.binary.specificity) == pytest.approx((0.8, 0.9))
    assert other.binary.f1 == pytest.approx(float(other.f1[0]))
    assert math.isnan(other.binary.roc_area), "a matrix knows no scores"


@pytest.mark.parametrize(
    ("words", "classes", "options"),
    [
        (r"one of \('mario', 'wario'\), received 'luigi'", 2, {"positive": "luigi"}),
        ("positive='wario' for 3 classes", 3, {"positive": "wario"}),
        ("threshold must be a probability, 0 to 1, received 50", 2, {"threshold": 50}),
        ("threshold is for two classes, received 3", 3, {"threshold": 0.5}),
    ],
)
def test_what_is_no_positive_class_is_refused(words: str, classes: int, options: Any) -> None:
    names = ["mario", "wario", "peach"][:classes]
    with pytest.raises(ArgumentError, match=words):
        Report(torch.eye(classes, dtype=torch.int64), names, **options)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(DataError, match="received -1"):
        Report([[1, -1], [0, 1]], ["a", "b"])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(0, 10_000))
def test_the_curves_are_those_of_the_samples(n: int, seed: int) -> None:
    logits, labels = random_samples(n, 2, seed)
    report = evaluated(n, 2, seed)
    scores = probabilities(logits)[:, 1]
    for ours, direct in (
        (report.roc(), roc_curve(scores, labels)),
        (report.precision_recall(), precision_recall_curve(scores, labels)),
    ):
        for one, other in zip(ours[:3], direct[:3], strict=True):
            assert torch.allclose(one, other, equal_nan=True)
        assert ours.area == pytest.approx(direct.area, nan_ok=True)
    if 0 < labels.sum() < n:
        area = reference.roc_auc_score(labels, scores)
        assert report.binary.roc_area == pytest.approx(area, abs=1e-9)
        average = reference.average_precision_score(labels, scores)
        assert report.binary.average_precision == pytest.approx(average, abs=1e-9)
        choice = report.choose_threshold("accuracy")
        assert choice.accuracy >= report.accuracy


def test_what_is_not_known_is_said() -> None:
    by_hand = Report([[8, 2], [1, 9]], ["cat", "dog"])
    assert by_hand.mistakes == by_hand.suspect_labels == ()
    assert by_hand.mistakes_left_out == 3
    for ask in (by_hand.roc, by_hand.precision_recall, by_hand.choose_threshold):
        with pytest.raises(DataError, match=r"no scores.*train\.evaluate\(model, loader\)"):
            ask()
    with pytest.raises(DataError, match="no ranks"):
        by_hand.top_k(1)
    many = evaluated(classes=4)
    for ask in (many.roc, many.precision_recall, many.choose_threshold):
        with pytest.raises(ArgumentError, match="for two classes, this report has 4"):
            ask()
    with pytest.raises(ArgumentError, match="for two classes, this report has 4"):
        many.binary  # noqa: B018
    with pytest.raises(ArgumentError, match="between 1 and 4, received 5"):
        many.top_k(5)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("paths", [False, True])
def test_everything_survives_json(tmp_path: Path, classes: int, paths: bool) -> None:
    options: dict[str, Any] = {"positive": "c0", "threshold": 0.3} if classes == 2 else {}
    report = evaluated(classes=classes, paths=paths, **options)
    text = report.to_json(tmp_path / "report.json")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = Report.from_json(tmp_path / "report.json")
    assert again.to_dict() == report.to_dict()
    assert again.mistakes == report.mistakes
    assert again.mistakes[0].path == (f"/cats/{again.mistakes[0].index}.jpg" if paths else None)
    assert again.suspect_labels == report.suspect_labels
    assert len(report.suspect_labels) > 0
    assert again.top_k(2) == report.top_k(2)
    assert (str(again), again._repr_html_()) == (str(report), report._repr_html_())
    assert (again.positive, again.threshold) == (report.positive, report.threshold)
    assert again.indices_into == report.indices_into == "dataset"
    if classes == 2:
        assert again.roc().area == report.roc().area
        assert torch.allclose(again.roc().thresholds, report.roc().thresholds)
        assert again.choose_threshold().f1 == report.choose_threshold().f1


@pytest.mark.parametrize("classes", [2, 7])
def test_without_samples_the_figures_stay(classes: int) -> None:
    report = evaluated(classes=classes, paths=True)
    values = report.to_dict(samples=False)
    assert "/cats/" not in json.dumps(values)
    assert len(json.dumps(values)) < 6000
    again = Report.from_dict(values)
    *figures, suspects = str(report).splitlines()
    assert "suspect_labels" in suspects
    assert str(again).splitlines() == figures
    assert again.top_k(2) == report.top_k(2)
    assert again.mistakes_left_out == len(report.mistakes)
    if classes == 2:
        assert again.binary == report.binary
        with pytest.raises(DataError, match="saved without them"):
            again.roc()


def test_the_dict_has_the_figures_for_its_reader() -> None:
    report = evaluated(classes=7)
    values = report.to_dict()
    assert values["format"] == 2
    assert values["accuracy_interval"] == list(report.accuracy_interval)
    assert values["balanced_accuracy"] == report.balanced_accuracy
    assert values["top_k"] == {"1": report.top_k(1), "5": report.top_k(5)}
    assert values["most_confused"][0] == list(report.most_confused[0])
    two = evaluated(classes=2).to_dict()
    assert two["binary"].keys() >= {"precision", "roc_area", "average_precision"}
    assert two["positive"] == "c1"


def test_a_report_of_format_1_is_read() -> None:
    """As cnnkit wrote it before there were details."""
    values = json.loads(
        '{"format": 1, "classes": ["a", "b"], "loss": 0.5, "accuracy": 0.8, "samples": 5, '
        '"per_class": {}, "macro": {}, "weighted": {}, "confusion_matrix": [[2, 0], [1, 2]]}'
    )
    report = Report.from_dict(values)
    assert (report.accuracy, report.loss, report.positive) == (0.8, 0.5, "b")
    assert report.mistakes == ()
    assert report.mistakes_left_out == 1


BROKEN: list[Any] = [
    ("details", 7),
    ("details", {}),
    ("positive", "c9"),
    ("threshold", "high"),
    ("threshold", 7),
]
BROKEN_DETAILS: list[Any] = [
    ("label_ranks", [1, 2]),
    ("own_probability", ["much"]),
    ("mistakes", {}),
    ("scores", {"positives": [0.1]}),
    ("areas", [0.5]),
]


@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_broken_parts_are_refused(key: str, value: Any) -> None:
    with pytest.raises(SavedFileError, match="not the figures of a Report"):
        Report.from_dict({**evaluated(classes=2).to_dict(), key: value})


@pytest.mark.parametrize(("key", "value"), BROKEN_DETAILS)
def test_broken_details_are_refused(key: str, value: Any) -> None:
    values = evaluated(classes=3).to_dict()
    values["details"][key] = value
    with pytest.raises(SavedFileError, match="not the figures of a Report"):
        Report.from_dict(values)


@pytest.mark.parametrize(
    ("column", "value"), [("true", 3), ("predicted", -1), ("index", None), ("paths", ["one"])]
)
def test_broken_mistakes_are_refused(column: str, value: Any) -> None:
    values = evaluated(classes=3).to_dict()
    mistakes = values["details"]["mistakes"]
    if column == "index":
        mistakes["index"] = mistakes["index"][1:]
    elif column == "paths":
        mistakes["paths"] = value
    else:
        mistakes[column][0] = value
    with pytest.raises(SavedFileError, match="not the figures of a Report"):
        Report.from_dict(values)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SavedFileError, match=r"report\.json holds no JSON"):
        Report.from_json(path)


def test_the_words_below_the_table() -> None:
    report = evaluated(classes=7)
    first, second, third, fourth = str(report).splitlines()[-4:]
    assert first == f"accuracy {report.accuracy:.1%} ({report.correct} of 200), loss 0.5000"
    low, high = report.accuracy_interval
    assert second == (
        f"95% interval of the accuracy {low:.1%} to {high:.1%}, "
        f"balanced accuracy {report.balanced_accuracy:.1%}, top-5 {report.top_k(5):.1%}"
    )
    pair = report.most_confused[0]
    assert third.startswith(f"most confused: {pair.true} as {pair.predicted} ({pair.count}), ")
    assert fourth == (
        f"{len(report.mistakes)} mistakes, "
        f"as confident as usual in {len(report.suspect_labels)} of them (suspect_labels)"
    )
    assert "top-5" not in str(evaluated(classes=5)), "five of five are always right"
    two = str(evaluated(classes=2, threshold=0.25))
    area = evaluated(classes=2).roc().area
    assert f"positive class c1 from a probability of 0.25 on: area under ROC {area:.4f}" in two


def test_almost_all_is_not_shown_as_all() -> None:
    lines = str(Report([[9999, 1], [0, 5]], ["a", "b"])).splitlines()
    assert lines[1].split() == ["a", "100.0%", "99.99%", "99.99%", "10000"]
    assert "accuracy 99.99% (10004 of 10005)" in lines[5]


def test_a_table_of_a_thousand_classes_shows_the_worst() -> None:
    generator = np.random.default_rng(0)
    matrix = np.diag(generator.integers(10, 90, 1000)) + 1
    matrix[7, 7] = 0
    matrix[:, 8] = matrix[8, :] = 0  # undefined, not bad
    report = Report(torch.tensor(matrix), [f"c{i}" for i in range(1000)])
    lines = str(report).splitlines()
    assert len(lines) < 35
    assert lines[1].startswith("c7 ")
    shown = [float(line.split()[3].rstrip("%")) for line in lines[1:21]]
    assert shown == sorted(shown)
    assert lines[21] == "… 980 more classes, none of them with a lower f1"
    assert lines[22].startswith("macro mean")
    assert "980 more classes" in report._repr_html_()


def test_the_html_is_a_table_with_names_as_they_are() -> None:
    report = Report([[3, 1], [0, 2]], ["<b>cats</b> & co", "dogs"], loss=0.25)
    html = report._repr_html_()
    assert "&lt;b&gt;cats&lt;/b&gt; &amp; co" in html
    assert "<b>" not in html
    assert html.count("<tr>") == 5
    for figure in ("75.0%", "accuracy 83.3% (5 of 6), loss 0.2500"):
        assert figure in html
    assert html.count("<td") == html.count("</td>") == 16


def test_a_mistake_says_what_it_is() -> None:
    mistake = evaluated(paths=True).mistakes[0]
    assert str(mistake) == (
        f"/cats/{mistake.index}.jpg: {mistake.predicted} ({mistake.probability:.1%}), "
        f"labelled {mistake.true} ({mistake.true_probability:.1%})"
    )
    assert str(evaluated().mistakes[0]).startswith(f"[{mistake.index}]: ")
    assert len({mistake, mistake}) == 1
