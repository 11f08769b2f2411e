"""`TensorBoardLogger`, by what TensorBoard itself reads from its files."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, CnnkitWarning, MissingExtraError
from cnnkit.train import Callback, History, TensorBoardLogger, TrainState, fit

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 2, generator=generator), torch.tensor([0, 1, 0, 1])) for _ in range(2)]


def run(*callbacks: Callback, epochs: int = 3, **more: Any) -> History:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Linear(2, 2)
    return fit(
        net, batches(), batches(), epochs=epochs, callbacks=callbacks, progress=False, **more
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each curve in the files of a folder."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(point.step, point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def expected(history: History, name: str) -> list[tuple[int, float]]:
    values = torch.tensor(history.column(name)).tolist()  # TensorBoard holds them as float32
    return [(int(row["epoch"]), value) for row, value in zip(history.rows, values, strict=True)]


def age(folder: Path) -> None:
    """Let the files be of another second: their names, which hold the time, give their order."""
    for path in folder.rglob("events.out.tfevents.*"):
        parts = path.name.split(".")
        parts[3] = f"{int(parts[3]) - 100:010d}"
        path.rename(path.with_name(".".join(parts)))


def test_every_figure_but_the_seconds_is_a_curve_over_the_epochs(tmp_path: Path) -> None:
    before = threading.active_count()
    history = run(TensorBoardLogger(tmp_path / "runs" / "first"), evaluate_first=True)
    found = scalars(tmp_path / "runs" / "first")
    assert set(found) == {"train_loss", "train_acc", "val_loss", "val_acc", "lr"}
    for name in ("val_loss", "val_acc", "lr"):
        assert found[name] == expected(history, name)
    assert found["train_loss"] == expected(history, "train_loss")[1:]  # epoch 0 has none
    assert threading.active_count() == before, "the writer is not closed"


def test_points_are_on_the_disk_before_the_checkpoint_says_so(tmp_path: Path) -> None:
    seen = []

    class Reads(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            seen.append([step for step, _ in scalars(tmp_path)["val_loss"]])

    run(TensorBoardLogger(tmp_path), Reads())
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_the_learning_rate_of_the_steps(tmp_path: Path) -> None:
    history = run(TensorBoardLogger(tmp_path, every=2), epochs=4, lr=0.1, scheduler="cosine")
    steps = scalars(tmp_path / "steps")
    half_cosine = [0.05 * (1 + float(torch.cos(torch.tensor(i * torch.pi / 8)))) for i in (2, 4, 6)]
    assert list(steps) == ["lr"]
    assert [step for step, _ in steps["lr"]] == [2, 4, 6, 8]
    assert [lr for _, lr in steps["lr"]][:3] == pytest.approx(half_cosine)
    assert scalars(tmp_path)["lr"] == expected(history, "lr")


class Falls(Callback):
    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def on_epoch_end(self, state: TrainState) -> None:
        if state.epoch == self.at:
            raise RuntimeError("as if killed")


def test_a_resumed_run_has_no_point_twice_and_none_missing(tmp_path: Path) -> None:
    logs, folder = tmp_path / "logs", tmp_path / "checkpoints"
    options: dict[str, Any] = {"epochs": 5, "checkpoint_dir": folder}
    with pytest.raises(RuntimeError, match="as if killed"):
        run(TensorBoardLogger(logs, every=1), Falls(3), **options)
    assert [step for step, _ in scalars(logs)["val_loss"]] == [1, 2, 3]  # no checkpoint of 3
    assert [step for step, _ in scalars(logs / "steps")["lr"]] == [1, 2, 3, 4, 5, 6]
    age(logs)
    history = run(TensorBoardLogger(logs, every=1), Falls(), resume=True, **options)
    assert scalars(logs)["val_loss"] == expected(history, "val_loss")
    assert [step for step, _ in scalars(logs)["val_loss"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in scalars(logs / "steps")["lr"]] == list(range(1, 11))


def test_another_run_in_the_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    run(TensorBoardLogger(tmp_path, every=1), epochs=4, lr=1e-3, evaluate_first=True)
    age(tmp_path)
    history = run(TensorBoardLogger(tmp_path, every=1), epochs=2, lr=0.1)
    assert scalars(tmp_path)["val_loss"] == expected(history, "val_loss")
    assert [step for step, _ in scalars(tmp_path / "steps")["lr"]] == [1, 2, 3, 4]


def test_one_object_serves_one_run_after_another_that_raised(tmp_path: Path) -> None:
    before, logger, falls = threading.active_count(), TensorBoardLogger(tmp_path), Falls(2)
    with pytest.raises(RuntimeError, match="as if killed"):
        run(logger, falls)
    age(tmp_path)
    falls.at = None
    history = run(logger, falls)
    assert scalars(tmp_path)["val_loss"] == expected(history, "val_loss")
    assert threading.active_count() == before


def test_a_disk_that_cannot_be_written_is_told_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logger = TensorBoardLogger(tmp_path / "file" / "logs", every=1)
    with pytest.warns(
        CnnkitWarning, match=r"for TensorBoard to .*logs \(.*File exists|Not a dir"
    ) as told:
        assert len(run(logger)) == 3
    assert [one.filename for one in told] == [__file__]


class Fills(Callback):
    """From the third epoch on no file may grow, as on a disk that is full."""

    def on_epoch_start(self, state: TrainState) -> None:
        if state.epoch == 3:
            limits = pytest.importorskip("resource")
            limits.setrlimit(limits.RLIMIT_FSIZE, (1, limits.RLIM_INFINITY))


# TensorBoard's own thread, which writes, says what stopped it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_becomes_full_ends_nothing_and_leaves_what_was_written(tmp_path: Path) -> None:
    limits = pytest.importorskip("resource")
    before = limits.getrlimit(limits.RLIMIT_FSIZE), threading.active_count()
    try:
        with pytest.warns(CnnkitWarning, match="File too large.* goes on without") as told:
            history = run(TensorBoardLogger(tmp_path, every=1), Fills(), epochs=6)
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before[0])
    assert (len(history), history.stop_reason, len(told)) == (6, "finished", 1)
    assert [step for step, _ in scalars(tmp_path)["train_loss"]] == [1, 2]
    assert threading.active_count() == before[1]


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_every_is_a_positive_int(every: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"every must be a positive int or None, .* {every}"):
        TensorBoardLogger(tmp_path, every=every)


def test_without_the_extra_the_error_names_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "cnnkit\[tensorboard\]"'):
        TensorBoardLogger(tmp_path)
