"""What the cat detector was for: a folder of covers, sorted, those with a cat first."""

import dataclasses
import shutil
from pathlib import Path

from cnnkit import Classifier, data, plot


def sort_out(classifier: Classifier, test: data.ImageFolder, cat: str, out: Path) -> int:
    """Copy images to one folder, as covers come, and show those with a cat, the surest first."""
    shutil.rmtree(out / "covers", ignore_errors=True)
    (out / "covers").mkdir()
    for number, path in enumerate(test.paths):
        shutil.copy(path, out / "covers" / f"{number:04}{Path(path).suffix}")
    found = classifier.predict_folder(out / "covers")
    # It comes sorted by class, in the order of their names: here by the chance of a cat instead.
    chances = {r.path: r.probability if r.label == cat else 1 - r.probability for r in found}
    rows = tuple(sorted(found, key=lambda row: chances[row.path], reverse=True))
    dataclasses.replace(found, rows=rows).to_csv(out / "covers.csv")
    cats = [row for row in rows if row.label == cat]  # over 50 %
    names = [f"{place}. {row.probability:.0%}" for place, row in enumerate(cats[:24], start=1)]
    if cats:
        shown = data.ImageFolder.from_files([r.path for r in cats[:24]], names, image_size=120)
        plot.batch(shown, number=len(names), columns=8).savefig(out / "covers.png", dpi=150)
    return len(cats)
