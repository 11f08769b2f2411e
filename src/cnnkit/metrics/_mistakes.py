"""Samples that were predicted wrongly: one as its reader sees it, and many as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from cnnkit.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Confusion", "Mistake", "MistakeTable", "numbers"]


@dataclass(frozen=True)
class Mistake:
    """A sample whose predicted class is not its label.

    Attributes:
        index: Where it stands in the data set of the loader, ``loader.dataset[index]``; or among
            what the loader yielded, where `Report.indices_into` says "loader".
        true: Class name of its label.
        predicted: Class name that was predicted.
        probability: Of the predicted class, between 0 and 1.
        true_probability: Of the label's class.
        probabilities: The most probable classes, by name, the largest first, at most five.
        path: Its file, where the data set knows one.
    """

    index: int
    true: str
    predicted: str
    probability: float
    true_probability: float
    probabilities: dict[str, float] = field(hash=False)  # a dict has none
    path: str | None = None

    def __str__(self) -> str:
        where = f"[{self.index}]" if self.path is None else self.path
        return (
            f"{where}: {self.predicted} ({100 * self.probability:.1f}%), "
            f"labelled {self.true} ({100 * self.true_probability:.1f}%)"
        )


class Confusion(NamedTuple):
    """How often one class was taken for another.

    Attributes:
        true: Class name of the labels.
        predicted: Class name that was predicted.
        count: How many samples.
    """

    true: str
    predicted: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks a triple for


@dataclass(frozen=True)
class MistakeTable:
    """Mistakes as columns, which thousands of them are small in: a hundred bytes each.

    Args:
        index: int64 (M,).
        true: Labels, int64 (M,).
        predicted: Likewise.
        probability: Of the predicted class, float32 (M,).
        true_probability: Of the label's class, float32 (M,).
        top_classes: The most probable classes, int64 (M, K).
        top_probabilities: Their probabilities, float32 (M, K).
        paths: Their files, M of them, or None where there are none.
    """

    index: Tensor
    true: Tensor
    predicted: Tensor
    probability: Tensor
    true_probability: Tensor
    top_classes: Tensor
    top_probabilities: Tensor
    paths: Sequence[str] | None = None

    def __post_init__(self) -> None:
        columns = [*self._columns().values(), *([] if self.paths is None else [self.paths])]
        lengths = [len(column) for column in columns]
        if len(set(lengths)) > 1:
            raise DataError(f"expected columns of one length, received {lengths}")

    @classmethod
    def empty(cls) -> Self:
        """No mistakes."""
        none, rows = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0, dtype=torch.int64)
        return cls(none, none, none, none.float(), none.float(), rows, rows.float())

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, rows: Tensor) -> Self:
        """These rows, in this order."""
        columns = {name: column[rows] for name, column in self._columns().items()}
        paths = None if self.paths is None else [self.paths[row] for row in rows.tolist()]
        return replace(self, **columns, paths=paths)

    def most_confident(self, most: int) -> Self:
        """At most so many, by falling probability; equal ones by their index."""
        by_index = self.index.argsort(stable=True)
        order = self.probability[by_index].argsort(descending=True, stable=True)
        return self.rows(by_index[order[:most]])

    def __add__(self, other: MistakeTable) -> MistakeTable:
        if not len(self) or not len(other):
            return self if len(self) else other
        theirs = other._columns()
        joined = {name: torch.cat([own, theirs[name]]) for name, own in self._columns().items()}
        known = self.paths is not None and other.paths is not None
        paths = [*self.paths, *other.paths] if known else None  # type: ignore[misc]
        return MistakeTable(**joined, paths=paths)

    def named(self, classes: Sequence[str]) -> tuple[Mistake, ...]:
        """As objects, with the names of the classes."""
        names = dict(enumerate(classes))
        values: dict[str, list[Any]] = {
            name: column.tolist() for name, column in self._columns().items()
        }
        return tuple(
            Mistake(
                index=values["index"][row],
                true=names[values["true"][row]],
                predicted=names[values["predicted"][row]],
                probability=values["probability"][row],
                true_probability=values["true_probability"][row],
                probabilities={
                    names[label]: probability
                    for label, probability in zip(
                        values["top_classes"][row], values["top_probabilities"][row], strict=True
                    )
                },
                path=None if self.paths is None else self.paths[row],
            )
            for row in range(len(self))
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-like columns."""
        columns = {name: numbers(column) for name, column in self._columns().items()}
        return {**columns, "paths": None if self.paths is None else list(self.paths)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        empty = cls.empty()
        if not values["index"]:
            return empty
        columns = {
            name: torch.as_tensor(values[name], dtype=column.dtype)
            for name, column in empty._columns().items()
        }
        return cls(**columns, paths=values["paths"])

    def _columns(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if name != "paths"}


def numbers(column: Tensor) -> list[Any]:
    """A tensor as lists; floats with as few digits as their dtype needs."""
    if not column.is_floating_point():
        whole: list[Any] = column.tolist()
        return whole
    if column.ndim > 1:
        return [numbers(row) for row in column]
    return [float(digits) for digits in column.numpy().astype(str)]
