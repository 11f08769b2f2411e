"""One image of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from cnnkit.data._foreign import read_sample
from cnnkit.data._view import as_labelled
from cnnkit.errors import DataError
from cnnkit.plot._grid import Cell, Grid
from cnnkit.plot._samples import data_set_of, pixels_of
from cnnkit.plot._text import fitted
from cnnkit.preprocess import Preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["classes"]


def classes(
    ds: Any,
    *,
    seed: int | None = None,
    preprocess: Preprocess | None = None,
    columns: int | None = None,
) -> Figure:
    r"""One image of each class, with the class's name and its number of images.

    Args:
        ds: A data set with labels, or a loader of one, whose data set is shown.
        seed: Draw a random image of each class; by default its first.
        preprocess: What normalised the images, where a transform of the data set did.
        columns: Images a row.

    Returns:
        A new Figure. A class without images has an empty place.

    Raises:
        DataError: There are no images, no labels, or the images cannot be shown.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from cnnkit.data import ArrayDataset
        >>> images = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> figure = classes(ArrayDataset(images, [0, 1, 1], classes=["cat", "dog"]))
        >>> [axes.get_title() for axes in figure.axes]
        ['cat\n1 image', 'dog\n2 images']
    """
    whole = as_labelled(data_set_of(ds))
    if not len(whole):
        raise DataError("the data set has no images: there is nothing to draw")
    targets = whole.targets.cpu()
    grid = Grid(len(whole.classes), columns)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    cells = []
    for label, name in enumerate(whole.classes):
        rows = (targets == label).nonzero()[:, 0]
        counted = f"{len(rows):,} {'image' if len(rows) == 1 else 'images'}"
        title = f"{fitted(name, grid.points, grid.measure())}\n{counted}"
        if not len(rows):
            cells.append(Cell(None, title))
            continue
        place = 0 if generator is None else torch.randint(len(rows), (1,), generator=generator)
        with torch.random.fork_rng(devices=[]):  # a transform may draw from torch's generator
            image, _ = read_sample(whole, int(rows[place]))
        cells.append(Cell(pixels_of([image], preprocess)[0], title))
    return grid.draw(cells)
