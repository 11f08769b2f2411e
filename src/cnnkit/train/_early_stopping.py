"""`EarlyStopping`: end a run that no longer becomes better."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from cnnkit.errors import ArgumentError
from cnnkit.train._callbacks import Callback
from cnnkit.train._history import default_mode, is_sound
from cnnkit.train._state import TrainState

__all__ = ["EarlyStopping"]

Mode = Literal["min", "max"]


class EarlyStopping(Callback):
    """End the run when the figure watched has not become better for `patience` epochs.

    Which weights are in the model afterwards is the run's own matter: `fit` puts the best ones
    back, unless told otherwise.

    Args:
        patience: Epochs in a row without a better figure after which the run ends.
        min_delta: By how much a figure must be better to count, 0 or more.
        monitor: The figure to watch, such as "val_acc". None watches the one that `fit` monitors:
            `val_loss` where there is a validation set. Without one, and without `monitor`, it
            watches `train_loss`, which says nothing about images that the model has not seen.
        mode: Whether the best is the "min" or the "max". Known of losses, errors and accuracies and
            of the figure that `fit` monitors, and to be stated for any other.

    Raises:
        ArgumentError: An argument makes no sense, or `mode` must be stated. In the first epoch:
            there is no such figure; the message lists those there are.

    Source:
        Prechelt (1998), "Early Stopping - But When?", there as the criterion UP.

    Example:
        >>> EarlyStopping(patience=3, monitor="val_acc", min_delta=0.001)
        EarlyStopping(patience=3, min_delta=0.001, monitor='val_acc', mode='max')
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ArgumentError(f"patience must be a positive int, received {patience!r}")
        if not (min_delta >= 0 and math.isfinite(min_delta)):
            raise ArgumentError(f"min_delta must be 0 or more, received {min_delta}")
        if mode is not None and mode not in get_args(Mode):
            raise ArgumentError(f"mode must be one of {get_args(Mode)}, received {mode!r}")
        self.patience = patience
        self.min_delta = float(min_delta)  # of a number of numpy's, which no checkpoint takes
        self.monitor = monitor
        self.mode = mode if mode or monitor is None else _known_mode(monitor)
        self._best: float | None = None
        self._waited = 0

    def on_fit_start(self, state: TrainState) -> None:
        """Forget the run before, where this is another one and not its resumption."""
        if state.epoch == 0:
            self._best, self._waited = None, 0

    def on_epoch_end(self, state: TrainState) -> None:
        """Look at the epoch's figure."""
        watched = self.monitor or state.history.monitor or "train_loss"
        figure = state.row.get(watched)
        if figure is None:
            if state.epoch == 0:
                return  # a row before any training has no training figures
            raise ArgumentError(
                f"EarlyStopping watches {watched!r}, which is not among the figures "
                f"{list(state.row)}"
            )
        sign = -1 if (self.mode or state.history.mode) == "min" else 1
        # An epoch whose loss is nan may have an accuracy all the same, which means nothing.
        better = self._best is None or sign * (figure - self._best) > self.min_delta
        if better and is_sound(state.row, watched):
            self._best, self._waited = figure, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            state.stop("early")

    def state_dict(self) -> dict[str, Any]:
        """The best figure, the epochs waited, and the settings."""
        return {"best": self._best, "waited": self._waited, "settings": self._settings()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on waiting.

        Raises:
            ArgumentError: The settings are others.
        """
        if saved["settings"] != self._settings():
            raise ArgumentError(
                f"a resumed run must be set as it was: its EarlyStopping had {saved['settings']}, "
                f"received {self._settings()}"
            )
        self._best, self._waited = saved["best"], saved["waited"]

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("patience", "min_delta", "monitor", "mode")}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"EarlyStopping({settings})"


def _known_mode(monitor: str) -> Mode:
    if default_mode(monitor) == "min":
        return "min"
    if "acc" in monitor:
        return "max"
    raise ArgumentError(
        f"whether {monitor!r} is best when small or when large is not known: "
        'state mode="min" or mode="max"'
    )
