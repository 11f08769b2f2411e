"""From a zip of labelled images to a shipped classifier, on real data and without a download.

scikit-learn's 1,797 handwritten digits (8x8 grey, a subset of the UCI "Optical Recognition of
Handwritten Digits" set) are written as a zip with one folder of PNG files a class, which is how
one's own images usually come. From there on nothing knows that they were digits.

    python examples/quickstart.py --out out/quickstart
"""

import argparse
import json
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from cnnkit import Classifier, data, models, plot, train
from cnnkit.data import augment


def write_zip(path: Path) -> None:
    """The digits as a zip of class folders: 0/0000.png, 0/0010.png, …, 9/1796.png."""
    rows, labels = load_digits(return_X_y=True)  # (1797, 64), 0 to 16
    images = np.asarray(rows).reshape(-1, 8, 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (pixels, digit) in enumerate(zip(images, np.asarray(labels), strict=True)):
            png = BytesIO()
            Image.fromarray((pixels * 255 / 16).astype("uint8")).save(png, "png")
            # Of no date: written again it is the same archive, which need not be extracted anew.
            entry = zipfile.ZipInfo(f"{digit}/{number:04}.png")
            archive.writestr(entry, png.getvalue())


def main() -> None:
    """Run the whole way, from the zip to a prediction in a fresh process."""
    parser = argparse.ArgumentParser(
        description="From a zip of labelled images to a shipped classifier."
    )
    parser.add_argument("--out", type=Path, default=Path("out/quickstart"))
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2 epochs")
    args = parser.parse_args()
    started = time.perf_counter()
    out: Path = args.out
    epochs = 2 if args.quick else args.epochs
    write_zip(out / "digits.zip")

    # 1. Open the images, hold out a test part before anything else is done, and check both.
    digits = data.ImageFolder.from_zip(out / "digits.zip", out / "digits", mode="L")
    split = data.train_val_split(digits, val=0.15, test=0.2, seed=args.seed)
    print(digits, "->", split)
    data.check(split).raise_for_errors()

    # 2. Batches: normalised with mean and std of the training part, which alone is augmented.
    loaders = data.make_loaders(
        split, 32, augment=[augment.RandomRotate(10)], device=args.device, seed=args.seed
    )

    # 3. A model that fits them, and training: the weights of the best validation epoch are kept.
    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model("TwoLayerCNN", like=loaders, kernel_size=3, batch_norm=True)
    history = train.fit(
        model, loaders.train, loaders.val, epochs=epochs, optimizer="adam", lr=0.003
    )

    # 4. What it does on digits that played no part so far.
    assert split.test is not None
    assert loaders.test is not None
    report = train.evaluate(model, loaders.test)
    print(report)
    plot.history(history).savefig(out / "history.png", dpi=150)
    plot.confusion_matrix(report).savefig(out / "confusion_matrix.png", dpi=150)

    # 5. Ship it: one file, opened again by a process that knows nothing but its name.
    Classifier.from_loader(model, loaders.test, report=report).save(out / "digits.pt")
    path, label = split.test.samples[0]
    code = (
        "import sys; from cnnkit import Classifier; "
        "print(Classifier.load(sys.argv[1]).predict(sys.argv[2]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(out / "digits.pt"), path],
        check=True,
        capture_output=True,
        text=True,
    )
    result = {"accuracy": report.accuracy, "epochs": epochs, "seed": args.seed}
    (out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"{path} shows a {digits.classes[label]}, a fresh process says: {answer.stdout.strip()}")
    print(f"{report.accuracy:.2%} of {report.samples} test digits right,", end=" ")
    print(f"{time.perf_counter() - started:.0f} s in all; pictures and classifier in {out}")


if __name__ == "__main__":
    main()
