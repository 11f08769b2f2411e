"""Griffe extension: what the sources write for readers of code becomes what the site can show.

``Example:`` is Google's heading for a doctest, griffe knows only ``Examples:``. A line that ends
in ``::`` announces an indented block to be shown as it stands. A comment that begins with ``#:``
describes the alias below it.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Gives each object the docstring that the site shows."""

    def on_instance(self, *, obj: griffe.Object, **_kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute, or find it."""
        if obj.docstring is None and obj.is_attribute and (text := _comment_above(obj)):
            obj.docstring = griffe.Docstring(text, parent=obj)
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            text = re.sub(r"^::\n", "", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)


def _comment_above(obj: griffe.Object) -> str:
    found: list[str] = []
    lines = obj.lines_collection[obj.filepath]  # type: ignore[index]  # one file, no namespace
    line = (obj.lineno or 1) - 2  # the one above, counted from 0
    while line >= 0 and lines[line].startswith("#:"):
        found.insert(0, lines[line].removeprefix("#:").strip())
        line -= 1
    return " ".join(found)
