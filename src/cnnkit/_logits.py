"""What logits say: probabilities and classes, for models and metrics alike."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError, ModelError

__all__ = ["check_logits", "check_no_nan", "decided", "probabilities"]


def probabilities(logits: Tensor) -> Tensor:
    """Probability of every class: softmax of (N, C); for binary logits (N,) of both, (N, 2).

    Example:
        >>> probabilities(torch.tensor([0.0]))
        tensor([[0.5000, 0.5000]])
    """
    check_logits(logits)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.ndim == 1:
        # sigmoid(-x) keeps the digits that 1 - sigmoid(x) loses where sigmoid(x) is nearly 1.
        return torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return torch.softmax(logits, dim=1)


def decided(logits: Tensor, threshold: float | None = None, positive: int = 1) -> Tensor:
    """`predicted_classes` without looking for nan, which would wait for the device."""
    check_logits(logits)
    if threshold is None:
        return (logits >= 0).long() if logits.ndim == 1 else logits.argmax(dim=1)
    if not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must be a probability, 0 to 1, received {threshold}")
    if positive not in (0, 1):
        raise ArgumentError(f"positive must be the label 0 or 1, received {positive!r}")
    if logits.ndim == 2 and logits.shape[1] != 2:
        raise ArgumentError(f"a threshold is for two classes, received logits of {logits.shape[1]}")
    reached = probabilities(logits)[:, positive] >= threshold
    return (reached if positive == 1 else ~reached).long()


def check_no_nan(logits: Tensor, first: int = 0) -> None:
    """Refuse logits with a nan, which argmax would take for the largest, or their probabilities.

    Args:
        logits: Float (N, C) or (N,).
        first: Number of the first row, for the message.

    Raises:
        ModelError: The message names the first row that has one.
    """
    bad = logits.isnan()
    if bool(bad.any()):
        rows = (bad if bad.ndim == 1 else bad.any(dim=1)).nonzero()[:, 0].tolist()
        raise ModelError(
            f"the outputs for {len(rows)} of {len(logits)} samples are nan, first that of number "
            f"{first + rows[0]}: the model's weights have diverged, train it again with a smaller "
            "learning rate; or its input is nan"
        )


def check_logits(logits: Tensor) -> None:
    """Refuse what has not the shape of logits: argmax of (N, 1) would always be 0."""
    if logits.ndim not in (1, 2) or (logits.ndim == 2 and logits.shape[1] < 2):
        raise DataError(
            "expected logits of shape (N, classes), or (N,) for one logit a sample, "
            f"received {tuple(logits.shape)}"
        )
