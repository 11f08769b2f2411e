"""What a checkpoint holds of a run, and how a run comes to stand where one was written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torch import nn

from cnnkit.distributed import gather, is_main, rank
from cnnkit.train._figures import TrainFigures
from cnnkit.train._history import History
from cnnkit.train._optimizers import state_for
from cnnkit.train._parts import Epoch

if TYPE_CHECKING:
    from cnnkit.train._run import Run

__all__ = ["contents_of", "take_over"]


def contents_of(run: Run) -> dict[str, Any]:
    """Everything that a run goes on from, of all processes."""
    parts, state, epoch = run.parts, run.state, run.epoch
    now = None if epoch is None else epoch.resumed
    scaler, loss = parts.compute.scaler, parts.loss
    return {
        "settings": parts.settings,
        "epoch": state.epoch,
        "batch": state.batch,
        "step": state.step,
        # Not an interrupt, which is not the run's own end: it is to go on.
        "stop_reason": None if state.stop_reason == "not_saved" else state.stop_reason,
        "running": None
        if epoch is None
        else {
            # Of each process its own: a checkpoint is resumed by as many.
            "figures": gather(epoch.figures.state_dict()),
            "rate": epoch.rate,
            "seconds": time.perf_counter() - epoch.started,
            "random": gather(epoch.random),
        },
        "random": gather(run.random_states() if now is None else now),
        "model": parts.model.state_dict(),
        "optimizer": parts.updates.optimizer.state_dict(),
        "scheduler": parts.schedule.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "loss": loss.state_dict() if isinstance(loss, nn.Module) else None,
        "callbacks": parts.callbacks.state_dict(),
        "kept": run.kept.state_dict(),
        "history": run.history.to_dict(),
        "memory_format": parts.compute.memory_format,
        "classes": None if parts.classes is None else list(parts.classes),
        "preprocess": None if parts.train.preprocess is None else parts.train.preprocess.to_dict(),
    }


def take_over(run: Run, saved: dict[str, Any]) -> None:
    """Stand where the checkpoint was written."""
    parts, state = run.parts, run.state
    if parts.checkpoints is not None and is_main():
        parts.checkpoints.set_damaged_aside()
    parts.model.load_state_dict(saved["model"])
    optimizer = parts.updates.optimizer
    optimizer.load_state_dict(state_for(optimizer, saved["optimizer"]))
    parts.schedule.load_state_dict(saved["scheduler"])
    if parts.compute.scaler is not None:
        parts.compute.scaler.load_state_dict(saved["scaler"])
    if isinstance(parts.loss, nn.Module) and saved["loss"]:
        parts.loss.load_state_dict(saved["loss"])
    parts.callbacks.load_state_dict(saved["callbacks"])
    run.kept.load_state_dict(saved["kept"])
    run.history.rows = History.from_dict(saved["history"]).rows
    state.epoch, state.batch, state.step = saved["epoch"], saved["batch"], saved["step"]
    state.stop_reason = saved["stop_reason"]
    run.saved_at = state.step
    running, random = saved["running"], saved["random"][rank()]
    if running is None:
        return
    figures = TrainFigures(run.threshold)
    figures.load_state_dict(running["figures"][rank()])
    started = time.perf_counter() - running["seconds"]
    before = running["random"][rank()]
    run.epoch = Epoch(figures, running["rate"], started, before, random)
