"""Every part of cnnkit, and a training loop of your own: no `fit`, nothing hidden.

Data set, split, batches on the device, model, loss, figures, report and classifier each work alone.
What `fit` adds to the loop below: checkpoints and resuming, schedules, precision, early stopping,
several processes, and the warnings. Its figures are those of the loop; the last line shows it.

    python examples/custom_loop.py
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits

from cnnkit import Classifier, DeviceDataLoader, data, metrics, models, train


def run_epoch(
    model: models.ImageClassificationBase,
    loader: DeviceDataLoader,
    optimizer: torch.optim.Optimizer | None = None,
) -> metrics.Tally:
    """Forward, loss, and with an optimiser backward and step, for each batch once.

    Loss and counts are added up on the device: nothing waits for it within the epoch.
    """
    tally = metrics.Tally(len(loader.classes or ()))
    model.train(optimizer is not None)
    for images, labels in loader:  # float, normalised, on the device
        logits = model(images)
        loss = model.loss(logits, labels)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tally.add_loss(loss.detach(), len(labels))
        tally.add_predictions(logits.detach(), labels)
    return tally


def main() -> None:
    """Train by hand, keep the best weights, report, ship; then the same with `fit`."""
    parser = argparse.ArgumentParser(description="A training loop of your own.")
    parser.add_argument("--data", type=Path, help="folder of grey images, one folder a class")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/custom_loop"))
    parser.add_argument("--quick", action="store_true", help="3 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    epochs = 3 if args.quick else args.epochs

    if args.data:
        digits = data.ImageFolder(args.data, image_size=8, mode="L").to_array()
    else:  # scikit-learn's 1,797 handwritten digits, 8x8
        rows, labels = load_digits(return_X_y=True)
        pixels = torch.from_numpy(rows).reshape(-1, 8, 8) * (255 / 16)
        digits = data.ArrayDataset(pixels.to(torch.uint8), labels)
    split = data.train_val_split(digits, val=0.15, test=0.2, seed=args.seed)
    loaders = data.make_loaders(split, 32, device=args.device, seed=args.seed)
    assert loaders.val is not None
    assert loaders.test is not None

    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model("TwoLayerCNN", like=loaders, kernel_size=3, batch_norm=True)
    again = copy.deepcopy(model)  # for `fit`, below
    model.to(loaders.train.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    best_loss, best_weights = float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, epochs + 1):
        trained = run_epoch(model, loaders.train, optimizer).totals()
        with torch.no_grad():
            validated = run_epoch(model, loaders.val).totals()
        if validated.loss < best_loss:
            best_loss, best_weights = validated.loss, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch}  train_loss {trained.loss:.4f}", end="  ")
        print(f"val_loss {validated.loss:.4f}  val_acc {validated.accuracy:.4f}")
    model.load_state_dict(best_weights)

    with torch.no_grad():
        totals = run_epoch(model, loaders.test).totals()
    report = metrics.Report(totals.matrix, digits.classes, totals.loss)
    print(report)
    Classifier.from_loader(model, loaders.test, report=report).save(args.out / "digits.pt")

    # `fit` by itself takes a fused Adam and a faster memory format: neither adds up in this order.
    loaders = data.make_loaders(split, 32, device=args.device, seed=args.seed)  # from epoch 0
    adam = torch.optim.Adam(again.parameters(), lr=0.003)
    options: dict[str, Any] = {"memory_format": "contiguous", "progress": False}
    history = train.fit(again, loaders.train, loaders.val, epochs=epochs, optimizer=adam, **options)
    assert history.best is not None
    of_fit = history.best["val_loss"]
    result = {"accuracy": report.accuracy, "val_loss": best_loss, "val_loss_of_fit": of_fit}
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"best val_loss by hand {best_loss:.6f}, by fit {of_fit:.6f}")


if __name__ == "__main__":
    main()
