"""What all pictures have in common, and the two oldest: the curves and the matrix."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnkit import plot
from cnnkit.data import ArrayDataset, make_loader
from cnnkit.errors import ArgumentError, MissingExtraError
from cnnkit.metrics import Report
from cnnkit.train import History, evaluate

pytest.importorskip("matplotlib")

from layout_checks import check_layout
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def run(epochs: int = 3, **options: Any) -> History:
    made = History(**{"monitor": "val_loss", **options})
    for epoch in range(1, epochs + 1):
        row = {"train_loss": 1 / epoch, "train_acc": 1 - 1 / epoch}
        row.update(val_loss=1.1 / epoch + 0.1 * epoch, val_acc=0.9 - 1 / epoch, lr=0.1, seconds=1.0)
        made.rows.append({"epoch": epoch, **row})
    return made


class FirstPixel(nn.Module):
    """Says class 1 the surer the brighter the first pixel is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixel = images[:, 0, 0, 0]
        return torch.stack([0.5 - pixel, pixel - 0.5], dim=1)


def noise(number: int = 12) -> ArrayDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (number, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return ArrayDataset(images, [0, 1] * (number // 2), classes=["cat", "dog"])


IMAGES = noise()
REPORT = Report([[8, 2, 0], [0, 0, 0], [1, 1, 98]], ["cat", "dog", "emu"], 0.4)
BINARY = evaluate(FirstPixel(), make_loader(IMAGES, 5, device="cpu"))
CURVE = SimpleNamespace(lrs=[0.001, 0.01, 0.1, 1.0], losses=[2.3, 2.0, 1.0, 9.0], suggestion=0.01)
FOLDS = SimpleNamespace(histories=[run(), run(4)], monitor="val_acc", scores=[0.5, 0.6])
ON_AXES: dict[str, tuple[Callable[..., Figure], Any]] = {
    "confusion_matrix": (plot.confusion_matrix, REPORT),
    "folds": (plot.folds, FOLDS),
    "history": (plot.history, run()),
    "history_twin": (lambda run, **options: plot.history(run, layout="twin", **options), run()),
    "lr_curve": (plot.lr_curve, CURVE),
    "precision_recall": (plot.precision_recall, BINARY),
    "roc": (plot.roc, BINARY),
}
PLOTS: dict[str, tuple[Callable[..., Figure], Any]] = {
    **ON_AXES,
    "batch": (plot.batch, IMAGES),
    "classes": (plot.classes, IMAGES),
    "mistakes": (lambda report: plot.mistakes(report, IMAGES), BINARY),
    "predictions": (lambda model: plot.predictions(model, IMAGES), FirstPixel()),
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
def test_nothing_is_cut_or_overlaps(name: str) -> None:
    draw, subject = PLOTS[name]
    figure = draw(subject)
    figure.suptitle("A title of one's own")
    check_layout(figure)


@pytest.mark.parametrize("name", PLOTS)
def test_the_random_state_is_left_alone(name: str) -> None:
    draw, subject = PLOTS[name]
    before, numpy_before = torch.get_rng_state(), numpy_state()
    draw(subject)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(numpy_state(), numpy_before)


def numpy_state() -> Any:
    state: Any = np.random.get_state()
    return state[1]


@pytest.mark.parametrize("name", PLOTS)
def test_pyplot_is_not_even_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it chooses a backend, and warns where there is no screen."""
    draw, subject = PLOTS[name]
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw(subject)


@pytest.mark.parametrize("name", ON_AXES)
def test_axes_that_are_given_are_drawn_on(name: str) -> None:
    draw, subject = PLOTS[name]
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(subject, ax=right) is figure
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("name", ON_AXES)
def test_axes_of_a_part_of_a_figure(name: str) -> None:
    draw, subject = PLOTS[name]
    figure = Figure()
    part = np.asarray(figure.subfigures(1, 2))[1]
    assert draw(subject, ax=part.subplots()) is figure


@pytest.mark.parametrize("name", set(ON_AXES) - {"history_twin"})
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
    figure = plot.history(made)
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [best, best] for line in axes.lines)  # type: ignore[arg-type]
    assert f"best val_loss: epoch {best:.0f}" in legend(figure)


def legend(figure: Figure) -> list[str]:
    """Of a Figure of its own, or of its axes."""
    shown = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for one in shown if one is not None for text in one.get_texts()]


def test_given_axes_show_the_losses() -> None:
    axes = Figure().subplots()
    plot.history(run(), ax=axes)
    assert axes.get_ylabel() == "loss"
    assert set(lines(axes)) >= {"training", "validation"}


def test_a_run_without_validation_or_accuracies() -> None:
    made = History()
    made.rows += [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]
    (losses,) = plot.history(made).axes
    assert set(lines(losses)) == {"training"}


def test_a_row_before_training_is_a_gap_and_a_nan_is_a_cross() -> None:
    made = run(4)
    made.rows.insert(0, {"epoch": 0, "val_loss": 1.5, "val_acc": 0.1})
    made.rows[2]["train_loss"], made.rows[4]["train_loss"] = math.nan, math.inf
    figure = plot.history(made)
    found = lines(figure.axes[0])
    x, y = found["training"]
    assert x == [0, 1, 2, 3, 4]
    assert [math.isfinite(value) for value in y] == [False, True, False, True, False]
    assert found["training is no number"][0] == [2, 4]
    assert "validation is no number" not in found
    assert "training is no number" not in lines(figure.axes[1])
    check_layout(figure)


def test_a_run_without_any_number_has_no_values_on_its_axis() -> None:
    made = run(3)
    for row in made.rows:
        row.update(train_loss=math.nan, val_loss=math.nan)
    losses, accuracies = plot.history(made).axes
    assert list(losses.get_yticks()) == []
    assert len(accuracies.get_yticks()) > 0
    assert set(lines(losses)) == {
        *("training", "validation"),
        *("training is no number", "validation is no number"),
    }


def test_one_panel_with_an_axis_on_each_side() -> None:
    made = run(5)
    figure = plot.history(made, layout="twin")
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")
    assert left.bbox.bounds == right.bbox.bounds
    assert lines(left)["validation loss"][1] == made.column("val_loss")
    assert lines(right)["training accuracy"][1] == made.column("train_acc")
    named = legend(figure)
    assert len(named) == len(set(named)) == 5
    styles = [(line.get_linestyle(), line.get_marker()) for a in (left, right) for line in a.lines]
    drawn = [style for style in styles if style[0] in ("-", "--") and style[1] != "*"]
    assert len(set(drawn)) == 4, "four curves that differ where there is no colour"


def test_one_figure_alone() -> None:
    made = run(4)
    (axes,) = plot.history(made, figure="lr").axes
    assert axes.get_ylabel() == "learning rate"
    assert lines(axes)["learning rate"] == ([1, 2, 3, 4], made.column("lr"))
    (axes,) = plot.history(made, figure="acc").axes
    assert set(lines(axes)) >= {"training", "validation"}
    (axes,) = plot.history(made, figure="val_acc").axes
    assert lines(axes)["val acc"][1] == made.column("val_acc")
    with pytest.raises(ArgumentError, match=r"val_f1.*'train_loss', .*figure="):
        plot.history(made, figure="val_f1")


def test_an_unknown_layout_lists_those_that_are_known() -> None:
    with pytest.raises(ArgumentError, match=r"'panels', 'twin'.*'grid'"):
        plot.history(run(), layout="grid")  # type: ignore[arg-type]


def test_epochs_are_whole_numbers_and_equal_figures_have_no_offset() -> None:
    made = run(1)
    for row in made.rows:
        row.update(train_loss=0.6931471, val_loss=0.6931472)
    figure = plot.history(made)
    figure.canvas.draw()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert [x for x in axes.get_xticks() if low <= x <= high] == [1]
    assert axes.yaxis.get_offset_text().get_text() == ""
    check_layout(figure)


def test_one_epoch_can_be_seen() -> None:
    line = plot.history(run(1)).axes[0].lines[0]
    assert line.get_marker() not in ("", "None", None), "a line through one point is invisible"


def test_there_is_nothing_to_draw() -> None:
    with pytest.raises(ArgumentError, match="no rows"):
        plot.history(History())


def test_there_is_neither_loss_nor_accuracy() -> None:
    made = History()
    made.rows.append({"epoch": 1, "val_f1": 0.5})
    with pytest.raises(ArgumentError, match=r"'train_loss'.*has \['val_f1'\].*figure="):
        plot.history(made)
    assert plot.history(made, figure="f1").axes


# --- the matrix ----------------------------------------------------------------------------------


def test_the_matrix_is_counts_shaded_by_the_share_of_the_row() -> None:
    axes = plot.confusion_matrix(REPORT).axes[0]
    values: Any = axes.images[0].get_array()
    shades = np.ma.getdata(values).astype(float)
    expected = np.array([[0.8, 0.2, 0], [math.nan] * 3, [0.01, 0.01, 0.98]])
    np.testing.assert_allclose(shades, expected, atol=1e-6)
    assert axes.images[0].get_clim() == (0, 1)
    # (column, row): a row is a true class.
    assert cells(axes) == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (1, 2): "1", (2, 2): "98"}
    assert axes.get_xlabel() == "predicted class\n(grey row: no samples)"
    assert axes.get_ylabel() == "true class"
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog", "emu"]


def cells(axes: Axes) -> dict[tuple[float, float], str]:
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_rates_are_shares_of_the_row_and_never_say_nothing_of_something() -> None:
    report = Report([[300, 1, 0], [1, 1, 0], [0, 0, 2]], ["cat", "dog", "emu"])
    axes = plot.confusion_matrix(report, values="rates").axes[0]
    expected = {(0, 0): "100%", (1, 0): "<1%", (0, 1): "50%", (1, 1): "50%", (2, 2): "100%"}
    assert cells(axes) == expected
    axes = plot.confusion_matrix(report, values="both").axes[0]
    assert cells(axes)[1, 0] == "1\n<1%"
    with pytest.raises(ArgumentError, match=r"'counts', 'rates', 'both'.*'percent'"):
        plot.confusion_matrix(report, values="percent")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [2, 10, 26, 100])
@pytest.mark.parametrize("long", [False, True])
def test_any_number_of_classes_is_readable(number: int, long: bool) -> None:
    matrix = (np.eye(number) * 9 + np.eye(number, k=1) * 1234).astype(int)
    names = [f"a rather long name of class {n}" if long else str(n) for n in range(number)]
    figure = plot.confusion_matrix(Report(matrix.tolist(), names), values="both")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_layout(figure)
    axes = figure.axes[0]
    assert len(axes.texts) == (2 * number - 1 if number <= 30 else 0)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(shown)) == number
    assert min(float(label.get_fontsize()) for label in axes.get_yticklabels()) >= 6
    assert max(figure.get_size_inches()) < 16


def test_a_few_mistakes_among_many_classes_are_seen() -> None:
    matrix = np.eye(100, dtype=int) * 98
    matrix[3, 4] = 2
    image = (
        plot.confusion_matrix(Report(matrix.tolist(), list(map(str, range(100))))).axes[0].images[0]
    )
    colours = np.asarray(image.cmap(image.norm(np.array([0.0, 0.02]))))
    lightness = colours[:, :3].mean(axis=1)
    assert lightness[0] - lightness[1] > 0.05


def test_on_small_axes_letters_shrink_or_are_left_out() -> None:
    names = [f"class {n}" for n in range(12)]
    for count, written in ((5, 12), (1234567, 0)):
        figure = Figure(figsize=(4, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        plot.confusion_matrix(Report((np.eye(12, dtype=int) * count).tolist(), names), ax=axes)
        check_layout(figure)
        assert len(axes.texts) == written


def test_names_are_shown_as_they_are() -> None:
    figure = plot.confusion_matrix(Report([[1, 0], [0, 1]], [r"$\foo$", "$1 to $2"]))
    figure.canvas.draw()
    shown = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in shown] == [r"$\foo$", "$1 to $2"]
    assert not any(label.get_parse_math() for label in shown)


def test_a_report_without_samples_is_drawn() -> None:
    check_layout(plot.confusion_matrix(Report([[0, 0], [0, 0]], ["cat", "dog"])))
