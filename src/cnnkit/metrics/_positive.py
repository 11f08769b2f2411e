"""The positive class of two, by name."""

from __future__ import annotations

from collections.abc import Sequence

from cnnkit.errors import ArgumentError

__all__ = ["checked_threshold", "positive_class"]


def positive_class(classes: Sequence[str], positive: str | None) -> str | None:
    """The name of the positive class: the one asked for, else class 1 of two, else None.

    Raises:
        ArgumentError: There are not two classes, or none has this name.
    """
    if positive is None:
        return classes[1] if len(classes) == 2 else None
    if len(classes) != 2:
        raise ArgumentError(
            f"one of two classes is the positive one, received positive={positive!r} for "
            f"{len(classes)} classes"
        )
    if positive not in classes:
        raise ArgumentError(f"positive must be one of {tuple(classes)}, received {positive!r}")
    return positive


def checked_threshold(threshold: float | None, classes: Sequence[str]) -> float | None:
    """The threshold as a float, where there is one.

    Raises:
        ArgumentError: It is no probability, or there are not two classes.
    """
    if threshold is None:
        return None
    if not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must be a probability, 0 to 1, received {threshold}")
    if len(classes) != 2:
        raise ArgumentError(f"a threshold is for two classes, received {len(classes)}")
    return float(threshold)
