"""`LRCurve`: the loss over the learning rate, and the rate that it speaks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["LRCurve", "ceiling", "curve_of"]

_EXPLODED = 4.0  # times the lowest loss, where that is more than there was at the start
_BELOW = 10.0  # how far below the rate with the lowest loss the suggestion is
# How many standard deviations of single losses a fall must be to be one: of 100 that only differ by
# chance, fewer than one in a thousand curves fall by so much; of 50, one in a hundred.
_NOISE = 2.5
_NONE = (
    "no suggestion: the loss never fell by more than chance; try more steps, or a higher `lowest`"
)
_NEIGHBOURS = 30  # a thirtieth of the steps on either side is smoothed over


@dataclass(frozen=True)
class LRCurve:
    """What `find_lr` returns; `plot.lr_curve` draws it.

    Attributes:
        lrs: The learning rate of each step, growing by the same factor.
        losses: The loss of each step, before the weights changed, smoothed over the steps beside
            it. What exploded is cut off where it is four times the lowest and as high as at the
            start.
        suggestion: A tenth of the learning rate with the lowest loss; None where the loss did not
            fall by more than chance makes it differ from batch to batch.

    Example:
        >>> print(LRCurve([0.01, 0.1, 1.0], [2.3, 1.2, 4.8], suggestion=0.01))
        learning rate    loss
        0.01              2.3
        0.1               1.2
        1                 4.8
        the loss is lowest, 1.2, at the learning rate 0.1
        suggestion: 0.01, a tenth of it
    """

    lrs: list[float]
    losses: list[float]
    suggestion: float | None

    def __str__(self) -> str:
        lines = ["learning rate    loss"]
        lines += [f"{self.lrs[i]:<13.2g}{self.losses[i]:8.4g}" for i in self._shown()]
        if self.suggestion is None:
            return "\n".join([*lines, _NONE])
        loss, lr = min(zip(self.losses, self.lrs, strict=True))
        lines.append(f"the loss is lowest, {loss:.4g}, at the learning rate {lr:.2g}")
        return "\n".join([*lines, f"suggestion: {self.suggestion:.2g}, a tenth of it"])

    def __repr__(self) -> str:
        return f"LRCurve({len(self.lrs)} learning rates, suggestion={self.suggestion})"

    def _shown(self) -> list[int]:
        """About two points for each factor of ten, the last one among them."""
        halves = [round(2 * math.log10(lr)) for lr in self.lrs]
        first = [i for i, half in enumerate(halves) if half not in halves[:i]]
        return sorted({*first, len(halves) - 1})


def ceiling(lowest: float, start: float) -> float:
    """A loss above this has exploded: no better than at the start, and several times the lowest."""
    return max(start, lowest + (_EXPLODED - 1) * abs(lowest))


def curve_of(lrs: list[float], losses: list[float]) -> LRCurve:
    """The curve of the losses that were met, smoothed, with its suggestion."""
    early = losses[: max(2, len(losses) // 5)]
    highest = ceiling(min(losses), max(early))
    capped = [min(loss, highest) for loss in losses]
    smooth = _smoothed(capped, reach=max(1, len(losses) // _NEIGHBOURS))
    best = smooth.index(min(smooth))
    noise = _noise(losses[: max(len(early), best + 1)])
    fell = sum(early) / len(early) - smooth[best] > _NOISE * noise
    return LRCurve(lrs, smooth, lrs[best] / _BELOW if fell else None)


def _smoothed(losses: list[float], reach: int) -> list[float]:
    """Means over the neighbours, the nearer the heavier: unlike a running mean they do not lag."""
    smooth = []
    for i in range(len(losses)):
        near = range(max(0, i - reach), min(len(losses), i + reach + 1))
        shares = [reach + 1 - abs(i - j) for j in near]
        total = sum(share * losses[j] for share, j in zip(shares, near, strict=True))
        smooth.append(total / sum(shares))
    return smooth


def _noise(losses: list[float]) -> float:
    """Standard deviation of single losses, from one to the next, which no trend enters.

    Source:
        Von Neumann et al. (1941), "The Mean Square Successive Difference".
    """
    steps = [(b - a) ** 2 for a, b in pairwise(losses)]
    return math.sqrt(sum(steps) / (2 * len(steps))) if steps else 0.0
