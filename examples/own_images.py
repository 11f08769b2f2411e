"""Images of your own, as short as it gets: check, split, train, report, ship.

The images are a folder, a zip, a URL or a Google Drive link, with one folder a class.

python examples/own_images.py --data PHOTOS
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Literal

import drawn

from cnnkit import Classifier, data, models, plot, train
from cnnkit.data import augment
from cnnkit.errors import CnnkitWarning
from cnnkit.types import Augmentation


def main() -> None:
    """From a folder with one folder a class to one file that predicts."""
    parser = argparse.ArgumentParser(description="Images of your own.")
    parser.add_argument("--data", help="folder, zip, URL or Google Drive link: one folder a class")
    parser.add_argument("--size", type=int, default=96, help="side that the images get, in pixels")
    parser.add_argument("--model", default="ThreeConvCIFAR", choices=models.list_models())
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--skip-broken", action="store_true", help="leave out unreadable files")
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/own_images"))
    parser.add_argument("--quick", action="store_true", help="on 120 drawings, 3 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.quick:
        args.data = drawn.write(args.out / "drawings", {"cat": 60, "other": 60})
        args.size, args.epochs = 32, 3
        warnings.simplefilter("ignore", CnnkitWarning)  # such as: train longer
    elif not args.data:
        parser.error("--data says where your images are; --quick draws some")

    # Open, and check before any time is spent: broken files, copies, classes out of proportion.
    opened = data.ImageFolder if Path(args.data).is_dir() else data.ImageFolder.from_zip
    on_corrupt: Literal["skip", "raise"] = "skip" if args.skip_broken else "raise"
    images = opened(args.data, image_size=args.size, on_corrupt=on_corrupt)
    if len(images.classes) < 2:
        raise SystemExit(f"expected a folder for each of two classes or more, found {images}")
    found = data.check(images)
    print(data.describe(images), found, sep="\n\n")
    found.raise_for_errors()

    # Split, copies of one picture on the same side. Only the training part is augmented.
    split = data.train_val_split(images, val=0.15, test=0.15, groups=found.groups, seed=args.seed)
    moves: list[Augmentation] = [augment.RandomFlip(), augment.RandomTranslate(args.size // 12)]
    loaders = data.make_loaders(split, 32, augment=moves, device=args.device, seed=args.seed)

    # Train until the validation loss has not fallen for ten epochs.
    model = models.create_model(args.model, like=loaders)
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=args.epochs,
        optimizer="adam",
        callbacks=train.EarlyStopping(patience=10),
        seed=args.seed,
    )

    # Report, on images that played no part so far.
    assert split.test is not None
    assert loaders.test is not None
    report = train.evaluate(model, loaders.test)
    print(report)
    plot.history(history).savefig(args.out / "history.png", dpi=150)
    plot.confusion_matrix(report).savefig(args.out / "confusion_matrix.png", dpi=150)
    if report.mistakes:
        plot.mistakes(report, split.test).savefig(args.out / "mistakes.png", dpi=150)
    result = {"accuracy": report.accuracy, "interval": report.accuracy_interval}
    (args.out / "result.json").write_text(json.dumps(result, indent=2))

    # Ship: one file with weights, classes, preprocessing and report.
    Classifier.from_loader(model, loaders.test, report=report).save(args.out / "classifier.pt")
    print(Classifier.load(args.out / "classifier.pt").predict(split.test.paths[0]))


if __name__ == "__main__":
    main()
