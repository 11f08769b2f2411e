"""One pass over the samples of any number of data sets: what `check` then judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnkit._progress import Bar, progress_bar
from cnnkit.data._arrays import ArrayDataset
from cnnkit.data._folder import ImageFolder
from cnnkit.data._foreign import classes_of, read_sample
from cnnkit.data._report import Sample
from cnnkit.data._signature import Signature, Signatures, of_features, of_file, of_images
from cnnkit.data._split import Split
from cnnkit.data._threads import in_threads
from cnnkit.data._view import own_part
from cnnkit.errors import ArgumentError, DataError

__all__ = ["Part", "Survey", "named_parts", "survey"]

_AT_ONCE = 512  # images of an array in work
_VALUES_AT_ONCE = 1 << 22  # fewer images where they are large


@dataclass
class Part:
    """One data set, and where its samples begin among all."""

    name: str
    dataset: Any
    begin: int
    classes: tuple[str, ...] | None
    labels: NDArray[np.int64]  # (n,), -1 where it is not known
    indices: NDArray[np.int64]  # (n,), in the whole that this is a part of
    paths: list[str] | None
    from_files: bool

    def __len__(self) -> int:
        return len(self.labels)

    def label_name(self, position: int) -> str:
        """The class of a sample, by name where there is one."""
        label = int(self.labels[position])
        if label < 0:
            return "no label"
        known = self.classes is not None and label < len(self.classes)
        return self.classes[label] if known and self.classes is not None else str(label)

    def counts(self) -> dict[str, int]:
        """Samples of each class, those without any as well."""
        names = dict.fromkeys(self.classes or (), 0)
        labels, numbers = np.unique(self.labels[self.labels >= 0], return_counts=True)
        for label, number in zip(labels.tolist(), numbers.tolist(), strict=True):
            known = self.classes is not None and label < len(self.classes)
            name = self.classes[label] if known and self.classes is not None else str(label)
            names[name] = number
        return names


@dataclass
class Survey:
    """All parts, and the signatures of all of their samples one after the other."""

    parts: list[Part]
    signatures: Signatures
    reasons: dict[int, str] = field(default_factory=dict)  # of samples that cannot be read

    def part_of(self, place: int) -> Part:
        """The part that the sample at this place is in."""
        begins = [part.begin for part in self.parts]
        return self.parts[int(np.searchsorted(begins, place, side="right")) - 1]

    def part_numbers(self) -> NDArray[np.int64]:
        """For each place, which part it is in."""
        return np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])

    def sample(self, place: int, remark: str = "") -> Sample:
        """What to call the sample at this place."""
        part = self.part_of(place)
        position = place - part.begin
        return Sample(
            part.name,
            int(part.indices[position]),
            part.label_name(position),
            None if part.paths is None else part.paths[position],
            remark,
        )


def named_parts(data: Iterable[Any], named: Mapping[str, Any]) -> list[Part]:
    """The parts of splits and the data sets, each under a name of its own.

    Raises:
        ArgumentError: There is nothing to check, or a name comes twice.
        DataError: One of them is no map-style data set.
    """
    plain = [(None, each) for each in data] + list(named.items())
    found: list[tuple[str, Any]] = []
    splits = sum(isinstance(each, Split) for _, each in plain)
    for number, (name, each) in enumerate(plain, start=1):
        if isinstance(each, Split):
            prefix = f"{name or f'split {number}'} " if name or splits > 1 else ""
            sides = {"train": each.train, "val": each.val, "test": each.test}
            found += [(prefix + side, ds) for side, ds in sides.items() if ds is not None]
        else:
            found.append((name or f"data set {number}", each))
    if not found:
        raise ArgumentError("check needs at least one data set or split, received none")
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(f"parts need names of their own, these come twice: {twice}")
    parts: list[Part] = []
    for name, ds in found:
        begin = parts[-1].begin + len(parts[-1]) if parts else 0
        parts.append(_part(name, ds, begin))
    return parts


def _part(name: str, ds: Any, begin: int) -> Part:
    ds = own_part(ds)
    if not hasattr(ds, "__len__") or not hasattr(ds, "__getitem__"):
        raise DataError(
            f"check takes data sets with a length and positions, and splits; {name} is "
            f"{type(ds).__name__}. Of a loader, pass its dataset"
        )
    number = len(ds)
    targets = getattr(ds, "targets", None) if isinstance(ds, (ImageFolder, ArrayDataset)) else None
    labels = np.full(number, -1) if targets is None else targets.cpu().numpy()
    indices = getattr(ds, "indices", None)
    paths = getattr(ds, "paths", None)
    return Part(
        name,
        ds,
        begin,
        classes_of(ds),
        labels.astype(np.int64),
        np.arange(number) if indices is None else np.asarray(indices, np.int64),
        list(paths) if isinstance(paths, list) and len(paths) == number else None,
        isinstance(ds, ImageFolder),
    )


def survey(parts: list[Part], *, near: bool, progress: bool) -> Survey:
    """Read every sample once."""
    number = sum(len(part) for part in parts)
    found = Survey(parts, Signatures(number, near=near))
    for part in parts:
        if part.from_files:
            _read_files(found, part, progress)
        else:
            with progress_bar(len(part), f"checking {part.name}", progress) as bar:
                read = _read_array if isinstance(part.dataset, ArrayDataset) else _read_foreign
                read(found, part, bar)
    return found


def _read_files(found: Survey, part: Part, progress: bool) -> None:
    paths = part.paths
    assert paths is not None

    def read(position: int) -> None:
        place = part.begin + position
        try:
            found.signatures.put(place, of_file(paths[position]))
        except OSError as error:  # among them ImageReadError and NotFoundError
            found.reasons[place] = _reason(error, paths[position])

    in_threads(read, len(part), None, f"checking {part.name}", progress)


def _read_array(found: Survey, part: Part, bar: Bar) -> None:
    ds: ArrayDataset = part.dataset
    values = max(1, int(np.prod(ds.image_shape)))
    step = max(1, min(_AT_ONCE, _VALUES_AT_ONCE // values))
    for start in range(0, len(part), step):
        images = ds.get_batch(torch.arange(start, min(start + step, len(part))))[0].cpu()
        for row, signature in enumerate(_signatures(images)):
            found.signatures.put(part.begin + start + row, signature)
        bar.update(len(images))


def _read_foreign(found: Survey, part: Part, bar: Bar) -> None:
    for position in range(len(part)):
        place = part.begin + position
        try:
            image, part.labels[position] = read_sample(part.dataset, position)
            if image.ndim == 2 and image.dtype == torch.uint8:
                image = image.unsqueeze(0)
            found.signatures.put(place, _signatures(image.unsqueeze(0))[0])
        except Exception as error:  # whatever the data set's own code raises
            found.reasons[place] = _reason(error, "")
        bar.update()


def _signatures(batch: Tensor) -> list[Signature]:
    """Of uint8 images, of floats in [0, 1] as torchvision's ToTensor makes them, or of features."""
    if batch.dtype == torch.uint8 and batch.ndim == 4:
        return of_images(batch)
    values = of_features(batch)
    if batch.is_floating_point() and batch.ndim == 4 and batch.shape[1] in (1, 3, 4):
        low, high = batch.aminmax()
        if low >= 0 and high <= 1:
            looks = of_images((batch * 255).round().to(torch.uint8))
            return [
                look._replace(digest=value.digest, spread=value.spread)
                for look, value in zip(looks, values, strict=True)
            ]
    return values


def _reason(error: Exception, path: str) -> str:
    """The error's text, without the path that stands before it anyway."""
    text = str(error) or type(error).__name__
    if path and text.startswith(path):
        text = text[len(path) :].lstrip()
    return text if isinstance(error, OSError) else f"{type(error).__name__}: {text}"
