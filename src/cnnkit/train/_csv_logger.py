"""`CSVLogger`: the history as a table on the disk, whole at any moment."""

from __future__ import annotations

from pathlib import Path

from cnnkit.train._callbacks import Callback
from cnnkit.train._state import TrainState
from cnnkit.train._warn import warn
from cnnkit.types import PathLike

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write the history to a CSV file after each epoch, one row an epoch.

    The file is written anew each time and takes the place of the one before in one step, so that
    it can be read at any moment and a resumed run has all its rows in it. A file of that name from
    another run is replaced.

    Args:
        path: Of the file; folders above it are made.

    Warns:
        CnnkitWarning: The file cannot be written, because the disk is full, say. Once a run; the
            training goes on, and the next epoch tries again.

    Example:
        >>> import tempfile, torch
        >>> from cnnkit import data, models
        >>> from cnnkit.train import fit
        >>> ds = data.ArrayDataset(torch.zeros(8, 8, 8, dtype=torch.uint8), [0, 1] * 4)
        >>> loader, path = data.make_loader(ds, 4, device="cpu"), Path(tempfile.mkdtemp()) / "a.csv"
        >>> model, log = models.MLP(2, image_size=8), CSVLogger(path)
        >>> _ = fit(model, loader, epochs=2, callbacks=log, progress=False)
        >>> path.read_text().splitlines()[0]
        'epoch,train_loss,train_acc,lr,seconds'
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._failed = False

    def on_fit_start(self, state: TrainState) -> None:  # noqa: ARG002
        """Speak up anew, should it come to that."""
        self._failed = False

    def on_epoch_end(self, state: TrainState) -> None:
        """Write all rows so far."""
        self._write(state)

    def on_fit_end(self, state: TrainState) -> None:
        """Write once more: an epoch that was cut short has a row that never ended."""
        if state.history.rows:
            self._write(state)

    def _write(self, state: TrainState) -> None:
        try:
            state.history.to_csv(self.path)
        except OSError as error:
            if not self._failed:
                self._failed = True
                warn(
                    f"the history could not be written to {self.path} ({error}): the training "
                    "goes on, and the next epoch tries again"
                )
