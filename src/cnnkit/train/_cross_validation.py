"""`CrossValidation`: what the folds came to, and the model of all data that follows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import nn

from cnnkit.errors import ArgumentError, ModelError, TrainingError
from cnnkit.metrics import Report
from cnnkit.train._fold import Fold, MeanSd
from cnnkit.train._fold_files import FoldFiles
from cnnkit.train._history import History, StopReason
from cnnkit.train._out_of_fold import merged
from cnnkit.train._plan import Plan
from cnnkit.train._refit import Refitted, refit

__all__ = ["CrossValidation", "aligned"]


class CrossValidation:
    """What `cross_validate` returns.

    Where `restore_best` is on, the best epoch of a fold is chosen by the same samples that its
    figures are of, so they are a little better than those of new images. A test set that was put
    aside before says how much.

    Attributes:
        name: Among several settings; else "".
        folds: The finished ones, in order.
        k: How many there are to be.
        monitor: The figure that decided which epoch was best.
        stop_reason: "finished"; "interrupted" by Ctrl-C, "terminated" by SIGTERM, or "not_saved":
            then the same call with the same `out_dir` goes on.
    """

    def __init__(
        self, plan: Plan, folds: Sequence[Fold], stop_reason: StopReason, files: FoldFiles | None
    ) -> None:
        self.name = plan.name
        self.folds = tuple(folds)
        self.k = len(plan.splits)
        self.monitor = plan.monitor
        self.stop_reason: StopReason = stop_reason
        self._plan, self._files = plan, files

    @property
    def complete(self) -> bool:
        """Whether all folds are finished."""
        return len(self.folds) == self.k

    @property
    def histories(self) -> list[History]:
        """One a fold."""
        return [fold.history for fold in self.folds]

    @property
    def scores(self) -> list[float]:
        """The monitored figure of each fold's final weights: its best epoch's, or its last's."""
        return [fold.score for fold in self.folds]

    @property
    def score(self) -> MeanSd:
        """Of `scores`."""
        return MeanSd.of(self.scores)

    @property
    def best_score(self) -> MeanSd:
        """The monitored figure of each fold's best epoch."""
        return MeanSd.of([fold.best_score for fold in self.folds])

    @property
    def last_score(self) -> MeanSd:
        """The monitored figure of each fold's last epoch."""
        return MeanSd.of([fold.last_score for fold in self.folds])

    @property
    def accuracy(self) -> MeanSd:
        """Of the folds' reports."""
        return MeanSd.of([fold.report.accuracy for fold in self.folds])

    @property
    def seconds(self) -> float:
        """Spent on the epochs of all folds."""
        return sum(fold.seconds for fold in self.folds)

    @cached_property
    def report(self) -> Report:
        """Every sample once, predicted by the model that did not see it; of the finished folds.

        Its mistakes are indices into the data set that was given.
        """
        return merged(
            [fold.report for fold in self.folds],
            [fold.loss_weight for fold in self.folds],
            self._plan.whole.classes,
        )

    def model(self, number: int) -> nn.Module:
        """The model of a fold with the weights that it ended with, in eval mode on the CPU.

        Args:
            number: Of a finished fold, from 1. Its images are normalised by `Fold.preprocess`.

        Raises:
            ArgumentError: There is no such fold, or no `out_dir` that the weights are in.
            ModelError: `build_model` makes another model now.

        Example:
            >>> import tempfile
            >>> import torch
            >>> from cnnkit import data, models
            >>> from cnnkit.train import cross_validate
            >>> images = torch.tensor([[[60]], [[200]]], dtype=torch.uint8).repeat(10, 8, 8)
            >>> ds = data.ArrayDataset(images, [0, 1] * 10)
            >>> result = cross_validate(
            ...     lambda: models.MLP(2, image_size=8), ds, k=2, batch_size=4, epochs=1, lr=0.1,
            ...     out_dir=tempfile.mkdtemp(), device="cpu", progress=False,
            ... )
            >>> type(result.model(1)).__name__
            'MLP'
        """
        if number not in [fold.number for fold in self.folds]:
            raise ArgumentError(f"expected a fold from 1 to {len(self.folds)}, received {number!r}")
        if self._files is None:
            raise ArgumentError("the weights of the folds are kept where an out_dir is given")
        model = self._plan.model(number)
        try:
            model.load_state_dict(self._files.weights(number))
        except RuntimeError as error:
            raise ModelError(
                f"build_model makes another model than fold {number} was: {error}"
            ) from error
        return model.eval()

    def refit(self, *, epochs: int | None = None) -> Refitted:
        """Train a new model on all the data, with the settings of the folds.

        Nothing is monitored and no callback is called: there is no validation part. A schedule by
        name spans the epochs of this run. With an `out_dir` it is resumed as the folds are.

        Args:
            epochs: By default as many as the folds' best epochs are on average, or all where the
                folds kept their last one (`restore_best=False`).

        Returns:
            `Refitted` with `model`, `history` and `loader`. The report to ship with it is that of
            the folds, ``Classifier.from_loader(refitted.model, refitted.loader,
            report=result.report)``: no other figure is of images that were not trained on.

        Raises:
            TrainingError: Not all folds are finished, or none had a best epoch, and `epochs` is
                not given.

        Example:
            >>> import torch
            >>> from cnnkit import data, models
            >>> from cnnkit.train import cross_validate
            >>> images = torch.tensor([[[60]], [[200]]], dtype=torch.uint8).repeat(10, 8, 8)
            >>> ds = data.ArrayDataset(images, [0, 1] * 10)
            >>> result = cross_validate(
            ...     lambda: models.MLP(2, image_size=8), ds, k=2, batch_size=4, epochs=1, lr=0.1,
            ...     device="cpu", progress=False,
            ... )
            >>> len(result.refit(epochs=3).history)
            3
        """
        if epochs is None:
            epochs = self._epochs()
        return refit(self._plan, epochs, self._files)

    def _epochs(self) -> int:
        if not self.complete:
            raise TrainingError(
                f"{len(self.folds)} of {self.k} folds are finished: call cross_validate again to "
                "go on, or say how many epochs="
            )
        if not self._plan.arguments["restore_best"]:
            return self._plan.epochs
        best = [history.best for history in self.histories]
        numbers = [row["epoch"] for row in best if row is not None]
        if not numbers:
            raise TrainingError("no fold has a best epoch: say how many epochs=")
        return max(1, round(sum(numbers) / len(numbers)))

    def __str__(self) -> str:
        monitor, report = self.monitor, self.report
        header = ["fold", "epochs", "best epoch", monitor, f"last {monitor}", "accuracy", "seconds"]
        rows = [_cells(fold) for fold in self.folds]
        means = [str(self.score), str(self.last_score), self.accuracy.percent()]
        table = [header, *rows, ["mean ± sd", "", "", *means, f"{self.seconds:.1f}"]]
        low, high = report.accuracy_interval
        lines = [
            *aligned(table),
            f"out of fold: accuracy {report.accuracy:.1%} ({report.correct} of {report.samples}), "
            f"95% interval {low:.1%} to {high:.1%}, loss {report.loss:.4f}",
        ]
        if self._plan.arguments["restore_best"]:
            lines.append(
                "the best epochs were chosen on these samples: new images may do a little worse"
            )
        if not self.complete:
            lines.append(f"{len(self.folds)} of {self.k} folds are finished ({self.stop_reason})")
        return "\n".join([f"{self.name}"] * bool(self.name) + lines)

    def __repr__(self) -> str:
        named = f"{self.name!r}, " if self.name else ""
        return (
            f"CrossValidation({named}{len(self.folds)} of {self.k} folds, "
            f"{self.monitor}={self.score}, accuracy={self.accuracy.percent()})"
        )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(fold: Fold) -> list[str]:
    best, rows = fold.history.best, fold.history.rows
    return [
        str(fold.number),
        str(sum(row["epoch"] > 0 for row in rows)),
        "none" if best is None else f"{best['epoch']:.0f}",
        f"{fold.score:.4f}",
        f"{fold.last_score:.4f}",
        f"{fold.report.accuracy:.1%}",
        f"{fold.seconds:.1f}",
    ]
