"""What filters see: set by hand on a photograph, as in the article, and learnt by a network.

Sobel's filters in their variants, blurred first and thresholded after; the course's four filters
and their maps before and after ReLU and a 2x2 max-pool. Then a small network learns to tell upright
bars from lying ones: nobody sets its filters, yet they look like those set by hand.

    python examples/filters_and_feature_maps.py --data photo.jpg    # or scikit-learn's photograph
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from cnnkit import Preprocess, data, filters, models, plot, train

SOBEL = {
    "Sobel x": filters.sobel_x(),
    "Sobel y": filters.sobel_y(),
    "Sobel x, decimal": filters.sobel_x("decimal"),
}


def photograph(quick: bool) -> Image.Image:
    """scikit-learn's photograph of a pagoda, or a roof drawn here."""
    if not quick:
        return Image.fromarray(load_sample_image("china.jpg")).crop((20, 0, 380, 360))
    picture = Image.new("RGB", (320, 320), (150, 190, 230))
    ImageDraw.Draw(picture).polygon([(40, 250), (160, 60), (280, 250)], fill=(210, 50, 40))
    return picture


def bars(number: int, seed: int) -> data.ArrayDataset:
    """Grey images of 28x28: noise, and on it six upright (class 0) or lying bars (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 160, (number, 28, 28), generator=generator)
    places = torch.randint(0, 20, (number, 6, 2), generator=generator).tolist()
    for image, corners in zip(images, places, strict=True):
        for row, column in corners:
            image[row : row + 8, column + 3 : column + 5] += 90
    labels = torch.arange(number) % 2
    images[labels == 1] = images[labels == 1].transpose(1, 2)
    pixels = images.clamp(max=255).to(torch.uint8)
    return data.ArrayDataset(pixels, labels, classes=["upright", "lying"])


def set_by_hand(photo: Path | Image.Image) -> dict[str, Any]:
    """Pictures of a photograph, of filters, and of what these make of it."""
    colour = Preprocess.of_mode(180, "RGB", resize="crop")
    grey = Preprocess.of_mode(180, "L", resize="crop").read(photo)  # uint8 (1, 180, 180)
    blurred = filters.apply_filter(grey, filters.blur(5))
    smooth = filters.apply_filter(blurred, filters.sobel_x())
    edges = {
        "grey": grey,
        **{name: filters.apply_filter(grey, kernel) for name, kernel in SOBEL.items()},
        "Sobel x, 5x5": filters.apply_filter(grey, filters.sobel_x("5x5")),
        "blurred": blurred,
        "blurred, Sobel x": smooth,
        "and above 60": (smooth > 60).to(torch.uint8) * 255,
    }
    batch = torch.stack([*edges.values()]), torch.arange(len(edges))
    net = filters.FilterNet(filters.course_filters(), pool=2)
    return {
        "channels": plot.channels(colour.read(photo)),
        "pixels": plot.pixels(colour.with_size(20).read(photo), channel="red"),
        "edges": plot.batch(batch, classes=[*edges], columns=4),
        "sobel": plot.filters(SOBEL),
        "course_filters": plot.filters(filters.course_filters()),
        "course_maps": plot.feature_maps(net, grey, "conv"),
    }


def learnt(epochs: int, seed: int, device: str | None = None) -> tuple[dict[str, Any], float]:
    """Pictures of a network that learnt to tell bars apart, and its accuracy."""
    split = data.train_val_split(bars(2000, seed), seed=seed)
    loaders = data.make_loaders(split, 20, device=device, seed=seed)
    torch.manual_seed(seed)  # of the initial weights
    model = models.create_model("TwoLayerCNN", like=loaders)
    adam = functools.partial(torch.optim.AdamW, weight_decay=4)  # what is not needed becomes 0
    options: dict[str, Any] = {"lr": 0.003, "scheduler": "one_cycle", "seed": seed}
    train.fit(model, loaders.train, loaders.val, epochs=epochs, optimizer=adam, **options)
    assert loaders.val is not None
    pictures = {
        "learnt_filters": plot.filters(model, "cnn1"),
        "learnt_maps": plot.feature_maps(model, split.train[0][0], "cnn1"),
    }
    return pictures, train.evaluate(model, loaders.val).accuracy


def main() -> None:
    """Write the pictures, and the network's accuracy."""
    parser = argparse.ArgumentParser(description="Filters and feature maps, in pictures.")
    parser.add_argument("--data", type=Path, help="a photograph of yours")
    parser.add_argument("--epochs", type=int, default=10, help="of the network on bars")
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/filters_and_feature_maps"))
    parser.add_argument("--quick", action="store_true", help="on a drawing, and little training")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    by_itself, accuracy = learnt(2 if args.quick else args.epochs, args.seed, args.device)
    pictures = set_by_hand(args.data or photograph(args.quick)) | by_itself
    for name, picture in pictures.items():
        picture.savefig(args.out / f"{name}.png", dpi=150)
    seconds = round(time.perf_counter() - started, 1)
    result = {"pictures": [*pictures], "bars_accuracy": accuracy, "seconds": seconds}
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"{len(pictures)} pictures in {args.out}, {accuracy:.1%} of the bars right, {seconds} s")


if __name__ == "__main__":
    main()
