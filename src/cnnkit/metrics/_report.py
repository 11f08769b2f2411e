"""`Report`: what a classifier does on a data set, as figures and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from cnnkit._files import atomic_path
from cnnkit.errors import ArgumentError, DataError, SavedFileError
from cnnkit.metrics._curves import PRCurve, ROCCurve, precision_recall_curve, roc_curve
from cnnkit.metrics._details import Details, IndicesInto, Scores
from cnnkit.metrics._functional import ClassFigures, balanced_accuracy, precision_recall_f1
from cnnkit.metrics._interval import wilson_interval
from cnnkit.metrics._mistakes import Confusion, Mistake
from cnnkit.metrics._positive import checked_threshold, positive_class
from cnnkit.metrics._saved_report import reading_report, report_from_dict, report_to_dict
from cnnkit.metrics._table import html_table, text_table
from cnnkit.metrics._threshold import Objective, ThresholdChoice, choose_threshold
from cnnkit.types import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BinaryFigures", "Report"]


class BinaryFigures(NamedTuple):
    """Figures of the positive class of two; nan where undefined or not known.

    Attributes:
        precision: Of what was taken for positive, the share that is.
        recall: Of the positives, the share that was found (sensitivity).
        f1: Harmonic mean of the two.
        specificity: Of the negatives, the share that was left alone.
        roc_area: Area under the ROC curve, whatever the threshold.
        average_precision: Area under the precision-recall curve, likewise.
    """

    precision: float
    recall: float
    f1: float
    specificity: float
    roc_area: float
    average_precision: float


class Report:
    """Figures of one evaluation; everything follows from the matrix of counts, loss and details.

    `cnnkit.train.evaluate` makes it. One made of a matrix alone has all figures that follow from
    counts; it knows no mistakes, and no curves.

    Args:
        confusion_matrix: Counts, int (C, C), a row a true class.
        classes: Class names.
        loss: Mean loss over the samples.
        positive: Of two classes, the name of the positive one; by default class 1.
        threshold: Of two classes, the probability of the positive one from which on it was
            predicted; None where the larger probability decided.
        details: What is known of single samples, where anything is.

    Attributes:
        confusion_matrix: int64 (C, C), a row a true class, a column a predicted one.
        classes: Class names, in the order of their labels.
        loss: Mean loss over the samples.
        positive: Name of the positive class; None where there are more than two.
        threshold: As given.
        details: As given.

    Raises:
        DataError: The matrix is not (C, C) for these classes, a count is negative, or the details
            are of others.
        ArgumentError: `positive` is none of two classes, or `threshold` no probability.

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
        95% interval of the accuracy 64.0% to 94.8%, balanced accuracy 85.0%
        positive class dog
        most confused: cat as dog (2), dog as cat (1)
    """

    def __init__(
        self,
        confusion_matrix: Tensor | Sequence[Sequence[int]],
        classes: Sequence[str],
        loss: float = math.nan,
        *,
        positive: str | None = None,
        threshold: float | None = None,
        details: Details | None = None,
    ) -> None:
        # A copy: the figures are derived from it, and some of them only once.
        self.confusion_matrix = torch.as_tensor(confusion_matrix, dtype=torch.int64).cpu().clone()
        self.classes = tuple(str(name) for name in classes)
        self.loss = float(loss)
        expected = (len(self.classes), len(self.classes))
        if tuple(self.confusion_matrix.shape) != expected:
            raise DataError(
                f"expected a matrix of counts of shape {expected} for the classes {self.classes}, "
                f"received {tuple(self.confusion_matrix.shape)}: name each class once, in the "
                "order of the labels"
            )
        if bool((self.confusion_matrix < 0).any()):
            raise DataError(f"counts are 0 or more, received {int(self.confusion_matrix.min())}")
        if details is not None:
            details.check(len(self.classes))
        self.positive = positive_class(self.classes, positive)
        self.threshold = checked_threshold(threshold, self.classes)
        self.details = details

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

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """(low, high): in 95 of 100 such evaluations the true accuracy lies between; Wilson's."""
        return wilson_interval(self.correct, self.samples)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have samples; nan without samples."""
        return balanced_accuracy(self.confusion_matrix)

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
        """Means over the classes weighted by support, undefined figures left out.

        Where all classes that have the figure are without samples it is their plain mean, as in
        scikit-learn.
        """
        return self._means(self.support.double())

    @property
    def binary(self) -> BinaryFigures:
        """Figures of the positive class.

        Raises:
            ArgumentError: There are more than two classes.
        """
        label = self._positive_label("figures of a positive class are")
        areas = self.details.areas if self.details is not None else None
        roc_area, average_precision = areas or (math.nan, math.nan)
        return BinaryFigures(
            precision=float(self.precision[label]),
            recall=float(self.recall[label]),
            f1=float(self.f1[label]),
            specificity=float(self.recall[1 - label]),
            roc_area=roc_area,
            average_precision=average_precision,
        )

    def top_k(self, k: int) -> float:
        """Share of the samples whose label is among the k largest logits; nan without samples.

        Of equal logits the later class counts as the larger one, see `top_k_accuracy`.

        Raises:
            ArgumentError: k is not between 1 and C.
            DataError: The report was made without details.
        """
        if not 1 <= k <= len(self.classes):
            raise ArgumentError(f"k must be between 1 and {len(self.classes)}, received {k}")
        if self.details is None:
            raise DataError(_NO_DETAILS.format("ranks of the labels"))
        ranks = self.details.label_ranks
        return int(ranks[:k].sum()) / int(ranks.sum()) if int(ranks.sum()) else math.nan

    def accuracy_lines(self, part: str = "Test") -> str:
        """A line a class, as the Udacity course prints them; percents are rounded down, as there.

        Example:
            >>> print(Report([[534, 466], [0, 0]], ["cat", "dog"]).accuracy_lines())
            Test Accuracy of cat: 53% (534/1000)
            Test Accuracy of dog: N/A (no examples)
            <BLANKLINE>
            Test Accuracy (Overall): 53% (534/1000)
        """
        hits, totals = self.confusion_matrix.diagonal().tolist(), self.support.tolist()
        lines = [
            f"{part} Accuracy of {name}: {_rounded_down(hit, total)}"
            for name, hit, total in zip(self.classes, hits, totals, strict=True)
        ]
        overall = f"{part} Accuracy (Overall): {_rounded_down(self.correct, self.samples)}"
        return "\n".join([*lines, "", overall])

    @cached_property
    def most_confused(self) -> tuple[Confusion, ...]:
        """Which class was taken for which, how often; the most frequent first, at most a thousand.

        Equally frequent ones come in the order of the classes.
        """
        beside = self.confusion_matrix.clone().fill_diagonal_(0)
        cells = beside.nonzero()
        counts = beside[cells[:, 0], cells[:, 1]]
        order = counts.argsort(descending=True, stable=True)[:_MOST_PAIRS]
        pairs = zip(cells[order].tolist(), counts[order].tolist(), strict=True)
        return tuple(Confusion(self.classes[t], self.classes[p], count) for (t, p), count in pairs)

    @cached_property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The wrong predictions, the most confident first; see `mistakes_left_out`."""
        return () if self.details is None else self.details.mistakes.named(self.classes)

    @property
    def mistakes_left_out(self) -> int:
        """How many wrong predictions `mistakes` does not list: less confident, or not known."""
        return self.samples - self.correct - len(self.mistakes)

    @cached_property
    def suspect_labels(self) -> tuple[Mistake, ...]:
        """The mistakes whose label is probably wrong, most probably first.

        Those whose predicted class is at least as probable as it is, on average, for the samples
        that are labelled with that class; by the margin over the label's own class.

        Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating
        uncertainty in dataset labels", JAIR 70 (2021).
        """
        return () if self.details is None else self.details.suspects().named(self.classes)

    @property
    def indices_into(self) -> IndicesInto:
        """What `Mistake.index` counts: the "dataset" of the loader, or what the "loader" yielded.

        "loader" where the order is not known: iterable data sets, lists of batches, loaders of
        other libraries.
        """
        return "dataset" if self.details is None else self.details.indices_into

    def roc(self) -> ROCCurve:
        """The ROC curve of the positive class.

        Raises:
            ArgumentError: There are more than two classes.
            DataError: The report was made without scores.
        """
        return roc_curve(*self._scores().columns())

    def precision_recall(self) -> PRCurve:
        """The precision-recall curve of the positive class.

        Raises:
            ArgumentError: There are more than two classes.
            DataError: The report was made without scores.
        """
        return precision_recall_curve(*self._scores().columns())

    def choose_threshold(
        self,
        optimise: Objective = "f1",
        *,
        min_precision: float | None = None,
        min_recall: float | None = None,
    ) -> ThresholdChoice:
        """The best threshold for the positive class; of a validation set, not of the test set.

        For the arguments see `cnnkit.metrics.choose_threshold`.

        Raises:
            ArgumentError: There are more than two classes, or an argument makes no sense.
            DataError: The report was made without scores, or no threshold meets the conditions.
        """
        scores, labels = self._scores().columns()
        return choose_threshold(
            scores, labels, optimise, min_precision=min_precision, min_recall=min_recall
        )

    def to_dict(self, *, samples: bool = True) -> dict[str, Any]:
        """JSON-like; undefined figures are None. Only what the figures follow from is read back.

        Args:
            samples: With what grows with the number of samples: mistakes, which hold the paths of
                files, and scores. Without, the figures stay.
        """
        return report_to_dict(self, samples=samples)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            SavedFileError: These are no figures of a report, or of a newer format.
        """
        with reading_report():
            return cls(**report_from_dict(values))

    def to_json(self, path: PathLike | None = None, *, samples: bool = True) -> str:
        """The figures as JSON text, also written to `path` where one is given."""
        # A line a part: thousands of numbers below each other would be no easier to read.
        parts = self.to_dict(samples=samples).items()
        lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in parts]
        text = "{\n" + ",\n".join(lines) + "\n}"
        if path is not None:
            with atomic_path(path) as temporary:
                # The names of files need not be text: JSON has an escape for what is none.
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        return text

    @classmethod
    def from_json(cls, path: PathLike) -> Self:
        """Read a file that `to_json` wrote.

        Raises:
            SavedFileError: It is none, or of a newer format.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SavedFileError(f"{path} holds no JSON: {error}") from error

    def _positive_label(self, what: str) -> int:
        if self.positive is None:
            raise ArgumentError(f"{what} for two classes, this report has {len(self.classes)}")
        return self.classes.index(self.positive)

    def _scores(self) -> Scores:
        self._positive_label("curves and thresholds are")
        if self.details is None or self.details.scores is None:
            raise DataError(_NO_DETAILS.format("scores of the samples"))
        return self.details.scores

    def _means(self, weights: Tensor) -> dict[str, float]:
        means = {}
        for key, values in self.per_class._asdict().items():
            if key != "support":
                there = ~values.isnan()
                weight, value = weights[there], values[there]
                if not bool(weight.any()):
                    weight = torch.ones_like(weight)
                means[key] = float((value * weight).sum() / weight.sum())
        return means

    def __str__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_table(self)

    def __repr__(self) -> str:
        return (
            f"Report(accuracy={self.accuracy:.4f}, loss={self.loss:.4f}, samples={self.samples}, "
            f"classes={len(self.classes)})"
        )


_MOST_PAIRS = 1000  # a matrix of a thousand classes has a million
_NO_DETAILS = (
    "this report has no {}: it was made of a matrix of counts, or saved without them; "
    "train.evaluate(model, loader) gathers them"
)


def _rounded_down(correct: int, total: int) -> str:
    return f"{100 * correct // total}% ({correct}/{total})" if total else "N/A (no examples)"
