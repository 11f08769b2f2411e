"""`Report`: what a classifier does on a data set, as figures and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cnnkit._files import atomic_path
from cnnkit.errors import DataError, SavedFileError
from cnnkit.metrics._functional import ClassFigures, precision_recall_f1
from cnnkit.types import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Report"]

_FORMAT = 1


class Report:
    """Figures of one evaluation; everything is derived from the matrix of counts and the loss.

    Args:
        confusion_matrix: Counts, int (C, C), a row a true class.
        classes: Class names.
        loss: Mean loss over the samples.

    Raises:
        DataError: The matrix is not (C, C) for these classes.

    Example:
        >>> report = Report([[8, 2], [1, 9]], ["cat", "dog"], loss=0.4)
        >>> report.accuracy
        0.85
        >>> print(report)
                       precision    recall        f1   support
        cat                88.9%     80.0%     84.2%        10
        dog                81.8%     90.0%     85.7%        10
        macro mean         85.4%     85.0%     85.0%        20
        weighted mean      85.4%     85.0%     85.0%        20
        accuracy 85.0% (17 of 20), loss 0.4000
    """

    def __init__(
        self,
        confusion_matrix: Tensor | Sequence[Sequence[int]],
        classes: Sequence[str],
        loss: float = math.nan,
    ) -> None:
        # A copy: the figures are derived from it, and some of them only once.
        self.confusion_matrix = torch.as_tensor(confusion_matrix, dtype=torch.int64).cpu().clone()
        self.classes = tuple(str(name) for name in classes)
        self.loss = float(loss)
        expected = (len(self.classes), len(self.classes))
        if tuple(self.confusion_matrix.shape) != expected:
            raise DataError(
                f"expected a matrix of counts of shape {expected} for the classes {self.classes}, "
                f"received {tuple(self.confusion_matrix.shape)}"
            )

    @property
    def samples(self) -> int:
        """How many samples were evaluated."""
        return int(self.confusion_matrix.sum())

    @property
    def correct(self) -> int:
        """How many of them were predicted rightly."""
        return int(self.confusion_matrix.diagonal().sum())

    @property
    def accuracy(self) -> float:
        """`correct` / `samples`; nan without samples."""
        return self.correct / self.samples if self.samples else math.nan

    @cached_property
    def per_class(self) -> ClassFigures:
        """Precision, recall, F1 and support of each class; nan where undefined."""
        return precision_recall_f1(self.confusion_matrix)

    @property
    def precision(self) -> Tensor:
        """Of what was predicted as the class, the share that is it; float64 (C,)."""
        return self.per_class.precision

    @property
    def recall(self) -> Tensor:
        """Of the samples of the class, the share that was found; float64 (C,)."""
        return self.per_class.recall

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of precision and recall; float64 (C,)."""
        return self.per_class.f1

    @property
    def support(self) -> Tensor:
        """Samples of each class; int64 (C,)."""
        return self.per_class.support

    @property
    def macro(self) -> dict[str, float]:
        """Plain means over the classes; a class for which a figure is undefined is left out."""
        return self._means(torch.ones(len(self.classes), dtype=torch.float64))

    @property
    def weighted(self) -> dict[str, float]:
        """Means over the classes weighted by support, undefined figures left out."""
        return self._means(self.support.double())

    def to_dict(self) -> dict[str, Any]:
        """JSON-like; undefined figures are None. Only matrix, classes and loss are read back."""
        rows = {
            name: {key: _or_none(values[i].item()) for key, values in self._columns().items()}
            for i, name in enumerate(self.classes)
        }
        return {
            "format": _FORMAT,
            "classes": list(self.classes),
            "loss": _or_none(self.loss),
            "accuracy": _or_none(self.accuracy),
            "samples": self.samples,
            "per_class": rows,
            "macro": {key: _or_none(value) for key, value in self.macro.items()},
            "weighted": {key: _or_none(value) for key, value in self.weighted.items()},
            "confusion_matrix": self.confusion_matrix.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        try:
            if values["format"] > _FORMAT:
                raise SavedFileError(
                    f"this report has format {values['format']}, this cnnkit reads up to {_FORMAT}"
                )
            loss = math.nan if values["loss"] is None else float(values["loss"])
            return cls(values["confusion_matrix"], values["classes"], loss)
        except SavedFileError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SavedFileError(f"these are not the figures of a Report: {error!r}") from error

    def to_json(self, path: PathLike | None = None) -> str:
        """The figures as JSON text, also written to `path` where one is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, path: PathLike) -> Self:
        """Read a file that `to_json` wrote."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise SavedFileError(f"{path} holds no JSON: {error}") from error

    def _columns(self) -> dict[str, Tensor]:
        return self.per_class._asdict()

    def _means(self, weights: Tensor) -> dict[str, float]:
        means = {}
        for key, values in self._columns().items():
            if key != "support":
                there = ~values.isnan()
                total = weights[there].sum()
                means[key] = float((values[there] * weights[there]).sum() / total)
        return means

    def __str__(self) -> str:
        columns = self._columns()
        rows = [
            (name, *(columns[key][i].item() for key in columns))
            for i, name in enumerate(self.classes)
        ]
        rows.append(("macro mean", *self.macro.values(), self.samples))
        rows.append(("weighted mean", *self.weighted.values(), self.samples))
        width = max(len(str(row[0])) for row in rows)
        lines = [f"{'':{width}} {'precision':>10} {'recall':>9} {'f1':>9} {'support':>9}"]
        for name, *figures, support in rows:
            shown = [_percent(float(figure)) for figure in figures]
            lines.append(f"{name:{width}} {shown[0]:>10} {shown[1]:>9} {shown[2]:>9} {support:>9}")
        lines.append(
            f"accuracy {_percent(self.accuracy)} ({self.correct} of {self.samples}), "
            f"loss {self.loss:.4f}"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Report(accuracy={self.accuracy:.4f}, loss={self.loss:.4f}, samples={self.samples}, "
            f"classes={len(self.classes)})"
        )


def _percent(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:.1f}%"


def _or_none(value: float) -> float | str | None:
    """JSON has no nan and no infinity: None and "inf" stand for them."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
