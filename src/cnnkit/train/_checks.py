"""What is asked of numbers and choices before a run begins."""

from __future__ import annotations

from cnnkit.errors import ArgumentError

__all__ = ["check_choice", "check_numbers"]


def check_numbers(
    epochs: int, accumulate: int, checkpoint_every: int | None, clip_norm: float | None
) -> None:
    """Refuse counts and norms that make no sense.

    Raises:
        ArgumentError: The message says which, and what was received.
    """
    counts = {"epochs": epochs, "accumulate": accumulate, "checkpoint_every": checkpoint_every}
    for name, number in counts.items():
        if number is None and name == "checkpoint_every":
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ArgumentError(f"{name} must be a positive int, received {number!r}")
    if clip_norm is not None and not clip_norm > 0:
        raise ArgumentError(f"clip_norm must be positive, received {clip_norm}")


def check_choice(name: str, choice: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ArgumentError: The message lists them.
    """
    if choice not in choices:
        raise ArgumentError(f"{name} must be one of {choices}, received {choice!r}")
