"""One script for one process and for many: how it is started makes the difference.

    python examples/distributed.py                              # one process
    torchrun --nproc-per-node=2 examples/distributed.py         # two

Trains on scikit-learn's handwritten digits, or on a folder of yours with one folder a class.
"""

import argparse
import json
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from cnnkit import Classifier, data, distributed, models, train


def digits() -> data.ArrayDataset:
    """1,797 images of 8x8 pixels."""
    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) of 0 to 16
    return data.ArrayDataset((pixels.reshape(-1, 8, 8) * 255 / 16).astype("uint8"), labels)


def main() -> None:
    """Train, report, and write the files once."""
    parser = argparse.ArgumentParser(description="The same training on one process or several.")
    parser.add_argument("--data", type=Path, help="a folder with one folder a class")
    parser.add_argument("--size", type=int, default=64, help="of its images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/distributed"))
    parser.add_argument("--quick", action="store_true", help="two epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    ds = data.ImageFolder(args.data, image_size=args.size) if args.data else digits()
    split = data.train_val_split(ds, val=0.15, test=0.15, seed=args.seed)
    loaders = data.make_loaders(split, 32, device=args.device, seed=args.seed)
    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model("TwoLayerCNN", like=loaders, kernel_size=3)
    epochs = 2 if args.quick else args.epochs
    train.fit(model, loaders.train, loaders.val, epochs=epochs, lr=0.1, seed=args.seed)
    assert loaders.test is not None
    report = train.evaluate(model, loaders.test)
    if distributed.is_main():
        print(report)
        Classifier.from_loader(model, loaders.test, report=report).save(args.out / "digits.pt")
        result = {"accuracy": report.accuracy, "processes": distributed.world_size()}
        (args.out / "result.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
