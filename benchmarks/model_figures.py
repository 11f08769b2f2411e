"""Train each model of cnnkit.models by a short recipe and print its figure as a row of a table.

    python benchmarks/model_figures.py --fashion FOLDER --cifar FOLDER --models TwoLayerCNN FastCNN

A tenth of the training part is held out and decides which epoch is kept; the test part is looked at
once, at the end. Seconds are those of `fit`, reading the images left out. A model whose data are
not given is left out. Rows go to standard output as they come, everything else to standard error,
and all rows with what they were made on to the file of `--out`.
"""

import argparse
import contextlib
import functools
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD

from cnnkit import data, models, train
from cnnkit.data import augment

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import idx  # the examples' reader of MNIST and its kin


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; `told` is what the table says of it."""

    data: str
    told: str
    epochs: int
    batch: int
    lr: float
    optimizer: Any
    augment: tuple[Any, ...] = ()
    normalise: bool = True
    model: dict[str, Any] = field(default_factory=dict)


FLIP = (augment.RandomFlip(),)
SHIFTED_FLIP = (augment.RandomFlip(), augment.RandomTranslate(2))
MOMENTUM = functools.partial(SGD, momentum=0.9)  # the articles', not Nesterov's
XAVIER: dict[str, Any] = {"image_size": 240, "init": "xavier"}
PHOTOS = "Adam 1e-4, batch 32, xavier, flips"

RECIPES = {
    "MLP": Recipe("mnist", "SGD 0.01, batch 20", 30, 20, 0.01, "sgd", normalise=False),
    "TwoLayerCNN": Recipe("fashion", "SGD 0.1, batch 100", 6, 100, 0.1, "sgd", normalise=False),
    "ThreeConvCIFAR": Recipe(
        "cifar", "SGD 0.01 momentum 0.9, batch 64, flips", 20, 64, 0.01, MOMENTUM, FLIP
    ),
    "SixConvCIFAR": Recipe("cifar", "Adam 1e-3, batch 128", 10, 128, 1e-3, "adam"),
    "FastCNN": Recipe(
        "cifar", "AdamW 3e-3, batch 128, flips and shifts", 20, 128, 3e-3, "adamw", SHIFTED_FLIP
    ),
    "LeNetVariant": Recipe("photos", PHOTOS, 20, 32, 1e-4, "adam", FLIP, model=XAVIER),
    "AlexNet": Recipe("photos", PHOTOS, 20, 32, 1e-4, "adam", FLIP, model=XAVIER),
}

NAMES = {
    "mnist": "MNIST",
    "fashion": "Fashion-MNIST",
    "cifar": "CIFAR-10",
    "photos": "photographs",
}


def parts_of_folder(folder: Path, image_size: int | None) -> tuple[Any, Any]:
    """The training and the test part of a folder that holds train and test, or …_set."""

    def part(*names: str) -> Path:
        for name in names:
            for found in (folder / name, *folder.glob(f"*/{name}")):
                if found.is_dir() and found.parent.name != "__MACOSX":
                    return found
        raise SystemExit(f"expected a folder {' or '.join(names)} in {folder}, or one below it")

    training = data.ImageFolder(part("train", "training_set"), image_size=image_size)
    test = data.ImageFolder(
        part("test", "test_set"), image_size=image_size, classes=training.classes
    )
    return training.to_array(), test.to_array()


def readers(args: argparse.Namespace) -> dict[str, Callable[[], tuple[Any, Any]]]:
    """How to read each data set whose folder was given."""
    known: dict[str, Callable[[Path], tuple[Any, Any]]] = {
        "mnist": lambda folder: pair(idx.load("MNIST", folder, idx.MNIST)),
        "fashion": lambda folder: pair(idx.load("FashionMNIST", folder, idx.FASHION)),
        "cifar": lambda folder: parts_of_folder(folder, None),
        "photos": lambda folder: parts_of_folder(folder, 240),
    }
    given = {name: getattr(args, name) for name in known}
    return {
        name: functools.cache(functools.partial(known[name], folder))
        for name, folder in given.items()
        if folder is not None
    }


def pair(parts: tuple[Any, ...]) -> tuple[Any, Any]:
    """Exactly two parts."""
    training, test = parts
    return training, test


def measure(
    name: str, recipe: Recipe, parts: tuple[Any, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Train and test one model; its row."""
    training, test = parts
    split = data.train_val_split(training, val=0.1, seed=args.seed)
    split = data.Split(split.train, split.val, test)
    loaders = data.make_loaders(
        split,
        recipe.batch,
        augment=recipe.augment,
        preprocess="fit" if recipe.normalise else None,
        device=args.device,
        seed=args.seed,
    )
    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model(name, like=loaders, **recipe.model)
    epochs = args.epochs or recipe.epochs
    started = time.perf_counter()
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=epochs,
        lr=recipe.lr,
        optimizer=recipe.optimizer,
        seed=args.seed,
    )
    seconds = time.perf_counter() - started
    assert loaders.test is not None
    best = history.best
    return {
        "model": name,
        "data": NAMES[recipe.data],
        "recipe": recipe.told,
        "epochs": epochs,
        "kept_epoch": None if best is None else int(best["epoch"]),
        "test_accuracy": train.evaluate(model, loaders.test).accuracy,
        "test_images": len(test),
        "seconds": round(seconds, 1),
        "device": str(loaders.test.device),
    }


def as_row(result: dict[str, Any]) -> str:
    """One row of the table on the page of all models."""
    return (
        f"| `{result['model']}` | {result['data']} | {result['recipe']} | {result['epochs']} "
        f"| {result['test_accuracy']:.1%} | {result['seconds']:,.0f} |"
    )


def main() -> None:
    """Measure the models that were named, or all whose data were given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    idx_files = "folder of the four IDX files, gzipped or not"
    folders = "folder with train/ and test/, or training_set/ and test_set/, of one folder a class"
    parser.add_argument("--mnist", type=Path, help=idx_files)
    parser.add_argument("--fashion", type=Path, help=idx_files)
    parser.add_argument("--cifar", type=Path, help=folders)
    parser.add_argument("--photos", type=Path, help=f"{folders}; read at 240×240")
    parser.add_argument(
        "--models", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="NAME"
    )
    parser.add_argument("--epochs", type=int, help="in place of each recipe's own")
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a .json file")
    args = parser.parse_args()

    results: list[dict[str, Any]] = []
    given = readers(args)
    for name in args.models:
        recipe = RECIPES[name]
        if recipe.data not in given:
            print(f"{name} left out: no --{recipe.data}", file=sys.stderr)
            continue
        with contextlib.redirect_stdout(sys.stderr):  # the lines of the epochs
            results.append(measure(name, recipe, given[recipe.data](), args))
        print(as_row(results[-1]), flush=True)
        if args.out is not None:
            made_on = {
                "torch": torch.__version__,
                "python": platform.python_version(),
                "threads": torch.get_num_threads(),
                "seed": args.seed,
            }
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps({**made_on, "rows": results}, indent=2))


if __name__ == "__main__":
    main()
