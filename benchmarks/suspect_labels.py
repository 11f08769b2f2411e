"""How many wrong labels `Report.suspect_labels` finds: some are changed on purpose.

One label in twenty is changed to another class, in the training and in the test images; a network
is trained for three epochs and asked about the test images.

    python benchmarks/suspect_labels.py --idx /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from cnnkit import data, models, train

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import idx  # the examples' reader of MNIST and its kin

SHARE = 0.05
TRAINED_ON = 20_000


def with_changed_labels(
    ds: data.ArrayDataset, generator: torch.Generator
) -> tuple[data.ArrayDataset, Tensor]:
    """The data set with some labels changed, and which, bool (N,)."""
    classes = len(ds.classes)
    changed = torch.zeros(len(ds), dtype=torch.bool)
    changed[torch.randperm(len(ds), generator=generator)[: int(SHARE * len(ds))]] = True
    offset = torch.randint(1, classes, (len(ds),), generator=generator)
    labels = torch.where(changed, (ds.targets + offset) % classes, ds.targets)
    return data.ArrayDataset(ds.images, labels, classes=ds.classes), changed


def main() -> None:
    """Train, evaluate, and count what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idx", type=Path, required=True, help="folder of the four IDX files")
    folder = parser.parse_args().idx
    generator = torch.Generator().manual_seed(0)
    whole, test = (
        with_changed_labels(ds, generator) for ds in idx.load("MNIST", folder, idx.MNIST)
    )
    torch.manual_seed(0)  # of initial weights
    train_loader = data.make_loader(whole[0].subset(range(TRAINED_ON)), 128, shuffle=True)
    model = models.create_model("ThreeConvCIFAR", like=train_loader)
    train.fit(model, train_loader, epochs=3, optimizer="adam", lr=1e-3)
    report = train.evaluate(model, data.make_loader(test[0], 256))
    changed = test[1]
    found = changed[torch.tensor([mistake.index for mistake in report.suspect_labels])]
    print(f"{int(changed.sum())} of {len(changed)} labels changed; accuracy {report.accuracy:.1%}")
    print(f"{len(report.mistakes)} mistakes, {len(found)} suspects, {int(found.sum())} changed")
    print(f"of the first 100 suspects {int(found[:100].sum())}")


if __name__ == "__main__":
    main()
