"""Curves over learning rates, folds and thresholds."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnkit import plot
from cnnkit.data import ArrayDataset, make_loader
from cnnkit.errors import ArgumentError, DataError
from cnnkit.metrics import Report
from cnnkit.models import MLP
from cnnkit.train import History, cross_validate, evaluate, find_lr

pytest.importorskip("matplotlib")

from layout_checks import check_layout
from matplotlib.axes import Axes
from matplotlib.cbook import pts_to_poststep
from matplotlib.figure import Figure


def points(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    return x.tolist(), y.tolist()


def legend(axes: Axes) -> list[str]:
    shown = axes.get_legend()
    return [] if shown is None else [text.get_text() for text in shown.get_texts()]


# --- learning rates ------------------------------------------------------------------------------


def found(lrs: list[float], losses: list[float], suggestion: float | None = None) -> Any:
    return SimpleNamespace(lrs=lrs, losses=losses, suggestion=suggestion)


def test_the_loss_over_the_learning_rate_with_the_suggestion() -> None:
    lrs, losses = [1e-4, 1e-3, 1e-2, 1e-1], [2.3, 2.2, 1.0, 1.5]
    (axes,) = plot.lr_curve(found(lrs, losses, 3e-3)).axes
    curve, mark = axes.lines
    np.testing.assert_array_equal(
        np.asarray(curve.get_xydata()), list(zip(lrs, losses, strict=True))
    )
    assert list(np.asarray(mark.get_xdata())) == [3e-3, 3e-3]
    assert axes.get_xscale() == "log"
    assert legend(axes) == ["suggestion: 0.003"]


@pytest.mark.parametrize(
    ("losses", "low", "high"),
    [
        ([2.3, 2.2, 1.0, 1e8], 0.8, 3.0),
        ([2.3, 2.2, 1.0, math.inf], 0.9, 2.5),
        ([2.3, 5.0, 1e6, math.nan], 2.1, 3.5),
        ([2.3, 2.3, 2.3, 2.3], 2.1, 2.5),
    ],
)
def test_an_explosion_does_not_flatten_the_rest(
    losses: list[float], low: float, high: float
) -> None:
    figure = plot.lr_curve(found([0.001, 0.01, 0.1, 1.0], losses, 0.01))
    check_layout(figure)
    bottom, top = figure.axes[0].get_ylim()
    assert low <= bottom <= min(losses)
    assert losses[0] <= top <= high


def test_there_may_be_no_suggestion_and_one_point() -> None:
    figure = plot.lr_curve(found([0.1], [2.3]))
    check_layout(figure)
    assert legend(figure.axes[0]) == ["no suggestion"]
    assert figure.axes[0].lines[0].get_marker() == "o", "a line through one point is invisible"


@pytest.mark.parametrize(
    ("lrs", "losses", "message"),
    [
        ([], [], "no points"),
        ([0.1, 0.2], [1.0], "2 learning rates and 1 losses"),
        ([0.1, 0.0], [1.0, 1.0], "positive.*received 0.0"),
        ([0.1, math.nan], [1.0, 1.0], "positive.*received nan"),
        ([0.1, 0.2], [math.nan, math.inf], "none of the 2 losses.*nan.*smaller"),
    ],
)
def test_what_is_no_curve(lrs: list[float], losses: list[float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        plot.lr_curve(found(lrs, losses))


# --- folds ---------------------------------------------------------------------------------------


def run(values: list[float], monitor: str = "val_acc") -> History:
    made = History(monitor=monitor)
    made.rows += [
        {"epoch": epoch, "val_acc": value, "val_loss": 1 - value}
        for epoch, value in enumerate(values, start=1)
    ]
    return made


def folds(*runs: History, scores: list[float] | None = None) -> Any:
    best = [max(history.column("val_acc"), default=0.0) for history in runs]
    return SimpleNamespace(
        histories=list(runs), monitor="val_acc", scores=best if scores is None else scores
    )


def test_a_curve_a_fold_their_mean_and_their_scores() -> None:
    result = folds(run([0.1, 0.5, 0.4]), run([0.3, 0.7]))
    left, right = plot.folds(result).axes
    assert points(left, "fold 1") == ([1, 2, 3], [0.1, 0.5, 0.4])
    assert points(left, "fold 2") == ([1, 2], [0.3, 0.7])
    epochs, means = points(left, "mean")
    assert epochs == [1, 2], "as far as every fold goes"
    assert means == pytest.approx([0.2, 0.6])
    bests = [line for line in left.lines if str(line.get_label()).startswith("_")]
    assert [np.asarray(line.get_xydata()).tolist() for line in bests] == [[[2, 0.5]], [[2, 0.7]]]
    (dots,) = right.collections
    assert np.asarray(dots.get_offsets()).tolist() == [[1, 0.5], [2, 0.7]]
    assert right.get_title() == "mean 60.0% (50.0% to 70.0%)"
    assert (left.get_ylabel(), right.get_ylabel()) == (
        "validation accuracy",
        "score: validation accuracy",
    )


def test_another_figure_of_the_folds() -> None:
    result = folds(run([0.1, 0.5]), run([0.3, 0.7]))
    left = plot.folds(result, figure="val_loss").axes[0]
    assert points(left, "fold 1")[1] == pytest.approx([0.9, 0.5])
    assert left.get_ylabel() == "validation loss"
    assert [line.get_label() for line in left.lines] == ["fold 1", "fold 2", "mean"]
    with pytest.raises(ArgumentError, match=r"\['val_f1'\].*\['val_acc', 'val_loss'\].*figure="):
        plot.folds(result, figure="val_f1")


@pytest.mark.parametrize("number", [1, 5, 10, 20])
def test_any_number_of_folds_is_readable(number: int) -> None:
    runs = [run([0.1, 0.2 + fold / 50, 0.3 + fold / 40]) for fold in range(number)]
    figure = plot.folds(folds(*runs))
    check_layout(figure)
    right = figure.axes[1]
    (legend,) = figure.legends
    assert len(legend.get_texts()) <= 11
    low, high = right.get_xlim()
    ticks = [x for x in right.get_xticks() if low <= x <= high]
    assert all(x == round(x) for x in ticks)
    assert ticks


def test_scores_that_are_no_numbers_are_counted() -> None:
    right = plot.folds(folds(run([0.1]), run([0.3]), scores=[math.nan, 0.3])).axes[1]
    assert right.get_title() == "mean 30.0% (30.0% to 30.0%)"
    assert [text.get_text() for text in right.texts] == ["no number: 1"]


def test_what_are_no_folds() -> None:
    with pytest.raises(ArgumentError, match="no folds"):
        plot.folds(folds())
    with pytest.raises(ArgumentError, match="1 scores for 2 folds"):
        plot.folds(folds(run([0.1]), run([0.2]), scores=[0.1]))
    with pytest.raises(ArgumentError, match="fold 2 has no rows"):
        plot.folds(folds(run([0.1]), History(monitor="val_acc"), scores=[0.1, 0.2]))


def test_what_the_trainer_returns_can_be_drawn() -> None:
    images = torch.tensor([[[60]], [[200]]], dtype=torch.uint8).repeat(10, 8, 8)
    ds = ArrayDataset(images, [0, 1] * 10)
    model = MLP(2, image_size=8)
    curve = find_lr(model, make_loader(ds, 10, device="cpu"), steps=10, progress=False)
    (axes,) = plot.lr_curve(curve).axes
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == curve.lrs
    result = cross_validate(
        lambda: MLP(2, image_size=8), ds, k=2, batch_size=5, epochs=2, lr=0.1, progress=False
    )
    _, right = plot.folds(result).axes
    offsets = np.asarray(right.collections[0].get_offsets())
    assert offsets[:, 1].tolist() == result.scores


# --- thresholds ----------------------------------------------------------------------------------


class FirstPixel(nn.Module):
    """The logit of class 1 is the first pixel, minus a half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, 0] - 0.5


def report(levels: list[int], labels: list[int], **options: Any) -> Report:
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    ds = ArrayDataset(images, labels, classes=["mario", "wario"])
    return evaluate(FirstPixel(), make_loader(ds, 3, device="cpu"), **options)


LEVELS, LABELS = [10, 60, 120, 130, 200, 250], [0, 1, 0, 1, 0, 1]


def test_the_roc_curve_and_the_threshold_of_the_report() -> None:
    made = report(LEVELS, LABELS)
    (axes,) = plot.roc(made).axes
    curve = made.roc()
    x, y = points(axes, f"area {curve.area:.3f}")
    assert x == curve.false_positive_rate.tolist()
    assert y == curve.true_positive_rate.tolist()
    # 130, 200 and 250 are above a half: two of three positives, one of three negatives.
    x, y = points(axes, "threshold 0.5")
    assert [*x, *y] == pytest.approx([1 / 3, 2 / 3])
    assert "wario" in axes.get_ylabel()


def test_the_precision_recall_curve_is_a_staircase() -> None:
    made = report(LEVELS, LABELS, threshold=0.6)
    (axes,) = plot.precision_recall(made).axes
    curve = made.precision_recall()
    name = f"average precision {curve.area:.3f}"
    assert points(axes, name) == (curve.recall.tolist(), curve.precision.tolist())
    staircase = next(line for line in axes.lines if line.get_label() == name)
    assert staircase.get_drawstyle() == "steps-post"
    x, y = pts_to_poststep(curve.recall.numpy(), curve.precision.numpy())
    assert -np.trapezoid(y, x) == pytest.approx(curve.area), "the picture shows its own area"
    # Only 250 has a probability (of the logit 0.48) from 0.6 on: one of three, and it is right.
    dot = points(axes, "threshold 0.6")
    assert [*dot[0], *dot[1]] == pytest.approx([1 / 3, 1])


@pytest.mark.parametrize("draw", [plot.roc, plot.precision_recall])
def test_several_curves_on_one_axes_differ_in_grey_too(draw: Any) -> None:
    axes = Figure().subplots()
    draw(report(LEVELS, LABELS), label="first", ax=axes)
    draw(report(LEVELS[::-1], LABELS), label="second", ax=axes)
    named = [line for line in axes.lines if "(" in str(line.get_label())]
    assert [str(line.get_label()).split(" (")[0] for line in named] == ["first", "second"]
    assert len({line.get_linestyle() for line in named}) == 2
    assert len({str(line.get_color()) for line in named}) == 2


@pytest.mark.parametrize("draw", [plot.roc, plot.precision_recall])
def test_the_picture_is_readable_with_long_names_and_a_perfect_model(draw: Any) -> None:
    made = report([10, 250], [0, 1])
    check_layout(draw(made))
    long = ["a" * 60, "the $very$ long name of the positive class"]
    check_layout(draw(Report(made.confusion_matrix, long, details=made.details)))


@pytest.mark.parametrize("draw", [plot.roc, plot.precision_recall])
def test_what_has_no_curve(draw: Any) -> None:
    with pytest.raises(DataError, match=r"both classes.*'mario': 2, 'wario': 0"):
        draw(report([10, 20], [0, 0]))
    with pytest.raises(DataError, match="no scores"):
        draw(Report([[1, 0], [0, 1]], ["mario", "wario"]))
    with pytest.raises(ArgumentError, match=r"two classes.*3"):
        draw(Report([[1, 0, 0]] * 3, ["a", "b", "c"]))
