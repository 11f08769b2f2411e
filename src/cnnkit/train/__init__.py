"""The trainer: `fit`, its history, and `evaluate`."""

from cnnkit.train._evaluate import evaluate as evaluate
from cnnkit.train._fit import fit as fit
from cnnkit.train._history import History as History

__all__ = ["History", "evaluate", "fit"]
