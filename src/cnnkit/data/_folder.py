"""`ImageFolder`: labelled image files, read one at a time when they are asked for."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from cnnkit._images import Reading, image_header, read_image, read_pixels
from cnnkit.data._base import LabelledImages, as_labels, as_positions, checked_classes
from cnnkit.data._batches import collated
from cnnkit.data._extract import Limits
from cnnkit.data._label_file import numbered, read_label_file
from cnnkit.data._obtain import find_top_folder, obtain
from cnnkit.data._scan import scan
from cnnkit.data._storage import allocate
from cnnkit.data._threads import in_threads
from cnnkit.errors import ArgumentError, CnnkitWarning, DataError, ImageReadError, NotFoundError
from cnnkit.preprocess import Preprocess, as_image_size
from cnnkit.types import ImageSize, Interpolation, Mode, PathLike, Resize

if TYPE_CHECKING:
    from typing_extensions import Self

    from cnnkit.data._arrays import ArrayDataset

__all__ = ["ImageFolder"]

OnCorrupt = Literal["raise", "skip"]


class ImageFolder(LabelledImages):
    """Images in class folders, as uint8 tensors of one size.

    ::

        root/
        ├── cats/   001.jpg, 002.png, …
        └── dogs/   001.jpg, deeper/002.jpg, …

    Opening lists the files in natural order and decodes none. Hidden files and folders,
    ``__MACOSX`` and class folders without images are left out. Transparency is shown on white,
    EXIF orientation is applied, animations give their first frame.

    Args:
        root: The folder that holds the class folders.
        image_size: Pixels, an int (square) or (height, width). Without it all images must have
            the same size.
        mode: "RGB", "L" (grey) or "RGBA".
        resize: How another shape becomes `image_size`: "stretch", "crop" the middle, or "pad".
        interpolation: Pillow's filter for resizing.
        classes: Class names in the order of their labels. ``classes=train.classes`` gives a test
            folder the labels of the training folder: a missing class keeps its label, a folder
            of another name is an error.
        transform: Called on the Pillow image (converted and resized); whatever it returns is
            the sample. For torchvision's classic transforms; `cnnkit.data.augment` is faster.
        on_corrupt: "raise" when a broken file is read, or "skip": every file is decoded once when
            the folder is opened, and broken ones are left out and listed in `skipped`.
        exact_decode: Decode every JPEG at its full size. Otherwise one that shrinks a lot is
            decoded at a half, a quarter or an eighth of its size, and torch shrinks what Pillow
            would; that is faster and moves pixels by about one grey level on average.

    Raises:
        NotFoundError: There is nothing at `root`.
        DataError: `root` is no folder, or holds no class folders, or these no image.
        ClassMismatchError: A folder with images is not among `classes`.

    Example:
        >>> ds = ImageFolder("tests/assets/shapes", image_size=16)  # doctest: +SKIP
        >>> image, label = ds[0]  # uint8 (3, 16, 16), 0  # doctest: +SKIP
    """

    def __init__(
        self,
        root: PathLike,
        *,
        image_size: ImageSize | None = None,
        mode: Mode = "RGB",
        resize: Resize = "stretch",
        interpolation: Interpolation = "bilinear",
        classes: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        on_corrupt: OnCorrupt = "raise",
        exact_decode: bool = False,
    ) -> None:
        if classes is not None:
            classes = checked_classes(classes, torch.zeros(0, dtype=torch.int64))
        names, samples = scan(Path(root), classes)
        self._open(
            samples,
            names,
            image_size=image_size,
            mode=mode,
            resize=resize,
            interpolation=interpolation,
            transform=transform,
            on_corrupt=on_corrupt,
            exact_decode=exact_decode,
        )

    def _open(
        self,
        samples: list[tuple[str, int]],
        classes: tuple[str, ...],
        *,
        image_size: ImageSize | None = None,
        mode: Mode = "RGB",
        resize: Resize = "stretch",
        interpolation: Interpolation = "bilinear",
        transform: Callable[[Any], Any] | None = None,
        on_corrupt: OnCorrupt = "raise",
        exact_decode: bool = False,
    ) -> None:
        if on_corrupt not in get_args(OnCorrupt):
            raise ArgumentError(
                f"on_corrupt must be one of {get_args(OnCorrupt)}, received {on_corrupt!r}"
            )
        self.transform = transform
        self.skipped: list[tuple[str, str]] = []
        self._size = None if image_size is None else as_image_size(image_size)
        # The size stands in until the first image is asked for its own; this checks the choices.
        self._reading = Preprocess.of_mode(
            self._size or 1,
            mode,
            resize=resize,
            interpolation=interpolation,
            exact_decode=exact_decode,
        )
        self._paths = [path for path, _ in samples]
        super().__init__(torch.tensor([label for _, label in samples], dtype=torch.int64), classes)
        if on_corrupt == "skip":
            self._leave_out_corrupt()

    @classmethod
    def from_zip(
        cls,
        source: PathLike,
        root: PathLike | None = None,
        *,
        folder: str | None = None,
        sha256: str | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        progress: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Open the images in an archive: a local file, an http(s) URL, or a Google Drive link.

        The archive is extracted once; the same again is a no-op.

        Args:
            source: Path, URL or share link of a zip, tar or tar.gz.
            root: Where to extract to; by default a cache folder of the user's.
            folder: The folder in the archive that holds the class folders, such as "train";
                without it a single top folder is found by itself.
            sha256: Expected checksum of the archive, in hexadecimal.
            headers: Sent with the download; some hosts refuse the default user agent.
            limits: What an archive may hold at most; see `Limits`.
            progress: Show a bar while downloading.
            **kwargs: As for `ImageFolder`.

        Raises:
            NotFoundError: There is no file at `source`.
            ArchiveError: It is no archive, is broken, or is unsafe to extract.
            DownloadError: The URL could not be fetched.
        """
        extracted = obtain(
            source,
            root,
            sha256=sha256,
            headers=headers,
            limits=limits or Limits(),
            progress=progress,
        )
        return cls(find_top_folder(extracted, folder), **kwargs)

    @classmethod
    def from_files(
        cls,
        paths: Sequence[PathLike],
        labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray[Any, Any],
        *,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open these image files, wherever they are.

        Args:
            paths: The files.
            labels: One a file: class names, or integers.
            classes: Class names in the order of their labels; by default those that occur in
                natural order, or "0", "1", … for integer labels.
            **kwargs: `image_size`, `mode` and so on, as for `ImageFolder`.

        Raises:
            DataError: Not one label a file, a label outside the classes, or no file at all.
            NotFoundError: A file is not there; the message names the first and counts the rest.
        """
        files = [os.fspath(path) for path in paths]
        if not files:
            raise DataError("expected at least one image file, received none")
        numbers: Any = labels
        if len(labels) and isinstance(labels[0], str):
            classes, numbers = numbered([str(label) for label in labels], classes)
        targets = as_labels(numbers, len(files))
        missing = [path for path in files if not Path(path).is_file()]
        if missing:
            raise NotFoundError(
                f"{len(missing)} of {len(files)} image files are not there, the first is "
                f"{missing[0]}"
            )
        self = cls.__new__(cls)
        named = checked_classes(classes, targets)
        self._open(list(zip(files, targets.tolist(), strict=True)), named, **kwargs)
        return self

    @classmethod
    def from_csv(
        cls,
        csv_file: PathLike,
        root: PathLike | None = None,
        *,
        path: str = "path",
        label: str = "label",
        suffix: str = "",
        **kwargs: Any,
    ) -> Self:
        """Open the image files that a table with a header row lists.

        Args:
            csv_file: The table, comma-separated, in UTF-8.
            root: What the paths in it are relative to; by default the table's own folder.
            path: The column of the file names.
            label: The column of the class names.
            suffix: Appended to each file name, such as ".jpg" for a column of bare ids.
            **kwargs: As for `from_files`.

        Raises:
            NotFoundError: There is no such table, or it lists a file that is not there.
            DataError: A column is missing, or there are no rows.
        """
        files, labels = read_label_file(csv_file, root, path=path, label=label, suffix=suffix)
        return cls.from_files(files, labels, **kwargs)

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(path, label) of every sample."""
        return list(zip(self._paths, self._targets.tolist(), strict=True))

    @property
    def paths(self) -> list[str]:
        """The file of every sample."""
        return list(self._paths)

    @property
    def preprocess(self) -> Preprocess | None:
        """How the images are read, with no normalisation; None with a `transform`."""
        if self.transform is not None:  # asked each time: it may be set later, as torchvision's is
            return None
        return self._reading if self._size is not None or not self._paths else self._of_first_image

    @cached_property
    def _of_first_image(self) -> Preprocess:
        height, width, _ = image_header(self._paths[0])
        return self._reading.with_size((height, width))

    @property
    def reading(self) -> Preprocess | None:
        """How the images are read; the same as `preprocess`."""
        return self.preprocess

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The sample at this position: (uint8 (C, H, W), label), or what `transform` returned."""
        try:
            path, label = self._paths[index], int(self._targets[index])
        except IndexError:
            raise IndexError(
                f"position {index} is outside a data set of {len(self)} images"
            ) from None
        if self.transform is not None:
            return self.transform(read_image(path, **self._how_to_read())), label
        return self._read_checked(path).contiguous(), label

    def _read_checked(self, path: str) -> Tensor:
        pixels = self._read_pixels(path)
        if self._size is None:
            self._check_size(path, (pixels.shape[1], pixels.shape[2]))
        return pixels

    def _read_pixels(self, path: str) -> Tensor:
        return read_pixels(path, **self._how_to_read())

    def _how_to_read(self) -> Reading:
        """What both readers are told: `transform` is given a Pillow image, a batch pixels."""
        return {**self._reading._how_to_read, "image_size": self._size}  # None: as they are

    def get_batch(self, positions: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """The samples at these positions: uint8 (n, C, H, W) and labels int64 (n,).

        With a `transform`, its results are collated as a `DataLoader` does.
        """
        rows = as_positions(positions, len(self))
        reading = self.preprocess
        if reading is None:  # one after the other: a transform may draw from a global generator
            samples = [self[row][0] for row in rows.tolist()]
            return collated(samples, self), self._targets[rows]
        images = torch.empty((len(rows), *reading.image_shape), dtype=torch.uint8)
        # A worker process has one core; here all of them decode.
        workers = None if get_worker_info() is None else 1
        self._read_into(images, rows.tolist(), workers, progress=False)
        return images, self._targets[rows]

    def subset(self, positions: Sequence[int] | Tensor) -> Self:
        """The samples at these positions, in this order."""
        rows = as_positions(positions, len(self))
        part = copy.copy(self)
        part._paths = [self._paths[row] for row in rows.tolist()]
        part._targets = self._targets[rows]
        part._indices = self._indices[rows]
        return part

    def to_array(self, *, workers: int | None = None, progress: bool = True) -> ArrayDataset:
        """Decode every image once, into one uint8 array in memory.

        Args:
            workers: Threads that decode; by default one a core.
            progress: Show a bar, where the extra `progress` is installed and this is a terminal.

        Raises:
            ImageReadError: A file cannot be read; the message names it.
            DataError: The array would not fit into the memory that is available.
        """
        from cnnkit.data._arrays import ArrayDataset

        reading = self.preprocess
        if reading is None:
            raise DataError(
                "an ImageFolder with a transform cannot become an array of its images: "
                "open it without, and use cnnkit.data.augment in the loader"
            )
        images = allocate((len(self), *reading.image_shape))

        self._read_into(images, range(len(self)), workers, progress)
        array = ArrayDataset(
            images, self._targets, classes=self._classes, preprocess=reading, paths=self._paths
        )
        array._indices, array.origin = self._indices, self.origin
        return array

    def _read_into(
        self, images: Tensor, rows: Sequence[int], workers: int | None, progress: bool
    ) -> None:
        # torch would start threads of its own for each copy, which get in the way of those here.
        filled = images.numpy()

        def fill(place: int) -> None:
            filled[place] = self._read_checked(self._paths[rows[place]]).numpy()

        in_threads(fill, len(rows), workers, "decoding", progress)

    def _check_size(self, path: str, size: tuple[int, int]) -> None:
        expected = self.preprocess.image_size if self.preprocess else None
        if size != expected:
            raise DataError(
                f"without image_size all images must share one size: {self._paths[0]} is "
                f"{expected} (height, width), but {path} is {size}; pass image_size="
            )

    def _leave_out_corrupt(self) -> None:
        reasons: list[str | None] = [None] * len(self)

        def verify(position: int) -> None:
            try:
                self._read_pixels(self._paths[position])
            except (ImageReadError, NotFoundError) as error:  # not there: a link to nothing
                reasons[position] = str(error)

        in_threads(verify, len(self), None, "verifying", progress=True)
        self.skipped = [(p, r) for p, r in zip(self._paths, reasons, strict=True) if r]
        if not self.skipped:
            return
        if len(self.skipped) == len(self):
            raise ImageReadError(f"none of the {len(self)} images can be read: {reasons[0]}")
        kept = [position for position, reason in enumerate(reasons) if reason is None]
        self._paths = [self._paths[position] for position in kept]
        self._targets = self._targets[kept]
        self._indices = torch.arange(len(kept))
        warnings.warn(
            f"{len(self.skipped)} of {len(reasons)} images cannot be read and are left out; "
            f"`skipped` lists them, the first is: {self.skipped[0][1]}",
            CnnkitWarning,
            stacklevel=4,
        )

    def __repr__(self) -> str:
        size = "as stored" if self._size is None else f"{self._size[0]}x{self._size[1]}"
        return f"ImageFolder({self._parts()}, {size}, {self._reading.mode})"
