"""What a reader would see at once: text that is cut, or that lies on other text."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def drawn(figure: Figure) -> RendererBase:
    canvas: Any = figure.canvas
    canvas.draw()
    renderer: RendererBase = canvas.get_renderer()
    return renderer


def check_layout(figure: Figure) -> None:
    """Nothing is outside the picture, and no title or class name overlaps another."""
    renderer = drawn(figure)
    width, height = figure.get_size_inches()
    around = figure.get_tightbbox(renderer)
    assert around.x0 >= -0.01, f"cut on the left by {-around.x0:.2f} inches"
    assert around.y0 >= -0.01, f"cut below by {-around.y0:.2f} inches"
    assert around.x1 <= width + 0.01, f"cut on the right by {around.x1 - width:.2f} inches"
    assert around.y1 <= height + 0.01, f"cut above by {around.y1 - height:.2f} inches"
    texts = [(t.get_text(), t.get_window_extent(renderer)) for t in titles_and_names(figure)]
    # Axes that share their epochs write them twice, at the same place.
    boxes = {(text, tuple(map(round, box.extents))): box for text, box in texts}
    for ((one, _), box), ((other, _), its) in combinations(boxes.items(), 2):
        assert not overlap(box, its), f"{one!r} and {other!r} overlap"


def titles_and_names(figure: Figure) -> list[Text]:
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
            found += [label for place, label in ticks if low <= place <= high]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def overlap(one: Bbox, other: Bbox) -> bool:
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    along = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(across > 1 and along > 1)  # pixels: a box is a little larger than its letters
