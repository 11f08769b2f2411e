"""`Prediction`: what a classifier says about one image."""

from __future__ import annotations

from dataclasses import dataclass

from cnnkit.errors import ArgumentError

__all__ = ["UNKNOWN", "Prediction", "as_prediction", "checked_unknown_below"]

UNKNOWN = "none of these"  # how an answer without a class is shown


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about one image.

    Attributes:
        label: Name of the class; None where no class is as probable as `unknown_below` asks.
        probability: Of that class, between 0 and 1; without a label, of the most probable one.
        probabilities: Of every class, by name.

    Example:
        >>> print(Prediction("dog", 0.9, {"cat": 0.1, "dog": 0.9}))
        dog (90.0%)
        >>> print(Prediction(None, 0.6, {"cat": 0.4, "dog": 0.6}))
        none of these (dog 60.0%)
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        percent = f"{100 * self.probability:.1f}%"
        if self.label is not None:
            return f"{self.label} ({percent})"
        likeliest = max(self.probabilities, key=lambda name: self.probabilities[name])
        return f"{UNKNOWN} ({likeliest} {percent})"


def as_prediction(
    classes: tuple[str, ...], chosen: int, row: list[float], unknown_below: float | None
) -> Prediction:
    """Name the chosen class, unless no class is probable enough."""
    values = dict(zip(classes, row, strict=True))
    largest = max(row)
    # Not of the chosen class: a threshold may choose one of two that is the less probable.
    if unknown_below is not None and largest < unknown_below:
        return Prediction(None, largest, values)
    return Prediction(classes[chosen], row[chosen], values)


def checked_unknown_below(value: float | None) -> float | None:
    """The probability as a float, where there is one.

    Raises:
        ArgumentError: It is no probability.
    """
    if value is None:
        return None
    if not 0 <= value <= 1:
        raise ArgumentError(f"unknown_below must be a probability, 0 to 1, received {value}")
    return float(value)
