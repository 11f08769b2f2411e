"""Ctrl-C and SIGTERM: the batch is finished, a checkpoint written, the best weights are back."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_runs import Result, dataset, equal, files, loaders, network, train, weights

from cnnkit.data import _batches, make_loader
from cnnkit.train import Callback, TrainState, fit
from cnnkit.train._interrupt import Interrupt, interruptible, is_lost_worker

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")


class Signals(Callback):
    """Sends signals to this process at optimiser steps."""

    def __init__(self, *numbers: int, step: int = 10) -> None:
        self.numbers, self.step = numbers, step

    def on_step_end(self, state: TrainState) -> None:
        if state.step == self.step:
            for number in self.numbers:
                signal.raise_signal(number)


HANDLED = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Any:
    """Whatever a test does, the handlers are put back."""
    before = [signal.getsignal(number) for number in HANDLED]
    yield before
    assert [signal.getsignal(number) for number in HANDLED] == before


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_the_step_is_finished_and_written_and_the_best_weights_are_back(
    tmp_path: Path, number: int, reason: str
) -> None:
    expected = train(callbacks=Signals())
    result = train(tmp_path, callbacks=Signals(number))
    assert (result.history.stop_reason, len(result.rows)) == (reason, 1)
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0002-batch-000003.pt"]
    assert result.history.restored == 1
    assert equal(result.weights, train(epochs=1, scheduler=one_cycle_of(3)).weights)
    assert not result.model.training
    resumed = train(tmp_path, callbacks=Signals(), resume=True)
    assert resumed.same(expected)
    assert resumed.history.stop_reason == "finished"


def one_cycle_of(epochs: int) -> Any:
    """That of a longer run."""
    return lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.05, total_steps=7 * epochs
    )


def test_without_a_folder_nothing_is_written_and_all_else_is_the_same() -> None:
    result = train(callbacks=Signals(signal.SIGINT))
    assert (result.history.stop_reason, len(result.rows)) == ("interrupted", 1)
    assert result.history.restored == 1


def test_before_any_epoch_ended_the_initial_weights_are_back(tmp_path: Path) -> None:
    result = train(tmp_path, callbacks=Signals(signal.SIGINT, step=2))
    assert (result.history.stop_reason, result.rows) == ("interrupted", [])
    assert result.history.restored == 0
    assert equal(result.weights, weights(network()))
    assert files(tmp_path) == ["epoch-0001-batch-000002.pt"]


def test_the_last_weights_stay_where_the_best_are_not_asked_for(tmp_path: Path) -> None:
    result = train(tmp_path, callbacks=Signals(signal.SIGINT), restore_best=False)
    assert result.history.restored is None
    saved = torch.load(tmp_path / "epoch-0002-batch-000003.pt", weights_only=True)
    assert equal(result.weights, saved["model"])


def test_an_accumulation_group_is_finished_first(tmp_path: Path) -> None:
    class InMidGroup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = network(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += self.training
            if self.calls == 4:
                signal.raise_signal(signal.SIGINT)
            logits: Tensor = self.inner(images)
            return logits

    cut = train(tmp_path, InMidGroup(), accumulate=3)
    assert cut.history.stop_reason == "interrupted"
    assert files(tmp_path) == ["epoch-0001-batch-000006.pt"]


def test_at_the_end_of_an_epoch_the_epoch_is_whole(tmp_path: Path) -> None:
    class AtTheEnd(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            if state.epoch == 2:
                signal.raise_signal(signal.SIGTERM)

    result = train(tmp_path, callbacks=AtTheEnd())
    assert (result.history.stop_reason, len(result.rows)) == ("terminated", 2)
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0002.pt"]


def test_before_the_first_epoch(tmp_path: Path) -> None:
    class AtOnce(Callback):
        def on_fit_start(self, state: TrainState) -> None:
            signal.raise_signal(signal.SIGINT)

    result = train(tmp_path, callbacks=AtOnce(), evaluate_first=True)
    assert (result.history.stop_reason, result.rows) == ("interrupted", [])
    assert equal(result.weights, weights(network()))


def test_a_callback_that_stops_at_the_same_step_is_not_forgotten(tmp_path: Path) -> None:
    class Both(Signals):
        def on_step_end(self, state: TrainState) -> None:
            if state.step == self.step:
                state.stop()
            super().on_step_end(state)

    cut = train(tmp_path, callbacks=Both(signal.SIGINT))
    assert cut.history.stop_reason == "interrupted"
    resumed = train(tmp_path, callbacks=Both(), resume=True)
    assert (resumed.history.stop_reason, len(resumed.rows)) == ("early", 2)
    assert resumed.same(train(callbacks=Both()))


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_one_that_comes_while_the_last_callback_works_is_said(number: Any, reason: str) -> None:
    class Late(Callback):
        def on_fit_end(self, state: TrainState) -> None:
            signal.raise_signal(number)

    ended = train(callbacks=Late())
    assert ended.history.stop_reason == reason
    assert (ended.rows, len(ended.rows)) == (train().rows, 3), "and nothing is lost"


def test_the_reason_is_there_for_the_last_callback() -> None:
    class Look(Signals):
        seen: Any = "nothing"

        def on_fit_end(self, state: TrainState) -> None:
            self.seen = state.stop_reason, state.history.stop_reason, state.model.training

    for numbers, reason in (((signal.SIGINT,), "interrupted"), ((), None)):
        look = Look(*numbers)
        train(callbacks=look)
        assert look.seen == (reason, reason or "finished", False)


@pytest.mark.parametrize("first", HANDLED)
def test_a_second_ctrl_c_raises(tmp_path: Path, first: int, handlers: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=Signals(first, signal.SIGINT))
    assert [signal.getsignal(number) for number in HANDLED] == handlers
    assert train(tmp_path, callbacks=Signals(), resume=True).same(train(callbacks=Signals()))


def test_a_second_sigterm_is_only_impatient(tmp_path: Path) -> None:
    result = train(tmp_path, callbacks=Signals(signal.SIGTERM, signal.SIGTERM))
    assert result.history.stop_reason == "terminated"


def test_it_says_what_is_going_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(callbacks=Signals(signal.SIGINT))
    assert caplog.messages == ["ending after this batch; Ctrl-C once more stops at once"]


def test_handlers_are_put_back_after_an_error() -> None:
    class Broken(Callback):
        def on_step_end(self, state: TrainState) -> None:
            raise ZeroDivisionError

    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(ZeroDivisionError):
            train(callbacks=Broken())
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored() -> None:
    """As `nohup` and a shell's background jobs ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = train(callbacks=Signals(signal.SIGINT))
        assert result.history.stop_reason == "finished"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_from_a_thread_nothing_breaks(tmp_path: Path) -> None:
    found: list[Any] = []

    class Look(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            found.append(signal.getsignal(signal.SIGINT))

    def work() -> None:
        found.append(train(tmp_path, callbacks=Look()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[:3] == [signal.getsignal(signal.SIGINT)] * 3, "it cannot be taken there"
    assert found[3].same(train())


def test_the_same_loaders_serve_again_after_an_interrupt() -> None:
    data = loaders(workers=2)
    assert train(data=data, callbacks=Signals(signal.SIGINT)).history.stop_reason == "interrupted"
    assert train(data=data).same(train())


# --- processes beside this one -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="such a process is forked")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_ends_as_it_would_and_leaves_ctrl_c_to_its_parent() -> None:
    def child() -> int:
        process = os.fork()
        if not process:
            time.sleep(30)
            os._exit(0)
        return process

    with interruptible() as interrupt:
        process = child()
        os.kill(process, signal.SIGINT)
        time.sleep(0.2)
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "it is still there"
        os.kill(process, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGTERM
    assert interrupt.reason is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="such a process is forked")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(("alive", "status"), [(False, 0), (True, 7)])
def test_a_worker_whose_parent_was_killed_meanwhile_ends(alive: bool, status: int) -> None:
    """torch compares with the parent that it finds then, which is another one already."""
    process = os.fork()
    if not process:
        multiprocessing.parent_process = lambda: SimpleNamespace(is_alive=lambda: alive)  # type: ignore[assignment, return-value]
        _batches._begin(0)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == status


def test_what_torch_says_of_a_dead_worker() -> None:
    assert is_lost_worker(RuntimeError("DataLoader worker (pid(s) 5) exited unexpectedly"))
    assert is_lost_worker(RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed."))
    caught = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback"
    assert not is_lost_worker(RuntimeError(caught))
    assert not is_lost_worker(ValueError("DataLoader worker (pid 5)"))


def test_the_handler_of_ended_children_is_put_back() -> None:
    if not hasattr(signal, "SIGCHLD"):
        pytest.skip("this system has none")
    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGCHLD, mine)
    try:
        with interruptible() as interrupt:
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGCHLD) is not mine, "torch's would raise"
        assert interrupt.reason == "terminated"
        assert signal.getsignal(signal.SIGCHLD) is mine
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_worker_that_is_lost_in_mid_step_first(tmp_path: Path) -> None:
    """torch raises wherever the loop is; then the signal comes. Nothing half done is written."""

    class Lost(Callback):
        def on_step_end(self, state: TrainState) -> None:
            if state.step == 10:
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
                raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Terminated.")

    Lost.__qualname__ = "Signals"
    result = train(tmp_path, callbacks=Lost())
    assert (result.history.stop_reason, len(result.rows)) == ("terminated", 1)
    assert files(tmp_path) == ["epoch-0001.pt"]
    resumed = train(tmp_path, callbacks=Signals(), resume=True)
    assert resumed.same(train(callbacks=Signals()))


def test_an_error_of_a_worker_is_no_interrupt(tmp_path: Path) -> None:
    class Broken(Callback):
        def on_step_end(self, state: TrainState) -> None:
            raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed.")

    with pytest.raises(RuntimeError, match="Killed"):
        train(tmp_path, callbacks=Broken())


GROUP = """
    import multiprocessing, os, signal, subprocess, sys, threading, time, warnings
    sys.path[:0] = sys.argv[2:]
    warnings.simplefilter("ignore")
    import torch
    torch.set_num_threads(1)
    from pathlib import Path
    from torch.utils.data import DataLoader, Dataset
    from training_runs import dataset, files, loaders, train
    from cnnkit.train import Callback

    class Slow(Dataset):
        "From the eleventh batch on its samples take so long that the loop waits for them."
        def __init__(self, slow):
            self.ds, self.slow = dataset(), slow
        def __len__(self):
            return len(self.ds)
        def __getitem__(self, index):
            if self.slow and index >= 40:
                time.sleep(0.2)
            image, label = self.ds[index]
            return image.float() / 255, label

    class Foreign:
        def __init__(self, slow):
            self.train, self.val = DataLoader(Slow(slow), 4, num_workers=2), loaders().val

    class Group(Callback):
        "To all processes, as a terminal does; of a slow loader when the loop is waiting."
        def __init__(self, number=None, later=False):
            self.number, self.later = number, later
        def on_step_end(self, state):
            if state.step == 10 and self.number:
                threading.Timer(0.1, self.send).start() if self.later else self.send()
        def send(self):
            workers = [child.pid for child in multiprocessing.active_children()]
            pids = [str(pid) for pid in (os.getpid(), *workers)]
            assert len(pids) > 2, "a loader has workers"
            subprocess.run(["kill", f"-{int(self.number)}", *pids], check=True)

    for kind in ("foreign", "ours"):
        foreign = kind == "foreign"
        data = Foreign if foreign else lambda slow: loaders(4, workers=2)
        expected = train(data=data(False), callbacks=Group())
        for number, reason in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
            folder = Path(sys.argv[1]) / f"{kind}-{number}"
            given = data(True)
            result = train(folder, data=given, callbacks=Group(number, foreign))
            assert result.ended[0] == reason, (kind, number, result.ended)
            assert any("batch" in name for name in files(folder)), files(folder)
            assert len(result.rows) == 0, "it ended in mid-epoch"
            resumed = train(folder, data=data(False), callbacks=Group(), resume=True)
            assert resumed.same(expected), (kind, number)
            if not foreign:
                assert train(data=given, callbacks=Group()).same(expected), "its workers too"
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the signals are those of another system")
def test_a_signal_to_the_workers_as_well(tmp_path: Path) -> None:
    """A terminal's Ctrl-C, and `timeout` or a batch system, may reach the workers too."""
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(GROUP), str(tmp_path), here],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


def test_an_interrupt_without_a_run() -> None:
    assert Interrupt().reason is None
    loader = make_loader(dataset(), 7, device="cpu")
    model = network()
    result = Result(model, fit(model, loader, epochs=1, progress=False))
    assert result.history.stop_reason == "finished"
