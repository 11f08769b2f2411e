"""Draw the near copies that `check` confirms in Fashion-MNIST, each picture's images in a row.

python docs/pictures/near_copies.py /usr/share/datasets/fashion-mnist    # in about half a minute

The folder holds the four files; on Debian they come with the package dataset-fashion-mnist.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cnnkit.data import check

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from duplicates import near_groups, open_image, read_idx  # noqa: E402

SIDE, GAP, CAPTION = 84, 14, 18  # pixels; an image of 28 x 28 is drawn three times as large
WIDTH = 980
GREYS = 24  # keep the larger sheet near 60 kB


def rows_of(groups: list) -> list[list]:
    """As many groups in a row as fit, in their order."""
    rows: list[list] = [[]]
    left = WIDTH
    for group in groups:
        needed = SIDE * len(group) + GAP
        if needed > left:
            rows.append([])
            left = WIDTH
        rows[-1].append(group)
        left -= needed
    return rows


def sheet(parts: dict, groups: list) -> Image.Image:
    """The images of each group side by side, with part and index below each."""
    rows = rows_of(groups)
    drawn = Image.new("L", (WIDTH, len(rows) * (SIDE + CAPTION)), 255)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(11)
    for number, row in enumerate(rows):
        x, y = 0, number * (SIDE + CAPTION)
        for group in row:
            for sample in group:
                image = open_image(parts, sample.part, sample.index)
                drawn.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y))
                middle = (x + SIDE // 2, y + SIDE + CAPTION // 2)
                pen.text(middle, f"{sample.part} {sample.index}", 0, font, anchor="mm")
                x += SIDE
            x += GAP
    return drawn


def main() -> None:
    """One sheet of what is in both parts, one of what is twice in a part."""
    parts = read_idx(Path(sys.argv[1]))
    groups = near_groups(check(**parts))
    both = [group for group in groups if len({sample.part for sample in group}) > 1]
    within = [group for group in groups if group not in both]
    for name, some in (("near_copies_across", both), ("near_copies_within", within)):
        path = HERE / f"{name}.png"
        grey = sheet(parts, some).quantize(GREYS, dither=Image.Dither.NONE)
        grey.save(path, optimize=True)
        size = f"{grey.width} x {grey.height}, {path.stat().st_size / 1000:.0f} kB"
        sys.stdout.write(f"{path.name}: {len(some)} pictures, {size}\n")


if __name__ == "__main__":
    main()
