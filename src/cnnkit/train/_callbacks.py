"""`Callback`: what may be done beside the training, at five moments of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from cnnkit.distributed import alone, broadcast, is_main, same_on_all, world_size
from cnnkit.errors import ArgumentError
from cnnkit.train._parallel import same_weights
from cnnkit.train._state import TrainState

__all__ = ["Callback", "Callbacks"]


class Callback:
    """Override the moments that matter; the others do nothing and cost nothing.

    What a callback must remember over a killed and resumed run it returns from `state_dict`:
    numbers, strings, tensors, and lists and dicts of them.

    Of several processes the main one calls them, each as if it were alone: `evaluate` goes over all
    of a loader there. The others are told of a stop, of figures added to the row and of learning
    rates that were changed; of changed weights, too, but not of those that `on_step_end` changes.

    Example:
        >>> class Rates(Callback):
        ...     def __init__(self): self.seen = []
        ...     def on_step_end(self, state): self.seen.append(state.lr)
        ...     def state_dict(self): return {"seen": self.seen}
        ...     def load_state_dict(self, saved): self.seen = saved["seen"]
    """

    def on_fit_start(self, state: TrainState) -> None:
        """Before the first epoch; of a resumed run, before it goes on."""

    def on_epoch_start(self, state: TrainState) -> None:
        """Before the first batch of an epoch; not again where a run is resumed within one."""

    def on_step_end(self, state: TrainState) -> None:
        """After each optimiser step."""

    def on_epoch_end(self, state: TrainState) -> None:
        """After validation; `state.row` has the figures of the epoch."""

    def on_fit_end(self, state: TrainState) -> None:
        """At the end, however the run ended, with the best weights in the model."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint is to hold of this callback."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class Callbacks:
    """All callbacks of a run, called in the order given, and by the main process alone."""

    def __init__(self, callbacks: Sequence[Callback] | Callback) -> None:
        given: list[Any] = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        for callback in given:
            if not isinstance(callback, Callback):
                made = " (pass an instance, not the class)" if isinstance(callback, type) else ""
                raise ArgumentError(
                    f"callbacks must derive from cnnkit.train.Callback, received {callback!r}{made}"
                )
        self.all: list[Callback] = given if is_main() else []
        self._given = given
        # The one moment that comes often enough for its calls to cost something.
        self._each_step = [c for c in given if type(c).on_step_end is not Callback.on_step_end]

    def fit_start(self, state: TrainState) -> None:
        with alone():
            for callback in self.all:
                callback.on_fit_start(state)
        self._tell(state)

    def epoch_start(self, state: TrainState) -> None:
        with alone():
            for callback in self.all:
                callback.on_epoch_start(state)
        self._tell(state)

    def step_end(self, state: TrainState) -> None:
        if not self._each_step:
            return
        if is_main():
            with alone():
                for callback in self._each_step:
                    callback.on_step_end(state)
        _same_rates(state.optimizer)

    def epoch_end(self, state: TrainState) -> None:
        with alone():
            for callback in self.all:
                callback.on_epoch_end(state)
        state.row.update(broadcast(state.row))
        self._tell(state)

    def fit_end(self, state: TrainState) -> None:
        with alone():
            for callback in self.all:
                callback.on_fit_end(state)
        self._tell(state)

    def _tell(self, state: TrainState) -> None:
        """Let the other processes know what was changed."""
        if self._given:
            state.stop_reason = broadcast(state.stop_reason)
            _same_rates(state.optimizer)
            same_weights(state.model)

    def state_dict(self) -> list[dict[str, Any]]:
        """Of each callback: its class, and what it remembers."""
        return [{"class": type(c).__qualname__, "state": c.state_dict()} for c in self.all]

    def load_state_dict(self, saved: list[dict[str, Any]]) -> None:
        """Give each callback back what it remembered.

        Raises:
            ArgumentError: They are not the callbacks that the run had.
        """
        if not is_main():
            return
        before, now = [s["class"] for s in saved], [type(c).__qualname__ for c in self.all]
        if before != now:
            raise ArgumentError(f"the run had the callbacks {before}, received {now}")
        for callback, one in zip(self.all, saved, strict=True):
            callback.load_state_dict(one["state"])


def _same_rates(optimizer: Optimizer) -> None:
    """Give every process the learning rates, and the like, of the main one's optimiser."""
    if world_size() == 1:
        return
    numbers = [
        (group, name)
        for group in optimizer.param_groups
        for name, value in group.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    told = torch.tensor([group[name] for group, name in numbers], dtype=torch.float64)
    same_on_all([told])
    for (group, name), value in zip(numbers, told.tolist(), strict=True):
        if group[name] != value:
            group[name] = value
