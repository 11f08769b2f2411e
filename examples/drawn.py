"""Drawings that `--quick` makes itself: folders of JPEG files, as one's own images usually come."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def write(folder: Path, classes: dict[str, int], side: int = 160) -> Path:
    """Write folder/cat/000.jpg and so on, those that are not there yet; return the folder.

    Args:
        folder: Made if it is not there.
        classes: How many of each: "cat" has a head with ears on it, any other class has a box.
        side: Of the images, in pixels.
    """
    for number, (name, images) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(number)
        for place in range(images):
            picture = drawing(name, generator, side)
            path = folder / name / f"{place:03}.jpg"
            if not path.exists():
                picture.save(path, quality=90)
    return folder


def drawing(name: str, generator: np.random.Generator, side: int) -> Image.Image:
    """Noise, and on it an orange head with ears for a cat, a blue box for anything else."""
    noise = generator.integers(90, 166, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    lowest, highest = (side // 10, side // 5, side // 3), (side // 3, side // 2, side // 2)
    left, top, wide = generator.integers(lowest, highest).tolist()
    if name != "cat":
        draw.rectangle((left, top, left + wide, top + wide), fill=(60, 90, 200))
        return image
    for tip in (left + wide // 6, left + 5 * wide // 6):
        ear = (tip - wide // 6, top + wide // 3), (tip, top - wide // 6), (tip + wide // 6, top)
        draw.polygon(ear, fill=(210, 120, 30))
    draw.ellipse((left, top, left + wide, top + wide), fill=(230, 140, 40))
    return image
