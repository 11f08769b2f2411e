"""Make the pictures of the guide to filters and feature maps, with the functions of the example.

python docs/pictures/features.py    # in about half a minute

The photograph is scikit-learn's: "china.jpg" by danielbuechele, CC BY 2.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

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


def main() -> None:
    """Make all of them."""
    torch.set_num_threads(1)  # the same weights, however many cores there are
    by_itself, _ = example.learnt(epochs=10, seed=0, device="cpu")
    pictures = example.set_by_hand(example.photograph(quick=False)) | by_itself
    for name, figure in pictures.items():
        save(name, figure)


if __name__ == "__main__":
    main()
