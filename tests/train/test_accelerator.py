"""Everything that trains, on a fake accelerator in a process of its own, and on a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerator_runs import RUNS
from torch.utils import backend_registration

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Of each run a traceback, or nothing: one process does them all."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch takes no backend written in Python")
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "error", str(TESTS / "train" / "accelerator_runs.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", RUNS)
def test_on_a_fake_accelerator(name: str, outcomes: dict[str, str]) -> None:
    assert not outcomes[name], outcomes[name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")  # the runs are short
@pytest.mark.parametrize("name", [n for n in RUNS if n != "a_batch_moves_once_and_nothing_waits"])
def test_on_a_card(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # it has ten bits
    RUNS[name]("cuda")
