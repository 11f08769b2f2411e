"""The article's own loop with three convolutional layers on CIFAR-10, written by hand.

    python benchmarks/plain_three_conv.py --data cifar10.zip --seed 0 --epochs 24
    python benchmarks/plain_three_conv.py --data cifar10.zip --seed 0 --solution

What `examples/cifar10_three_conv.py` is measured against: the same images, split sizes, settings,
seed and number of epochs, but plain PyTorch and torchvision transforms, image by image. Nothing of
cnnkit but the reading of the files. What the article gets wrong and does not matter for the weights
is put right (losses are divided by the images that they are sums of); `--solution` transforms the
validation images as it does the training images, as the course's solution has it.

With `--start-of-fit` the chance is the example's: its split, its initial weights, its batches as
they are augmented, and its draws of the dropout, in the same memory format. What is left to differ
is the loop.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler
from torchvision import transforms

from cnnkit import data, models
from cnnkit.data import ArrayDataset

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import cifar  # the examples' reader of CIFAR-10
import cifar10_three_conv as example

Loader = DataLoader[Any]


class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: an array, of which each image is transformed when it is read."""

    def __init__(self, ds: ArrayDataset, transform: transforms.Compose) -> None:
        self.pixels = ds.images.permute(0, 2, 3, 1).numpy()
        self.labels = ds.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        return image, self.labels[index]


class Net(nn.Module):
    """The article's network."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(64 * 4 * 4, hidden)
        self.fc2 = nn.Linear(hidden, 10)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(F.relu(conv(x)))
        x = F.relu(self.fc1(self.dropout(x.flatten(1))))
        out: Tensor = self.fc2(self.dropout(x))
        return out


def watched(model: Net, loader: Loader, device: torch.device) -> tuple[float, float]:
    """Mean loss and accuracy, in eval mode."""
    loss, correct, count = 0.0, 0, 0
    model.eval()
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            output = model(images)
            loss += F.cross_entropy(output, labels).item() * len(labels)
            correct += int((output.argmax(1) == labels).sum())
            count += len(labels)
    return loss / count, correct / count


def fit(
    model: Net,
    optimizer: optim.Optimizer,
    train_loader: Loader,
    val_loader: Loader,
    epochs: int,
    device: torch.device,
) -> list[dict[str, float]]:
    """Train, and leave the weights of the lowest validation loss in the model."""
    rows = []
    lowest, best = float("inf"), {}
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        model.train()
        total, count = 0.0, 0
        for images, labels in train_loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            count += len(labels)
        val_loss, val_acc = watched(model, val_loader, device)
        row = {"train_loss": total / count, "val_loss": val_loss, "val_acc": val_acc}
        row["seconds"] = time.perf_counter() - started
        rows.append(row)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
        print(f"epoch {epoch}/{epochs}  {figures}", flush=True)
        if val_loss <= lowest:  # saved whenever the validation loss fell
            lowest = val_loss
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(best)
    return rows


def start_of_fit(
    model: Net, recipe: dict[str, Any], whole: ArrayDataset, test: ArrayDataset, args: Any
) -> list[Any]:
    """Give the model the example's weights; the example's loaders, for train, val and test."""
    split = data.train_val_split(whole, val=0.2, seed=args.seed)
    options: dict[str, Any] = {"device": args.device, "preprocess": example.HALF, "seed": args.seed}
    loaders = data.make_loaders(split, 20, augment=recipe["augment"], **options)
    torch.manual_seed(args.seed)
    model.load_state_dict(models.ThreeConvCIFAR(10, **recipe["model"]).state_dict())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(args.seed)  # of the dropout
    return [loaders.train, loaders.val, data.make_loader(test, 500, **options)]


def main() -> None:
    """Train, test, and write the figures."""
    parser = argparse.ArgumentParser(description="The article's loop, three convolutional layers.")
    parser.add_argument("--data", type=Path, help="zip or folder with train/ and test/")
    parser.add_argument("--solution", action="store_true", help="the course's settings")
    parser.add_argument("--epochs", type=int, help="default: 24, with --solution 30")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-of-fit", action="store_true", help="the example's chance")
    parser.add_argument("--out", type=Path, default=Path("out/plain_three_conv"))
    args = parser.parse_args()
    device = torch.device(args.device)
    epochs = args.epochs or (30 if args.solution else 24)
    common = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
    moves = [transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)]
    whole, test = cifar.load(args.data)
    torch.manual_seed(args.seed)
    images = Images(whole, transforms.Compose([*(moves if args.solution else []), *common]))
    order = torch.randperm(len(images)).tolist()
    cut = len(images) // 5
    train_loader: Loader = DataLoader(images, 20, sampler=SubsetRandomSampler(order[cut:]))
    val_loader: Loader = DataLoader(images, 20, sampler=SubsetRandomSampler(order[:cut]))
    test_loader: Loader = DataLoader(Images(test, transforms.Compose(common)), 20)
    model = Net(500, 0.25) if args.solution else Net(200, 0.2)
    model.to(device)
    if args.start_of_fit:
        recipe = example.SOLUTION if args.solution else example.ARTICLE
        train_loader, val_loader, test_loader = start_of_fit(model, recipe, whole, test, args)
    settings: dict[str, Any] = {"lr": 0.01} if args.solution else {"lr": 0.001, "momentum": 0.9}
    optimizer = optim.SGD(model.parameters(), **settings)
    rows = fit(model, optimizer, train_loader, val_loader, epochs, device)
    accuracy = watched(model, test_loader, device)[1]
    result = {
        "accuracy": accuracy,
        "epochs": epochs,
        "seed": args.seed,
        "solution": args.solution,
        "training_seconds": round(sum(row["seconds"] for row in rows), 1),
        "rows": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"test accuracy {accuracy:.2%}, {epochs} epochs, {result['training_seconds']:.0f} s")


if __name__ == "__main__":
    main()
