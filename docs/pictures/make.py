"""Make the pictures of the guide to the plots: one a plot, of a small network trained here.

python docs/pictures/make.py            # all of them, in about a minute
python docs/pictures/make.py history    # the ones named so
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from shapes import shapes

from cnnkit import data, models, plot, train
from cnnkit.data import augment
from cnnkit.metrics import Report

HERE = Path(__file__).parent
EPOCHS = 10
MOST_BYTES = 60_000


@cache
def split() -> Any:
    """720 shapes: half of them to train on, a third to test on."""
    return data.train_val_split(shapes(720), val=120, test=240)


@cache
def loaders() -> Any:
    """Their batches, normalised, the training part shifted."""
    shifts: list[Any] = [augment.RandomTranslate(3), augment.RandomFlip()]
    return data.make_loaders(split(), 32, augment=shifts, device="cpu")


def new_model(like: Any) -> Any:
    """A small network with weights that are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.create_model("FastCNN", like=like)


@cache
def trained() -> tuple[Any, Any]:
    """A network, and how it was trained."""
    model = new_model(loaders())
    run = train.fit(
        model,
        loaders().train,
        loaders().val,
        epochs=EPOCHS,
        optimizer="adam",
        lr=0.002,
        restore_best=True,
        progress=False,
    )
    return model, run


@cache
def report() -> Report:
    """What the network does on the test part."""
    return train.evaluate(trained()[0], loaders().test)


@cache
def two_classes() -> Report:
    """Rings against circles, after too little training."""
    parts = data.train_val_split(shapes(400, classes=("circle", "ring"), seed=1), val=200)
    both = data.make_loaders(parts, 32, device="cpu")
    model = new_model(both)
    train.fit(model, both.train, epochs=2, optimizer="adam", lr=0.001, progress=False)
    assert both.val is not None
    return train.evaluate(model, both.val)


def folds() -> Figure:
    """Four runs of the same network, each on other images."""
    result = train.cross_validate(
        lambda: models.create_model("FastCNN", like=loaders()),
        split().train,
        k=4,
        batch_size=32,
        epochs=12,
        optimizer="adam",
        lr=0.002,
        monitor="val_acc",
        device="cpu",
        progress=False,
    )
    return plot.folds(result)


def lr_curve() -> Figure:
    """Of the same network, before it was trained."""
    large = data.make_loader(split().train, 120, shuffle=True, device="cpu")
    options: dict[str, Any] = {"optimizer": "adam", "lowest": 1e-6, "highest": 1.0}
    curve = train.find_lr(new_model(loaders()), large, progress=False, **options)
    return plot.lr_curve(curve)


def hundred_classes() -> Figure:
    """Counts that a network for a hundred classes might have."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(100)
    matrix = torch.diag(torch.randint(60, 100, (100,), generator=generator))
    for _ in range(400):
        true, said = torch.randint(100, (2,), generator=generator).tolist()
        near = true // 5 * 5 + said % 5  # five neighbours look alike
        matrix[true, near if said % 3 else said] += said % 9
    return plot.confusion_matrix(Report(matrix, [f"class {row}" for row in rows.tolist()]))


PICTURES: dict[str, Callable[[], Figure]] = {
    "batch": lambda: plot.batch(loaders().train, number=12),
    "batch_below": lambda: plot.batch(split().train, number=6, seed=1, labels="below"),
    "classes": lambda: plot.classes(split().train),
    "confusion_matrix": lambda: plot.confusion_matrix(report(), values="both"),
    "confusion_matrix_100": hundred_classes,
    "folds": folds,
    "history": lambda: plot.history(trained()[1]),
    "history_twin": lambda: plot.history(trained()[1], layout="twin"),
    "lr_curve": lr_curve,
    "mistakes": lambda: plot.mistakes(report(), split().test),
    "precision_recall": lambda: plot.precision_recall(two_classes()),
    "predictions": lambda: plot.predictions(trained()[0], split().test, number=12, seed=3),
    "roc": lambda: plot.roc(two_classes()),
}


def save(name: str, figure: Figure) -> None:
    """As a PNG with a palette, of as many colours as stay below 60 kB."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    with Image.open(drawn) as image:
        whole = image.convert("RGB")
    for colours in (256, 192, 128, 96, 64):
        png = BytesIO()
        whole.quantize(colours, dither=Image.Dither.NONE).save(png, "png", optimize=True)
        if len(png.getvalue()) < MOST_BYTES:
            break
    (HERE / f"{name}.png").write_bytes(png.getvalue())
    size = f"{len(png.getvalue()) / 1000:.0f} kB, {colours} colours"
    sys.stdout.write(f"{name}.png: {whole.width} x {whole.height}, {size}\n")


def main() -> None:
    """Make those that are named, or all."""
    torch.set_num_threads(1)  # the same pixels, however many cores there are
    names = sys.argv[1:] or list(PICTURES)
    for name in names:
        save(name, PICTURES[name]())


if __name__ == "__main__":
    main()
