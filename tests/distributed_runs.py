"""What `test_distributed.py` starts under torchrun: processes that mostly come to a bad end.

python -m torch.distributed.run --nproc-per-node=2 distributed_runs.py MODE FOLDER
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from cnnkit import data, distributed, models, train
from cnnkit.errors import CnnkitWarning

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])


class Noise(Dataset[Any]):
    """Forty images, of which one may be broken; the last process reads it."""

    classes = ("a", "b")

    def __init__(self) -> None:
        self.targets = torch.arange(40) % 2

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if MODE == "data set" and index == 33:
            (FOLDER / "mark").touch()
            raise ValueError(f"sample {index} is broken")
        if MODE == "signal":
            time.sleep(0.005)  # so that the run waits for its loader
        return torch.full((1, 8, 8), index / 40), index % 2


class Marks(train.Callback):
    """Says that the run is under way."""

    def on_epoch_end(self, state: train.TrainState) -> None:
        if state.epoch == 2:
            (FOLDER / "mark").touch()


def main() -> None:
    """Train until something happens."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CnnkitWarning)
    workers = 1 if MODE == "signal" else 0
    loader = data.make_loader(Noise(), 8, device="cpu", num_workers=workers)
    epochs = 2 if MODE == "machines" else 10_000
    options: dict[str, Any] = {"epochs": epochs, "lr": 0.01, "progress": False}
    history = train.fit(
        models.MLP(2, image_size=8), loader, callbacks=Marks(),
        checkpoint_dir=FOLDER / "checkpoints" if MODE == "signal" else None, **options,
    )  # fmt: skip
    loss = history.rows[-1]["train_loss"]
    line = f"{distributed.rank()}: {history.stop_reason} in {len(history)}, {loss}\n"
    os.write(1, line.encode())  # whole, whoever else writes


if __name__ == "__main__":
    main()
