"""Who draws the pictures that a lower layer leaves beside its files.

Plots are above the trainer, which may not import them. The top layer says here how they are made;
nothing is drawn, and matplotlib is not imported, before somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["drawers"]

#: What is drawn -> a function of its subject that returns a Figure.
drawers: dict[str, Callable[[Any], Any]] = {}
