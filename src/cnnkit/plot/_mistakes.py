"""The images that a model was most sure of, and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from cnnkit.data._foreign import classes_of, read_sample
from cnnkit.errors import ArgumentError, ClassMismatchError, DataError
from cnnkit.metrics import Mistake, Report
from cnnkit.plot._figure import new_axes
from cnnkit.plot._grid import Cell, Grid
from cnnkit.plot._samples import class_name, data_set_of, pixels_of
from cnnkit.plot._text import fitted
from cnnkit.plot._tiles import at_most
from cnnkit.preprocess import Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mistakes"]

Which = Literal["mistakes", "suspect_labels"]


def mistakes(
    report: Report,
    ds: Any,
    *,
    number: int = 12,
    which: Which = "mistakes",
    preprocess: Preprocess | None = None,
    columns: int | None = None,
) -> Figure:
    """The images that were mistaken with the most confidence, with probabilities.

    Above each stands what was predicted and how probable that was, in brackets the same of the
    label; below it its index in the data set, or the name of its file.

    Args:
        report: What `evaluate` returned.
        ds: The data set that it was evaluated on, or the loader of it.
        number: How many images at most.
        which: "mistakes", or "suspect_labels": those whose label is most likely wrong.
        preprocess: What normalised the images, where a transform of the data set did.
        columns: Images a row.

    Returns:
        A new Figure. Where there was no mistake it says so.

    Raises:
        ArgumentError: An argument makes no sense.
        DataError: The report does not know which images were mistaken, it is not of this data set,
            or the images cannot be shown.
        ClassMismatchError: The data set has other classes.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from cnnkit import data, models, train
        >>> ds = data.ArrayDataset(torch.zeros(2, 8, 8, dtype=torch.uint8), [0, 1])
        >>> loader = data.make_loader(ds, 2, device="cpu")
        >>> report = train.evaluate(models.MLP(2, image_size=8), loader)
        >>> len(mistakes(report, ds).axes)  # equal images cannot both be right
        1
    """
    if which not in get_args(Which):
        raise ArgumentError(f"which must be one of {get_args(Which)}, received {which!r}")
    at_most("number", number)
    ds = data_set_of(ds)
    _check(report, ds)
    found = (report.mistakes if which == "mistakes" else report.suspect_labels)[:number]
    if not found:
        return _nothing(f"no {which.replace('_', ' ')} among {report.samples:,} images")
    grid = Grid(len(found), columns)
    return grid.draw([_cell(mistake, ds, grid, preprocess) for mistake in found])


def _check(report: Report, ds: Any) -> None:
    if report.correct < report.samples and not report.mistakes:
        raise DataError(
            f"this report counts {report.samples - report.correct} mistakes but does not say which "
            "images they were: one of train.evaluate does"
        )
    if report.indices_into != "dataset" and report.mistakes:
        raise DataError(
            "this report counts what its loader yielded, since that had no data set to look into: "
            "evaluate with a loader of cnnkit.data.make_loader"
        )
    if not hasattr(ds, "__getitem__") or not hasattr(ds, "__len__"):
        raise ArgumentError(
            "expected the data set that was evaluated, with a length and positions, received "
            f"{type(ds).__name__}"
        )
    classes = classes_of(ds)
    if classes is not None and classes != report.classes:
        raise ClassMismatchError(
            f"the report is on the classes {report.classes}, the data set has {classes}"
        )


def _cell(mistake: Mistake, ds: Any, grid: Grid, preprocess: Preprocess | None) -> Cell:
    other = "give the data set that was evaluated, as a whole and in the same order"
    if mistake.index >= len(ds):
        raise DataError(
            f"the report speaks of image {mistake.index}, the data set has {len(ds)}: {other}"
        )
    with torch.random.fork_rng(devices=[]):  # a transform may draw from torch's generator
        image, label = read_sample(ds, mistake.index)
    name = class_name(label, classes_of(ds))
    if name != mistake.true:
        raise DataError(
            f"image {mistake.index} is a {name!r} in the data set and a {mistake.true!r} in the "
            f"report: {other}"
        )
    title = _line(mistake.predicted, mistake.probability, grid, "{} {}")
    title += "\n" + _line(mistake.true, mistake.true_probability, grid, "({} {})")
    note = Path(mistake.path).name if mistake.path else f"image {mistake.index}"
    note = fitted(note, grid.points, grid.measure(), lines=1)
    return Cell(pixels_of([image], preprocess)[0], title, note=note)


def _line(name: str, probability: float, grid: Grid, form: str) -> str:
    measure, figure = grid.measure(), _percent(probability)
    room = grid.points - measure(form.format("", figure))
    return form.format(fitted(name, room, measure, lines=1), figure)


def _percent(probability: float) -> str:
    """Whole percents, but never 0% or 100% of what is neither."""
    if 0 < probability < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= probability < 1 else f"{probability:.0%}"


def _nothing(text: str) -> Figure:
    drawn, (axis,) = new_axes(None, size=(4.0, 1.0))
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center")
    return drawn
