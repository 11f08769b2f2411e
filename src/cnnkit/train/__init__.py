"""The trainer: `fit`, its history and callbacks, checkpoints, `evaluate` and `cross_validate`."""

from cnnkit.train._callbacks import Callback as Callback
from cnnkit.train._checkpoint import load_checkpoint as load_checkpoint
from cnnkit.train._comparison import Comparison as Comparison
from cnnkit.train._cross_validate import cross_validate as cross_validate
from cnnkit.train._cross_validation import CrossValidation as CrossValidation
from cnnkit.train._csv_logger import CSVLogger as CSVLogger
from cnnkit.train._early_stopping import EarlyStopping as EarlyStopping
from cnnkit.train._evaluate import evaluate as evaluate
from cnnkit.train._find_lr import find_lr as find_lr
from cnnkit.train._fit import fit as fit
from cnnkit.train._fit_arguments import FitArguments as FitArguments
from cnnkit.train._fold import Fold as Fold
from cnnkit.train._fold import MeanSd as MeanSd
from cnnkit.train._history import History as History
from cnnkit.train._lr_curve import LRCurve as LRCurve
from cnnkit.train._refit import Refitted as Refitted
from cnnkit.train._state import TrainState as TrainState
from cnnkit.train._tensorboard import TensorBoardLogger as TensorBoardLogger

__all__ = [
    "CSVLogger",
    "Callback",
    "Comparison",
    "CrossValidation",
    "EarlyStopping",
    "FitArguments",
    "Fold",
    "History",
    "LRCurve",
    "MeanSd",
    "Refitted",
    "TensorBoardLogger",
    "TrainState",
    "cross_validate",
    "evaluate",
    "find_lr",
    "fit",
    "load_checkpoint",
]
