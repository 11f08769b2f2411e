"""A fully connected network on MNIST, as in the article: a training loss of 0.047 in 30 epochs.

Pixels in [0, 1], SGD with a learning rate of 0.01, batches of 20, all 60,000 training images, the
last epoch kept. The test images are looked at once, at the end. The training loss is that of the
epoch as it went, with dropout at work, which is how the article takes it.

    python examples/mnist_mlp.py                      # downloads through torchvision
    python examples/mnist_mlp.py --data FOLDER        # a folder with the four IDX files
"""

import argparse
import json
import time
from pathlib import Path

import idx
import made
import torch

from cnnkit import Classifier, data, models, plot, train


def main() -> None:
    """Train, report, and write pictures, figures and the classifier."""
    parser = argparse.ArgumentParser(description="A fully connected network on MNIST.")
    parser.add_argument("--data", type=Path, help="folder of the four IDX files")
    parser.add_argument("--epochs", type=int, help="default: 30, as the article")
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/mnist_mlp"))
    parser.add_argument("--quick", action="store_true", help="on images made here, 3 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    if args.quick:
        digits, test = made.parts((1, 28, 28), idx.MNIST)
    else:
        digits, test = idx.load("MNIST", args.data, idx.MNIST)
    epochs = (3 if args.quick else 30) if args.epochs is None else args.epochs
    options = {"device": args.device, "seed": args.seed}
    train_loader = data.make_loader(digits, 20, shuffle=True, **options)
    test_loader = data.make_loader(test, 500, **options)

    torch.manual_seed(args.seed)  # of the initial weights
    model = models.MLP(10)
    history = train.fit(model, train_loader, epochs=epochs, lr=0.01, seed=args.seed)
    report = train.evaluate(model, test_loader)
    print(report.accuracy_lines())  # a line a class, as the article prints them

    pictures = {
        "digits": plot.batch(train_loader, number=20),
        "history": plot.history(history),
        "predictions": plot.predictions(model, test_loader, number=20, seed=args.seed),
        "mistakes": plot.mistakes(report, test),
        "confusion_matrix": plot.confusion_matrix(report),
    }
    for name, picture in pictures.items():
        picture.savefig(args.out / f"{name}.png", dpi=150)
    Classifier.from_loader(model, test_loader, report=report).save(args.out / "digits.pt")
    history.to_csv(args.out / "history.csv")
    loss = history.rows[-1]["train_loss"]
    result = {
        "train_loss": loss,
        "article_train_loss": 0.047,
        "accuracy": report.accuracy,
        "per_class": dict(zip(report.classes, report.recall.tolist(), strict=True)),
        "epochs": epochs,
        "seed": args.seed,
        "training_seconds": round(sum(history.column("seconds")), 1),
        "seconds": round(time.perf_counter() - started, 1),
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(
        f"training loss {loss:.4f} after {epochs} epochs (the article: 0.047), "
        f"test accuracy {report.accuracy:.2%}, {result['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
