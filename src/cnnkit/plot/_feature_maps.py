"""What a layer makes of an image, before and after activation and pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cnnkit._pixels import scaled
from cnnkit.errors import ArgumentError, ModelError
from cnnkit.plot._figure import require_matplotlib
from cnnkit.plot._layers import Stage, follow
from cnnkit.plot._source import ImageSource, is_file, load
from cnnkit.plot._text import fitted, room_for
from cnnkit.plot._tiles import FONT, at_most, count_pixels, head, tiles
from cnnkit.preprocess import Preprocess
from cnnkit.train._meeting import trained_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["feature_maps"]

_COLUMNS = 6
_MAP = 1.1  # inches, the width of a map
_BESIDE, _ABOVE = 0.22, 0.27  # inches for ticks and title


def feature_maps(
    model: nn.Module,
    image: ImageSource,
    layer: str,
    *,
    preprocess: Preprocess | None = None,
    most: int = 6,
) -> Figure:
    """What a layer makes of an image, and what normalisation, activation and pooling make of that.

    The layer's own maps come first; what follows it, up to the next layer, stands below, whether
    the model has it as modules (`nn.ReLU`) or calls functions (`F.relu`). Each map is drawn from
    its lowest value (black) to its highest (white), which stand above it, with its axes in pixels:
    behind a pool of 2 they are half as long.

    Args:
        model: Any module that takes one tensor. It runs in eval mode and has its own mode
            afterwards.
        image: A float tensor (C, H, W) is what the model sees, as in a loader's batch. A uint8
            tensor or array goes through `preprocess` first; a path, the bytes of a file and a
            Pillow image are also read and resized by it.
        layer: Name of a layer as in `model.named_modules()`, "conv1" say.
        preprocess: How an image is made ready; by default what `fit` trained the model with, else
            scaling to [0, 1], of a file at the size that the model was built for.
        most: How many of the maps to show.

    Returns:
        A new Figure with a block of maps for each stage.

    Raises:
        ModelError: There is no such layer (the message has the nearest names), it makes no maps,
            or the model does not take the image.
        ArgumentError: `most` is no positive int.
        DataError: The image has no pixels, or is of another shape than `preprocess` makes.
        ImageReadError: A file is not readable.
        NotFoundError: There is no such file.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from cnnkit.models import TwoLayerCNN
        >>> figure = feature_maps(TwoLayerCNN(10), torch.rand(1, 28, 28), "cnn1", most=4)
        >>> [axes.get_ylabel().split() for axes in figure.axes if axes.get_ylabel()]
        [['cnn1', '28×28'], ['relu', '28×28'], ['max_pool2d', '14×14']]
    """
    require_matplotlib()
    number = at_most("most", most)
    stages = follow(model, _prepared(model, image, preprocess), layer)
    for stage in stages:
        if not bool(stage.maps.isfinite().all()):
            raise ModelError(
                f"the maps of {stage.name!r} hold values that are no numbers: the weights have "
                f"diverged, or the image has such values"
            )
    shown = min(number, max(len(stage.maps) for stage in stages))
    lines = -(-shown // _COLUMNS)
    columns = min(shown, _COLUMNS)
    tall = max(stage.maps.shape[1] / stage.maps.shape[2] for stage in stages)
    width, height = _MAP + _BESIDE, _MAP * min(tall, 3) + _ABOVE
    size = (max(columns * width, 2) + 0.4, len(stages) * lines * height + 0.3)
    figure, grid = tiles(len(stages) * lines, columns, size)
    for place, stage in enumerate(stages):
        block = [axis for row in grid[place * lines : (place + 1) * lines] for axis in row]
        _draw(block, stage, min(number, len(stage.maps)), numbered=place == 0)
    total = len(stages[0].maps)
    head(figure, f"{min(number, total)} of {total} maps of {layer}")
    return figure


def _draw(axes: list[Axes], stage: Stage, number: int, *, numbered: bool) -> None:
    height, width = stage.maps.shape[1:]
    name = fitted(stage.name, 72 * _MAP * min(height / width, 3), room_for(9))
    axes[0].set_ylabel(f"{name}\n{height}×{width}", fontsize=9).set_parse_math(False)
    for place, axis in enumerate(axes):
        if place >= number:
            axis.set_axis_off()
            continue
        values = stage.maps[place]
        axis.imshow(values.numpy(), cmap="gray")
        low, high = (f"{float(value) + 0.0:.2g}" for value in torch.aminmax(values))
        title = f"map {place}\n" if numbered else ""
        axis.set_title(f"{title}{low} to {high}", fontsize=FONT, pad=2)
        count_pixels(axis, most=3, size=6)


def _prepared(model: nn.Module, image: ImageSource, preprocess: Preprocess | None) -> Tensor:
    """The image as the model sees it, (1, C, H, W) on its device."""
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"expected a model, an nn.Module, received {type(model).__name__}; "
            f"a classifier's is classifier.model"
        )
    noted = trained_on(model)
    if preprocess is None and noted is not None:
        preprocess = noted.preprocess
    shape = getattr(model, "image_shape", None)
    if preprocess is None and shape is not None and is_file(image):
        preprocess = Preprocess.of_shape(shape)
    if preprocess is not None and is_file(image):
        ready = preprocess(preprocess.read(image))  # type: ignore[arg-type]
    else:
        ready = load(image)
        if ready.dtype == torch.uint8:
            ready = scaled(ready) if preprocess is None else preprocess(ready)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return ready[None].to(tensor.device, tensor.dtype)
    return ready[None]
