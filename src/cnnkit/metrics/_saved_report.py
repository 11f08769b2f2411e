"""A report as JSON-like values, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cnnkit.errors import SavedFileError
from cnnkit.metrics._details import Details

if TYPE_CHECKING:
    from cnnkit.metrics._report import Report

__all__ = ["reading_report", "report_from_dict", "report_to_dict"]

_FORMAT = 2  # 1 had no details, no positive class and no threshold
_PAIRS = 20  # of classes that are confused, for readers of the file
_TOP = (1, 5)


def report_to_dict(report: Report, *, samples: bool) -> dict[str, Any]:
    """The figures, for readers, and what they follow from, to be read back."""
    columns = report.per_class._asdict()
    details = report.details
    if details is not None and not samples:
        details = details.without_samples()
    top = [k for k in _TOP if details is not None and k <= len(report.classes)]
    return {
        "format": _FORMAT,
        "classes": list(report.classes),
        "loss": _or_none(report.loss),
        "samples": report.samples,
        "accuracy": _or_none(report.accuracy),
        "accuracy_interval": [_or_none(end) for end in report.accuracy_interval],
        "balanced_accuracy": _or_none(report.balanced_accuracy),
        "top_k": {str(k): _or_none(report.top_k(k)) for k in top},
        "positive": report.positive,
        "threshold": report.threshold,
        "binary": None if report.positive is None else _plain(report.binary._asdict()),
        "per_class": {
            name: _plain({key: values[i].item() for key, values in columns.items()})
            for i, name in enumerate(report.classes)
        },
        "macro": _plain(report.macro),
        "weighted": _plain(report.weighted),
        "most_confused": [list(pair) for pair in report.most_confused[:_PAIRS]],
        "confusion_matrix": report.confusion_matrix.tolist(),
        "details": None if details is None else details.to_dict(),
    }


def report_from_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the `Report` that gave these values; to be used inside `reading_report`."""
    if values["format"] > _FORMAT:
        raise SavedFileError(
            f"this report has format {values['format']}, this cnnkit reads up to {_FORMAT}: "
            "install a newer one"
        )
    arguments = {
        "confusion_matrix": values["confusion_matrix"],
        "classes": values["classes"],
        "loss": math.nan if values["loss"] is None else float(values["loss"]),
    }
    if values["format"] > 1:
        details = values["details"]
        arguments["positive"] = values["positive"]
        arguments["threshold"] = values["threshold"]
        arguments["details"] = None if details is None else Details.from_dict(details)
    return arguments


@contextmanager
def reading_report() -> Iterator[None]:
    """Whatever goes wrong inside, the figures are of no report.

    Raises:
        SavedFileError: With what went wrong.
    """
    try:
        yield
    except SavedFileError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise SavedFileError(f"these are not the figures of a Report: {error!r}") from error


def _plain(figures: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _or_none(value) for name, value in figures.items()}


def _or_none(value: float) -> float | str | None:
    """JSON has no nan and no infinity: None and "inf" stand for them."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
