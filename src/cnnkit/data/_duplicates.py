"""Which images are the same: by their bytes, or near copies, confirmed by pixels.

A near copy is a picture that was saved again, resized, or made a little brighter or darker. Two
images are near copies where

- one becomes the other by a change of brightness and contrast, white and black clipped,
- so well that no place of the picture differs by more than `MOST_DIFFERENT` grey levels,
- their colours agree, unless one of them is grey all over, and
- their gradients correlate far better than with those of the other images that look most alike.
  Trousers on a black ground are alike without being copies, so theirs must agree far better than
  those of two holiday photographs (the idea of the ratio test, Lowe 2004, "Distinctive Image
  Features from Scale-Invariant Keypoints", section 7.1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnkit.data._candidates import Pairs, gradients, proposed_pairs
from cnnkit.data._signature import Signatures

__all__ = ["Copies", "exact_copies", "find_copies"]

# 1 - likeness may be this times (1 - likeness of others) squared. The share and the square are
# measured: benchmarks/duplicates.py shows what is confirmed on your data, and what planted copies
# are found.
SURPRISE = 0.15
MOST_DIFFERENT = 20.0  # grey levels, on average over a sixteenth of the width and height
MOST_CONTRAST = 1.6  # how many times the contrast of the other
DIFFERENT_COLOUR = 10.0  # levels of chroma, on average over the picture
COLOURLESS = 4  # levels of chroma at the most colourful place
LEAST_DETAIL = 2.0  # root mean square of neighbours' difference: below, noise decides

_PLAIN = 0.85  # gradients correlate so much before brightness is fitted
_OTHERS = 4096  # images, evenly spaced, in which those most alike are looked for
_MOST_ALIKE = 16  # the first few may be copies themselves, so the 16th counts
_ALIKE_AT_MOST = 0.9  # where there are more copies than that
_AT_ONCE = 2048  # pairs in work, 8 KB each and a few such
_BLOCK = 4  # pixels of a thumbnail


class Copies(NamedTuple):
    """The picture of each sample, as a number; equal numbers mean copies."""

    exact: NDArray[np.int64]  # (N,), -1 where the sample could not be read
    near: NDArray[np.int64]  # (N,), the same joined with near copies
    plain: int  # readable images with too little detail to be compared for near copies


def find_copies(signatures: Signatures) -> Copies:
    """Group all samples by their picture."""
    exact, first = exact_copies(signatures)
    if not signatures.near:
        return Copies(exact, exact, 0)
    chosen = first[signatures.comparable[first]]
    detailed = chosen[_detail(signatures.grey[chosen]) >= LEAST_DETAIL]
    pairs = near_pairs(signatures.grey[detailed], signatures.colour[detailed])
    numbers = exact[detailed]
    joined = _joined(len(first), numbers[pairs[0]], numbers[pairs[1]])
    near = np.where(exact >= 0, joined[exact], -1)
    return Copies(exact, near, len(chosen) - len(detailed))


def exact_copies(signatures: Signatures) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each sample, equal for equal bytes, and the first sample of each number."""
    readable = np.flatnonzero(signatures.readable)
    numbers = np.full(len(signatures.readable), -1, np.int64)
    if len(readable) == 0:
        return numbers, readable
    _, first, inverse = np.unique(
        signatures.digests[readable], axis=0, return_index=True, return_inverse=True
    )
    numbers[readable] = inverse.reshape(-1)
    return numbers, readable[first]


def near_pairs(grey: NDArray[np.uint8], colour: NDArray[np.int8]) -> Pairs:
    """All pairs of near copies among thumbnails (N, side, side) and their colours."""
    first, second, likeness = [], [], []
    for proposed in proposed_pairs(grey):
        for start in range(0, len(proposed[0]), _AT_ONCE):
            a, b = (side[start : start + _AT_ONCE] for side in proposed)
            plain = np.einsum("nd,nd->n", gradients(grey[a]), gradients(grey[b]))
            a, b = a[plain > _PLAIN], b[plain > _PLAIN]
            if len(a) == 0:
                continue
            same, alike = _same_picture(grey[a], grey[b], colour[a], colour[b])
            first.append(a[same])
            second.append(b[same])
            likeness.append(alike[same])
    if not first:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    a, b = np.concatenate(first), np.concatenate(second)
    surprising = _surprising(grey, a, b, np.concatenate(likeness))
    return a[surprising], b[surprising]


def _same_picture(
    grey_a: NDArray[np.uint8],
    grey_b: NDArray[np.uint8],
    colour_a: NDArray[np.int8],
    colour_b: NDArray[np.int8],
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether one is the other with another brightness, and how their gradients correlate then."""
    # Brightening clips white, so the darker one can tell the brighter, and not the other way.
    darker = (grey_a.mean(axis=(1, 2)) <= grey_b.mean(axis=(1, 2)))[:, None, None]
    dark = np.where(darker, grey_a, grey_b).astype(np.float32)
    bright = np.where(darker, grey_b, grey_a).astype(np.float32)
    gain, offset = _fit(dark, bright)
    told = np.clip(dark * gain[:, None, None] + offset[:, None, None], 0, 255)

    side = grey_a.shape[1] // _BLOCK
    blocks = np.abs(told - bright).reshape(-1, side, _BLOCK, side, _BLOCK).mean(axis=(2, 4))
    likeness = np.einsum("nd,nd->n", gradients(told), gradients(bright))

    of_dark = np.where(darker[..., None], colour_a, colour_b).astype(np.float32)
    of_bright = np.where(darker[..., None], colour_b, colour_a).astype(np.float32)
    difference = np.abs(of_dark * gain[:, None, None, None] - of_bright).mean(axis=(1, 2, 3))
    colourless = np.minimum(
        np.abs(of_dark).max(axis=(1, 2, 3)), np.abs(of_bright).max(axis=(1, 2, 3))
    )
    same = (
        (gain >= 1 / MOST_CONTRAST)
        & (gain <= MOST_CONTRAST)
        & (blocks.max(axis=(1, 2)) <= MOST_DIFFERENT)
        & ((difference <= DIFFERENT_COLOUR) | (colourless <= COLOURLESS))
        & (likeness >= 1 - SURPRISE)
    )
    return same, likeness


def _fit(
    dark: NDArray[np.float32], bright: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset (n,) of the line through the pixels that brightening has not clipped."""
    x, y = dark.reshape(len(dark), -1), bright.reshape(len(bright), -1)
    clear = ((x < 245) & (y < 245)).astype(np.float32)
    contrast, of_all = _contrast(x, clear), _contrast(x, np.ones_like(clear))
    flat = contrast < 0.1 * of_all  # a flat shape on white: no line goes through one level
    weight = np.where(flat[:, None], 1, clear)
    total = weight.sum(axis=1)
    mean_x, mean_y = (weight * x).sum(axis=1) / total, (weight * y).sum(axis=1) / total
    covariance = (weight * (x - mean_x[:, None]) * (y - mean_y[:, None])).sum(axis=1)
    gain = covariance / np.maximum(np.where(flat, of_all, contrast), 1e-6)
    return gain, mean_y - gain * mean_x


def _contrast(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of the squared differences from the mean, each row's."""
    mean = (weight * values).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
    squares: NDArray[np.float32] = (weight * (values - mean[:, None]) ** 2).sum(axis=1)
    return squares


def _surprising(
    grey: NDArray[np.uint8],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    likeness: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether two images are far more alike than either is to others of the data set."""
    used, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    sample = np.linspace(0, len(grey) - 1, min(len(grey), _OTHERS)).astype(int)
    others = gradients(grey[sample])
    # In a small set every few are enough; one more, for the image itself may be among them.
    rank = min(min(_MOST_ALIKE, len(grey) // 8 + 1) + 1, len(sample))
    alike = np.empty(len(used), np.float32)
    for start in range(0, len(used), _AT_ONCE):
        block = gradients(grey[used[start : start + _AT_ONCE]]) @ others.T
        alike[start : start + _AT_ONCE] = np.partition(block, -rank, axis=1)[:, -rank]
    alike = alike.clip(0, _ALIKE_AT_MOST)[places.reshape(-1)]
    most: NDArray[np.float32] = np.maximum(alike[: len(a)], alike[len(a) :])
    return 1 - likeness <= SURPRISE * (1 - most) ** 2


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Root mean square of the differences of neighbours, in grey levels."""
    detail = np.empty(len(grey), np.float32)
    for start in range(0, len(grey), _AT_ONCE):
        levels = grey[start : start + _AT_ONCE].astype(np.float32)
        across, down = np.diff(levels, axis=2), np.diff(levels, axis=1)
        squares = (across**2).mean(axis=(1, 2)) + (down**2).mean(axis=(1, 2))
        detail[start : start + _AT_ONCE] = np.sqrt(squares / 2)
    return detail


def _joined(number: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest number that each of 0 … number - 1 is linked with, over any way."""
    parent = np.arange(number)

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]  # halves the way for the next
            place = int(parent[place])
        return place

    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(place) for place in range(number)], np.int64)
