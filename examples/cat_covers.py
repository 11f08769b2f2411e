"""Cat or not, as in the article: a LeNet variant, then AlexNet, in four folds; then covers, sorted.

As there: 240x240, batches of 10, pixels divided by 128, xavier weights, Adam. It found by hand
that at a learning rate of 1 "all outputs are the same", that 1e-8 is slow, and 1e-5 right; here a
warning says the first, and find_lr proposes a rate. Otherwise than there, every image is in a fold,
the networks end in logits, and a fifth of the images is put aside before anything is chosen. The
better network is trained on all the others, measured once on those, and sorts them: cats first.

    python examples/cat_covers.py --data PHOTOS        # a folder or zip with one folder a class
"""

import argparse
import functools
import json
import time
import warnings
from pathlib import Path
from typing import Any

import covers
import drawn
import torch

from cnnkit import Classifier, Preprocess, data, models, plot, train
from cnnkit.errors import CnnkitWarning

ARTICLE = {"LeNetVariant": "about 80 %", "AlexNet": "87 %"}


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description="Cat or not.")
    parser.add_argument("--data", type=Path, help="folder or zip, one of its classes named …cat…")
    parser.add_argument("--images", type=int, help="take only so many of them")
    parser.add_argument("--size", type=int, default=240, help="side in pixels; 116 or more")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/cat_covers"))
    parser.add_argument("--quick", action="store_true", help="30 drawings, 2 folds, 1 epoch")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.quick:
        args.data = drawn.write(args.out / "drawings", {"cat": 15, "other": 15})
        args.size, args.folds, args.epochs = 116, 2, 1
        warnings.simplefilter("ignore", CnnkitWarning)  # so little teaches nothing
    elif not args.data:
        parser.error("--data FOLDER says where the photographs are; --quick draws some")
    return args


def try_rates(
    model: models.ImageClassificationBase, parts: data.Loaders, steps: int, out: Path
) -> list[str]:
    """What find_lr says, and the alarm at a learning rate of 1, which is returned."""
    span: dict[str, Any] = {"lowest": 1e-8, "highest": 0.1, "steps": steps}
    curve = train.find_lr(model, parts.train, optimizer="adam", **span)
    plot.lr_curve(curve).savefig(out / "lr_curve.png", dpi=150)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CnnkitWarning)
        train.fit(model, parts.train, parts.val, epochs=1, lr=1, optimizer="adam")
    alarms = [str(warning.message) for warning in caught]
    print(f"find_lr suggests {curve.suggestion}; at 1:", *alarms, sep="\n  ")
    return alarms


def main() -> None:
    """Look for a learning rate, compare the networks, train the better one, and use it."""
    args, started = options(), time.perf_counter()
    out, seed = args.out, args.seed
    opened = data.ImageFolder if args.data.is_dir() else data.ImageFolder.from_zip
    whole = opened(args.data, image_size=args.size)
    cat = next((name for name in whole.classes if "cat" in name.lower()), None)
    if cat is None or len(whole.classes) != 2:
        raise SystemExit(f"expected two classes, one named …cat…, received {whole.classes}")
    if args.images and args.images < len(whole):
        whole = data.train_val_split(whole, val=0, test=len(whole) - args.images, seed=seed).train
    print(data.check(whole))
    split = data.train_val_split(whole, val=0, test=0.2, seed=seed)
    images, test = split.train.to_array(), split.test  # decoded once
    assert test is not None

    by_128 = Preprocess(args.size, "RGB", mean=(0.0,) * 3, std=(128 / 255,) * 3)
    common = {"preprocess": by_128, "device": args.device, "seed": seed}
    shape = {"num_classes": 2, "image_size": args.size, "init": "xavier"}
    networks = {n: functools.partial(models.create_model, n, **shape) for n in ARTICLE}
    torch.manual_seed(seed)  # of these weights; those of the folds are drawn by (seed, fold)
    parts = data.make_loaders(next(iter(data.k_fold(images, args.folds, seed=seed))), 10, **common)
    alarms = try_rates(networks["LeNetVariant"](), parts, 20 if args.quick else 100, out)
    how = {"batch_size": 10, "optimizer": "adam", "lr": args.lr, "monitor": "val_acc", **common}
    how |= {"k": args.folds, "epochs": args.epochs, "out_dir": out / "folds"}  # to go on from
    settings = {name: {"build_model": network} for name, network in networks.items()}
    compared = train.cross_validate(networks["LeNetVariant"], images, settings=settings, **how)
    best = compared.best
    print(compared, f"out of fold, {best.name}:", best.report, sep="\n")
    plot.folds(best).savefig(out / "folds.png", dpi=150)
    refitted = best.refit()
    report = train.evaluate(refitted.model, data.make_loader(test, 10, **common), positive=cat)
    print(f"trained on all {len(images)} images, on the {len(test)} put aside:\n{report}")
    classifier = Classifier.from_loader(refitted.model, refitted.loader, report=report)
    classifier.save(out / "cat.pt")
    accuracies = {name: found.accuracy.mean for name, found in compared.results.items()}
    result = {
        "folds": accuracies,
        "article": ARTICLE,
        "put_aside": report.accuracy,
        "alarms": alarms,
        "cats": covers.sort_out(classifier, test, cat, out),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (out / "result.json").write_text(json.dumps(result, indent=2))
    for name, accuracy in accuracies.items():
        print(f"{name} {accuracy:.1%} in {args.folds} folds (the article: {ARTICLE[name]})")


if __name__ == "__main__":
    main()
