"""`History`: one row of figures an epoch, and how the run ended."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from typing_extensions import Self

from cnnkit._files import atomic_path
from cnnkit.errors import ArgumentError, SavedFileError
from cnnkit.types import PathLike

__all__ = ["History", "Row", "StopReason"]

Row: TypeAlias = "dict[str, float]"
StopReason = Literal[
    "running", "finished", "early", "nan", "interrupted", "terminated", "not_saved"
]
_FORMAT = 1


class History:
    """What `fit` returns.

    Attributes:
        rows: One dict an epoch: `epoch` (1, 2, …), `train_loss`, `train_acc`, with a validation
            set `val_loss` and `val_acc`, `lr` (that the epoch began with), `seconds`, and what a
            model's own hooks returned. Losses and accuracies are means over the epoch's samples;
            training figures are taken while the weights change and with dropout and augmentation
            at work.
        monitor: The figure that decides which epoch is best, or None.
        mode: Whether the best is its "min" or its "max".
        stop_reason: "finished"; "early" where a callback stopped the run; "nan" where the loss was
            no number any more; "interrupted" by Ctrl-C; "terminated" by SIGTERM; "not_saved" where
            a checkpoint could not be written and the run was to stop then.
        restored: The epoch whose weights are in the model, where they are not the last.

    Example:
        >>> history = History(monitor="val_loss")
        >>> history.rows += [{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.7}]
        >>> history.best
        {'epoch': 1, 'val_loss': 0.5}
    """

    def __init__(
        self, *, monitor: str | None = None, mode: Literal["min", "max"] | None = None
    ) -> None:
        self.rows: list[Row] = []
        self.monitor = monitor
        self.mode: Literal["min", "max"] = mode or default_mode(monitor)
        self.stop_reason: StopReason = "running"
        self.restored: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def best(self) -> Row | None:
        """The row with the best monitored figure, the first of equal ones; None without any.

        An epoch with a figure that is no number is never the best: outputs that are nan have an
        accuracy all the same.
        """
        if self.monitor is None:
            return None
        sign = 1 if self.mode == "min" else -1
        rated = [row for row in self.rows if self.monitor in row and is_sound(row, self.monitor)]
        return min(rated, key=lambda row: sign * row[self.monitor or ""], default=None)

    def column(self, name: str) -> list[float]:
        """One figure over the epochs; nan where a row does not have it."""
        return [row.get(name, math.nan) for row in self.rows]

    def to_csv(self, path: PathLike | None = None) -> str:
        """The rows as a table with a header, also written to `path` where one is given."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return _written(text.getvalue(), path)

    def to_json(self, path: PathLike | None = None) -> str:
        """Rows and stop reason as JSON, also written to `path` where one is given."""
        return _written(json.dumps(self.to_dict(), indent=2), path)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like; figures that are no numbers are written as strings ("nan", "inf")."""
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        return {
            "format": _FORMAT,
            "monitor": self.monitor,
            "mode": self.mode,
            "stop_reason": self.stop_reason,
            "restored": self.restored,
            "rows": rows,
        }

    @classmethod
    def from_json(cls, path: PathLike) -> Self:
        """Read a file that `to_json` wrote.

        Raises:
            SavedFileError: It is none, or of a newer format.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except SavedFileError as error:
            raise SavedFileError(f"{path}: {error}") from error
        except ValueError as error:
            raise SavedFileError(f"{path} holds no history: {error!r}") from error

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            SavedFileError: It is no history, or of a newer format.
        """
        try:
            if saved["format"] > _FORMAT:
                raise SavedFileError(
                    f"the history has format {saved['format']}, this cnnkit reads up to {_FORMAT}"
                )
            history = cls(monitor=saved["monitor"], mode=saved["mode"])
            if history.mode not in ("min", "max"):
                raise ValueError(f"mode {history.mode!r}")
            history.rows = [_read_row(row) for row in saved["rows"]]
            history.stop_reason, history.restored = saved["stop_reason"], saved["restored"]
        except SavedFileError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SavedFileError(f"this is no history: {error!r}") from error
        return history

    def __str__(self) -> str:
        lines = [epoch_line(row) for row in self.rows]
        best = self.best
        if best is not None:
            lines.append(
                f"best epoch {best['epoch']:.0f} by {self.monitor} {best[self.monitor or '']:.4f}"
            )
        return "\n".join([*lines, f"stopped: {self.stop_reason}"])

    def __repr__(self) -> str:
        return f"History({len(self.rows)} epochs, stop_reason={self.stop_reason!r})"


def is_sound(row: Row, *others: str) -> bool:
    """Whether the losses are numbers, neither nan nor infinite, and so are `others`.

    A figure of the user's own may be nan in a sound epoch: the F1 of a class that nothing was
    taken for.
    """
    watched = ("train_loss", "val_loss", *others)
    return all(math.isfinite(row[name]) for name in watched if name in row)


def as_numbers(row: Row) -> Row:
    """The figures as Python's own numbers, where a callback added a tensor or one of numpy's.

    Raises:
        ArgumentError: One is no number.
    """
    try:
        return {n: v if type(v) in (int, float) else float(v) for n, v in row.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"the figures of an epoch must be numbers, received {row}") from error


def default_mode(monitor: str | None) -> Literal["min", "max"]:
    """Losses and errors are best when small, everything else (accuracies) when large."""
    return "min" if monitor is None or "loss" in monitor or "error" in monitor else "max"


def epoch_line(row: Row, epochs: int | None = None) -> str:
    """One row as one readable line."""
    number = f"{row['epoch']:.0f}" if epochs is None else f"{row['epoch']:.0f}/{epochs}"
    figures = [f"{name} {_figure(name, v)}" for name, v in row.items() if name != "epoch"]
    return "  ".join([f"epoch {number}", *figures])


def _figure(name: str, value: float) -> str:
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:g}" if name == "lr" else f"{value:.4f}"


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(float(value))


def _read_row(row: dict[str, Any]) -> Row:
    return {n: v if isinstance(v, (int, float)) else float(v) for n, v in row.items()}


def _written(text: str, path: PathLike | None) -> str:
    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text
