"""Class names at a size that there is room for: broken into lines, or shortened in the middle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

__all__ = ["fitted", "flowed", "room_for"]

_NARROWEST = 0.25  # of the font size; an accent that is set over a letter takes nothing itself


def room_for(size: float, *, bold: bool = False) -> Callable[[str], float]:
    """How many points a text of this size takes in the present font, as a function of it."""
    weight = "bold" if bold else "normal"
    return lambda text: size * sum(_advance(letter, weight) for letter in text)


def fitted(text: str, width: float, measure: Callable[[str], float], *, lines: int = 2) -> str:
    r"""The text in so many lines of this width; too long, it loses letters in its middle.

    Names of many classes differ in their ends ("terrier 1", "terrier 2"): both ends are kept.

    Args:
        text: Any; spaces, tabs and line breaks become single spaces.
        width: Of a line, in points.
        measure: The points that a text takes, of `room_for`.
        lines: How many there may be.

    Example:
        >>> fitted("golden retriever", 10, len)
        'golden\nretriever'
        >>> fitted("a long name of class 1", 10, len)
        'a long na…\nclass 1'
    """
    text = " ".join(text.split())
    keep = min(len(text), math.ceil(lines * width / measure("i")) + 1)
    while True:
        cut = text
        if keep < len(text):
            cut = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
        rows = _rows(cut, width, measure)
        if len(rows) <= lines or keep == 0:
            return "\n".join(rows)
        keep -= 1


def flowed(entries: Sequence[str], width: float, measure: Callable[[str], float]) -> str:
    r"""Entries one after the other, in lines of this width that break between entries.

    Example:
        >>> flowed(["1 cat", "2 dog", "3 cat"], 14, len)
        '1 cat   2 dog\n3 cat'
    """
    lines: list[str] = []
    for entry in entries:
        longer = f"{lines[-1]}   {entry}" if lines else entry
        if lines and measure(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(entry)
    return "\n".join(lines)


def _rows(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """The text broken where a line is full: behind a space or a hyphen, else anywhere."""
    rows = []
    while text:
        fits = len(text)
        while fits > 1 and measure(text[:fits].rstrip()) > width:
            fits -= 1
        if fits < len(text):
            fits = max((text.rfind(mark, 0, fits) + 1 for mark in " -_"), default=0) or fits
        rows.append(text[:fits].rstrip())
        text = text[fits:].lstrip()
    return rows


@lru_cache(maxsize=4096)
def _advance(letter: str, weight: str) -> float:
    """The width of a letter as a share of the font size."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(weight=weight)))
    if not font.get_char_index(ord(letter)):
        return 1.0  # the font lacks it and shows a box
    font.set_size(1000, 72)
    return max(_NARROWEST, font.load_char(ord(letter)).linearHoriAdvance / 65536 / 1000)
