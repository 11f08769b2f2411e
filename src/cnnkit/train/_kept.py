"""The weights that a run goes back to at its end."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn

from cnnkit.errors import ArgumentError
from cnnkit.train._history import History, is_sound

__all__ = ["Kept", "weights_are_numbers"]


class Kept:
    """The weights of the best epoch, or of the last one whose figures are numbers.

    Before any epoch has ended these are the initial weights.

    Args:
        model: Whose weights they are.
        history: Its last row is the epoch that has just ended.
        restore_best: Whether the best are wanted, where a figure is monitored.
    """

    def __init__(self, model: nn.Module, history: History, *, restore_best: bool) -> None:
        self.model, self.history = model, history
        self.best_only = restore_best and history.monitor is not None
        self.epoch = 0
        self.weights = self._copy()

    def look(self) -> None:
        """Keep the weights if the epoch that has just ended is one to go back to.

        Raises:
            ArgumentError: No such figure is known as the one to watch.
        """
        monitor, latest = self.history.monitor, self.history.rows[-1]
        if monitor is not None and monitor not in latest and latest["epoch"]:
            raise ArgumentError(f"monitor={monitor!r} is not among the figures {list(latest)}")
        best = self.history.best
        # Until the figure that is watched is a number, the last epoch is as good as any.
        if best is latest if self.best_only and best is not None else is_sound(latest):
            self.epoch, self.weights = int(latest["epoch"]), self._copy()

    def restore(self, *, within_epoch: bool, unsound: bool) -> None:
        """Put the kept weights into the model, where they are wanted and it has others.

        Args:
            within_epoch: The run ended before its last epoch did: the model has later weights.
            unsound: It ended because they are no good.
        """
        ended = int(self.history.rows[-1]["epoch"]) if self.history.rows else 0
        others = within_epoch or self.epoch != ended
        if others and (self.best_only or unsound):
            self.model.load_state_dict(self.weights)
            self.history.restored = self.epoch

    def state_dict(self) -> dict[str, Any]:
        """The weights and their epoch."""
        return {"epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what another run kept."""
        self.epoch = saved["epoch"]
        for name, value in saved["weights"].items():
            mine = self.weights.get(name)
            self.weights[name] = mine.copy_(value) if isinstance(mine, Tensor) else value

    def _copy(self) -> dict[str, Any]:
        return {
            # Besides tensors there is what a module's `get_extra_state` returns.
            name: one.detach().clone() if isinstance(one, Tensor) else copy.deepcopy(one)
            for name, one in self.model.state_dict().items()
        }


def weights_are_numbers(model: nn.Module) -> bool:
    """Whether no weight that is trained is nan or infinite."""
    weights = [p.detach() for p in model.parameters() if p.requires_grad and p.numel()]
    # The largest size is nan or infinite if any is; a sum of squares might overflow.
    return not weights or math.isfinite(nn.utils.get_total_norm(weights, float("inf")))
