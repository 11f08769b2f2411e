"""Settings of every test."""

from __future__ import annotations

import torch


def pytest_configure() -> None:
    # The tests' models are tiny: handing them to several threads costs more than it saves, and on
    # a busy machine, where the threads wait for each other, twenty times as much.
    torch.set_num_threads(1)


# Importing it makes a device for the whole process: tests run it in a process of its own.
collect_ignore = ["distributed_runs.py", "fake_accelerator.py"]
