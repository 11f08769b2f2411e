"""What `fit` says while it runs: one line an epoch, and a bar in a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.train import fit

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

NUMBER = r"\d+\.\d{4}"


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 9, generator=generator), torch.tensor([0, 1, 0, 1])) for _ in range(3)]


def run(*, val: bool = True, **options: Any) -> None:
    fit(nn.Linear(9, 2), batches(), batches() if val else None, epochs=2, lr=0.05, **options)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_prints_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    out, err = capsys.readouterr()
    assert err == "", "no bar where nobody watches"
    first, second = out.splitlines()
    assert re.fullmatch(
        rf"epoch 1/2  train_loss {NUMBER}  train_acc {NUMBER}  val_loss {NUMBER}  "
        rf"val_acc {NUMBER}  lr 0.05  seconds \d+\.\d",
        first,
    )
    assert second.startswith("epoch 2/2  train_loss ")


def test_tune_says_what_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    run(memory_format="tune")
    first, *rows = capsys.readouterr().out.splitlines()
    assert re.fullmatch("memory_format: (contiguous|channels_last)", first)
    assert len(rows) == 2
    run(memory_format="tune", progress=False)
    assert capsys.readouterr().out == ""


def test_lines_without_a_validation_set(capsys: pytest.CaptureFixture[str]) -> None:
    run(val=False)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "val_" not in out


def test_the_row_before_training_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    run(evaluate_first=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["0/2", "1/2", "2/2"]
    assert "train_loss" not in lines[0]


def test_no_progress_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(progress=False, evaluate_first=True)
    assert (capsys.readouterr().out, terminal.getvalue()) == ("", "")


def test_a_bar_is_shown_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run()
    assert "epoch 1/2" in terminal.getvalue()
    assert "/3" in terminal.getvalue(), "of three batches"
    assert len(capsys.readouterr().out.splitlines()) == 2, "the lines are there as well"


def test_a_bar_of_a_loader_without_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(batches())

    monkeypatch.setattr(sys, "stderr", Terminal())
    history = fit(nn.Linear(9, 2), Stream(), epochs=2)
    assert len(history) == 2


def test_without_tqdm_there_are_the_lines_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    run()
    assert terminal.getvalue() == ""
    assert len(capsys.readouterr().out.splitlines()) == 2
