"""What a cross-validation leaves in its folder, and finds there when it goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cnnkit._files import atomic_path
from cnnkit._pictures import drawers
from cnnkit._saved import load_saved, reading, save_whole
from cnnkit.distributed import is_main
from cnnkit.errors import ArgumentError, MissingExtraError, SavedFileError
from cnnkit.metrics import Report
from cnnkit.preprocess import Preprocess
from cnnkit.train import _settings
from cnnkit.train._history import History
from cnnkit.types import PathLike

__all__ = ["FoldFiles", "Trained"]

_LOG = logging.getLogger(__name__)
_KIND, _FORMAT = "fold", 1
_DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Trained:
    """What is kept of a fold, besides its weights.

    Args:
        history: Of its run.
        report: On its validation part.
        loss_weight: What the mean loss of the report was divided by.
        preprocess: With the normalisation that its training part measured.
    """

    history: History
    report: Report
    loss_weight: float
    preprocess: Preprocess | None


class FoldFiles:
    """A folder of its own for every fold, and beside them what is of all folds.

        out_dir/
        ├── settings.json           compared when the cross-validation goes on
        ├── fold-1/
        │   ├── history.json        written last: with it the fold is finished
        │   ├── report.json
        │   ├── weights.pt
        │   └── checkpoints/        while it is trained
        ├── report.json             out of fold
        ├── folds.png
        └── summary.txt

    Args:
        folder: `out_dir`.
        keep_checkpoints: Leave the checkpoints of finished folds where they are.
    """

    def __init__(self, folder: PathLike, *, keep_checkpoints: bool = False) -> None:
        self.folder, self.keep_checkpoints = Path(folder), keep_checkpoints

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings, or compare them with those that are there.

        Raises:
            ArgumentError: They are others; the message lists them.
            SavedFileError: The file is broken.
        """
        if not is_main():
            return
        path = self.folder / "settings.json"
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))["settings"]
            except (ValueError, KeyError, TypeError) as error:
                raise SavedFileError(f"{path} holds no settings: {error!r}") from error
            different = _settings.differences(before, settings)
            if different:
                raise ArgumentError(
                    f"{self.folder} holds a cross-validation that was set otherwise: "
                    + "; ".join(different)
                    + ". Set it so, or name another out_dir"
                )
            return
        if any(self.folder.glob("fold-*")):
            raise ArgumentError(
                f"{self.folder} holds folds, but no settings.json that says of what: "
                "name another out_dir"
            )
        _write(path, json.dumps({"format": 1, "settings": settings}, indent=2, ensure_ascii=False))

    def checkpoints(self, fold: int) -> Path:
        """Where the run of a fold keeps its checkpoints."""
        return self._of(fold) / "checkpoints"

    def load(self, fold: int) -> Trained | None:
        """A finished fold; None where it is not, and for processes that do not read.

        Raises:
            SavedFileError: It was finished, and a file of it is damaged.
        """
        folder = self._of(fold)
        if not is_main() or not (folder / "history.json").is_file():
            return None
        try:
            history = History.from_json(folder / "history.json")
            report = Report.from_json(folder / "report.json")
            saved = load_saved(folder / "weights.pt", _KIND, _FORMAT, mmap=True)
            with reading(folder / "weights.pt", _KIND):
                read = saved["preprocess"]
                preprocess = None if read is None else Preprocess.from_dict(read)
                trained = Trained(history, report, saved["loss_weight"], preprocess)
        except (SavedFileError, OSError) as error:
            raise SavedFileError(
                f"fold {fold} was finished, but cannot be read ({error}): delete {folder} to train "
                "it again"
            ) from error
        self._clear(fold)
        return trained

    def save(self, fold: int, trained: Trained, model: nn.Module) -> None:
        """Write down a finished fold; its checkpoints are not needed any more."""
        if not is_main():
            return
        folder, preprocess = self._of(fold), trained.preprocess
        weights = {
            name: value.detach().cpu() if isinstance(value, Tensor) else value
            for name, value in model.state_dict().items()
        }
        parts = {
            "weights": weights,
            "classes": list(trained.report.classes),
            "preprocess": None if preprocess is None else preprocess.to_dict(),
            "loss_weight": trained.loss_weight,
        }
        save_whole(folder / "weights.pt", _KIND, _FORMAT, parts)
        trained.report.to_json(folder / "report.json")
        trained.history.to_json(folder / "history.json")
        self._clear(fold)

    def weights(self, fold: int) -> dict[str, Any]:
        """The state dict of a finished fold.

        Raises:
            NotFoundError: There is none.
            SavedFileError: It is damaged.
        """
        path = self._of(fold) / "weights.pt"
        saved = load_saved(path, _KIND, _FORMAT)
        with reading(path, _KIND):
            weights: dict[str, Any] = saved["weights"]
        return weights

    def refit_checkpoints(self, epochs: int) -> Path:
        """Where the run on all data keeps its checkpoints: another length is another run."""
        return self.folder / f"refit-{epochs}-epochs" / "checkpoints"

    def summarise(self, result: Any, report: Report) -> None:
        """Write what is of all folds: text, report, and a picture where matplotlib is there."""
        if not is_main():
            return
        write_summary(self.folder, result)
        report.to_json(self.folder / "report.json")
        try:
            figure = drawers["folds"](result)
        except (MissingExtraError, ArgumentError) as error:  # or no epoch had a figure to draw
            _LOG.info("no picture of the folds: %s", error)
            return
        with atomic_path(self.folder / "folds.png") as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)

    def _of(self, fold: int) -> Path:
        return self.folder / f"fold-{fold}"

    def _clear(self, fold: int) -> None:
        if not self.keep_checkpoints:
            shutil.rmtree(self.checkpoints(fold), ignore_errors=True)


def write_summary(folder: PathLike, result: object) -> None:
    """The result as it prints."""
    if is_main():
        _write(Path(folder) / "summary.txt", f"{result}\n")


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
