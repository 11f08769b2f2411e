"""The figures of a training epoch, added up exactly, and what of them a checkpoint holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkit.distributed import gather
from cnnkit.metrics import Tally
from cnnkit.train._loss import number_of_classes

__all__ = ["TrainFigures"]


class TrainFigures:
    """Losses and predictions of the batches of an epoch.

    Args:
        threshold: For one logit a sample, as `Tally` takes it.
    """

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold
        self._losses: list[float | Tensor] = []
        self._weights: list[float | Tensor] = []
        self._tally: Tally | None = None
        self.earlier: Tensor | None = None  # counts of the batches before a resumed run went on

    def add(
        self, loss: float | Tensor, weight: float | Tensor, logits: Tensor | None, labels: Tensor
    ) -> None:
        """Add a batch: its mean loss, what that was divided by, and its predictions."""
        self._losses.append(loss)
        self._weights.append(weight)
        if logits is not None:
            if self._tally is None:
                self._tally = Tally(number_of_classes(logits), threshold=self.threshold)
            self._tally.add_predictions(logits, labels)

    @property
    def first_loss(self) -> float:
        """The mean loss of the first batch; an accelerator is waited for."""
        return float(self._losses[0])

    @property
    def last(self) -> tuple[Tensor, Tensor] | None:
        """Logits and labels of the batch that was added last, until the next one is."""
        return None if self._tally is None else self._tally.last

    def __bool__(self) -> bool:
        """Whether a batch was added."""
        return bool(self._losses)

    def row(self) -> dict[str, float]:
        """`train_loss`, and `train_acc` where the batches gave logits: sums over the samples."""
        parts = gather((*self._read(), self._matrix()))
        losses = torch.cat([part[0] for part in parts])
        weights = torch.cat([part[1] for part in parts])
        total = weights.sum()
        # A batch that weighs nothing has no mean loss (0 / 0), and nothing to add.
        figures = {"train_loss": float((losses * weights)[weights != 0].sum() / total)}
        matrices = [part[2] for part in parts if part[2] is not None]
        if matrices:
            matrix = torch.stack(matrices).sum(dim=0)
            figures["train_acc"] = int(matrix.diagonal().sum()) / int(matrix.sum())
        return figures

    def first_unsound(self) -> tuple[float, int] | None:
        """The first loss that was no number, of batches that weigh something, and which it was."""
        losses, weights = self._read()
        bad = (~losses.isfinite() & (weights != 0)).nonzero()
        return (float(losses[bad[0]]), int(bad[0]) + 1) if len(bad) else None

    def state_dict(self) -> dict[str, Any]:
        """Everything added so far."""
        losses, weights = self._read()
        return {"losses": losses, "weights": weights, "matrix": self._matrix()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Begin with what another run had added."""
        self._losses, self._weights = saved["losses"].tolist(), saved["weights"].tolist()
        self.earlier = saved["matrix"]

    def _read(self) -> tuple[Tensor, Tensor]:
        """Losses and weights as float64 on the CPU; an accelerator is waited for once."""
        return _on_cpu(self._losses), _on_cpu(self._weights)

    def take(self) -> tuple[Tensor, Tensor]:
        """Losses and weights of the batches since the last call, float64 (n,) on the CPU."""
        read = self._read()
        self._losses, self._weights = [], []
        return read

    def _matrix(self) -> Tensor | None:
        matrix = None if self._tally is None else self._tally.totals().matrix
        if matrix is None or self.earlier is None:
            return self.earlier if matrix is None else matrix
        return matrix + self.earlier


def _on_cpu(values: list[float | Tensor]) -> Tensor:
    """Numbers, or scalars of one device, as float64 (n,)."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return torch.tensor(values, dtype=torch.float64)
    moved = iter(torch.stack(tensors).cpu().double().tolist())
    mixed = [next(moved) if isinstance(value, Tensor) else value for value in values]
    return torch.tensor(mixed, dtype=torch.float64)
