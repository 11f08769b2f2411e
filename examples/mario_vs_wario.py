"""Mario or Wario, as in the article: three convolutions on 128x128 frames, one logit, 99 %.

The article has two folders, training_set/ and test_set/, in zips on Google Drive; who has them says
where: a path, a URL or a share link. Without them two games are drawn, see worlds.py. As there: SGD
with a learning rate of 0.01, batches of 32, a checkpoint after every epoch, and the seventh loaded.
Otherwise than there, a fifth of the training frames is put aside to watch the training by (whole
scenes, as frames of one scene resemble each other), and the test frames are looked at once.

    python examples/mario_vs_wario.py
    python examples/mario_vs_wario.py --train-zip LINK --test-zip LINK
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import torch
import worlds

from cnnkit import Classifier, data, models, plot, train
from cnnkit.errors import CnnkitWarning

ARTICLE = {"accuracy": "99 %", "precision": "99.3 %", "recall": "99.2 %", "wrong": "15 of 2000"}


def open_frames(args: argparse.Namespace) -> list[data.ImageFolder]:
    """The frames to train on and those to test on, at 128x128."""
    sources = [args.train_zip, args.test_zip]
    root = args.data
    if root is None and not any(sources):
        root = args.out / ("frames_quick" if args.quick else "frames")
        scenes, test_scenes = (12, 6) if args.quick else (160, 100)
        worlds.draw(root / "training_set", range(scenes), frames=10)
        worlds.draw(root / "test_set", range(2000, 2000 + test_scenes), frames=10)
    found: list[data.ImageFolder] = []
    for source, name in zip(sources, ("training_set", "test_set"), strict=True):
        classes = found[0].classes if found else None  # the same in both, or it is an error
        opened = data.ImageFolder.from_zip if root is None else data.ImageFolder
        place = source if root is None else root / name
        found.append(opened(place, image_size=128, classes=classes))
    return found


def main() -> None:
    """Train, load the seventh epoch, report, and write pictures, figures and the classifier."""
    parser = argparse.ArgumentParser(description="Mario or Wario.")
    parser.add_argument("--data", type=Path, help="a folder with training_set/ and test_set/")
    parser.add_argument("--train-zip", help="path, URL or Google Drive link of the training set")
    parser.add_argument("--test-zip", help="likewise of the test set")
    parser.add_argument("--epochs", type=int, help="default: 10")
    parser.add_argument("--device", help="cpu, cuda, … (default: what there is)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/mario_vs_wario"))
    parser.add_argument("--quick", action="store_true", help="few frames, 2 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if bool(args.train_zip) != bool(args.test_zip):
        parser.error("--train-zip and --test-zip go together")
    if args.quick:
        warnings.simplefilter("ignore", CnnkitWarning)  # so few frames teach nothing
    started = time.perf_counter()
    epochs = (2 if args.quick else 10) if args.epochs is None else args.epochs

    frames, test = open_frames(args)
    print(data.check(train=frames, test=test))  # copies across the two would flatter the figures
    scenes = None  # nothing is known of the scenes of frames that come from elsewhere
    if not (args.data or args.train_zip):
        scenes = [path.rpartition("-")[0] for path in frames.paths]  # of …/scene003-07.png
    split = data.train_val_split(frames, groups=scenes, seed=args.seed)
    options = {"device": args.device, "seed": args.seed}
    loaders = data.make_loaders(split, 32, **options)
    test_loader = data.make_loader(test, 100, preprocess=loaders.train.preprocess, **options)
    plot.batch(loaders.train, number=16).savefig(args.out / "frames.png", dpi=150)

    torch.manual_seed(args.seed)  # of the initial weights
    model = models.create_model(
        "ThreeConvCIFAR", like=loaders, hidden=128, dropout=0.25, binary=True
    )
    checkpoints = args.out / f"checkpoints_{len(frames)}_{args.seed}"
    # A run that was killed goes on; a finished one is read.
    saved = {"checkpoint_dir": checkpoints, "keep": "all", "resume": "auto"}
    history = train.fit(
        model, loaders.train, loaders.val, epochs=epochs, lr=0.01, seed=args.seed, **saved
    )
    epoch = min(7, epochs)
    train.load_checkpoint(checkpoints, model, epoch=epoch)
    assert history.best is not None
    print(f"epoch {epoch} as the article; of the lowest val_loss is {history.best['epoch']:.0f}")

    report = train.evaluate(model, test_loader, positive=test.classes[-1])
    print(report)
    pictures = {"history": plot.history(history), "confusion_matrix": plot.confusion_matrix(report)}
    if report.mistakes:
        pictures["mistakes"] = plot.mistakes(report, test)
    for name, picture in pictures.items():
        picture.savefig(args.out / f"{name}.png", dpi=150)
    Classifier.from_loader(model, test_loader, report=report).save(args.out / "mario_or_wario.pt")
    result = {
        "accuracy": report.accuracy,
        **{name: getattr(report.binary, name) for name in ("precision", "recall", "f1")},
        "wrong": f"{report.samples - report.correct} of {report.samples}",
        "epoch": epoch,
        "article": ARTICLE,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=2))
    for name, theirs in ARTICLE.items():
        ours = result[name]
        print(f"{name:10}{ours if name == 'wrong' else f'{ours:.2%}'}  (the article: {theirs})")


if __name__ == "__main__":
    main()
