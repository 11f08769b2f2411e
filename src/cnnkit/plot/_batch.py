"""Images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnnkit.errors import ArgumentError
from cnnkit.plot._grid import Cell, Grid
from cnnkit.plot._samples import pick
from cnnkit.plot._text import fitted, flowed
from cnnkit.preprocess import Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["batch"]

Labels = Literal["shown", "hidden", "below"]


def batch(
    source: Any,
    *,
    number: int = 16,
    seed: int | None = None,
    labels: Labels = "shown",
    classes: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    columns: int | None = None,
) -> Figure:
    """Images with their labels, as the network sees them but un-normalised.

    With `labels="hidden"` or "below" guess them yourself first: it shows how hard the task is. The
    same call with `labels="shown"` reveals them, since it draws the same images, but for a shuffled
    loader that is not of `make_loader`.

    Args:
        source: A loader (its next batch, augmented where it augments; the loader does not notice),
            a batch ``(images, labels)``, or a data set.
        number: How many images at most.
        seed: Draw random images of the data set or of the batch; by default the first ones.
        labels: "shown" above the images; "hidden", which gives numbers instead; or "below": numbers
            above the images, and the answers upside down at the bottom.
        classes: Class names, for a source that does not know them.
        preprocess: What normalised the images, for a source that does not know it.
        columns: Images a row.

    Returns:
        A new Figure.

    Raises:
        ArgumentError: The source is none of these, or an argument makes no sense.
        DataError: There are no images, or their shapes or values cannot be shown.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import torch
        >>> from cnnkit.data import ArrayDataset
        >>> images = torch.zeros(6, 8, 8, dtype=torch.uint8)
        >>> ds = ArrayDataset(images, [0, 1, 0, 1, 0, 1], classes=["cat", "dog"])
        >>> figure = batch(ds, number=4)
        >>> [axes.get_title() for axes in figure.axes]
        ['cat', 'dog', 'cat', 'dog']
    """
    if labels not in get_args(Labels):
        raise ArgumentError(f"labels must be one of {get_args(Labels)}, received {labels!r}")
    samples = pick(source, number, seed=seed, classes=classes, preprocess=preprocess)
    grid = Grid(len(samples.images), columns)
    measure, names = grid.measure(), samples.names
    titles = [fitted(name, grid.points, measure) for name in names]
    below = ""
    if labels != "shown":
        titles = [str(place) for place in range(1, len(names) + 1)]
    if labels == "below":
        entries = [f"{place} {name}" for place, name in zip(titles, names, strict=True)]
        below = flowed(entries, grid.columns * grid.cell * 72 * 0.95, measure)
    cells = [Cell(*each) for each in zip(samples.pixels, titles, strict=True)]
    return grid.draw(cells, below=below)
