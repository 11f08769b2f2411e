"""CIFAR-10 in minutes on a CPU: ours, to set beside the article's six convolutions.

`FastCNN`, bfloat16 where that is exact enough, channels_last, a learning rate of one cycle, flips
and smoothed labels: 4 epochs of a small network. `--wide` trains a wider and deeper one for longer,
after Jordan, "94% on CIFAR-10 in 3.29 seconds" (arXiv:2404.00498): its first layer is set to whiten
the images, its logits are scaled down, images are moved by up to 2 pixels, and a prediction is the
mean of those for the image, moved by a pixel and not, and its mirror images.

    python examples/cifar10_fast.py                      # downloads through torchvision
    python examples/cifar10_fast.py --data cifar10.zip   # train/ and test/ of class folders
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import cifar
import made
import torch
from torch import nn
from torch.optim import SGD
from wide import WideCNN

from cnnkit import Classifier, data, models, plot, train
from cnnkit.data import augment

ARTICLE = "76 % in 10 epochs of six convolutions"


SMALL: dict[str, Any] = {"epochs": 4, "batch": 256, "lr": 0.2, "smoothing": 0.1}
WIDE: dict[str, Any] = {"epochs": 16, "batch": 512, "lr": 1.0, "smoothing": 0.2}


def main() -> None:
    """Train, report, and write pictures, figures and the classifier."""
    parser = argparse.ArgumentParser(description="CIFAR-10 in minutes on a CPU.")
    parser.add_argument("--data", type=Path, help="zip or folder with train/ and test/")
    parser.add_argument("--wide", action="store_true", help="a wider, deeper network, for longer")
    parser.add_argument("--epochs", type=int, help="default: 4, with --wide 16")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32", "auto"])
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/cifar10_fast"))
    parser.add_argument("--quick", action="store_true", help="on images made here, 2 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    recipe = WIDE if args.wide else SMALL
    epochs = (2 if args.quick else recipe["epochs"]) if args.epochs is None else args.epochs
    if args.quick:
        whole, test = made.parts((3, 16, 16), cifar.CLASSES, train=1000, test=200)
    else:
        whole, test = cifar.load(args.data)
    split = data.train_val_split(whole, val=0.1, seed=args.seed)
    moves: list[Any] = [augment.RandomFlip()]
    if args.wide:
        moves.append(augment.RandomTranslate(2, padding="reflect"))
    batch = 32 if args.quick else recipe["batch"]
    options: dict[str, Any] = {"device": args.device, "seed": args.seed}
    loaders = data.make_loaders(split, batch, augment=moves, **options)
    test_loader = data.make_loader(test, 500, preprocess=loaders.train.preprocess, **options)

    torch.manual_seed(args.seed)  # of the initial weights
    model = models.FastCNN(10)
    if args.wide:
        model = WideCNN(10, widths=(64, 256, 256), depth=2)
        model.whiten(next(loaders.train.batches(0))[0].cpu())
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=epochs,
        lr=recipe["lr"],
        optimizer=functools.partial(SGD, momentum=0.9, nesterov=True, weight_decay=5e-4),
        scheduler="one_cycle",
        loss=nn.CrossEntropyLoss(label_smoothing=recipe["smoothing"]),
        restore_best=False,  # the rate has fallen to 0: the last epoch is the best
        precision=args.precision,
        seed=args.seed,
    )
    report = train.evaluate(model, test_loader)
    print(report)

    plot.history(history).savefig(args.out / "history.png", dpi=150)
    plot.confusion_matrix(report).savefig(args.out / "confusion_matrix.png", dpi=150)
    plot.mistakes(report, test).savefig(args.out / "mistakes.png", dpi=150)
    Classifier.from_loader(model, test_loader, report=report).save(args.out / "cifar10.pt")
    history.to_csv(args.out / "history.csv")
    result = {
        "accuracy": report.accuracy,
        "article": ARTICLE,
        "epochs": epochs,
        "seed": args.seed,
        "training_seconds": round(sum(history.column("seconds")), 1),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(
        f"test accuracy {report.accuracy:.2%} (the article: {ARTICLE}), {epochs} epochs,", end=" "
    )
    print(f"{result['training_seconds']:.0f} s of training")


if __name__ == "__main__":
    main()
