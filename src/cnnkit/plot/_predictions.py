"""What a model says of some images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnnkit._pixels import scaled
from cnnkit.errors import ArgumentError, DataError, ModelError
from cnnkit.metrics import predicted_classes
from cnnkit.models._base import evaluating
from cnnkit.plot._grid import Cell, Grid
from cnnkit.plot._samples import Samples, class_name, pick
from cnnkit.plot._text import fitted
from cnnkit.preprocess import Preprocess
from cnnkit.train._meeting import TrainedOn, meet, own_threshold, trained_on

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["predictions"]


def predictions(
    model: nn.Module,
    source: Any,
    *,
    number: int = 16,
    seed: int | None = None,
    threshold: float | None = None,
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    columns: int | None = None,
) -> Figure:
    """Images with "predicted (truth)" above them: green, or where that is wrong red and framed.

    The model is run in eval mode without gradients, on the device where it is; its mode is put
    back.

    Args:
        model: Any module that returns logits (N, C), or (N,) with one logit a sample.
        source: A loader (its next batch; the loader does not notice), a batch ``(images,
            labels)``, or a data set. Float images are taken as ready for the model.
        number: How many images at most.
        seed: Draw random images of the data set or of the batch; by default the first ones.
        threshold: As for `evaluate`.
        classes: Class names, for a source and a model that do not know them.
        preprocess: How images are normalised, where neither the source nor the model knows: a
            model trained by `fit` does.
        columns: Images a row.

    Returns:
        A new Figure.

    Raises:
        ArgumentError: The model is no module, the source is none of these, or another argument
            makes no sense.
        DataError: There are no images, or their shapes or values cannot be shown.
        ClassMismatchError: The model was trained on other classes.
        ModelError: The model's outputs do not match the classes, or are no numbers.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> ds = ArrayDataset(torch.zeros(4, 8, 8, dtype=torch.uint8), [0, 1, 0, 1])
        >>> class Zero(nn.Module):
        ...     def forward(self, images):
        ...         return torch.eye(2)[:1].expand(len(images), 2)
        >>> [axes.get_title() for axes in predictions(Zero(), ds).axes]
        ['0 (0)', '0 (1)', '0 (0)', '0 (1)']
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"expected a model and then its images, received {type(model).__name__}: give the "
            "module, such as classifier.model"
        )
    noted = trained_on(model) or TrainedOn(None, None)
    samples = pick(source, number, seed=seed, classes=classes, preprocess=preprocess)
    meet(model=noted, source=TrainedOn(samples.classes, samples.preprocess))
    samples = samples._replace(
        classes=samples.classes or noted.classes,
        preprocess=samples.preprocess or noted.preprocess,
    )
    predicted = _predicted(model, samples, threshold)
    grid = Grid(len(samples.images), columns)
    cells = []
    truths = zip(samples.pixels, predicted, samples.labels, strict=True)
    for pixels, guess, truth in truths:
        said, true = (class_name(label, samples.classes) for label in (guess, truth))
        title = _title(said, true, grid, bold=guess != truth)
        cells.append(Cell(pixels, title, right=guess == truth))
    return grid.draw(cells)


def _predicted(model: nn.Module, samples: Samples, threshold: float | None) -> list[int]:
    """The class that the model says of each image."""
    shapes = {tuple(image.shape) for image in samples.images}
    if len(shapes) > 1:
        raise DataError(f"the model needs images of one size, received {sorted(shapes)}")
    images = torch.stack(samples.images)
    here = next(
        (tensor.device for tensor in (*model.parameters(), *model.buffers())), images.device
    )
    images = images.to(here)
    if images.dtype == torch.uint8:
        images = samples.preprocess(images) if samples.preprocess else scaled(images)
    with evaluating(model):
        logits = model(images)
    if threshold is None:
        threshold = own_threshold(model)
    _check(logits, samples)
    chosen: list[int] = predicted_classes(logits, threshold).tolist()
    return chosen


def _check(logits: Any, samples: Samples) -> None:
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    number = len(samples.images)
    known = None if samples.classes is None else len(samples.classes)
    fits = isinstance(logits, Tensor) and logits.ndim in (1, 2) and len(logits) == number
    if not fits or (known is not None and known != (2 if logits.ndim == 1 else logits.shape[1])):
        raise ModelError(
            f"expected logits of shape ({number}, {known or 'classes'}) for {number} images"
            f"{'' if known is None else f' of {known} classes'}, or ({number},) with one logit a "
            f"sample, received {shape}: `classes` names each output once, in their order"
        )
    if not bool(logits.isfinite().all()):
        raise ModelError(
            "the model's outputs are no numbers: its weights have diverged, train it again with a "
            "smaller learning rate"
        )


def _title(predicted: str, truth: str, grid: Grid, *, bold: bool) -> str:
    """One line, "predicted (truth)", where there is room, else two."""
    measure = grid.measure(bold=bold)
    whole = " ".join(f"{predicted} ({truth})".split())
    if measure(whole) <= grid.points:
        return whole
    room = grid.points - measure("()")
    first = fitted(predicted, grid.points, measure, lines=1)
    return f"{first}\n({fitted(truth, room, measure, lines=1)})"
