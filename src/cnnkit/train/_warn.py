"""Warnings that name the user's line, however deep inside cnnkit they arise."""

from __future__ import annotations

import sys
import warnings

from cnnkit.errors import CnnkitWarning

__all__ = ["warn"]


def warn(message: str) -> None:
    """Warn, at the first line outside cnnkit."""
    frame, levels = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("cnnkit."):
        frame, levels = frame.f_back, levels + 1
    warnings.warn(message, CnnkitWarning, stacklevel=levels)
