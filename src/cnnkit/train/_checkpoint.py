"""Checkpoints: a folder of files, each whole, from the newest of which a run goes on."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import nn

from cnnkit._files import TEMPORARY
from cnnkit._saved import load_saved, save_whole
from cnnkit.errors import (
    ArgumentError,
    ModelError,
    NotFoundError,
    SavedFileError,
    TrainingError,
)
from cnnkit.preprocess import Preprocess
from cnnkit.train._history import History
from cnnkit.train._meeting import remember
from cnnkit.train._warn import warn
from cnnkit.types import PathLike

__all__ = ["CheckpointFolder", "Keep", "load_checkpoint"]

#: How many finished epochs' checkpoints stay: the newest so many, the best one, or all.
Keep = Literal["best", "all"] | int

_KIND, _FORMAT = "checkpoint", 1
_NAME = re.compile(r"epoch-(\d+)(?:-batch-(\d+))?\.pt")
_ALWAYS = 2  # the newest, and the one before it in case a disk damages the newest


class Position(NamedTuple):
    """Where a checkpoint was written; `batch` is None at the end of an epoch."""

    epoch: int
    batch: int | None

    @property
    def order(self) -> tuple[int, float]:
        """Sorts by time: the end of an epoch comes after its batches."""
        return self.epoch, float("inf") if self.batch is None else self.batch

    @property
    def name(self) -> str:
        """Of the file."""
        within = "" if self.batch is None else f"-batch-{self.batch:06d}"
        return f"epoch-{self.epoch:04d}{within}.pt"


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: Made if it is not there.
        keep: Which finished epochs' checkpoints stay. The two newest files always do.

    Raises:
        ArgumentError: `keep` makes no sense.
    """

    def __init__(self, folder: PathLike, keep: Keep = 1) -> None:
        number = isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1
        if not number and keep not in ("best", "all"):
            raise ArgumentError(
                f'keep must be a number, 1 or more, "best" or "all", received {keep!r}'
            )
        self.folder, self.keep = Path(folder), keep
        self.damaged: list[Position] = []  # newer than the one that `newest` returned
        self._tried = False

    def __iter__(self) -> Any:
        """The positions of all checkpoints that are there, the oldest first."""
        if not self.folder.is_dir():
            return iter(())
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        positions = [
            Position(int(m[1]), None if m[2] is None else int(m[2])) for m in found if m is not None
        ]
        return iter(sorted(positions, key=lambda position: position.order))

    def path(self, position: Position) -> Path:
        """Where the checkpoint of this position is."""
        return self.folder / position.name

    def write(self, position: Position, parts: dict[str, Any], best: int | None) -> None:
        """Write a checkpoint and remove those that are no longer to be kept.

        Args:
            position: Where the run stands.
            parts: What it needs to go on.
            best: The best epoch so far, for `keep="best"`.

        Raises:
            TrainingError: What was written cannot be read again: a callback or an optimiser
                remembers something that is neither number, text nor tensor.
            OSError, RuntimeError: The disk is full, say; what was there is still there.
        """
        try:
            save_whole(self.path(position), _KIND, _FORMAT, parts)
            if not self._tried:  # better now than when the run is to be resumed
                load_saved(self.path(position), _KIND, _FORMAT)
                self._tried = True
        except (SavedFileError, pickle.PicklingError, AttributeError, TypeError) as error:
            self.path(position).unlink(missing_ok=True)
            raise TrainingError(
                "a checkpoint could not be read again: the state of the model, the optimiser, the "
                "scheduler and the callbacks may hold numbers, strings, tensors, lists and dicts, "
                f"and no other objects ({error})"
            ) from error
        self._prune(best)

    def newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole; None where there are none.

        Raises:
            SavedFileError: There are some, and none of them is whole.

        Warns:
            CnnkitWarning: A damaged one was passed over.
        """
        positions = list(self)
        for number, position in enumerate(reversed(positions)):
            try:
                saved = load_saved(self.path(position), _KIND, _FORMAT)
            except NotFoundError:  # a run that is under way has just removed it
                continue
            except SavedFileError as error:
                warn(f"passed over a damaged checkpoint: {error}")
                continue
            self.damaged = positions[len(positions) - number :]
            return saved
        if positions:
            raise SavedFileError(
                f"none of the {len(positions)} checkpoints in {self.folder} is whole: "
                "delete them to start afresh"
            )
        return None

    def set_damaged_aside(self) -> None:
        """Rename those that `newest` passed over: they must not count as the newest again."""
        for position in self.damaged:
            path = self.path(position)
            if path.is_file():
                path.replace(path.with_name(f"{path.name}.damaged"))

    def prepare(self) -> None:
        """Make the folder, and remove what a process left in it that was killed while it wrote.

        Raises:
            ArgumentError: There can be no such folder.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"checkpoint_dir={str(self.folder)!r} can be no folder ({error})"
            ) from error
        for path in self.folder.glob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)

    def _prune(self, best: int | None) -> None:
        finished = [p for p in self if p.batch is None]
        if isinstance(self.keep, int):
            kept = finished[-self.keep :]
        else:
            kept = [p for p in finished if self.keep == "all" or p.epoch == best]
        positions = list(self)
        for position in positions[:-_ALWAYS]:
            if position not in kept:
                self.path(position).unlink(missing_ok=True)


def load_checkpoint(
    folder: PathLike, model: nn.Module, *, epoch: int | Literal["best", "last"] = "last"
) -> History:
    """Put the weights of a checkpoint into a model, as they were after that epoch.

    The model also knows again which classes and pixels it was trained on.

    Args:
        folder: The `checkpoint_dir` that `fit` was given.
        model: Of the same architecture.
        epoch: A number from 1, whose checkpoint must have been kept (`keep="all"`); "best", the
            weights that the run would have gone back to; "last", the newest there are.

    Returns:
        The history up to that epoch; of "best" up to the newest, and its `restored` says which
        epoch's weights these are where they are not the last.

    Raises:
        NotFoundError: There is no such checkpoint; the message lists those that are there.
        SavedFileError: It is damaged.
        ModelError: The weights are those of another architecture.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from cnnkit import data, models
        >>> from cnnkit.train import fit
        >>> ds = data.ArrayDataset(torch.zeros(8, 8, 8, dtype=torch.uint8), [0, 1] * 4)
        >>> loader, folder = data.make_loader(ds, 4, device="cpu"), tempfile.mkdtemp()
        >>> model = models.MLP(2, image_size=8)
        >>> _ = fit(model, loader, epochs=3, checkpoint_dir=folder, keep="all", progress=False)
        >>> len(load_checkpoint(folder, model, epoch=2))
        2
    """
    files = CheckpointFolder(folder)
    if isinstance(epoch, int):
        saved = _of_epoch(files, epoch)
    elif epoch in ("best", "last"):
        newest = files.newest()
        if newest is None:
            raise NotFoundError(f"there is no checkpoint in {folder}")
        saved = newest
    else:
        raise ArgumentError(f'epoch must be a number, "best" or "last", received {epoch!r}')
    history, weights = History.from_dict(saved["history"]), saved["model"]
    if epoch == "best":
        weights = _best_weights(files, saved, history)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {folder} are those of another architecture: {error}"
        ) from error
    classes, preprocess = saved["classes"], saved["preprocess"]
    remember(
        model,
        None if classes is None else tuple(classes),
        None if preprocess is None else Preprocess.from_dict(preprocess),
    )
    return history


def _of_epoch(files: CheckpointFolder, epoch: int) -> dict[str, Any]:
    """What was saved after that epoch.

    Raises:
        NotFoundError: It was not kept.
    """
    path = files.path(Position(epoch, None))
    if not path.is_file():
        there = [position.epoch for position in files if position.batch is None]
        raise NotFoundError(
            f"there is no checkpoint of epoch {epoch} in {files.folder}, which has those of epochs "
            f'{there}: keep="all" keeps every one'
        )
    return load_saved(path, _KIND, _FORMAT)


def _best_weights(
    files: CheckpointFolder, saved: dict[str, Any], history: History
) -> dict[str, Any]:
    """Those that the run would have gone back to, or those of its best epoch; noted in history."""
    epoch: int = saved["kept"]["epoch"]
    weights: dict[str, Any] = saved["kept"]["weights"]
    if history.best is not None and history.best["epoch"] != epoch:
        # With restore_best=False a run keeps its last weights; the best are in a file of their own.
        epoch = int(history.best["epoch"])
        weights = _of_epoch(files, epoch)["model"]
    if history.rows and history.rows[-1]["epoch"] != epoch:
        history.restored = epoch
    return weights
