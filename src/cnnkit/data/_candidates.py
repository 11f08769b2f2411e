"""Which pairs of thumbnails may be near copies: a perceptual hash proposes.

A hash has the signs of the 256 lowest frequencies of a thumbnail, each against its median over the
whole data set, so that sets of images that are all alike (digits, X-rays) are told apart as well.
The 64 lowest propose: two images are compared where these differ in at most `RADIUS` bits. Such
pairs are found without comparing all with all: of five bands of 13 bits, two hashes with at most
nine different bits have one band that differs in at most one (Norouzi, Punjani and Fleet 2012,
"Fast Search in Hamming Space with Multi-Index Hashing"). All 256 bits then thin them out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "gradients", "proposed_pairs"]

#: Two arrays of positions, int64 (n,).
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

RADIUS = 9  # of the first 64 bits; photographs brightened by a fifth differ in up to 9
WHOLE_RADIUS = 48  # of all 256; brightened by a third: up to 42, unrelated images about 128
_BANDS = (13, 13, 13, 13, 12)
_COMPARE_ALL = 4096  # up to so many images all pairs are looked at
_CORRELATED = 0.85  # gradients of near copies do so before brightness is taken out
_MOST = 64  # frames of one camera all correlate: each is compared with so many, the most alike
_MEDIAN_OF = 16384  # images, evenly spaced
_ROWS = 4096  # images in work at once
_PAIRS = 1 << 19  # pairs in work at once
_BIT_COUNTS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def proposed_pairs(grey: NDArray[np.uint8]) -> Iterator[Pairs]:
    """Pairs of positions (first, second) that may be near copies, each pair once.

    Args:
        grey: Thumbnails (N, side, side).
    """
    if len(grey) <= _COMPARE_ALL:
        yield from _correlated_pairs(grey)
        return
    hashes = _hashes(grey)
    for first, second in hash_pairs(np.ascontiguousarray(hashes[:, 0])):
        close = _differing_bits(hashes[first] ^ hashes[second]) <= WHOLE_RADIUS
        yield first[close], second[close]


def gradients(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences of neighbours, at length 1: float32 (n, 2 · side · (side - 1)).

    Their correlation ignores brightness and contrast, and weighs all frequencies of a photograph
    alike, where that of the pixels sees little but the coarsest (Field 1987: amplitudes fall as
    1/f).
    """
    levels = grey.astype(np.float32)
    number, height, width = grey.shape
    across = (levels[:, :, 1:] - levels[:, :, :-1]).reshape(number, height * (width - 1))
    down = (levels[:, 1:] - levels[:, :-1]).reshape(number, (height - 1) * width)
    both = np.concatenate([across, down], axis=1)
    length = np.sqrt(np.einsum("nd,nd->n", both, both))[:, None]
    scaled: NDArray[np.float32] = both / np.maximum(length, 1e-6)
    return scaled


def hash_pairs(hashes: NDArray[np.uint64]) -> Iterator[Pairs]:
    """Pairs of 64-bit hashes (N,) that differ in at most `RADIUS` bits, each pair once."""
    earlier: list[NDArray[np.uint64]] = []
    shift = 0
    for width in _BANDS:
        band = (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        for first, second in _band_pairs(band.astype(np.int64), width):
            close = _differing_bits((hashes[first] ^ hashes[second])[:, None]) <= RADIUS
            for other in earlier:  # a pair that an earlier band has given
                difference = _differing_bits((other[first] ^ other[second])[:, None])
                close &= difference > 1
            yield first[close], second[close]
        earlier.append(band)
        shift += width


def _correlated_pairs(grey: NDArray[np.uint8]) -> Iterator[Pairs]:
    directions, number = gradients(grey), len(grey)
    found: list[NDArray[np.int64]] = []
    for start in range(0, number, _ROWS // 4):
        block = directions[start : start + _ROWS // 4] @ directions.T
        itself = np.arange(len(block))
        block[itself, itself + start] = -1
        alike = block > _CORRELATED
        crowded = np.flatnonzero(alike.sum(axis=1) > _MOST)
        if len(crowded):
            least = np.partition(block[crowded], -_MOST, axis=1)[:, -_MOST, None]
            alike[crowded] = block[crowded] >= least
        first, second = np.nonzero(alike)
        first += start
        found.append(np.minimum(first, second) * number + np.maximum(first, second))
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    yield pairs // max(1, number), pairs % max(1, number)


def _hashes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """256 bits an image, uint64 (N, 4), the lowest frequencies in the first."""
    side = grey.shape[1]
    by_frequency = sorted((i + j, i, j) for i in range(side) for j in range(side))
    _, rows, columns = np.array(by_frequency[1:257]).T  # the first is the mean
    waves = _cosines(side, int(max(rows.max(), columns.max())) + 1)
    sample = np.linspace(0, len(grey) - 1, min(len(grey), _MEDIAN_OF)).astype(int)
    middle = np.median(_spectrum(grey[sample], waves)[:, rows, columns], axis=0)
    hashes = np.empty((len(grey), 4), np.uint64)
    for start in range(0, len(grey), _ROWS):
        spectrum = _spectrum(grey[start : start + _ROWS], waves)[:, rows, columns]
        packed = np.packbits(spectrum > middle, axis=1)
        hashes[start : start + _ROWS] = np.ascontiguousarray(packed).view(np.uint64)
    return hashes


def _cosines(side: int, number: int) -> NDArray[np.float32]:
    """The first rows of the discrete cosine transform, unscaled: only signs are used."""
    places = np.arange(side) + 0.5
    waves: NDArray[np.float32] = np.cos(
        np.pi / side * np.arange(number)[:, None] * places, dtype=np.float32
    )
    return waves


def _spectrum(grey: NDArray[np.uint8], waves: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum: NDArray[np.float32] = waves @ grey.astype(np.float32) @ waves.T
    return spectrum


def _band_pairs(keys: NDArray[np.int64], width: int) -> Iterator[Pairs]:
    """Pairs whose keys differ in at most one of `width` bits."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.searchsorted(ordered, np.arange((1 << width) + 1))
    everyone = np.arange(len(keys))
    # The same key: each with those that follow it among its equals.
    yield from _joined(order, everyone, everyone + 1, begins[ordered + 1])
    for bit in range(width):
        lower = np.flatnonzero(ordered & (1 << bit) == 0)
        partner = ordered[lower] | (1 << bit)
        yield from _joined(order, lower, begins[partner], begins[partner + 1])


def _joined(
    order: NDArray[np.int64],
    left: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
) -> Iterator[Pairs]:
    """Each of `left` with all of its range begin … end - 1, a bounded number at a time."""
    sizes = end - begin
    left, begin, sizes = left[sizes > 0], begin[sizes > 0], sizes[sizes > 0]
    totals = np.cumsum(sizes)
    start = 0
    while start < len(left):
        before = totals[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(totals, before + _PAIRS, side="right")))
        chunk = sizes[start:stop]
        firsts = np.repeat(left[start:stop], chunk)
        within = np.arange(len(firsts)) - np.repeat(np.cumsum(chunk) - chunk, chunk)
        seconds = np.repeat(begin[start:stop], chunk) + within
        yield order[firsts], order[seconds]
        start = stop


def _differing_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Set bits in each row of uint64 (n, k)."""
    # numpy counts bits itself from 2.0 on; the table serves 1.26 and is fast enough.
    halves = _BIT_COUNTS[np.ascontiguousarray(words).view(np.uint16)]
    counts: NDArray[np.int64] = halves.sum(axis=1, dtype=np.int64)
    return counts
