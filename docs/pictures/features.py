"""Make the pictures of the guide to filters and feature maps, with the functions of the example.

python docs/pictures/features.py    # in about half a minute

The scene is drawn here, so that no picture in the docs is somebody else's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))

import filters_and_feature_maps as example  # noqa: E402

LARGEST = 60_000  # bytes of a picture


def save(name: str, figure: Figure) -> None:
    """As a small grey PNG."""
    path = HERE / f"{name}.png"
    for dpi, greys in ((100, 48), (100, 32), (85, 32), (85, 24)):
        figure.savefig(path, dpi=dpi)
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.quantize(greys, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < LARGEST:
            break
    size = f"{path.stat().st_size / 1000:.0f} kB, {grey.width} x {grey.height}, {greys} greys"
    print(f"{path.name}  {size}")  # noqa: T201


def scene(side: int = 360) -> Image.Image:
    """A tower of three roofs on a hill: edges in every direction, light, and a little noise."""
    rows = np.linspace(0, 1, side)[:, None, None]
    sky = (1 - rows) * np.array([120, 170, 225]) + rows * np.array([225, 230, 235])
    image = Image.fromarray(np.broadcast_to(sky, (side, side, 3)).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    middle = side // 2
    pen.ellipse((-80, 285, side + 80, side + 160), fill=(70, 110, 60))
    for top, wide, high in ((60, 48, 70), (130, 66, 80), (210, 88, 95)):
        pen.rectangle((middle - wide, top, middle + wide, top + high), fill=(150, 80, 55))
        for at in range(middle - wide + 10, middle + wide - 8, 22):
            pen.rectangle((at, top + 28, at + 10, top + 58), fill=(45, 35, 40))
        eaves, ridge = wide + 40, wide - 12
        roof = [(middle - eaves, top + 20), (middle - ridge, top - 22)]
        roof += [(middle + ridge, top - 22), (middle + eaves, top + 20)]
        pen.polygon(roof, fill=(75, 85, 95))
        for at in range(-eaves, eaves, 12):
            pen.line((middle + at * 0.6, top - 20, middle + at, top + 18), fill=(105, 115, 125))
    pen.line((middle, 10, middle, 40), fill=(40, 40, 45), width=5)
    for left in (20, 300):
        pen.rectangle((left + 12, 250, left + 22, 320), fill=(80, 60, 45))
        pen.ellipse((left - 12, 190, left + 46, 280), fill=(50, 90, 50))
    noise = np.random.default_rng(0).normal(0, 5, (side, side, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def main() -> None:
    """Make all of them."""
    torch.set_num_threads(1)  # the same weights, however many cores there are
    by_itself, _ = example.learnt(epochs=10, seed=0, device="cpu")
    pictures = example.set_by_hand(scene()) | by_itself
    for name, figure in pictures.items():
        save(name, figure)


if __name__ == "__main__":
    main()
