"""Six convolutional layers on CIFAR-10, as in the article: 76 % in 10 epochs.

45,000 images to train and 5,000 to watch, pixels in [0, 1], Adam 0.001, batches of 128, the last
epoch kept; the accuracy before training, the article's earlier feed-forward network beside it (48
to 50 %), a single image, the good classes and the bad ones. `--regularised` does what the article
leaves as future work: batch-norm, dropout, flips and shifts, early stopping.

    python examples/cifar10_six_conv.py                      # downloads through torchvision
    python examples/cifar10_six_conv.py --data cifar10.zip   # train/ and test/ of class folders
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cifar
import made
import torch

from cnnkit import Classifier, data, models, plot, train
from cnnkit.data import augment

ARTICLE: dict[str, Any] = {"optimizer": "adam", "restore_best": False}
REGULARISED: dict[str, Any] = {"optimizer": "adamw", "scheduler": "cosine"}
MOVES = (augment.RandomFlip(), augment.RandomCrop(padding=4))


def main() -> None:
    """Train two networks, report, and write pictures, figures and the classifier."""
    parser = argparse.ArgumentParser(description="Six convolutional layers on CIFAR-10.")
    parser.add_argument("--data", type=Path, help="zip or folder with train/ and test/")
    parser.add_argument("--regularised", action="store_true", help="the article's future work")
    parser.add_argument("--epochs", type=int, help="default: 10, with --regularised 30")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"])
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/cifar10_six_conv"))
    parser.add_argument("--quick", action="store_true", help="on images made here, 2 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    better = args.regularised
    epochs = (2 if args.quick else 30 if better else 10) if args.epochs is None else args.epochs
    if args.quick:
        whole, test = made.parts((3, 16, 16), cifar.CLASSES, train=800, test=200)
    else:
        whole, test = cifar.load(args.data)
    split = data.train_val_split(whole, val=0.1, seed=args.seed)
    options: dict[str, Any] = {"device": args.device, "seed": args.seed}
    if not better:
        options["preprocess"] = None  # the article's pixels are in [0, 1] and no more
    batch = 16 if args.quick else 128
    loaders = data.make_loaders(split, batch, augment=MOVES if better else (), **options)
    options["preprocess"] = loaders.train.preprocess
    test_loader = data.make_loader(test, 500, **options)

    torch.manual_seed(args.seed)  # of the initial weights
    flat = models.create_model("MLP", like=loaders, hidden=(512, 128), dropout=0.0)
    regularised = {"batch_norm": True, "dropout": 0.3} if better else {}
    model = models.create_model("SixConvCIFAR", like=loaders, **regularised)
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=epochs,
        lr=0.001,
        precision=args.precision,
        callbacks=[train.EarlyStopping(8)] if better else [],
        evaluate_first=True,
        seed=args.seed,
        **(REGULARISED if better else ARTICLE),
    )
    report = train.evaluate(model, test_loader)
    baseline = train.fit(
        flat, loaders.train, loaders.val, epochs=epochs, lr=0.001, seed=args.seed, **ARTICLE
    )
    flat_accuracy = train.evaluate(flat, test_loader).accuracy
    classifier = Classifier.from_loader(model, test_loader, report=report)
    image, label = test[0]
    one = classifier.predict(image)
    order = [report.classes[n] for n in report.recall.argsort(descending=True).tolist()]
    print(report)
    print(f"test image 0 is of {report.classes[label]}: {one.label} ({one.probability:.0%})")
    print(f"best classes: {', '.join(order[:3])}; worst: {', '.join(order[-3:])}")

    pictures = {
        "batch": plot.batch(loaders.train),
        "history": plot.history(history),
        "feed_forward_history": plot.history(baseline),
        "predictions": plot.predictions(model, test_loader, seed=args.seed),
        "confusion_matrix": plot.confusion_matrix(report),
    }
    for name, picture in pictures.items():
        picture.savefig(args.out / f"{name}.png", dpi=150)
    classifier.save(args.out / "cifar10.pt")
    history.to_csv(args.out / "history.csv")
    result = {
        "accuracy": report.accuracy,
        "article": "76 %",
        "before_training": history.rows[0]["val_acc"],
        "feed_forward": flat_accuracy,
        "article_feed_forward": "48 to 50 %",
        "per_class": dict(zip(report.classes, report.recall.tolist(), strict=True)),
        "epochs": len(history) - 1,
        "stop_reason": history.stop_reason,
        "precision": args.precision,
        "seed": args.seed,
        "training_seconds": round(sum(history.column("seconds")), 1),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"test accuracy {report.accuracy:.2%} (the article: 76 %)", end=", feed-forward network ")
    print(f"{flat_accuracy:.2%} (48 to 50 %), {result['training_seconds']:.0f} s of training")


if __name__ == "__main__":
    main()
