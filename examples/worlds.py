"""Frames of two pixel-art games, drawn here: levels, maps of the islands, and fades between them.

Both games have the same skies, clouds, pipes and coins, and a level of either may be by day, at
dusk, at night or in a cave. What differs are the hero (red cap and blue dungarees, or a yellow cap,
a violet pair and broader shoulders), the blocks (a question mark, or a face), and the ground:
bricks or square stones, mostly warm or mostly cold in colour. The maps are the same but for the
hero, who blinks. At the end of a level the picture fades to black. A map without its hero, and a
picture that is all but black, belong to either game: nobody can tell, and no classifier can.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

GAMES = ("mario", "wario")
SIZE, GROUND = 128, 96
SKIES = ((110, 170, 250), (240, 160, 120), (24, 28, 70), (16, 16, 20), (150, 210, 190))
GROUNDS = ((200, 110, 50), (160, 150, 70), (110, 110, 140), (150, 90, 170))
OTHERS = 0.1  # share of the levels whose ground has the colours of the other game
CAPS = ((220, 40, 40), (240, 200, 50))
DUNGAREES = ((50, 70, 210), (130, 60, 170))
SKIN, BLOCK, PIPE, COIN = (245, 200, 160), (210, 150, 60), (40, 160, 70), (250, 220, 70)
MAPS, FADES = 0.02, 0.03  # shares of all frames
BLINK = 0.3  # how often the marker on a map is off


def hero(draw: ImageDraw.ImageDraw, game: int, x: int, y: int, left: bool) -> None:
    """About 12 x 16 pixels of one of the two, standing on y."""
    broad = 2 * game
    draw.rectangle((x - 4 - broad, y - 8, x + 4 + broad, y - 5), fill=CAPS[game])  # sleeves
    draw.rectangle((x - 3 - broad, y - 8, x + 3 + broad, y - 2), fill=DUNGAREES[game])
    draw.rectangle((x - 3, y - 14, x + 3, y - 9), fill=SKIN)
    nose = -5 if left else 5
    draw.rectangle((x + min(nose, 0), y - 12, x + max(nose, 0), y - 11), fill=SKIN)
    draw.rectangle((x - 4, y - 16, x + 4, y - 14), fill=CAPS[game])
    for foot in (-3 - broad, 1 + broad):
        draw.rectangle((x + foot, y - 2, x + foot + 2, y), fill=(90, 50, 20))


def level(game: int, scene: np.random.Generator, moment: np.random.Generator) -> Image.Image:
    """A frame of a level; what `scene` draws is the same in all frames of it."""
    sky = SKIES[scene.integers(len(SKIES))]
    cold = (scene.random() < OTHERS) != (game == 1)
    ground = GROUNDS[2 * cold + scene.integers(2)]
    image = Image.new("RGB", (SIZE, SIZE), sky)
    draw = ImageDraw.Draw(image)
    scroll = int(moment.integers(256))
    for x, y, size in scene.integers((0, 4, 8), (384, 50, 18), (10, 3)).tolist():  # clouds
        at = (x - scroll // 2) % 384 - 64
        draw.rectangle((at, y, at + 2 * size, y + size // 2), fill=(235, 235, 245))
    for x, high in scene.integers((0, 12), (384, 34), (4, 2)).tolist():  # pipes
        at = (x - scroll) % 384 - 64
        draw.rectangle((at, GROUND - high, at + 16, GROUND), fill=PIPE, outline=(20, 80, 40))
    for x, y in scene.integers((0, 3), (48, 10), (14, 2)).tolist():  # blocks, and coins
        at = (8 * x - scroll) % 384 - 64
        if scene.random() < 0.5:
            draw.ellipse((at + 2, 8 * y, at + 6, 8 * y + 7), fill=COIN)
            continue
        draw.rectangle((at, 8 * y, at + 7, 8 * y + 7), fill=BLOCK, outline=(90, 60, 20))
        eyes = ((3, 2), (5, 3), (4, 5)) if game == 0 else ((2, 2), (5, 2), (3, 5), (4, 5))
        draw.point([(at + dx, 8 * y + dy) for dx, dy in eyes], fill=(60, 30, 10))
    for y in range(GROUND, SIZE, 8 + 8 * game):  # bricks of 16 x 8, or stones of 16 x 16
        for x in range(-16, SIZE + 16, 16):
            at = x + y % 16 - scroll % 16
            box = (at, y, at + 15, y + 7 + 8 * game)
            draw.rectangle(box, fill=ground, outline=(60, 50, 40))
            if game == 1:
                draw.rectangle((at + 5, y + 5, at + 10, y + 10), fill=(60, 50, 40))
    x, y = moment.integers((24, 40), (104, GROUND)).tolist()
    hero(draw, game, x, y if moment.random() < 0.5 else GROUND - 1, bool(moment.integers(2)))
    return image


def island(game: int, scene: np.random.Generator, moment: np.random.Generator) -> Image.Image:
    """A frame of a map: the same in both games, but for the marker, which blinks."""
    image = Image.new("RGB", (SIZE, SIZE), (60, 110, 200))
    draw = ImageDraw.Draw(image)
    spots = scene.integers((24, 24), (104, 104), (6, 2)).tolist()
    for x, y in spots:
        draw.ellipse((x - 24, y - 18, x + 24, y + 18), fill=(100, 170, 80))
    draw.line([(x, y) for x, y in spots], fill=(220, 200, 150), width=3)
    for x, y in spots:
        draw.rectangle((x - 3, y - 3, x + 3, y + 3), fill=(150, 120, 90))
    if moment.random() >= BLINK:
        x, y = spots[moment.integers(len(spots))]
        hero(draw, game, x, y + 2, False)
    return image


def frame(game: int, scene_seed: int, number: int) -> Image.Image:
    """A frame of a scene: mostly a level, sometimes a map, sometimes fading; a little noise."""
    scene = np.random.default_rng([scene_seed, game])
    moment = np.random.default_rng([scene_seed, game, number])
    kind = moment.random()
    image = (island if kind < MAPS else level)(game, scene, moment)
    pixels = np.asarray(image, dtype=float)
    if MAPS <= kind < MAPS + FADES:
        pixels = pixels * max(0.0, moment.uniform(-0.05, 0.6))
    noise = moment.integers(-2, 3, pixels.shape)  # of the recording
    return Image.fromarray((pixels + noise).clip(0, 255).astype("uint8"))


def draw(folder: Path, scenes: range, frames: int) -> None:
    """Write folder/mario/scene003-07.png and so on, those that are not there yet.

    Args:
        folder: Made if it is not there.
        scenes: Their seeds; other ones give other levels.
        frames: How many of each scene, in each game.
    """
    for game, name in enumerate(GAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for scene in scenes:
            for number in range(frames):
                path = folder / name / f"scene{scene:03}-{number:02}.png"
                if not path.exists():
                    frame(game, scene, number).save(path)
