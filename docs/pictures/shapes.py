"""The images on the pictures: six shapes as one would photograph them, blurred and in poor light.

Drawn by chance, but from a generator of their own: the same call gives the same images.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from cnnkit.data import ArrayDataset

CLASSES = ("circle", "cross", "ring", "square", "star", "triangle")
SIZE = 48
_LARGE = 4 * SIZE  # drawn so large, then shrunk: edges are smooth


def shapes(number: int, *, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> ArrayDataset:
    """So many images of these shapes, uint8 (3, 48, 48) each, as many of one as of another."""
    random = np.random.default_rng(seed)
    labels = [position % len(classes) for position in range(number)]
    images = [np.asarray(_photograph(classes[label], random)) for label in labels]
    return ArrayDataset(np.stack(images), labels, classes=classes)


def _photograph(name: str, random: np.random.Generator) -> Image.Image:
    ground = random.integers(50, 110) + random.integers(-30, 31, 3)
    colour = (ground + random.integers(30, 130)).clip(0, 255)
    image = Image.new("RGB", (_LARGE, _LARGE), tuple(int(c) for c in ground))
    radius = random.uniform(0.28, 0.42) * _LARGE
    middle = random.uniform(radius, _LARGE - radius, 2)
    _draw(ImageDraw.Draw(image), name, middle, radius, random.uniform(0, 360), colour, ground)
    small = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 8))).resize((SIZE, SIZE))
    above, under = random.uniform(0.55, 1.25, 2).tolist()
    light = np.linspace(above, under, SIZE)[:, None, None]
    grain = random.normal(0, 2.5, (SIZE, SIZE, 1))
    return Image.fromarray((np.asarray(small) * light + grain).clip(0, 255).astype(np.uint8))


def _draw(
    draw: ImageDraw.ImageDraw,
    name: str,
    middle: np.ndarray,
    radius: float,
    turn: float,
    colour: np.ndarray,
    ground: np.ndarray,
) -> None:
    fill, hole = (tuple(int(c) for c in one) for one in (colour, ground))
    x, y = middle
    if name in ("circle", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        if name == "ring":
            inner = radius * 0.5
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=hole)
        return
    corners: dict[str, list[tuple[float, float]]] = {  # degrees, and share of the radius
        "square": [(90 * k, 1.0) for k in range(4)],
        "triangle": [(120 * k, 1.0) for k in range(3)],
        "star": [(36 * k, 1.0 if k % 2 == 0 else 0.45) for k in range(10)],
        "cross": [
            (90 * k + angle, length)
            for k in range(4)
            for angle, length in ((-18.4, 1.0), (18.4, 1.0), (45, 0.45))
        ],
    }
    places = [(math.radians(turn + angle), radius * length) for angle, length in corners[name]]
    draw.polygon([(x + far * math.cos(a), y + far * math.sin(a)) for a, far in places], fill=fill)
