"""`check`: what is wrong with the data, found before time is spent on training with it."""

from __future__ import annotations

from typing import Any

from cnnkit._progress import progress_bar
from cnnkit.data._copies import findings_on_copies, picture_numbers
from cnnkit.data._duplicates import find_copies
from cnnkit.data._findings import findings_on_classes, findings_on_images
from cnnkit.data._report import DataReport, PartSummary
from cnnkit.data._survey import named_parts, survey

__all__ = ["check"]


def check(*data: Any, progress: bool = True, near: bool = True, **named: Any) -> DataReport:
    """Look through data sets and splits for what spoils training or flatters its figures.

    Each sample is read and decoded once; 1.2 KB of it are kept, whatever its size.

    Errors are certain, and make figures wrong: files that cannot be read, one image (the same
    bytes; of arrays the same pixels) in several parts or under several labels, parts whose classes
    differ or that are empty. Warnings are for you to judge: near copies across parts or under
    several labels, an image twice in a part, images of one colour, a class that is missing or
    outnumbered. Notes: near copies within a part, few images of a class, odd sizes, several modes.

    A near copy is the same picture saved anew, resized, or made a little brighter or darker. A
    perceptual hash proposes, pixels confirm. Flipped, rotated and cropped copies are not looked
    for, and of images below about 64 pixels, copies at half the size are not found.

    Args:
        *data: Any number of splits, `ImageFolder`s, `ArrayDataset`s and other map-style data sets
            of (image, label) pairs. The parts of a split are called "train", "val" and "test",
            the others "data set 1", ….
        progress: Show a bar, where the extra `progress` is installed and this is a terminal.
        near: Look for near copies as well as for equal bytes.
        **named: More of them, under names of yours: ``check(train=one, test=other)``.

    Returns:
        A `DataReport`: print it, or stop at errors with ``raise_for_errors()``. Its `groups` keep
        copies together in a split.

    Raises:
        ArgumentError: There is nothing to check, or two parts have one name.
        DataError: Something that was passed is no map-style data set.

    Example:
        >>> import numpy as np
        >>> from cnnkit.data import ArrayDataset
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
        >>> train = ArrayDataset(images, [0, 1] * 20)
        >>> test = ArrayDataset(np.concatenate([images[3:4], 255 - images[20:]]), [1] + [0, 1] * 10)
        >>> report = check(train=train, test=test)
        >>> print(report)
        part          images  classes  unreadable
        train             40        2           0
        test              21        2           0
        <BLANKLINE>
        error    same image across parts: 1 picture is in more than one part: figures on ...
                     train[3] (1) = test[0] (1)
        1 error, 0 warnings, 0 notes
        >>> report.raise_for_errors()
        Traceback (most recent call last):
            ...
        cnnkit.errors.DataError: the data has errors of 1 kind ...
    """
    parts = named_parts(data, named)
    found = survey(parts, near=near, progress=progress)
    with progress_bar(None, "comparing", progress):
        copies = find_copies(found.signatures)
    summaries = [
        PartSummary(
            part.name,
            len(part),
            len(part.counts()),
            sum(part.begin <= place < part.begin + len(part) for place in found.reasons),
        )
        for part in parts
    ]
    findings = [
        *findings_on_images(found),
        *findings_on_classes(parts),
        *findings_on_copies(found, copies),
    ]
    return DataReport(summaries, findings, picture_numbers(copies))
