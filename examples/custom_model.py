"""A network of your own, with two of the four hooks overridden; `fit` calls them.

The network is a small residual one, so that it is none of the zoo's. Its training step adds a
second term to the loss: the digits are also shown shifted by a pixel, and the two answers should
agree. Its epoch_end prints the line of the article that introduces the hooks. It is registered, so
a classifier file says how to make it again; without that, `load` is handed the class (`builder=`).

    python examples/custom_model.py
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from cnnkit import Classifier, data, models, plot, train
from cnnkit.types import Batch


@models.register
class TinyResNet(models.ImageClassificationBase):
    """A convolution, two residual blocks, the mean over all places, and one linear layer.

    Args:
        num_classes: Number of classes C.
        in_channels: Channels of the images; any size will do.
        width: Maps in each layer.
        agree: Weight of the second term of the loss; 0 leaves cross-entropy alone.
    """

    def __init__(
        self, num_classes: int, *, in_channels: int = 1, width: int = 32, agree: float = 0.5
    ) -> None:
        super().__init__()
        self.agree = agree
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(2)
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, in_channels, H, W)."""
        x = self.stem(images)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.relu(x).mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and how far the answers on shifted images are from those given."""
        images, labels = batch
        logits = self(images)
        shifted = self(images.roll(1, dims=3))
        apart = F.kl_div(shifted.log_softmax(1), logits.detach().softmax(1), reduction="batchmean")
        return self.loss(logits, labels) + self.agree * apart, logits

    def epoch_end(self, epoch: int, result: dict[str, float]) -> None:
        """The article's line, in place of `fit`'s."""
        print(
            f"Epoch [{epoch}], train_loss: {result['train_loss']:.4f}, "
            f"val_loss: {result['val_loss']:.4f}, val_acc: {result['val_acc']:.4f}"
        )


def main() -> None:
    """Train it on handwritten digits, report, ship, and load it again."""
    parser = argparse.ArgumentParser(description="A network of your own.")
    parser.add_argument("--data", type=Path, help="folder of grey images, one folder a class")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/custom_model"))
    parser.add_argument("--quick", action="store_true", help="3 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    if args.data:
        digits = data.ImageFolder(args.data, image_size=8, mode="L").to_array()
    else:  # scikit-learn's 1,797 handwritten digits, 8x8
        rows, labels = load_digits(return_X_y=True)
        pixels = torch.from_numpy(rows).reshape(-1, 8, 8) * (255 / 16)
        digits = data.ArrayDataset(pixels.to(torch.uint8), labels)
    split = data.train_val_split(digits, val=0.15, test=0.2, seed=args.seed)
    loaders = data.make_loaders(split, 32, device=args.device, seed=args.seed)
    assert loaders.test is not None

    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model("TinyResNet", like=loaders)  # by name, as those of the zoo
    history = train.fit(
        model,
        loaders.train,
        loaders.val,
        epochs=3 if args.quick else args.epochs,
        optimizer="adam",
        lr=0.01,
        seed=args.seed,
    )
    report = train.evaluate(model, loaders.test)
    print(report)
    plot.history(history).savefig(args.out / "history.png", dpi=150)
    Classifier.from_loader(model, loaders.test, report=report).save(args.out / "digits.pt")
    print(Classifier.load(args.out / "digits.pt").predict(digits.images[0]))
    (args.out / "result.json").write_text(json.dumps({"accuracy": report.accuracy}, indent=2))


if __name__ == "__main__":
    main()
