"""Checkpoint files: which stay, what is in them, and what damage or a full disk does."""

from __future__ import annotations

import errno
import functools
import math
import random
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from training_runs import Result, equal, figures, files, loaders, network, train, weights

from cnnkit.data import ArrayDataset, make_loader
from cnnkit.errors import (
    ArgumentError,
    CnnkitWarning,
    ModelError,
    NotFoundError,
    SavedFileError,
    TrainingError,
)
from cnnkit.models import MLP
from cnnkit.train import Callback, EarlyStopping, TrainState, evaluate, fit, load_checkpoint
from cnnkit.train._checkpoint import CheckpointFolder, Position

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the validation loss was:cnnkit.errors.CnnkitWarning",
    "ignore:for 3 epochs the training:cnnkit.errors.CnnkitWarning",
    "ignore:all 12 validation predictions:cnnkit.errors.CnnkitWarning",
)


OVERFIT: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1, "scheduler": None}


def epochs_in(folder: Path) -> list[int]:
    return [position.epoch for position in CheckpointFolder(folder) if position.batch is None]


def write(folder: Path, keep: Any, best: list[int]) -> CheckpointFolder:
    """As many empty checkpoints as there are numbers, each the best epoch by then."""
    checkpoints = CheckpointFolder(folder, keep)
    for epoch, so_far in enumerate(best, start=1):
        checkpoints.write(Position(epoch, None), {}, so_far)
    return checkpoints


# --- which files stay ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(1, [6, 7]), (2, [6, 7]), (3, [5, 6, 7]), ("best", [4, 6, 7]), ("all", [1, 2, 3, 4, 5, 6, 7])],
)
def test_which_epochs_stay(tmp_path: Path, keep: Any, kept: list[int]) -> None:
    write(tmp_path, keep, [1, 1, 1, 4, 4, 4, 4])
    assert epochs_in(tmp_path) == kept


def test_the_two_newest_stay_whatever_is_kept_and_the_best_is_not_lost(tmp_path: Path) -> None:
    checkpoints = write(tmp_path, "best", [1, 1])
    for batch in range(1, 5):
        checkpoints.write(Position(3, batch), {}, 1)
        assert 1 in epochs_in(tmp_path)
    assert files(tmp_path) == [
        "epoch-0001.pt",
        "epoch-0003-batch-000003.pt",
        "epoch-0003-batch-000004.pt",
    ]


@pytest.mark.parametrize("keep", [1, 3, "all"])
def test_checkpoints_within_an_epoch_make_way(tmp_path: Path, keep: Any) -> None:
    checkpoints = CheckpointFolder(tmp_path, keep)
    for epoch in (1, 2, 3):
        for batch in (2, 4, None):
            checkpoints.write(Position(epoch, batch), {}, None)
            assert len([p for p in checkpoints if p.batch is not None]) <= 2
    assert epochs_in(tmp_path) == ([3] if keep == 1 else [1, 2, 3])
    assert files(tmp_path)[-2:] == ["epoch-0003-batch-000004.pt", "epoch-0003.pt"]


def test_a_run_keeps_what_it_was_told(tmp_path: Path) -> None:
    def run(keep: Any) -> list[str]:
        train(tmp_path / str(keep), epochs=4, keep=keep)
        return files(tmp_path / str(keep))

    assert run(1) == ["epoch-0003.pt", "epoch-0004.pt"]
    assert run(3) == ["epoch-0002.pt", "epoch-0003.pt", "epoch-0004.pt"]
    assert run("all") == [f"epoch-000{n}.pt" for n in (1, 2, 3, 4)]


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    best = overfitted(tmp_path, keep="best").history.best
    assert best is not None
    assert 1 <= best["epoch"] < 5, "this run is meant to overfit"
    assert files(tmp_path) == sorted(
        {f"epoch-{best['epoch']:04.0f}.pt", "epoch-0005.pt", "epoch-0006.pt"}
    )


def overfitted(folder: Path, **options: Any) -> Result:
    return train(folder, network(dropout=0.0), **{"epochs": 6, **OVERFIT, **options})


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "last", None])
def test_what_keep_may_be(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(ArgumentError, match=f'keep must be a number.*"all", received {keep!r}'):
        train(tmp_path, keep=keep)


def test_checkpoints_every_so_many_steps(tmp_path: Path) -> None:
    class Look(Callback):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_step_end(self, state: TrainState) -> None:
            self.seen += [name for name in files(tmp_path) if name not in self.seen]

    look = Look()
    train(tmp_path, epochs=1, checkpoint_every=3, accumulate=2, callbacks=look, keep="all",
          data=loaders(4))  # fmt: skip
    # 48 samples, 12 batches, 6 steps; the last of them is that of the epoch's end.
    assert look.seen == ["epoch-0001-batch-000006.pt"]
    assert files(tmp_path) == ["epoch-0001-batch-000012.pt", "epoch-0001.pt"]


def test_checkpoint_every_needs_a_folder() -> None:
    with pytest.raises(ArgumentError, match="checkpoint_every=3 needs a checkpoint_dir"):
        train(checkpoint_every=3)


def test_a_folder_that_can_be_none_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("file", "file/below"):
        with pytest.raises(ArgumentError, match=f"checkpoint_dir=.*{path}' can be no folder"):
            train(tmp_path / path)


# --- reading them --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of six epochs that overfits, with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)
        overfitted(folder, keep="all")
    return folder


@pytest.mark.parametrize("epoch", [1, 3, 6])
def test_weights_of_an_epoch(run_folder: Path, tmp_path: Path, epoch: int) -> None:
    model, data = network(seed=9), loaders()
    history = load_checkpoint(run_folder, model, epoch=epoch)
    assert len(history) == epoch
    report = evaluate(model, data.val)
    assert report.loss == pytest.approx(history.rows[-1]["val_loss"], rel=1e-6)
    shorter = train(None, network(dropout=0.0), epochs=epoch, restore_best=False, **OVERFIT)
    assert equal(weights(model), shorter.weights)
    assert figures(history) == shorter.rows


def test_the_best_and_the_last(run_folder: Path) -> None:
    best, last = network(seed=8), network(seed=9)
    history = load_checkpoint(run_folder, best, epoch="best")
    assert history.best is not None
    assert len(load_checkpoint(run_folder, last)) == len(history) == 6
    assert evaluate(best, loaders().val).loss == pytest.approx(history.best["val_loss"], rel=1e-6)
    named = network(seed=7)
    load_checkpoint(run_folder, named, epoch=int(history.best["epoch"]))
    assert equal(weights(best), weights(named))
    assert not equal(weights(best), weights(last))
    assert history.restored == history.best["epoch"]


@pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")
def test_the_best_of_a_run_that_kept_the_last(run_folder: Path, tmp_path: Path) -> None:
    overfitted(tmp_path, keep="best", restore_best=False)
    best, expected = network(seed=8), network(seed=9)
    history = load_checkpoint(tmp_path, best, epoch="best")
    load_checkpoint(run_folder, expected, epoch="best")
    assert equal(weights(best), weights(expected))
    assert history.best is not None
    assert history.restored == history.best["epoch"] < 6 == len(history)
    (tmp_path / f"epoch-{history.restored:04}.pt").unlink()
    with pytest.raises(NotFoundError, match=f"no checkpoint of epoch {history.restored} "):
        load_checkpoint(tmp_path, best, epoch="best")


def test_the_model_knows_its_classes_again(run_folder: Path) -> None:
    from cnnkit.errors import ClassMismatchError

    model, ds = network(), loaders().val.dataset
    load_checkpoint(run_folder, model)
    other = ArrayDataset(ds.images, ds.labels, classes="xyz")
    with pytest.raises(ClassMismatchError, match=r"0: a.*0: x"):
        evaluate(model, make_loader(other, 4, device="cpu"))


def test_a_checkpoint_that_is_not_there(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"epoch 7 .*of epochs \[1, 2, 3, 4, 5, 6\].*keep="):
        load_checkpoint(run_folder, network(), epoch=7)
    with pytest.raises(NotFoundError, match=r"no checkpoint in .*nowhere"):
        load_checkpoint(tmp_path / "nowhere", network())
    with pytest.raises(ArgumentError, match=r'"best" or "last", received .first.'):
        load_checkpoint(run_folder, network(), epoch="first")  # type: ignore[arg-type]


def test_weights_of_another_architecture(run_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)another architecture.*cnn1.weight"):
        load_checkpoint(run_folder, MLP(3, image_size=8))


def test_one_that_vanishes_while_it_is_looked_for(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is under way removes old ones."""
    there = [*CheckpointFolder(run_folder), Position(7, None)]
    monkeypatch.setattr(CheckpointFolder, "__iter__", lambda _: iter(there))
    assert len(load_checkpoint(run_folder, network())) == 6


def test_what_is_in_one(run_folder: Path) -> None:
    saved = torch.load(run_folder / "epoch-0004.pt", weights_only=True)
    assert saved["kind"] == "checkpoint"
    assert (saved["epoch"], saved["batch"], saved["step"]) == (4, 7, 28)
    assert saved["classes"] == ["a", "b", "c"]
    assert tuple(saved["preprocess"]["image_size"]) == (8, 8)
    parts = {"model", "optimizer", "scheduler", "scaler", "callbacks", "kept", "history", "random"}
    assert parts <= set(saved)


# --- an occupied folder, other settings ----------------------------------------------------------


def test_an_occupied_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no checkpoint in .*runs.*auto"):
        train(tmp_path / "runs", resume=True)
    assert not (tmp_path / "runs").exists()
    first = train(tmp_path / "runs", epochs=2, resume="auto")
    before = files(tmp_path / "runs")
    with pytest.raises(ArgumentError, match=r"runs holds the checkpoints of a run.*resume=True"):
        train(tmp_path / "runs", epochs=2)
    assert files(tmp_path / "runs") == before
    assert train(tmp_path / "runs", epochs=2, resume="auto").same(first)
    with pytest.raises(ArgumentError, match="resume=True needs the checkpoint_dir"):
        train(None, resume=True)
    with pytest.raises(ArgumentError, match='resume must be True, False or "auto", received 3'):
        train(tmp_path, resume=3)


def test_a_finished_run_returns_its_history_without_training(tmp_path: Path) -> None:
    class Never(Callback):
        def on_epoch_start(self, state: TrainState) -> None:
            raise AssertionError("it was finished")

    first = overfitted(tmp_path, callbacks=Callback())
    assert first.history.restored is not None, "this run is meant to overfit"
    saved = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    Never.__qualname__ = Callback.__qualname__  # the same callbacks as before
    model = network(seed=5, dropout=0.0)
    again = train(tmp_path, model, epochs=6, resume=True, callbacks=Never(), **OVERFIT)
    assert again.same(first), "history, reason and best weights"
    assert not model.training
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)} == saved


def test_a_run_that_stopped_early_has_stopped(tmp_path: Path) -> None:
    def run(**options: Any) -> Result:
        stopping = EarlyStopping(patience=1)
        return train(
            tmp_path, network(dropout=0.0), callbacks=stopping, epochs=9, **OVERFIT, **options
        )

    first = run()
    assert first.history.stop_reason == "early"
    again = run(resume=True)
    assert again.same(first)


@pytest.mark.parametrize("reason", ["early", "budget"])
def test_stopping_in_mid_epoch_lets_it_be_the_last_also_when_resumed(
    tmp_path: Path, reason: Any
) -> None:
    """It is trained to its end, whether the run is cut after the callback spoke or not."""

    class AfterTen(Callback):
        def __init__(self, cut: bool) -> None:
            self.cut = cut

        def on_step_end(self, state: TrainState) -> None:
            if state.step == 10:
                state.stop(reason)
            if state.step == 12 and self.cut:
                raise KeyboardInterrupt

    whole = train(callbacks=AfterTen(False))
    assert (len(whole.rows), whole.ended[0]) == (2, reason)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, checkpoint_every=1, callbacks=AfterTen(True))
    resumed = train(tmp_path, checkpoint_every=1, callbacks=AfterTen(False), resume=True)
    assert resumed.same(whole)


def test_epochs_may_grow(tmp_path: Path) -> None:
    whole = train(epochs=4, scheduler="plateau")
    train(tmp_path, epochs=2, scheduler="plateau")
    assert train(tmp_path, epochs=4, scheduler="plateau", resume=True).same(whole)
    with pytest.raises(ArgumentError, match="epochs is 3, and 4 were begun already"):
        train(tmp_path, epochs=3, scheduler="plateau", resume=True)


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ("one_cycle", "scheduler total_steps was 14, is 28"),
        ("cosine", "scheduler T_max was 14, is 28"),
        ("step", "scheduler step_size was 1, is 2"),
    ],
)
def test_epochs_may_not_grow_where_the_schedule_depends_on_them(
    tmp_path: Path, scheduler: Any, said: str
) -> None:
    train(tmp_path, epochs=2, scheduler=scheduler)
    with pytest.raises(ArgumentError, match=f"set as it was, but: .*{said}"):
        train(tmp_path, epochs=4, scheduler=scheduler, resume=True)


def smaller() -> nn.Module:
    return MLP(3, image_size=8)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.1}, r"optimizer lr was 0.05, is 0.1"),
        ({"optimizer": "adam"}, "optimizer was 'SGD', is 'Adam'"),
        ({"scheduler": "step"}, "scheduler was None, is 'StepLR'"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "loss was .*CrossEntropyLoss.*0.1"),
        ({"accumulate": 2}, "accumulate was 1, is 2"),
        ({"clip_norm": 1.0}, "clip_norm was None, is 1.0"),
        ({"precision": "bf16"}, "precision was 'fp32', is 'bf16'"),
        ({"memory_format": "contiguous"}, "memory_format was 'auto', is 'contiguous'"),
        ({"monitor": "val_acc"}, "monitor was 'val_loss', is 'val_acc'"),
        ({"restore_best": False}, "restore_best was True, is False"),
        ({"evaluate_first": True}, "evaluate_first was False, is True"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"data": loaders(8)}, "train_loader batch_size was 7, is 8"),
        ({"data": loaders(n=63)}, "train_loader samples was '48 samples, .*', is .50 samples"),
        ({"model": smaller()}, "model was 'TwoLayerCNN, .*', is 'MLP, "),
        ({"model": network(dropout=0.4)}, "model was 'TwoLayerCNN, .*', is 'TwoLayerCNN, "),
    ],
)
def test_other_settings_are_listed(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    train(tmp_path, epochs=1, scheduler=None)
    with pytest.raises(ArgumentError, match=f"must be set as it was, but: .*{said}"):
        train(tmp_path, **{"epochs": 2, "scheduler": None, "resume": True, **changed})
    assert train(tmp_path, epochs=2, scheduler=None, resume=True).history.stop_reason == "finished"


class Smooth(nn.Module):
    """A loss with another inside."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss(label_smoothing=smoothing)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.inner(logits, labels)
        return loss


class Scaled:
    """A loss that is neither a function nor a module."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.factor * nn.functional.cross_entropy(logits, labels)


def smoothed(smoothing: float) -> Any:
    return functools.partial(nn.functional.cross_entropy, label_smoothing=smoothing)


@pytest.mark.parametrize("make", [Smooth, Scaled, smoothed])
def test_settings_of_a_loss_of_ones_own_are_seen(tmp_path: Path, make: Any) -> None:
    options: dict[str, Any] = {"scheduler": None}
    train(tmp_path, epochs=1, loss=make(0.25), **options)
    with pytest.raises(ArgumentError, match=r"loss was .*0\.25.*, is .*0\.5"):
        train(tmp_path, epochs=2, loss=make(0.5), resume=True, **options)
    resumed = train(tmp_path, epochs=2, loss=make(0.25), resume=True, **options)
    assert resumed.same(train(epochs=2, loss=make(0.25), **options))


def test_another_number_of_batches_is_seen(tmp_path: Path) -> None:
    def foreign(drop_last: bool) -> Any:
        samples = [(torch.full((1, 8, 8), n / 10), n % 3) for n in range(10)]
        return torch.utils.data.DataLoader(samples, 4, drop_last=drop_last)  # type: ignore[arg-type]

    fit(network(), foreign(False), epochs=1, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(ArgumentError, match="train_loader batches was 3, is 2"):
        fit(
            network(), foreign(True), epochs=2, checkpoint_dir=tmp_path, resume=True, progress=False
        )


def test_several_other_settings_are_all_listed(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, scheduler=None)
    with pytest.raises(
        ArgumentError, match=r"optimizer lr was.*; .*accumulate was 1, is 3; .*seed"
    ):
        train(tmp_path, epochs=2, scheduler=None, lr=0.1, accumulate=3, seed=2, resume=True)


def test_other_callbacks_are_an_error(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, scheduler=None, callbacks=EarlyStopping())
    with pytest.raises(ArgumentError, match=r"callbacks \['EarlyStopping'\], received \[\]"):
        train(tmp_path, epochs=2, scheduler=None, resume=True)


def test_other_threads_are_a_warning(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, scheduler=None)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.warns(CnnkitWarning, match=f"elsewhere .threads was {threads}, is") as caught:
            train(tmp_path, epochs=2, scheduler=None, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert Path(caught[0].filename).name == "training_runs.py", "the user's line"


def test_a_data_set_with_labels_of_any_form(tmp_path: Path) -> None:
    class Odd(torch.utils.data.Dataset[Any]):
        targets = ("cat", ["dog"])
        indices = None

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return torch.full((1, 8, 8), float(index)), index % 3

    loader = torch.utils.data.DataLoader(Odd(), 2)
    assert len(fit(smaller(), loader, epochs=1, checkpoint_dir=tmp_path, progress=False)) == 1


# --- damage --------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused_and_the_one_before_it_used(tmp_path: Path) -> None:
    whole = train(epochs=3)
    train(tmp_path, epochs=3, keep="all")
    newest = tmp_path / "epoch-0003.pt"
    content = newest.read_bytes()
    cuts = [0, 1, len(content) - 1, *random.Random(0).sample(range(len(content)), 25)]
    for cut in cuts:
        newest.write_bytes(content[:cut])
        with pytest.warns(CnnkitWarning, match=r"passed over a damaged .*epoch-0003.pt"):
            found = CheckpointFolder(tmp_path).newest()
        assert found is not None
        assert found["epoch"] == 2
    with pytest.warns(CnnkitWarning, match="passed over a damaged"):
        assert train(tmp_path, epochs=3, keep="all", resume=True).same(whole)
    assert "epoch-0003.pt.damaged" in files(tmp_path)
    assert train(tmp_path, epochs=3, keep="all", resume=True).same(whole), "without a warning"


def test_one_with_other_bytes_is_refused(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    newest = tmp_path / "epoch-0002.pt"
    content = newest.read_bytes()
    refused = 0
    for place in random.Random(1).sample(range(len(content)), 40):
        newest.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = CheckpointFolder(tmp_path).newest()
        assert found is not None
        refused += found["epoch"] == 1
        assert bool(said) == (found["epoch"] == 1)
    assert refused >= 30, "the others were in the padding between the parts"


def test_a_damaged_one_does_not_push_out_whole_ones(tmp_path: Path) -> None:
    """It would count as the newest for ever."""
    train(tmp_path, epochs=2, scheduler=None, callbacks=CutAt(99))
    (tmp_path / "epoch-0002.pt").write_bytes(b"")

    with pytest.warns(CnnkitWarning, match="damaged"):
        train(tmp_path, epochs=2, scheduler=None, resume=True, callbacks=CutAt(9))
    whole = [name for name in files(tmp_path) if name.endswith(".pt")]
    assert whole == ["epoch-0001.pt", "epoch-0002-batch-000002.pt"]
    for name in whole:
        torch.load(tmp_path / name, weights_only=True)


class CutAt(Callback):
    """Interrupts a run at an optimiser step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, state: TrainState) -> None:
        if state.step == self.step:
            signal.raise_signal(signal.SIGINT)


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    for name in files(tmp_path):
        (tmp_path / name).write_bytes(b"no checkpoint")
    for resume in (True, "auto"):
        with (
            pytest.warns(CnnkitWarning, match="damaged"),
            pytest.raises(
                SavedFileError, match=r"none of the 2 checkpoints in .* is whole: delete"
            ),
        ):
            train(tmp_path, epochs=2, resume=resume)
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0002.pt"], "nothing was removed"


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    train(tmp_path, epochs=1, scheduler=None)
    (tmp_path / ".0123456789abcdef.cnnkit.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    train(tmp_path, epochs=2, scheduler=None, resume=True)
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0002.pt", "notes.txt"]


class OnceNaN:
    """A loss whose gradient is nan once, though it is a number itself."""

    def __init__(self, call: int) -> None:
        self.call = call
        self.calls = 0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls == self.call:
                logits = logits + (0 * logits).sqrt()  # 0 / 0 in the derivative
        return nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize("call", [10, 14])  # seven an epoch
def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path, call: int) -> None:
    options: dict[str, Any] = {"checkpoint_every": 1, "scheduler": None}
    with pytest.warns(CnnkitWarning, match="the run has ended"):
        cut = train(tmp_path, loss=OnceNaN(call), **options)
    assert cut.history.stop_reason == "nan"
    model = network()
    load_checkpoint(tmp_path, model)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert files(tmp_path)[-1] == f"epoch-0002-batch-{call - 8:06}.pt", "that of the step before"


# --- a full disk ---------------------------------------------------------------------------------


class FullDisk:
    """Stands in for the writing of files: full from the second one on, until it is emptied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, full: range) -> None:
        self.error, self.full, self.writes = error, full, 0
        self.original = torch.save
        monkeypatch.setattr(torch, "save", self.save)

    def save(self, parts: Any, stream: Any) -> None:
        self.writes += 1
        if self.writes in self.full:
            stream.write(b"half of it")
            raise self.error
        self.original(parts, stream)


ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["OSError", "RuntimeError"])
def test_a_full_disk_is_said_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = train(epochs=4)
    FullDisk(monkeypatch, error, range(2, 4))
    with pytest.warns(CnnkitWarning) as caught:
        assert train(tmp_path, epochs=4).same(whole)
    said = [str(w.message) for w in caught if "could not be written" in str(w.message)]
    assert len(said) == 1
    assert "epoch-0002.pt could not be written" in said[0]
    assert str(error) in said[0]
    assert "goes on" in said[0]
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0004.pt"], "no half files"


@pytest.mark.parametrize("error", ERRORS, ids=["OSError", "RuntimeError"])
@pytest.mark.parametrize("every", [None, 2])
def test_a_full_disk_ends_the_run_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, every: int | None
) -> None:
    whole = train(epochs=4)
    FullDisk(monkeypatch, error, range(2, 99))
    with pytest.warns(CnnkitWarning, match=r"could not be written.*The run ends here"):
        cut = train(tmp_path, epochs=4, on_checkpoint_error="stop", checkpoint_every=every)
    assert cut.history.stop_reason == "not_saved"
    first = "epoch-0001.pt" if every is None else "epoch-0001-batch-000002.pt"
    assert files(tmp_path) == [first]
    monkeypatch.undo()
    assert train(tmp_path, epochs=4, resume=True, checkpoint_every=every).same(whole)


def test_what_to_do_on_an_error_is_a_choice(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"on_checkpoint_error must be one of .*'ignore'"):
        train(tmp_path, on_checkpoint_error="ignore")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_file_that_really_cannot_grow(tmp_path: Path) -> None:
    """The system's own limit on the size of files, in the third epoch."""
    script = """
        import resource, sys, warnings
        sys.path[:0] = sys.argv[2:]
        import torch
        torch.set_num_threads(1)
        from pathlib import Path
        from training_runs import files, train
        from cnnkit.train import Callback

        class Fill(Callback):
            def on_epoch_start(self, state):
                if state.epoch == 3 and not said:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

        folder = Path(sys.argv[1])
        said = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = train(folder, epochs=4, callbacks=Fill())
        said = [str(w.message) for w in caught if "written" in str(w.message)]
        assert len(said) == 1 and "epoch-0003.pt could not be written" in said[0], said
        assert result.ended[0] == "finished", result.ended
        assert files(folder) == ["epoch-0001.pt", "epoch-0002.pt"], files(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert train(folder, epochs=4, callbacks=Fill(), resume=True).same(result)
    """
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


# --- what a checkpoint can hold ------------------------------------------------------------------


class Remembering(Callback):
    """Returns whatever it is given as its state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"it": self.state}


@pytest.mark.parametrize(
    "state", [np.float64(1), Path("here"), lambda: 0, Position(1, 2), object()], ids=repr
)
def test_a_state_that_cannot_be_read_back_is_refused_at_the_first_write(
    tmp_path: Path, state: Any
) -> None:
    with pytest.raises(TrainingError, match=r"could not be read again.*callbacks may hold numbers"):
        train(tmp_path, epochs=9, callbacks=Remembering(state))
    assert files(tmp_path) == []


def test_a_state_of_plain_things_is_read_back(tmp_path: Path) -> None:
    state = {"a": [1, 2.5, None, True], "b": (torch.ones(2), "text"), "nan": math.inf}
    train(tmp_path, epochs=1, scheduler=None, callbacks=Remembering(state))
    seen: list[Any] = []

    class Back(Remembering):
        def load_state_dict(self, saved: dict[str, Any]) -> None:
            seen.append(saved["it"])

    Back.__qualname__ = "Remembering"
    train(tmp_path, epochs=2, scheduler=None, callbacks=Back(None), resume=True)
    assert seen[0]["a"] == [1, 2.5, None, True]
    assert torch.equal(seen[0]["b"][0], torch.ones(2))
    assert seen[0]["nan"] == math.inf


def test_an_optimiser_with_a_state_of_its_own_is_refused(tmp_path: Path) -> None:
    class Odd(SGD):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "mine": Path("here")}

    with pytest.raises(TrainingError, match=r"the optimiser, the scheduler.*no other objects"):
        train(tmp_path, optimizer=Odd, scheduler=None)


def test_a_bug_in_a_callback_is_not_a_full_disk(tmp_path: Path) -> None:
    class Broken(Callback):
        def state_dict(self) -> dict[str, Any]:
            raise RuntimeError("my bug")

    with pytest.raises(RuntimeError, match="my bug"):
        train(tmp_path, callbacks=Broken())


def test_figures_that_a_callback_adds_become_numbers(tmp_path: Path) -> None:
    class Adds(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            state.row["numpy"] = np.float64(state.epoch)
            state.row["tensor"] = torch.tensor(2.5)  # type: ignore[assignment]
            state.row["flag"] = True

    whole = train(callbacks=Adds())
    assert [type(v) for v in whole.rows[0].values()] == [int] + [float] * (len(whole.rows[0]) - 1)
    assert [row["numpy"] for row in whole.rows] == [1, 2, 3]
    train(tmp_path, callbacks=Adds())
    assert train(tmp_path, callbacks=Adds(), resume=True).rows == whole.rows

    class AddsText(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            state.row["who"] = "me"  # type: ignore[assignment]

    with pytest.raises(ArgumentError, match=r"figures of an epoch must be numbers, received.*'me'"):
        train(callbacks=AddsText())


class Counting(nn.Module):
    """Keeps a number that is no tensor, in the way that torch provides for it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = network(dropout=0.0), 0

    def forward(self, images: Any) -> Any:
        self.calls += self.training
        return self.inner(images)

    def get_extra_state(self) -> Any:
        return {"calls": self.calls}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


def test_extra_state_of_a_model_is_kept_and_restored(tmp_path: Path) -> None:
    model = Counting()
    result = train(tmp_path, model, epochs=6, **OVERFIT)
    assert result.history.restored is not None, "this run is meant to overfit"
    assert model.calls == 7 * result.history.restored
    again = Counting()
    train(tmp_path, again, epochs=6, resume=True, **OVERFIT)
    assert again.calls == model.calls
    last = Counting()
    load_checkpoint(tmp_path, last)
    assert last.calls == 42


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.first = nn.Linear(64, 64)
                self.second, self.out = nn.Linear(64, 64), nn.Linear(64, 3)
            self.second.weight = self.first.weight

        def forward(self, images: Any) -> Any:
            return self.out(self.second(self.first(images.flatten(1)).tanh()).tanh())

    model, again = Tied(), Tied()
    first = train(tmp_path, model, epochs=5, lr=0.3, scheduler=None)
    assert first.history.restored is not None, "this run is meant to overfit"
    assert model.first.weight is model.second.weight
    for resumed in (True, False):
        if resumed:
            assert train(tmp_path, again, epochs=5, lr=0.3, scheduler=None, resume=True).same(first)
        assert again.first.weight is again.second.weight


def test_a_scheduler_of_a_function_is_resumed(tmp_path: Path) -> None:
    def falling(optimizer: Any) -> LRScheduler:
        return LambdaLR(optimizer, lambda epoch: 0.5**epoch)

    whole = train(scheduler=falling, epochs=4)
    train(tmp_path, scheduler=falling, epochs=2)
    assert train(tmp_path, scheduler=falling, epochs=4, resume=True).same(whole)


# --- numbers of numpy's, and of the user's own ---------------------------------------------------


def test_settings_may_be_numbers_of_numpys(tmp_path: Path) -> None:
    least: Any = np.float32(0.5)
    numbers: dict[str, Any] = {
        "lr": np.float64(0.05),
        "clip_norm": np.float32(1.5),
        "seed": np.int64(3),
        "callbacks": EarlyStopping(9, min_delta=least),
    }
    train(tmp_path, epochs=1, scheduler=None, **numbers)
    again = {**numbers, "lr": 0.05, "clip_norm": 1.5, "seed": 3}
    assert len(train(tmp_path, epochs=2, scheduler=None, resume=True, **again).history) == 2


class Undefined(Callback):
    """A figure that is nan, such as the F1 of a class that nothing was taken for."""

    def on_epoch_end(self, state: TrainState) -> None:
        state.row["val_f1"] = math.nan


def test_a_figure_of_ones_own_that_is_nan_spoils_nothing() -> None:
    expected = train(epochs=4, callbacks=EarlyStopping(9))
    found = train(epochs=4, callbacks=[Undefined(), EarlyStopping(9)])
    assert equal(found.weights, expected.weights)
    assert found.history.restored == expected.history.restored
    watched = train(epochs=4, callbacks=Undefined(), monitor="val_f1")
    last = train(epochs=4, restore_best=False)
    assert equal(watched.weights, last.weights), "not the initial ones"
    assert watched.history.best is None
