"""The article's own loop with six convolutional layers on CIFAR-10, written by hand.

    python benchmarks/plain_six_conv.py --data cifar10.zip --seed 0 --epochs 10
    python benchmarks/plain_six_conv.py --data cifar10.zip --seed 0 --start-of-fit

What `examples/cifar10_six_conv.py` is measured against: the same images, split sizes, settings,
seed and number of epochs, but plain PyTorch: ToTensor image by image, the four hooks of the
article's base class, Adam, and validation figures that are means over the batches, as the article
has them. Nothing of cnnkit but the reading of the files.

With `--start-of-fit` the chance is the example's: its split, its initial weights and its order of
the images, in the same memory format and with torch's fused Adam. What is left to differ is the
loop.
"""

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision.transforms import ToTensor

from cnnkit import data, models
from cnnkit.data import ArrayDataset

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import cifar  # the examples' reader of CIFAR-10

Loader = DataLoader[Any]


class Images(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: an array, of which each image is transformed when it is read."""

    def __init__(self, ds: ArrayDataset) -> None:
        self.pixels = ds.images.permute(0, 2, 3, 1).numpy()
        self.labels = ds.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        return image, self.labels[index]


class Base(nn.Module):
    """The article's hooks."""

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Loss and accuracy of a batch."""
        images, labels = batch
        out = self(images)
        right = (out.argmax(1) == labels).float().mean()
        return {"val_loss": F.cross_entropy(out, labels), "val_acc": right}

    def validation_epoch_end(self, outputs: list[dict[str, Tensor]]) -> dict[str, float]:
        """The mean over the batches."""
        names = ("val_loss", "val_acc")
        return {name: torch.stack([o[name] for o in outputs]).mean().item() for name in names}


class SixConv(Base):
    """The network of the notebook that the article links."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 32, 64, 128, 128, 256, 256]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2, 2)] if number % 2 else []
        self.network = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(256 * 4 * 4, 1024),
            nn.ReLU(),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10)."""
        out: Tensor = self.network(images)
        return out


@torch.no_grad()
def evaluate(model: Base, loader: Loader, device: torch.device) -> dict[str, float]:
    """The article's `evaluate`."""
    model.eval()
    return model.validation_epoch_end(
        [model.validation_step((x.to(device), y.to(device))) for x, y in loader]
    )


def fit(
    epochs: int,
    model: Base,
    train_loader: Loader,
    val_loader: Loader,
    device: torch.device,
    fused: bool | None = None,
) -> list[dict[str, float]]:
    """The article's `fit`, with Adam at 0.001."""
    history = []
    optimizer = torch.optim.Adam(model.parameters(), 0.001, fused=fused)
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        model.train()
        losses = []
        for images, labels in train_loader:
            loss = model.training_step((images.to(device), labels.to(device)))
            losses.append(loss.detach())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        row = evaluate(model, val_loader, device)
        row["train_loss"] = torch.stack(losses).mean().item()
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
        print(f"epoch {epoch}/{epochs}  {figures}", flush=True)
    return history


def start_of_fit(
    model: SixConv, whole: ArrayDataset, seed: int, device: str
) -> tuple[Loader, Loader]:
    """Give the model the example's weights; its loaders, which have its split and its order."""
    split = data.train_val_split(whole, val=0.1, seed=seed)
    loaders: Any = data.make_loaders(split, 128, preprocess=None, device=device, seed=seed)
    torch.manual_seed(seed)
    models.create_model("MLP", like=loaders, hidden=(512, 128), dropout=0.0)  # is made first
    example = models.create_model("SixConvCIFAR", like=loaders)
    model.load_state_dict(dict(zip(model.state_dict(), example.state_dict().values(), strict=True)))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return loaders.train, loaders.val


def main() -> None:
    """Train, test, and write the figures."""
    parser = argparse.ArgumentParser(description="The article's loop, six convolutional layers.")
    parser.add_argument("--data", type=Path, help="zip or folder with train/ and test/")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-of-fit", action="store_true", help="the example's chance")
    parser.add_argument("--out", type=Path, default=Path("out/plain_six_conv"))
    args = parser.parse_args()
    device = torch.device(args.device)
    whole, test = cifar.load(args.data)
    torch.manual_seed(args.seed)
    train_part, val_part = random_split(Images(whole), [len(whole) - 5000, 5000])
    train_loader: Loader = DataLoader(train_part, 128, shuffle=True)
    val_loader: Loader = DataLoader(val_part, 256)
    test_loader: Loader = DataLoader(Images(test), 256)
    model = SixConv().to(device)
    if args.start_of_fit:
        train_loader, val_loader = start_of_fit(model, whole, args.seed, args.device)
    before = evaluate(model, val_loader, device)["val_acc"]
    fused = args.start_of_fit or None  # as "adam" is
    history = fit(args.epochs, model, train_loader, val_loader, device, fused)
    accuracy = exact_accuracy(model, test_loader, device)
    mean_of_batches = evaluate(model, test_loader, device)["val_acc"]
    result = {
        "accuracy": accuracy,
        "mean_of_batch_accuracies": mean_of_batches,
        "before_training": before,
        "epochs": args.epochs,
        "seed": args.seed,
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "rows": history,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"test accuracy {accuracy:.2%}, as a mean over batches {mean_of_batches:.2%}")


@torch.no_grad()
def exact_accuracy(model: Base, loader: Loader, device: torch.device) -> float:
    """The share of all images that are right."""
    model.eval()
    right = sum(int((model(x.to(device)).argmax(1).cpu() == y).sum()) for x, y in loader)
    return right / sum(len(labels) for _, labels in loader)


if __name__ == "__main__":
    main()
