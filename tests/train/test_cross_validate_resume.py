"""`cross_validate` with an `out_dir`: what is in it, and going on after whatever happens."""

from __future__ import annotations

import errno
import json
import signal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from cross_validation_runs import (
    C,
    Event,
    K,
    N,
    assert_equal,
    build,
    dataset,
    killed,
    run,
    sends,
)
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import StepLR

from cnnkit import _pictures
from cnnkit.data import augment
from cnnkit.errors import (
    ArgumentError,
    CnnkitWarning,
    MissingExtraError,
    ModelError,
    SavedFileError,
    TrainingError,
)
from cnnkit.models import MLP
from cnnkit.train import Callback, _folds, evaluate, fit
from cnnkit.train._fold_files import FoldFiles

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

# Files, and going on


def test_what_is_in_out_dir(tmp_path: Path) -> None:
    result = run(out_dir=tmp_path)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    files = {path.relative_to(tmp_path).as_posix() for path in paths}
    each = ("history.json", "report.json", "weights.pt")
    expected = {f"fold-{fold}/{name}" for fold in (1, 2, 3) for name in each}
    assert files == expected | {"folds.png", "report.json", "settings.json", "summary.txt"}
    assert (tmp_path / "summary.txt").read_text() == f"{result}\n"
    with Image.open(tmp_path / "folds.png") as picture:
        assert picture.size[0] > 500
    saved = torch.load(tmp_path / "fold-2" / "weights.pt", weights_only=True)
    assert saved["classes"] == ["0", "1", "2"]
    assert saved["preprocess"] == result.folds[1].preprocess.to_dict()
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["epochs"] == 2


def test_without_matplotlib_there_is_no_picture_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: Any) -> Any:
        raise MissingExtraError("matplotlib", "plot", "Plotting")

    monkeypatch.setitem(_pictures.drawers, "folds", missing)
    assert run(out_dir=tmp_path).complete
    assert (tmp_path / "summary.txt").exists()
    assert not (tmp_path / "folds.png").exists()


def test_checkpoints_stay_where_keep_is_given(tmp_path: Path) -> None:
    run(out_dir=tmp_path, keep="all")
    assert len(list((tmp_path / "fold-1" / "checkpoints").glob("*.pt"))) == 2


def test_finished_folds_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(out_dir=tmp_path / "whole")
    calls: list[Path] = []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(options["checkpoint_dir"])
        if len(calls) == 3:
            raise RuntimeError("the machine is gone")
        return fit(*args, **options)

    monkeypatch.setattr(_folds, "fit", failing)
    with pytest.raises(RuntimeError, match="gone"):
        run(out_dir=tmp_path / "cut")
    cut = run(out_dir=tmp_path / "cut")
    assert [path.parent.name for path in calls] == ["fold-1", "fold-2", "fold-3", "fold-3"]
    assert_equal(whole, cut)
    again = run(out_dir=tmp_path / "cut")
    assert len(calls) == 4
    assert_equal(whole, again)
    assert [h.to_dict() for h in again.histories] == [h.to_dict() for h in cut.histories]


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_fold_that_was_under_way_goes_on_from_its_checkpoint(tmp_path: Path, step: int) -> None:
    options: dict[str, Any] = {"checkpoint_every": 1, "scheduler": "cosine"}
    event = Event(2, step, killed)
    event.armed = False
    whole = run(out_dir=tmp_path / "whole", callbacks=event.of_fold, **options)
    in_all, event.steps, event.armed = event.steps, 0, True
    with pytest.raises(KeyboardInterrupt):
        run(out_dir=tmp_path / "cut", callbacks=event.of_fold, **options)
    cut = run(out_dir=tmp_path / "cut", callbacks=event.of_fold, **options)
    assert_equal(whole, cut)
    assert event.steps == in_all + 1  # the one that was lost


def test_a_fold_that_was_trained_but_not_measured_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Event(0, 0, killed)
    with monkeypatch.context() as patched:
        patched.setattr(_folds, "evaluate", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(out_dir=tmp_path / "cut", callbacks=event.of_fold)
    trained = event.steps
    cut = run(out_dir=tmp_path / "cut", callbacks=event.of_fold)
    assert event.steps == K * trained
    assert_equal(cut, run(out_dir=tmp_path / "whole", callbacks=event.of_fold))


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_ends_it_and_the_same_call_goes_on(
    tmp_path: Path, number: int, reason: str
) -> None:
    event = Event(2, 3, sends(number))
    options: dict[str, Any] = {"callbacks": event.of_fold, "out_dir": tmp_path / "cut"}
    before = signal.getsignal(number)
    cut = run(**options)
    assert signal.getsignal(number) == before
    assert (cut.stop_reason, cut.complete, len(cut.folds)) == (reason, False, 1)
    assert cut.report.samples == len(cut.folds[0].indices)
    assert f"1 of 3 folds are finished ({reason})" in str(cut)
    with pytest.raises(TrainingError, match="1 of 3 folds are finished"):
        cut.refit()
    done = run(**options)
    assert (done.stop_reason, done.complete) == ("finished", True)
    assert_equal(done, run(out_dir=tmp_path / "whole", callbacks=event.of_fold))


@pytest.mark.parametrize("late", ["evaluate", "make_model"])
def test_a_signal_outside_of_fit_ends_it_before_the_next_one(
    late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_and_ask() -> MLP:
        calls.append("model")
        if late == "make_model" and len(calls) == 3:  # the one for the settings, fold 1, fold 2
            sends(signal.SIGTERM)()
        return build()

    def measure(*args: Any, **options: Any) -> Any:
        if late == "evaluate":
            sends(signal.SIGTERM)()
        return evaluate(*args, **options)

    calls: list[str] = []
    monkeypatch.setattr(_folds, "evaluate", measure)
    result = run(build_model=build_and_ask)
    assert (result.stop_reason, len(result.folds)) == ("terminated", 1)


def test_a_signal_before_anything_is_finished() -> None:
    result = run(callbacks=Event(1, 1, sends(signal.SIGINT)).of_fold)
    assert (result.stop_reason, result.folds, result.report.samples) == ("interrupted", (), 0)
    assert "0 of 3 folds are finished" in str(result)
    with pytest.raises(ArgumentError, match="expected a fold from 1 to 0, received 1"):
        result.model(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.2}, r"optimizer lr was 0\.1, is 0\.2"),
        ({"batch_size": 9}, "batch_size was 8, is 9"),
        ({"epochs": 3}, "epochs was 2, is 3"),
        ({"k": 4}, "k was 3, is 4"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"groups": range(N)}, "by groups was False, is True; folds was"),
        ({"build_model": partial(build, dropout=0.4)}, "model was 'MLP, 643 parameters"),
        ({"augment": [augment.RandomFlip()]}, r"augment was \[\], is \['RandomFlip"),
        ({"preprocess": None}, "normalisation was 'fit', is None"),
        ({"callbacks": [Callback()]}, r"callbacks was \[\], is \['Callback"),
        ({"scheduler": lambda optimizer: StepLR(optimizer, 2)}, "scheduler was None, is 'StepLR'"),
        ({"restore_best": False}, "restore_best was True, is False"),
        ({"ds": dataset(n=42)}, "samples was '43 samples"),
    ],
)
def test_other_settings_are_an_error_that_lists_them(
    finished: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArgumentError, match=f"set otherwise: .*{said}"):
        run(out_dir=finished, **change)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(out_dir=folder)
    return folder


def test_what_does_not_change_the_result_may_change(finished: Path) -> None:
    assert run(out_dir=finished, keep="all", checkpoint_every=3, num_workers=1).complete


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("name", ["weights.pt", "summary.txt"])
def test_a_full_disk_between_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stop: bool
) -> None:
    whole = run(out_dir=tmp_path / "whole")
    full = OSError(errno.ENOSPC, "No space left on device")
    method = "save" if name == "weights.pt" else "summarise"
    monkeypatch.setattr(FoldFiles, method, Mock(side_effect=full))
    how = "stop" if stop else "warn"
    with pytest.warns(CnnkitWarning, match="could not be written .*No space left"):
        result = run(out_dir=tmp_path / "full", on_checkpoint_error=how)
    assert result.stop_reason == ("not_saved" if stop else "finished")
    scores = [fold.score for fold in result.folds]
    assert scores == [fold.score for fold in whole.folds][: 0 if stop and method == "save" else K]
    monkeypatch.undo()
    assert_equal(run(out_dir=tmp_path / "full"), whole)
    assert (tmp_path / "full" / "summary.txt").exists()


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    run(out_dir=tmp_path, epochs=1)
    for file, content in {"history.json": b"{", "report.json": b"", "weights.pt": b"PK"}.items():
        path = tmp_path / "fold-2" / file
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(SavedFileError, match=r"fold 2 was finished.*delete .*fold-2"):
            run(out_dir=tmp_path, epochs=1)
        path.write_bytes(whole)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(SavedFileError, match="holds no settings"):
        run(out_dir=tmp_path, epochs=1)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ArgumentError, match=r"holds folds, but no settings\.json"):
        run(out_dir=tmp_path, epochs=1)


def test_weights_need_an_out_dir_and_the_same_architecture(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="where an out_dir is given"):
        run(epochs=1).model(1)
    sizes = iter([16] * (K + 1))

    def shrinks() -> MLP:
        return MLP(C, image_size=6, hidden=(next(sizes, 8),))

    result = run(build_model=shrinks, epochs=1, out_dir=tmp_path)
    with pytest.raises(ModelError, match="build_model makes another model than fold 2 was"):
        result.model(2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cuda", "loss": nn.CrossEntropyLoss(torch.ones(C))}
    before = torch.cuda.get_rng_state()
    result = run(out_dir=tmp_path, **options)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert_equal(run(out_dir=tmp_path, **options), result)
    assert result.report.samples == N
    assert result.refit().loader.device.type == "cuda"
