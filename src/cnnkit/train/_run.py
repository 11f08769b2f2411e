"""`Run`: the course of a training run, from its first epoch or from a checkpoint to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from cnnkit._allocator import memory_kept
from cnnkit._progress import Bar, progress_bar
from cnnkit.device import DeviceDataLoader
from cnnkit.distributed import (
    alone,
    any_of_us,
    broadcast,
    gather,
    is_main,
    rank,
    same_on_all,
    world_size,
)
from cnnkit.errors import DataError, TrainingError
from cnnkit.models._base import hook_overridden
from cnnkit.train._checkpoint import CheckpointFolder, Position
from cnnkit.train._figures import TrainFigures
from cnnkit.train._history import History, Row, StopReason, as_numbers, epoch_line
from cnnkit.train._interrupt import Interrupt, came_while_reading, interruptible, is_lost_worker
from cnnkit.train._kept import Kept, weights_are_numbers
from cnnkit.train._lengths import batches_of
from cnnkit.train._loop import UnsoundLossError, train_epoch, validate
from cnnkit.train._meeting import own_threshold
from cnnkit.train._out_of_memory import is_out_of_memory, out_of_memory
from cnnkit.train._parallel import parallel, same_weights
from cnnkit.train._parts import Epoch, Parts
from cnnkit.train._random import put_back, random_states, seeded
from cnnkit.train._snapshot import contents_of, take_over
from cnnkit.train._state import TrainState
from cnnkit.train._untouched import generators_of
from cnnkit.train._watch import Spread, Watch, dead_units
from cnnkit.types import Batch

__all__ = ["Run"]

_MEANWHILE = 0.2  # seconds


class _AskedToStopError(Exception):
    """Raised out of the validation, whose batches nothing is written between."""


class Run:
    """A run: it begins, or goes on where a checkpoint was written, and ends in one of few ways."""

    def __init__(self, parts: Parts, history: History, epochs: int) -> None:
        same_weights(parts.model)  # those that the main process began with
        self.parts, self.history = parts, history
        optimizer, schedule = parts.updates.optimizer, parts.schedule
        self.state = TrainState(parts.model, optimizer, schedule.scheduler, history, epochs)
        self.kept = Kept(parts.model, history, restore_best=parts.restore_best)
        self.watch = Watch(parts.classes, aloud=is_main())
        self.threshold = own_threshold(parts.model)
        self.device = parts.train.device
        self.interrupt = Interrupt()
        self.step = parts.step
        self.epoch: Epoch | None = None  # None between two epochs
        self.cut: StopReason | None = None  # an interrupt that every process knows of
        self.saved_at = 0
        self._several = world_size() > 1  # asked once: both are needed after each step
        self._waits = self.device.type != "cpu"
        self._validating = False
        self._in_mid_step = False  # nothing may be written then
        self._generators: list[Any] = []  # that loaders and transforms bring; only checkpoints ask
        if parts.checkpoints is not None:
            self._generators = [*generators_of(parts.train), *generators_of(parts.val)]

    def go(self, saved: dict[str, Any] | None) -> History:
        """Train to the end, from the beginning or from a checkpoint.

        Raises:
            TrainingError: The device's memory is full.
        """
        parts, state = self.parts, self.state
        with (
            seeded(parts.seed, self.device),
            interruptible() as self.interrupt,
            memory_kept(self.device),
            parts.compute.applied(parts.model),
        ):
            try:
                if saved is not None:
                    take_over(self, saved)
                self.step = parallel(parts.compute.stepping(parts.step), parts.model)
                parts.callbacks.fit_start(state)
                if saved is not None:  # and nothing of what came before is to be seen
                    self.put_back(saved["random"][rank()])
                elif parts.evaluate_first:
                    self._end_epoch({"epoch": 0}, time.perf_counter(), state.lr)
                while self.epoch is not None or self._another_epoch():
                    if not self._one_epoch():
                        break
            except _AskedToStopError:
                self.cut = self.interrupt.reason
            except UnsoundLossError as error:
                self._unsound("loss", error.value, state.batch + 1, state.lr)
            except (RuntimeError, MemoryError) as error:
                self._failed(error)
            self._finish()
        return self.history

    def _another_epoch(self) -> bool:
        state = self.state
        return state.epoch < state.epochs and state.stop_reason is None and self.cut is None

    def _one_epoch(self) -> bool:
        """Train an epoch, or what is left of one; whether it came to its end."""
        parts, state = self.parts, self.state
        if self.epoch is None:
            state.epoch, state.batch = state.epoch + 1, 0
            started, rate = time.perf_counter(), state.lr
            parts.callbacks.epoch_start(state)
            parts.updates.clear()  # of what a callback lets learn now, which nobody has cleared yet
            self.epoch = Epoch(TrainFigures(self.threshold), rate, started, self.random_states())
        parts.model.train()
        epoch, start = self.epoch, state.batch
        epoch.rates = [state.lr]
        with progress_bar(
            batches_of(parts.train), f"epoch {state.epoch}/{state.epochs}", parts.progress
        ) as bar:
            bar.update(state.batch)
            whole = train_epoch(
                self.step,
                parts.compute.batches(self._batches(epoch)),
                parts.updates,
                epoch.figures,
                after_batch=lambda: self._after_batch(bar),
                after_step=self._after_step,
            )
        if not epoch.figures:
            raise DataError("the training loader yielded no batch: there is nothing to train on")
        bad = [one for one in gather(epoch.figures.first_unsound()) if one is not None]
        if bad:
            value, batch = min(bad, key=lambda one: one[1])
            rate = epoch.rates[batch - 1 - start] if self._waits else state.lr
            self._unsound("loss", value, batch, rate)
        elif whole and any_of_us(not weights_are_numbers(parts.model)):
            self._unsound("weights", math.nan, state.batch, state.lr)
        elif whole:
            row: Row = {"epoch": state.epoch, **epoch.figures.row()}
            if math.isnan(row["train_loss"]):  # of losses that are numbers
                raise DataError(
                    "no batch of the training loader has a loss: class weights or ignored labels "
                    "leave nothing of it"
                )
            self._end_epoch(row, epoch.started, epoch.rate)
        return self.epoch is None

    def _batches(self, epoch: Epoch) -> Iterator[Batch]:
        """The batches of this epoch that are not done yet."""
        start = self.state.batch
        if epoch.resumed is not None and epoch.random is not None and start:
            # A foreign loader draws its order when it is asked for its first batch.
            self.put_back(epoch.random)
        batches = self.parts.train.batches(self.state.epoch - 1, start)
        if epoch.resumed is not None:
            self.put_back(epoch.resumed)  # after the loader was asked, which may draw
            epoch.resumed = None
        return batches

    def _after_batch(self, bar: Bar) -> None:
        state = self.state
        state.batch += 1
        bar.update()
        if self._waits and self.epoch is not None:
            # Whether the losses are numbers is seen at the epoch's end, when a schedule has moved.
            self.epoch.rates.append(state.lr)
        if state.step == 0 and state.batch == 1 and self.epoch is not None:
            figures = self.epoch.figures
            self.watch.first_batch(
                self.parts.model, self.parts.loss, figures.first_loss, figures.last
            )

    def _after_step(self) -> bool:
        """After an optimiser step: whether the run must end here."""
        state, parts = self.state, self.parts
        state.step += 1
        parts.callbacks.step_end(state)
        if self._asked_to_stop():
            return True
        if parts.checkpoint_every and state.step - self.saved_at >= parts.checkpoint_every:
            self._save()
        return state.stop_reason == "not_saved"

    def _asked_to_stop(self) -> bool:
        """Whether Ctrl-C or SIGTERM came, to any of the processes."""
        asked = self.interrupt.reason is not None
        if not (any_of_us(asked) if self._several else asked):
            return False
        reasons: list[StopReason | None] = gather(self.interrupt.reason)
        self.interrupt.reason = self.cut = next(one for one in reasons if one is not None)
        return True

    def _end_epoch(self, row: Row, started: float, rate: float) -> None:
        """Validate, record, and let everything know that an epoch has ended."""
        parts, state, loss = self.parts, self.state, 0.0
        same_on_all(parts.model.buffers())  # each process has normalised its own share
        if parts.val is not None:
            if self.epoch is not None:
                self.epoch.resumed = self.random_states()  # where an interrupt goes back to
            figures = self._validate(parts.val)
            row.update(figures)
            loss = figures.get("val_loss", 0.0)  # before a callback may change the row
        elif self.epoch is not None:
            self.watch.training(self.epoch.figures.last)
        row.update(lr=rate, seconds=time.perf_counter() - started)
        self.history.rows.append(row)
        self.epoch = None
        parts.callbacks.epoch_end(state)
        row.update(as_numbers(row))  # a callback may have added others, which no checkpoint takes
        self.kept.look()
        if row["epoch"]:
            parts.schedule.after_epoch(self.history)
        self._tell(row)
        self.watch.after_epoch(self.history, state.epochs)
        if not math.isfinite(loss):
            self._end_unsound(
                f"the validation loss became {loss} in epoch {state.epoch}",
                "Try a smaller learning rate (find_lr proposes one), and look for images of the "
                "validation set that are no numbers",
            )
        elif row["epoch"]:
            self._save()
        if row["epoch"]:
            self._asked_to_stop()

    def _validate(self, val: DeviceDataLoader) -> dict[str, float]:
        parts, spread = self.parts, Spread()
        first: list[Batch] = []
        self._validating = True
        may_stop = world_size() == 1  # of several, each may be at another batch

        def watched(batches: Iterable[Batch]) -> Iterator[Batch]:
            for batch in batches:
                if may_stop and self.interrupt.reason is not None:
                    raise _AskedToStopError
                first[:] = first or [batch]
                yield batch

        with parts.compute.autocast():
            figures, matrix = validate(
                parts.model,
                watched(parts.compute.batches(val.batches(self.state.epoch))),
                parts.loss,
                parts.classes,
                threshold=self.threshold,
                gives_shares=val._gives_shares,
                after_batch=spread.see,
            )
            if matrix is not None and self.state.epoch:  # before training it would mean nothing
                dead = dead_units(parts.model, first[0][0]) if spread.constant else None
                self.watch.validation(matrix, spread, dead, self.state)
        self._validating = False
        return figures

    def _tell(self, row: Row) -> None:
        """Print the epoch's line, unless the model says it in its own way."""
        model = self.parts.model
        if not is_main():
            return
        # The row before any training has no training figures, which such a hook would print.
        if hook_overridden(model, "epoch_end") and row["epoch"]:
            with alone():
                model.epoch_end(int(row["epoch"]), dict(row))  # type: ignore[operator]
        elif self.parts.progress:
            print(epoch_line(row, self.state.epochs), flush=True)  # noqa: T201

    def _unsound(
        self, what: Literal["loss", "weights"], value: float, batch: int, rate: float
    ) -> None:
        """The loss or the weights are no numbers: note it and end the run."""
        state = self.state
        started = time.perf_counter() if self.epoch is None else self.epoch.started
        seconds = time.perf_counter() - started
        self.history.rows.append(
            {"epoch": state.epoch, "train_loss": value, "lr": rate, "seconds": seconds}
        )
        if self.parts.progress and is_main():
            print(epoch_line(self.history.rows[-1], state.epochs), flush=True)  # noqa: T201
        self._end_unsound(
            f"the {what} became {value} in epoch {state.epoch}, batch {batch}, at the learning "
            f"rate {rate:g}",
            "Try a smaller learning rate (find_lr proposes one) or clip_norm=1, and look for "
            "images or class weights that are no numbers",
        )

    def _end_unsound(self, what: str, advice: str) -> None:
        best = f"epoch {self.kept.epoch}" if self.kept.epoch else "the beginning"
        self.watch.say(
            "unsound",
            f"{what}: the run has ended, and the weights of {best} are back in the model. {advice}",
        )
        self.state.stop("nan")

    def _finish(self) -> None:
        """The best weights, or those there are, and the reason."""
        state, within = self.state, self.epoch is not None
        same_on_all(self.parts.model.buffers())
        if within and self.cut is not None:
            if not (self._in_mid_step or self.parts.updates.pending):
                self._save()
            state.stop_reason = self.cut
        state.stop_reason = state.stop_reason or self.cut
        self.history.stop_reason = state.stop_reason or "finished"
        if self.cut is not None:
            # The signal may have gone to the loaders' processes too. Should one die of it later,
            # torch would raise in the middle of whatever is done then.
            for loader in (self.parts.train, self.parts.val):
                if loader is not None:
                    loader._end_workers()
        self.kept.restore(within_epoch=within, unsound=state.stop_reason == "nan")
        self.parts.model.eval()
        self.parts.callbacks.fit_end(state)
        if self.cut is None:
            self._asked_to_stop()  # by now, too late to cut anything: whoever called is to know
            self.history.stop_reason = self.cut or self.history.stop_reason

    def _save(self) -> None:
        """Write a checkpoint of what stands now, if there is a folder for it."""
        parts, state = self.parts, self.state
        if parts.checkpoints is None:
            return
        self.saved_at = state.step
        unsound = self.epoch is not None and (
            self.epoch.figures.first_unsound() is not None or not weights_are_numbers(parts.model)
        )
        if any_of_us(unsound):
            return  # never over a checkpoint that is sound
        position = Position(state.epoch, None if self.epoch is None else state.batch)
        best = self.history.best
        contents = contents_of(self)
        if is_main():
            self._write(
                parts.checkpoints, position, contents, None if best is None else int(best["epoch"])
            )
        state.stop_reason = broadcast(state.stop_reason)

    def _write(
        self,
        folder: CheckpointFolder,
        position: Position,
        contents: dict[str, Any],
        best: int | None,
    ) -> None:
        """Write it; a disk that is full ends the run only if that is wanted."""
        try:
            folder.write(position, contents, best)
        except (OSError, RuntimeError) as error:
            if isinstance(error, TrainingError):
                raise
            stop = self.parts.on_checkpoint_error == "stop"
            self.watch.say(
                "not saved",
                f"the checkpoint {position.name} could not be written ({error}); those before it "
                "are whole. The run "
                + ("ends here" if stop else "goes on, and tries again with the next one"),
            )
            if stop:
                self.state.stop("not_saved")

    def _failed(self, error: RuntimeError | MemoryError) -> None:
        """An interrupt in disguise, a full memory that is to be explained, or something else.

        Raises:
            TrainingError: The device's memory is full.
        """
        if world_size() == 1 and is_lost_worker(error):
            time.sleep(_MEANWHILE)  # a signal that went to the loader's processes comes here too
            if self.interrupt.reason is not None:
                self.cut, self._in_mid_step = self.interrupt.reason, not came_while_reading(error)
                return
        if not is_out_of_memory(error):
            raise error
        self.kept.restore(within_epoch=True, unsound=True)
        parts, state, validating = self.parts, self.state, self._validating
        loader = parts.val if validating else parts.train
        batch = "its validation" if validating else f"batch {state.batch + 1}"
        raise TrainingError(
            out_of_memory(
                self.device,
                f"epoch {state.epoch}, {batch}",
                getattr(getattr(loader, "loader", None), "batch_size", None),
                accumulate=None if validating else parts.updates.accumulate,
                fp32=parts.compute.precision == "fp32",
            )
        ) from error

    def random_states(self) -> dict[str, Any] | None:
        """The states of all random generators, where a checkpoint may be to hold them."""
        if self.parts.checkpoints is None:
            return None
        return random_states(self.device, self._generators)

    def put_back(self, states: dict[str, Any]) -> None:
        put_back(states, self.device, self._generators)
