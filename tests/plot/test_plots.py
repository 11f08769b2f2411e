"""The pictures: what is drawn, where, and that pyplot never hears of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnkit import plot
from cnnkit.errors import ArgumentError, MissingExtraError
from cnnkit.metrics import Report
from cnnkit.train import History

pytest.importorskip("matplotlib")

from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def run(epochs: int = 3, **options: Any) -> History:
    made = History(**{"monitor": "val_loss", **options})
    for epoch in range(1, epochs + 1):
        row = {"train_loss": 1 / epoch, "train_acc": 1 - 1 / epoch}
        row.update(val_loss=1.1 / epoch + 0.1 * epoch, val_acc=0.9 - 1 / epoch, lr=0.1, seconds=1.0)
        made.rows.append({"epoch": epoch, **row})
    return made


REPORT = Report([[8, 2, 0], [0, 0, 0], [1, 1, 98]], ["cat", "dog", "emu"], 0.4)
PLOTS: dict[str, tuple[Callable[..., Figure], Any]] = {
    "history": (plot.history, run()),
    "confusion_matrix": (plot.confusion_matrix, REPORT),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_returned_and_pyplot_does_not_hold_it(name: str, tmp_path: Path) -> None:
    draw, subject = PLOTS[name]
    before = list(Gcf.figs)
    figure = draw(subject)
    assert isinstance(figure, Figure)
    assert list(Gcf.figs) == before
    figure.savefig(tmp_path / "plot.png")
    figure.savefig(tmp_path / "plot.svg")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert draw(subject) is not figure


@pytest.mark.parametrize("name", PLOTS)
def test_pyplot_is_not_even_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it chooses a backend, and warns where there is no screen."""
    draw, subject = PLOTS[name]
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw(subject)


@pytest.mark.parametrize("name", PLOTS)
def test_axes_that_are_given_are_drawn_on(name: str) -> None:
    draw, subject = PLOTS[name]
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(subject, ax=right) is figure
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("name", PLOTS)
def test_axes_of_a_part_of_a_figure(name: str) -> None:
    draw, subject = PLOTS[name]
    figure = Figure()
    part = np.asarray(figure.subfigures(1, 2))[1]
    assert draw(subject, ax=part.subplots()) is figure


@pytest.mark.parametrize("name", PLOTS)
def test_axes_may_only_be_named(name: str) -> None:
    draw, subject = PLOTS[name]
    with pytest.raises(TypeError, match="positional"):
        draw(subject, Figure().subplots())


@pytest.mark.parametrize("name", PLOTS)
def test_without_matplotlib_the_error_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, subject = PLOTS[name]
    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"'matplotlib'.*pip install \"cnnkit\[plot\]\""):
        draw(subject)
    with pytest.raises(ImportError):
        draw(subject)


# --- the curves ----------------------------------------------------------------------------------


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))  # type: ignore[arg-type]
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


def test_the_curves_are_the_rows() -> None:
    made = run(4)
    losses, accuracies = plot.history(made).axes
    assert lines(losses)["training"] == ([1, 2, 3, 4], made.column("train_loss"))
    assert lines(losses)["validation"] == ([1, 2, 3, 4], made.column("val_loss"))
    assert lines(accuracies)["training"] == ([1, 2, 3, 4], made.column("train_acc"))
    assert lines(accuracies)["validation"] == ([1, 2, 3, 4], made.column("val_acc"))
    assert [axes.get_xlabel() for axes in (losses, accuracies)] == ["epoch", "epoch"]
    assert [axes.get_ylabel() for axes in (losses, accuracies)] == ["loss", "accuracy"]


def test_the_best_epoch_is_marked() -> None:
    made = run(5)
    assert made.best is not None
    best = made.best["epoch"]
    assert 1 < best < 5
    for axes in plot.history(made).axes:
        assert any(list(line.get_xdata()) == [best, best] for line in axes.lines)  # type: ignore[arg-type]
        legend = axes.get_legend()
        assert legend is not None
        assert f"best val_loss: epoch {best:.0f}" in [t.get_text() for t in legend.get_texts()]


def test_given_axes_show_the_losses() -> None:
    axes = Figure().subplots()
    plot.history(run(), ax=axes)
    assert axes.get_ylabel() == "loss"
    assert set(lines(axes)) >= {"training", "validation"}


def test_a_run_without_validation() -> None:
    made = History()
    made.rows += [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]
    losses, accuracies = plot.history(made).axes
    assert set(lines(losses)) == {"training"}
    assert lines(accuracies) == {}


def test_a_row_before_training_and_a_nan_are_gaps() -> None:
    made = run(3)
    made.rows.insert(0, {"epoch": 0, "val_loss": 1.5, "val_acc": 0.1})
    made.rows[2]["train_loss"] = float("nan")
    figure = plot.history(made)
    x, y = lines(figure.axes[0])["training"]
    assert x == [0, 1, 2, 3]
    assert [bool(np.isnan(value)) for value in y] == [True, False, True, False]
    figure.canvas.draw()


def test_one_epoch_can_be_seen() -> None:
    line = plot.history(run(1)).axes[0].lines[0]
    assert line.get_marker() not in ("", "None", None), "a line through one point is invisible"


def test_there_is_nothing_to_draw() -> None:
    with pytest.raises(ArgumentError, match="no rows"):
        plot.history(History())


# --- the matrix ----------------------------------------------------------------------------------


def test_the_matrix_is_counts_shaded_by_the_share_of_the_row() -> None:
    axes = plot.confusion_matrix(REPORT).axes[0]
    shades = np.asarray(axes.images[0].get_array())
    expected = np.array([[0.8, 0.2, 0], [0, 0, 0], [0.01, 0.01, 0.98]])
    np.testing.assert_allclose(shades, expected, atol=1e-6)
    assert axes.images[0].get_clim() == (0, 1)
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    # (column, row): a row is a true class.
    assert cells == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (1, 2): "1", (2, 2): "98"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog", "emu"]


@pytest.mark.parametrize("number", [2, 10, 26, 120])
def test_any_number_of_classes_is_drawn_without_a_warning(number: int) -> None:
    matrix = (np.eye(number) * 9 + np.eye(number, k=1)).astype(int)
    names = [f"a rather long name of class {label}" for label in range(number)]
    figure = plot.confusion_matrix(Report(matrix.tolist(), names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    assert len(figure.axes[0].texts) in (0, 2 * number - 1)


def test_names_are_shown_as_they_are() -> None:
    figure = plot.confusion_matrix(Report([[1, 0], [0, 1]], [r"$\foo$", "$1 to $2"]))
    figure.canvas.draw()
    shown = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in shown] == [r"$\foo$", "$1 to $2"]
    assert not any(label.get_parse_math() for label in shown)
