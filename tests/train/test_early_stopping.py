"""`EarlyStopping`: when it ends a run, by which figure, and that a resumed run waits on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError
from cnnkit.train import Callback, EarlyStopping, History, TrainState, fit

Batch = tuple[Tensor, Tensor]

# What the figures made up here look like to the run itself.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")


def batches(seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(4, 2, generator=generator), torch.tensor([0, 1, 0, 1])) for _ in range(2)]


def net() -> nn.Module:
    made = nn.Linear(2, 2)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[0.1, 0.2], [0.3, -0.4]]))
        made.bias.zero_()
    return made


class Says(Callback):
    """Puts figures of our own into the rows."""

    def __init__(self, **figures: Sequence[float]) -> None:
        self.figures = figures

    def on_epoch_end(self, state: TrainState) -> None:
        state.row.update({name: given[state.epoch - 1] for name, given in self.figures.items()})


def epochs_with(stopping: EarlyStopping, *, epochs: int = 8, **figures: Sequence[float]) -> int:
    """How many epochs a run of eight has where these are the figures."""
    run = [Says(**figures), stopping]
    return len(fit(net(), batches(), batches(1), epochs=epochs, callbacks=run, progress=False))


FALLS_THEN_RISES = [0.9, 0.7, 0.5, 0.6, 0.55, 0.5, 0.8, 0.1]


@pytest.mark.parametrize(("patience", "epochs"), [(1, 4), (2, 5), (3, 6), (4, 7), (5, 8)])
def test_it_waits_for_patience_epochs_after_the_best(patience: int, epochs: int) -> None:
    stopping = EarlyStopping(patience)
    assert epochs_with(stopping, val_loss=FALLS_THEN_RISES) == epochs


def test_an_equal_figure_is_not_better_and_the_wait_begins_anew_after_a_better_one() -> None:
    assert epochs_with(EarlyStopping(2), val_loss=[1.0] * 8) == 3
    assert epochs_with(EarlyStopping(2), val_loss=[1, 1, 0.9, 0.9, 0.8, 0.8, 0.8, 0.7]) == 7


@pytest.mark.parametrize(("min_delta", "epochs"), [(0.0, 8), (0.04, 8), (0.06, 2), (0.3, 2)])
def test_a_figure_must_be_better_by_more_than_min_delta(min_delta: float, epochs: int) -> None:
    falling = [1 - 0.05 * epoch for epoch in range(8)]
    assert epochs_with(EarlyStopping(1, min_delta=min_delta), val_loss=falling) == epochs
    rising = [0.05 * epoch for epoch in range(8)]
    stopping = EarlyStopping(1, min_delta=min_delta, monitor="val_acc")
    assert epochs_with(stopping, val_acc=rising) == epochs


def test_small_steps_add_up_to_a_better_figure() -> None:
    # Each is better than the best by 0.03 or 0.06; the best stays where it was until it is beaten.
    falling = [1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.79]
    assert epochs_with(EarlyStopping(2, min_delta=0.05), val_loss=falling) == 8


def test_an_accuracy_is_best_when_large_and_a_stated_mode_has_the_last_word() -> None:
    figures = [0.5, 0.6, 0.7, 0.6, 0.65, 0.7, 0.8, 0.9]
    assert epochs_with(EarlyStopping(2, monitor="val_acc"), val_acc=figures) == 5
    assert epochs_with(EarlyStopping(2, monitor="val_acc", mode="min"), val_acc=figures) == 3
    assert epochs_with(EarlyStopping(2, monitor="val_f1", mode="max"), val_f1=figures) == 5


def test_it_watches_what_the_run_does() -> None:
    class Falling(Says):
        def on_epoch_end(self, state: TrainState) -> None:
            super().on_epoch_end(state)
            state.row["val_loss"] = -state.epoch  # better all the time, and not watched

    f1 = [0.5, 0.6, 0.7, 0.6, 0.65, 0.7, 0.8, 0.9]
    history = fit(
        net(),
        batches(),
        batches(1),
        epochs=8,
        monitor="val_f1",
        callbacks=[Falling(val_f1=f1), EarlyStopping(2)],
        progress=False,
    )
    assert (len(history), history.stop_reason, history.restored) == (5, "early", 3)


def test_the_reason_is_early_and_the_best_weights_are_those_of_so_many_epochs() -> None:
    stopped, shorter = net(), net()
    run = [Says(val_loss=FALLS_THEN_RISES), EarlyStopping(2)]
    history = fit(stopped, batches(), batches(1), epochs=8, callbacks=run, progress=False)
    fit(shorter, batches(), epochs=3, progress=False)
    assert (history.stop_reason, history.restored) == ("early", 3)
    torch.testing.assert_close(stopped.state_dict(), shorter.state_dict(), rtol=0, atol=0)


def test_without_a_validation_set_it_watches_the_training_loss() -> None:
    losses = [0.9, 0.5, 0.6, 0.7, 0.4]
    run = [Says(train_loss=losses), EarlyStopping(2)]
    assert len(fit(net(), batches(), epochs=5, callbacks=run, progress=False)) == 4


def test_the_row_before_any_training_is_one_to_be_better_than() -> None:
    # lr=0: no epoch is better than the row before the first.
    options: dict[str, Any] = {"epochs": 8, "lr": 0.0, "evaluate_first": True, "progress": False}
    history = fit(net(), batches(), batches(1), callbacks=EarlyStopping(2), **options)
    assert [row["epoch"] for row in history.rows] == [0, 1, 2]
    # It has no training figures, and that is no error.
    history = fit(net(), batches(), callbacks=EarlyStopping(2), **options)
    assert [row["epoch"] for row in history.rows] == [0, 1, 2, 3]


def test_an_epoch_whose_figures_are_no_numbers_is_never_the_best() -> None:
    accuracies, losses = [0.5, 0.9, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1], [1.0, math.nan, *[1.0] * 6]
    stopping = EarlyStopping(3, monitor="val_acc")
    assert epochs_with(stopping, val_acc=accuracies, val_loss=losses) == 7
    assert epochs_with(EarlyStopping(2), val_loss=[1.0, *[math.nan] * 7]) == 3


def test_an_unknown_figure_is_an_error_that_lists_those_there_are() -> None:
    message = r"'val_accuracy'.*\['epoch', 'train_loss', 'train_acc', 'lr', 'seconds'\]"
    with pytest.raises(ArgumentError, match=message):
        fit(
            net(),
            batches(),
            epochs=2,
            callbacks=EarlyStopping(monitor="val_accuracy"),
            progress=False,
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "patience must be a positive int, received 0"),
        ({"patience": True}, "patience must be a positive int, received True"),
        ({"patience": 2.5}, "patience must be a positive int, received 2.5"),
        ({"min_delta": -0.1}, "min_delta must be 0 or more, received -0.1"),
        ({"min_delta": math.nan}, "min_delta must be 0 or more, received nan"),
        ({"mode": "auto"}, r"one of \('min', 'max'\), received 'auto'"),
        ({"monitor": "val_f1"}, "'val_f1' is best when small or when large is not known"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        EarlyStopping(**arguments)


def test_the_mode_is_known_of_losses_errors_and_accuracies() -> None:
    expected = {
        "train_loss": "min",
        "top5_error": "min",
        "val_acc": "max",
        "balanced_accuracy": "max",
    }
    assert {name: EarlyStopping(monitor=name).mode for name in expected} == expected


def test_one_object_serves_one_run_after_the_other() -> None:
    stopping = EarlyStopping(2)
    for _ in range(2):
        assert epochs_with(stopping, val_loss=FALLS_THEN_RISES) == 5


class Falls(Callback):
    """Raises as a crash would, before the epoch's checkpoint is written."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def on_step_end(self, state: TrainState) -> None:
        if state.step == self.at:
            raise RuntimeError("as if killed")


@pytest.mark.parametrize("at", [2, 3, 7, 8, 9, 10])
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(at: int, tmp_path: Path) -> None:
    def run(stopping: EarlyStopping, at: int | None, folder: Path, **more: Any) -> History:
        callbacks = [Says(val_loss=FALLS_THEN_RISES), Falls(at), stopping]
        options: dict[str, Any] = {"epochs": 8, "checkpoint_dir": folder, "checkpoint_every": 1}
        return fit(
            net(), batches(), batches(1), callbacks=callbacks, progress=False, **options, **more
        )

    whole = run(EarlyStopping(2), None, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="as if killed"):
        run(EarlyStopping(2), at, tmp_path / "cut")
    resume: Mapping[str, Any] = {"resume": "auto" if at == 1 else True}
    resumed = run(EarlyStopping(2), None, tmp_path / "cut", **resume)
    assert len(resumed) == len(whole) == 5
    assert resumed.stop_reason == whole.stop_reason == "early"
    again = run(EarlyStopping(2), None, tmp_path / "cut", **resume)  # it has ended
    assert (len(again), again.stop_reason) == (5, "early")
    with pytest.raises(ArgumentError, match=r"'patience': 2.*received.*'patience': 7"):
        run(EarlyStopping(7), None, tmp_path / "cut", **resume)
