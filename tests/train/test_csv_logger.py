"""`CSVLogger`: all rows, whole at any moment, and a disk that is full ends no training."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import CnnkitWarning
from cnnkit.train import Callback, CSVLogger, History, TrainState, fit


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


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items()} for row in read]


def test_the_file_holds_the_history(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.csv"  # folders are made
    history = run(CSVLogger(path))
    assert rows(path) == history.rows
    assert list(rows(path)[0]) == list(history.rows[0])
    assert [file.name for file in path.parent.iterdir()] == ["run.csv"]


def test_it_can_be_read_after_each_epoch(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.csv", []

    class Reads(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            seen.append([row["epoch"] for row in rows(path)])

    run(CSVLogger(path), Reads())
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_what_a_later_callback_adds_and_the_row_that_never_ended_are_in_it(tmp_path: Path) -> None:
    class Adds(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            state.row["twice"] = 2 * state.epoch

    run(CSVLogger(tmp_path / "run.csv"), Adds())
    assert [row["twice"] for row in rows(tmp_path / "run.csv")] == [2, 4, 6]

    class Explodes(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            if state.epoch == 2:
                nn.init.constant_(next(state.model.parameters()), math.nan)

    with pytest.warns(CnnkitWarning, match="the loss became nan in epoch 3"):
        history = run(CSVLogger(tmp_path / "nan.csv"), Explodes())
    assert history.stop_reason == "nan"
    written = (tmp_path / "nan.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in written[3:]] == [["3", "nan"]]


class Falls(Callback):
    def __init__(self, at: int | None = None) -> None:
        self.at = at

    def on_epoch_end(self, state: TrainState) -> None:
        if state.epoch == self.at:
            raise RuntimeError("as if killed")


def test_a_resumed_run_has_all_rows_once(tmp_path: Path) -> None:
    path, folder = tmp_path / "run.csv", tmp_path / "checkpoints"
    with pytest.raises(RuntimeError, match="as if killed"):
        run(CSVLogger(path), Falls(3), epochs=5, checkpoint_dir=folder)
    assert [row["epoch"] for row in rows(path)] == [1, 2, 3]  # the third is in no checkpoint
    history = run(CSVLogger(path), Falls(), epochs=5, checkpoint_dir=folder, resume=True)
    assert rows(path) == history.rows
    assert [row["epoch"] for row in rows(path)] == [1, 2, 3, 4, 5]


def test_a_disk_that_cannot_be_written_is_told_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logger = CSVLogger(tmp_path / "file" / "run.csv")  # below a file there is no folder
    for _ in range(2):  # once a run
        with pytest.warns(CnnkitWarning, match=r"could not be written to .*run\.csv") as told:
            assert len(run(logger)) == 3
        assert [one.filename for one in told] == [__file__]


def test_when_there_is_room_again_all_rows_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = History.to_csv

    def full(history: History, path: Any = None) -> str:
        if path is not None and len(history) == 2:
            raise OSError(28, "No space left on device")
        return write(history, path)

    monkeypatch.setattr(History, "to_csv", full)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = run(CSVLogger(tmp_path / "run.csv"))
    assert ["No space left" in str(one.message) for one in told] == [True]
    assert rows(tmp_path / "run.csv") == history.rows
