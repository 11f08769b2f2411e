"""How far a share that was measured on a sample may be from the true one."""

from __future__ import annotations

import math
from statistics import NormalDist

from cnnkit.errors import ArgumentError

__all__ = ["wilson_interval"]


def wilson_interval(correct: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, such as accuracy.

    It holds for few samples and for shares near 0 and 1 too, and never leaves [0, 1].

    Args:
        correct: How many were right, 0 to `total`.
        total: Of how many.
        confidence: How often such an interval holds the true share, between 0 and 1.

    Returns:
        (low, high); both nan where `total` is 0.

    Raises:
        ArgumentError: A number is out of range.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927).

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)
    """
    if not 0 <= correct <= total:
        raise ArgumentError(f"correct must be between 0 and total={total}, received {correct}")
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence must be between 0 and 1, received {confidence}")
    if total == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = correct / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    # Rounding must not move an end that is exactly 0 or 1.
    low = 0.0 if correct == 0 else middle - half
    return low, 1.0 if correct == total else middle + half
