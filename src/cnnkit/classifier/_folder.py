"""`predict_folder`: a table of what every image below a folder shows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnnkit._allocator import memory_kept
from cnnkit._files import atomic_path
from cnnkit._images import IMAGE_EXTENSIONS
from cnnkit._progress import progress_bar
from cnnkit.classifier._batches import Network, device_of
from cnnkit.classifier._prediction import UNKNOWN, as_prediction
from cnnkit.data._scan import image_paths, natural_key
from cnnkit.errors import DataError, NotFoundError
from cnnkit.types import PathLike

__all__ = ["FolderPredictions", "PredictedFile", "predict_files"]

_ROWS_SHOWN = 40


class PredictedFile(NamedTuple):
    """A row of the table.

    Attributes:
        label: Name of the class; None for none of these.
        probability: Of that class; without a label, of the most probable one.
        path: The file.
    """

    label: str | None
    probability: float
    path: str


@dataclass(frozen=True)
class FolderPredictions:
    """What every image below a folder shows; printing it gives a table.

    Attributes:
        rows: One for each image, sorted: by class in the classifier's order, none of these last;
            within a class the most probable first.
        unreadable: (path, reason) of each file that is no readable image.
        classes: Class names of the classifier.

    Example:
        >>> rows = PredictedFile("cat", 0.9, "in/2.jpg"), PredictedFile("dog", 0.8, "in/1.jpg")
        >>> found = FolderPredictions(rows, (("in/3.jpg", "it is empty"),), ("cat", "dog"))
        >>> print(found)
        label  probability  path
        cat          90.0%  in/2.jpg
        dog          80.0%  in/1.jpg
        2 images: 1 cat, 1 dog
        1 cannot be read:
          in/3.jpg: it is empty
        >>> print(found.to_csv(), end="")
        label,probability,path,error
        cat,0.900000,in/2.jpg,
        dog,0.800000,in/1.jpg,
        ,,in/3.jpg,it is empty
    """

    rows: tuple[PredictedFile, ...]
    unreadable: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]

    @property
    def counts(self) -> dict[str | None, int]:
        """Images of each class, in the classifier's order; of None where there are any."""
        found = Counter(row.label for row in self.rows)
        counts: dict[str | None, int] = {name: found[name] for name in self.classes}
        return {**counts, None: found[None]} if found[None] else counts

    def to_csv(self, path: PathLike | None = None) -> str:
        """The table as comma-separated text, also written to `path` where one is given.

        The columns are label (empty for none of these), probability, path and error; files that
        cannot be read come last, with their reason as the error.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["label", "probability", "path", "error"])
        writer.writerows([row.label, f"{row.probability:.6f}", row.path, ""] for row in self.rows)
        writer.writerows(["", "", file, reason] for file, reason in self.unreadable)
        if path is not None:
            with atomic_path(path) as temporary:
                # A file's name need not be text; what is not comes out as the bytes that it is.
                temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")
        return text.getvalue()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[PredictedFile]:
        return iter(self.rows)

    def __str__(self) -> str:
        names = [UNKNOWN if row.label is None else row.label for row in self.rows[:_ROWS_SHOWN]]
        width = max([5, *map(len, names)])
        lines = [f"{'label':{width}}  probability  path"] if self.rows else []
        lines += [
            f"{name:{width}}  {row.probability:>11.1%}  {row.path}"
            for name, row in zip(names, self.rows, strict=False)
        ]
        lines += _more(len(self.rows), "images; to_csv() has all")
        counts = ", ".join(f"{n:,} {UNKNOWN if k is None else k}" for k, n in self.counts.items())
        lines.append(f"{len(self.rows):,} image{'s' * (len(self.rows) != 1)}: {counts}")
        if self.unreadable:
            lines.append(f"{len(self.unreadable):,} cannot be read:")
            lines += [f"  {path}: {reason}" for path, reason in self.unreadable[:_ROWS_SHOWN]]
            lines += _more(len(self.unreadable), "files")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"FolderPredictions({len(self.rows)} images, {len(self.unreadable)} unreadable)"


def predict_files(
    network: Network,
    classes: tuple[str, ...],
    folder: PathLike,
    *,
    unknown_below: float | None,
    workers: int | None,
    progress: bool,
) -> FolderPredictions:
    """Answer for every image below a folder.

    Raises:
        NotFoundError: There is no such folder.
        DataError: It is a file, or there is no image in it.
    """
    paths = _images_in(Path(folder))
    unreadable: dict[int, str] = {}
    rows = []
    with (
        memory_kept(device_of(network.model)),
        progress_bar(len(paths), "predicting", progress, unit="image") as bar,
    ):
        answers = network.answers(
            paths, workers=workers, unreadable=unreadable, after_images=bar.update
        )
        for position, chosen, probabilities in answers:
            found = as_prediction(classes, chosen, probabilities, unknown_below)
            rows.append(PredictedFile(found.label, found.probability, paths[position]))
    return FolderPredictions(
        tuple(_sorted(rows, classes)),
        tuple((paths[position], unreadable[position]) for position in sorted(unreadable)),
        classes,
    )


def _images_in(folder: Path) -> list[str]:
    if not folder.exists():
        raise NotFoundError(f"expected a folder of images, but there is nothing at {folder}")
    if not folder.is_dir():
        raise DataError(f"expected a folder of images, but {folder} is a file: predict takes one")
    paths = image_paths(folder)
    if not paths:
        others = sum(1 for _ in folder.iterdir())
        raise DataError(
            f"there is no image in {folder} ({others} other files and folders): supported are "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}"
        )
    return paths


def _sorted(rows: Sequence[PredictedFile], classes: tuple[str, ...]) -> list[PredictedFile]:
    place: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    place[None] = len(classes)
    return sorted(rows, key=lambda r: (place[r.label], -r.probability, natural_key(r.path)))


def _more(number: int, what: str) -> list[str]:
    rest = number - _ROWS_SHOWN
    return [f"… and {rest:,} more {what}"] if rest > 0 else []
