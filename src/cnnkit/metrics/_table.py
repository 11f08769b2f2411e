"""A report as a table: in a terminal and in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnkit.metrics._report import Report

__all__ = ["html_table", "percent", "text_table"]

_HEADINGS = ("precision", "recall", "f1", "support")
_ALL_CLASSES = 100  # a table of more shows the worst only
_WORST = 20
_CONFUSED = 3


def text_table(report: Report) -> str:
    """A row a class, the means, and what is said in words."""
    rows, left_out = _rows(report)
    width = max(13, *(len(name) for name, *_ in rows))
    lines = [f"{'':{width}} {'precision':>10} {'recall':>9} {'f1':>9} {'support':>9}"]
    for name, *cells in rows:
        lines.append(f"{name:{width}} {cells[0]:>10} {cells[1]:>9} {cells[2]:>9} {cells[3]:>9}")
    if left_out:
        lines.insert(-2, f"… {left_out:,} more classes, none of them with a lower f1")
    return "\n".join([*lines, *_sentences(report)])


def html_table(report: Report) -> str:
    """The same for a notebook."""
    rows, left_out = _rows(report)
    head = "".join(f"<th>{heading}</th>" for heading in ("", *_HEADINGS))
    body = [
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        + "".join(f'<td style="text-align: right">{cell}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in rows
    ]
    if left_out:
        more = f"… {left_out:,} more classes, none of them with a lower f1"
        body.insert(-2, f'<tr><td colspan="5" style="text-align: left">{more}</td></tr>')
    words = "<br>".join(escape(sentence) for sentence in _sentences(report))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table><p>{words}</p>"
    )


def percent(value: float) -> str:
    """A share as it is shown.

    Example:
        >>> percent(0.9996), percent(1.0), percent(float("nan"))
        ('99.96%', '100.0%', 'undefined')
    """
    if math.isnan(value):
        return "undefined"
    shown = f"{100 * value:.1f}%"
    # What is not all or nothing does not look so.
    return f"{100 * value:.2f}%" if shown in ("100.0%", "0.0%") and 0 < value < 1 else shown


def _rows(report: Report) -> tuple[list[tuple[str, ...]], int]:
    """The rows of classes that are shown, those of the means, and how many classes are not."""
    figures = report.per_class
    columns = [figures.precision.tolist(), figures.recall.tolist(), figures.f1.tolist()]
    support = figures.support.tolist()
    shown = list(range(len(report.classes)))
    if len(shown) > _ALL_CLASSES:
        by_f1 = sorted(shown, key=lambda label: (math.isnan(columns[2][label]), columns[2][label]))
        shown = by_f1[:_WORST]
    rows = [
        (report.classes[label], *(percent(c[label]) for c in columns), str(support[label]))
        for label in shown
    ]
    for name, means in (("macro mean", report.macro), ("weighted mean", report.weighted)):
        rows.append((name, *map(percent, means.values()), str(report.samples)))
    return rows, len(report.classes) - len(shown)


def _sentences(report: Report) -> Iterable[str]:
    yield (
        f"accuracy {percent(report.accuracy)} ({report.correct} of {report.samples}), "
        f"loss {report.loss:.4f}"
    )
    if report.samples:
        low, high = report.accuracy_interval
        top = f", top-5 {percent(report.top_k(5))}" if _has_top_5(report) else ""
        yield (
            f"95% interval of the accuracy {percent(low)} to {percent(high)}, "
            f"balanced accuracy {percent(report.balanced_accuracy)}{top}"
        )
    if report.positive is not None:
        yield _about_positive(report)
    if report.most_confused:
        pairs = report.most_confused[:_CONFUSED]
        told = ", ".join(f"{pair.true} as {pair.predicted} ({pair.count})" for pair in pairs)
        yield f"most confused: {told}"
    if report.mistakes:
        wrong, sure = report.samples - report.correct, len(report.suspect_labels)
        yield f"{wrong:,} mistakes, as confident as usual in {sure:,} of them (suspect_labels)"


def _has_top_5(report: Report) -> bool:
    return report.details is not None and len(report.classes) > 5


def _about_positive(report: Report) -> str:
    figures = report.binary
    told = f"positive class {report.positive}"
    if report.threshold is not None:
        told += f" from a probability of {report.threshold:.4g} on"
    if report.details is not None:
        areas = figures.roc_area, figures.average_precision
        roc, precision = ("undefined" if math.isnan(area) else f"{area:.4f}" for area in areas)
        told += f": area under ROC {roc}, average precision {precision}"
    return told
