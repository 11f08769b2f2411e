"""The trainer: `fit`, its history and callbacks, checkpoints, and `evaluate`."""

from cnnkit.train._callbacks import Callback as Callback
from cnnkit.train._checkpoint import load_checkpoint as load_checkpoint
from cnnkit.train._evaluate import evaluate as evaluate
from cnnkit.train._fit import fit as fit
from cnnkit.train._history import History as History
from cnnkit.train._state import TrainState as TrainState

__all__ = ["Callback", "History", "TrainState", "evaluate", "fit", "load_checkpoint"]
