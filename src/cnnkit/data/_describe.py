"""`describe`: what one asks of every new data set, as a table."""

from __future__ import annotations

import json
import statistics
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cnnkit._files import atomic_path
from cnnkit._images import image_header
from cnnkit.data._arrays import ArrayDataset
from cnnkit.data._folder import ImageFolder
from cnnkit.data._foreign import classes_of, read_sample
from cnnkit.data._memory import readable_bytes
from cnnkit.data._report import counted
from cnnkit.data._threads import in_threads
from cnnkit.data._view import own_part
from cnnkit.errors import CnnkitWarning, DataError
from cnnkit.types import PathLike

__all__ = ["Description", "FileSummary", "describe"]

_DECODED = 256  # images of a folder, evenly spaced: their values stand for all
_AT_ONCE = 256  # images of an array in work


@dataclass(frozen=True)
class FileSummary:
    """The image files of a folder as they are stored, from their headers.

    Args:
        heights: Least, median and greatest, in pixels, after EXIF orientation.
        widths: Likewise.
        modes: How many files have each of Pillow's modes, the most frequent first.
        formats: How many files have each format, by content.
        bytes: Of all files together.
        unreadable: How many have no header that can be read; `check` says which.
    """

    heights: tuple[int, float, int]
    widths: tuple[int, float, int]
    modes: dict[str, int]
    formats: dict[str, int]
    bytes: int
    unreadable: int


@dataclass(frozen=True)
class Description:
    """A data set in figures; printing it gives a table.

    Args:
        images: How many samples there are.
        class_counts: Samples of each class, in the order of the labels.
        shape: (C, H, W) of a sample, or of its features; None where samples differ.
        dtype: Of a sample, such as "uint8".
        low: The smallest value of the samples that were looked at; None where there was none.
        high: The largest.
        looked_at: How many samples the values are from; all of an array.
        files: How they are stored, where they are files.
    """

    images: int
    class_counts: dict[str, int]
    shape: tuple[int, ...] | None
    dtype: str
    low: float | None
    high: float | None
    looked_at: int
    files: FileSummary | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return tuple(self.class_counts)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def to_json(self, path: PathLike | None = None) -> str:
        """The figures as JSON text, also written to `path` where one is given."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    def __str__(self) -> str:
        shape = "differs" if self.shape is None else " x ".join(str(side) for side in self.shape)
        seen = "" if self.looked_at == self.images else f" (of {self.looked_at:,} images)"
        values = "unknown" if self.low is None else f"{self.low:g} to {self.high:g}"
        rows = [
            ("images", f"{self.images:,}"),
            ("classes", f"{len(self.class_counts):,}"),
            ("shape", shape),
            ("dtype", self.dtype),
            ("values", values + seen),
        ]
        if self.files is not None:
            rows += _file_rows(self.files)
        lines = [f"{name:10} {value}" for name, value in rows]
        width = max([10, *(len(name) for name in self.class_counts)])
        lines += ["", f"{'class':{width}} {'images':>8} {'share':>7}"]
        for name, number in self.class_counts.items():
            share = number / self.images if self.images else 0.0
            lines.append(f"{name:{width}} {number:>8,} {share:>7.1%}")
        return "\n".join(lines)


def describe(ds: Any, *, progress: bool = True) -> Description:
    """Number of images, classes, shape, type and range of values, and images of each class.

    Of an `ArrayDataset` every value is looked at. Of a folder all headers are read, and 256 images
    spread over it decoded for the range of values; files that cannot be read are counted. Any
    other map-style data set is read sample by sample, once.

    Args:
        ds: An `ImageFolder`, an `ArrayDataset`, a part of one, or a map-style data set of
            (image, label) pairs.
        progress: Show a bar, where the extra `progress` is installed and this is a terminal.

    Raises:
        DataError: It is no such data set, or empty.

    Example:
        >>> ds = ArrayDataset(torch.tensor([[[0, 9]], [[3, 255]], [[1, 1]]], dtype=torch.uint8),
        ...                   [0, 1, 1], classes=["cat", "dog"])
        >>> print(describe(ds))
        images     3
        classes    2
        shape      1 x 1 x 2
        dtype      uint8
        values     0 to 255
        <BLANKLINE>
        class        images   share
        cat               1   33.3%
        dog               2   66.7%
    """
    ds = own_part(ds)
    if not hasattr(ds, "__len__") or not hasattr(ds, "__getitem__"):
        raise DataError(
            "describe takes a data set with a length and positions, received "
            f"{type(ds).__name__}; of a split pass one part, of a loader its dataset"
        )
    if len(ds) == 0:
        raise DataError("there is nothing to describe in a data set without samples")
    if isinstance(ds, ImageFolder):
        return _of_folder(ds, progress)
    if isinstance(ds, ArrayDataset):
        seen = _Seen()
        for start in range(0, len(ds), _AT_ONCE):
            seen.add(ds.get_batch(torch.arange(start, min(start + _AT_ONCE, len(ds))))[0])
        return seen.description(len(ds), ds.class_counts())
    return _of_foreign(ds)


class _Seen:
    """Shapes, types and range of the samples looked at so far."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self.dtypes: set[str] = set()
        self.low, self.high = float("inf"), float("-inf")
        self.number = self.nans = 0

    def add(self, batch: Tensor) -> None:
        self.shapes.add(tuple(batch.shape[1:]))
        self.dtypes.add(str(batch.dtype).removeprefix("torch."))
        if batch.numel() == 0:
            return
        self.number += len(batch)
        if batch.is_floating_point():
            numbers = batch[~batch.isnan()]
            self.nans += batch.numel() - numbers.numel()
            batch = numbers
        if batch.numel():
            low, high = batch.aminmax()
            self.low, self.high = min(self.low, low.item()), max(self.high, high.item())

    def description(
        self, images: int, class_counts: dict[str, int], files: FileSummary | None = None
    ) -> Description:
        shape = next(iter(self.shapes)) if len(self.shapes) == 1 else None
        dtype = ", ".join(sorted(self.dtypes)) or "unknown"
        low, high = (self.low, self.high) if self.low <= self.high else (None, None)
        if self.nans:
            warnings.warn(
                f"{self.nans} of the values are nan, and a network that is given one answers nan: "
                "fill them in, or leave these samples out",
                CnnkitWarning,
                stacklevel=3,
            )
        return Description(images, class_counts, shape, dtype, low, high, self.number, files)


def _of_folder(ds: ImageFolder, progress: bool) -> Description:
    stored: list[tuple[int, int, str, str, int] | None] = [None] * len(ds)
    paths = ds.paths

    def look(position: int) -> None:
        try:
            height, width, mode = image_header(paths[position])
            with Image.open(paths[position]) as image:
                kind = image.format or "unknown"
        except OSError:
            return
        stored[position] = height, width, mode, kind, Path(paths[position]).stat().st_size

    in_threads(look, len(ds), None, "reading headers", progress)
    seen = _Seen()
    for position in torch.linspace(0, len(ds) - 1, min(len(ds), _DECODED)).long().tolist():
        try:
            image = _image(ds, position, paths[position])
        except OSError:  # counted below where its header is broken, and found by check
            continue
        if isinstance(image, Tensor):  # a transform may return anything
            seen.add(image.unsqueeze(0))
    return seen.description(len(ds), ds.class_counts(), _summary(stored))


def _image(ds: ImageFolder, position: int, path: str) -> Any:
    if ds.transform is not None:
        return ds[position][0]
    return ds._read_pixels(path)  # not ds[position]: without image_size any size counts here


def _summary(stored: list[tuple[int, int, str, str, int] | None]) -> FileSummary:
    known = [file for file in stored if file is not None]
    if not known:
        raise DataError(f"none of {counted(len(stored), 'file')} has a header that can be read")
    heights, widths, modes, formats, sizes = zip(*known, strict=True)
    return FileSummary(
        (min(heights), statistics.median(heights), max(heights)),
        (min(widths), statistics.median(widths), max(widths)),
        dict(Counter(modes).most_common()),
        dict(Counter(formats).most_common()),
        sum(sizes),
        len(stored) - len(known),
    )


def _of_foreign(ds: Any) -> Description:
    seen, labels = _Seen(), Counter[int]()
    for position in range(len(ds)):
        image, label = read_sample(ds, position)
        seen.add(image.unsqueeze(0))
        labels[label] += 1
    names = classes_of(ds) or tuple(str(label) for label in range(max(labels) + 1))
    if not 0 <= min(labels) <= max(labels) < len(names):
        raise DataError(
            f"labels go from {min(labels)} to {max(labels)}, but there are {len(names)} classes "
            f"{names}: they must go from 0 to {len(names) - 1}"
        )
    return seen.description(len(ds), {name: labels[place] for place, name in enumerate(names)})


def _file_rows(files: FileSummary) -> list[tuple[str, str]]:
    rows = [
        ("height", "{} to {}, median {:g}".format(*_range(files.heights))),
        ("width", "{} to {}, median {:g}".format(*_range(files.widths))),
        ("modes", ", ".join(f"{number:,} {mode}" for mode, number in files.modes.items())),
        ("formats", ", ".join(f"{number:,} {kind}" for kind, number in files.formats.items())),
        ("on disk", readable_bytes(files.bytes)),
    ]
    if files.unreadable:
        rows.append(("unreadable", f"{files.unreadable:,}; check(ds) says which and why"))
    return rows


def _range(sides: tuple[int, float, int]) -> tuple[int, int, float]:
    return sides[0], sides[2], sides[1]
