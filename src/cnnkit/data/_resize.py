"""`resize_folder`: a copy of a folder of images at one size, made once so that reading is fast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cnnkit._files import atomic_path
from cnnkit._images import Reading, read_image
from cnnkit.data._report import counted
from cnnkit.data._scan import scan
from cnnkit.data._threads import in_threads
from cnnkit.errors import (
    ArgumentError,
    DataError,
    ImageReadError,
    NotFoundError,
    SavedFileError,
)
from cnnkit.preprocess import Preprocess
from cnnkit.types import ImageSize, Interpolation, Mode, PathLike, Resize

__all__ = ["ResizeSummary", "resize_folder"]

Format = Literal["png", "jpeg"]
_SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg"}
_MARKER = ".cnnkit-resized.json"  # hidden, so that it is never taken for data
_FORMAT = 1
# What can be written again as it was read. A GIF's palette, say, would cost colours.
_KEPT: dict[str, set[Mode]] = {
    "JPEG": {"L", "RGB"},
    "BMP": {"L", "RGB"},
    "PNG": {"L", "RGB", "RGBA"},
    "TIFF": {"L", "RGB", "RGBA"},
    "WEBP": {"RGB", "RGBA"},
}
_BY_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_SHOWN = 5


@dataclass(frozen=True)
class ResizeSummary:
    """What `resize_folder` did.

    Args:
        target: The folder that was written.
        written: How many files were made.
        kept: How many were there already, with the time of their sources.
        unreadable: (path, reason) of every source that cannot be read; they have no copy.
        left_over: Files in the target whose source is not there, or cannot be read, any more.
    """

    target: str
    written: int
    kept: int
    unreadable: tuple[tuple[str, str], ...] = ()
    left_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.target}: {counted(self.written, 'image')} written, {self.kept:,} kept"]
        if self.unreadable:
            lines.append(f"{counted(len(self.unreadable), 'image')} cannot be read:")
            lines += _first([f"    {path}: {reason}" for path, reason in self.unreadable])
        if self.left_over:
            lines.append(f"{counted(len(self.left_over), 'file')} without a source, to be deleted:")
            lines += _first([f"    {path}" for path in self.left_over])
        return "\n".join(lines)


def resize_folder(
    src: PathLike,
    dst: PathLike,
    size: ImageSize,
    *,
    resize: Resize = "stretch",
    mode: Mode = "RGB",
    interpolation: Interpolation = "bilinear",
    format: Format | None = None,
    quality: int = 95,
    workers: int | None = None,
    progress: bool = True,
) -> ResizeSummary:
    """Write a copy of a folder of class folders in which all images have one size.

    ::

        photos/cats/holiday/001.jpg, 4000 x 3000  →  small/cats/holiday/001.jpg, 128 x 128

    Images are read by the reader of `ImageFolder`, with `exact_decode`. Reading the copy with the
    same `image_size` then resizes nothing. Called again, it makes what is missing and what has
    changed; nothing is deleted.

    Args:
        src: A folder that holds one folder a class.
        dst: Where the copy goes; a folder that is not there, is empty, or was made by this function
            with the same settings.
        size: Pixels, an int (square) or (height, width).
        resize: How another shape becomes `size`: "stretch", "crop" the middle, or "pad" with black.
        mode: "RGB", "L" (grey) or "RGBA".
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        format: "png" (nothing is lost) or "jpeg", and the names end so; None keeps that of each
            file.
        quality: Of JPEG and WebP, 1 to 100; without chroma subsampling. At 95 a JPEG differs from
            what was resized by about 1.4 grey levels.
        workers: Threads; by default one a core.
        progress: Show a bar, where the extra `progress` is installed and this is a terminal.

    Returns:
        What was written and what was not; print it.

    Raises:
        ArgumentError: A setting makes no sense, `src` and `dst` lie in each other, or a format
            cannot be kept.
        DataError: `dst` holds something else or was made with other settings, or two images would
            get one name.
        NotFoundError: There is nothing at `src`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from cnnkit.data import ImageFolder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source, target = Path(folder, "photos"), Path(folder, "small")
        ...     for name in ("cats", "dogs"):
        ...         (source / name).mkdir(parents=True)
        ...         Image.new("RGB", (40, 30)).save(source / name / "1.png")
        ...     resize_folder(source, target, 16).written, resize_folder(source, target, 16).kept
        ...     ImageFolder(target)[0][0].shape
        (2, 2)
        torch.Size([3, 16, 16])
    """
    if format is not None and format not in get_args(Format):
        raise ArgumentError(
            f"format must be None or one of {get_args(Format)}, received {format!r}"
        )
    if not 1 <= quality <= 100:
        raise ArgumentError(f"quality must be 1 to 100, received {quality}")
    reading = Preprocess.of_mode(
        size, mode, resize=resize, interpolation=interpolation, exact_decode=True
    )
    source, target = Path(src).resolve(), Path(dst).resolve()
    if source == target or source in target.parents or target in source.parents:
        raise ArgumentError(
            f"source and target must not lie in each other, received {source} and {target}"
        )
    _, samples = scan(source)
    copies = _copies([Path(path) for path, _ in samples], source, target, format, mode)
    _claim(target, {**_settings(reading), "format": format, "quality": quality})
    unreadable: dict[Path, str] = {}
    written = [False] * len(copies)

    def work(position: int) -> None:
        path, copy, kind = copies[position]
        try:
            written[position] = _write(path, copy, kind, reading, quality)
        except (ImageReadError, NotFoundError) as error:  # not what the target may raise
            unreadable[path] = str(error)

    in_threads(work, len(copies), workers, "resizing", progress)
    expected = {copy for path, copy, _ in copies if path not in unreadable}
    return ResizeSummary(
        str(target),
        sum(written),
        len(copies) - sum(written) - len(unreadable),
        tuple((str(path), unreadable[path]) for path, _, _ in copies if path in unreadable),
        tuple(str(path) for path in sorted(_files(target)) if path not in expected),
    )


def _copies(
    paths: list[Path], source: Path, target: Path, format: Format | None, mode: Mode
) -> list[tuple[Path, Path, str]]:
    """(source, target, Pillow's name of the format) of every image."""
    if format is None:
        kinds = [_BY_SUFFIX.get(path.suffix.lower(), "") for path in paths]
        for path, kind in zip(paths, kinds, strict=True):
            if mode not in _KEPT.get(kind, ()):
                raise ArgumentError(
                    f"{path} cannot be written in its own format with mode {mode!r}: pass "
                    'format="png"'
                )
        copies = [target / path.relative_to(source) for path in paths]
    else:
        if mode not in _KEPT[format.upper()]:
            raise ArgumentError(f'{format} has no mode {mode!r}: pass format="png"')
        kinds = [format.upper()] * len(paths)
        suffix = _SUFFIXES[format]
        copies = [(target / path.relative_to(source)).with_suffix(suffix) for path in paths]
    sources: dict[str, list[str]] = {}
    for path, copy in zip(paths, copies, strict=True):
        # Without regard to case, as on Windows and on a Mac.
        sources.setdefault(str(copy).casefold(), []).append(str(path))
    for same in sources.values():
        if len(same) > 1:
            raise DataError(
                f"copies of these images would have one name: {same}; rename all but one"
            )
    return list(zip(paths, copies, kinds, strict=True))


def _settings(reading: Preprocess) -> dict[str, Any]:
    names = ("image_size", "mode", "resize", "interpolation")
    return {name: reading.to_dict()[name] for name in names}


def _claim(target: Path, settings: dict[str, Any]) -> None:
    """Mark the folder as made with these settings, or refuse one that was not."""
    marker = target / _MARKER
    if marker.is_file():
        try:
            saved = json.loads(marker.read_text(encoding="utf-8"))
            others = saved["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise SavedFileError(
                f"{marker} does not say how {target} was made ({error!r}): delete the folder, or "
                "choose another"
            ) from error
        if others != settings:
            changed = [name for name in settings if others.get(name) != settings[name]]
            shown = ", ".join(
                f"{name}={others.get(name)!r}, not {settings[name]!r}" for name in changed
            )
            raise DataError(f"{target} was made with {shown}: delete it, or choose another folder")
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(
            f"{target} holds something that was not made by resize_folder: choose another folder"
        )
    with atomic_path(marker) as temporary:
        text = json.dumps({"format": _FORMAT, "settings": settings}, indent=2)
        temporary.write_text(text, encoding="utf-8")


def _write(path: Path, copy: Path, kind: str, reading: Preprocess, quality: int) -> bool:
    """Make one copy, with the time of its source; False where that is there already.

    A copy that is only newer will not do: what takes the place of a source may be older than it.
    """
    changed = path.stat().st_mtime_ns
    if copy.is_file() and _same_time(copy.stat().st_mtime_ns, changed):
        return False
    how: Reading = {**reading._how_to_read, "exact_decode": True}
    image = read_image(path, **how)
    image.info.clear()  # some writers would take over a transparency that is applied already
    options: dict[str, Any] = {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG":
        options["subsampling"] = 0
    with atomic_path(copy) as temporary:
        image.save(temporary, kind, **options)
        os.utime(temporary, ns=(changed, changed))
    return True


def _same_time(one: int, other: int) -> bool:
    """Of two times in ns; some file systems keep microseconds, and FAT every second one."""
    whole = one % 10**9 == 0 or other % 10**9 == 0
    return abs(one - other) < (2 * 10**9 if whole else 10**3)


def _files(target: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(target):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"    … and {more:,} more"] if more > 0 else [])
