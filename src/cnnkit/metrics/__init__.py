"""Figures of a classifier: pure functions, the count matrix they share, and the report."""

from cnnkit.metrics._curves import PRCurve as PRCurve
from cnnkit.metrics._curves import ROCCurve as ROCCurve
from cnnkit.metrics._curves import precision_recall_curve as precision_recall_curve
from cnnkit.metrics._curves import roc_curve as roc_curve
from cnnkit.metrics._functional import ClassFigures as ClassFigures
from cnnkit.metrics._functional import accuracy as accuracy
from cnnkit.metrics._functional import balanced_accuracy as balanced_accuracy
from cnnkit.metrics._functional import confusion_matrix as confusion_matrix
from cnnkit.metrics._functional import precision_recall_f1 as precision_recall_f1
from cnnkit.metrics._functional import predicted_classes as predicted_classes
from cnnkit.metrics._functional import probabilities as probabilities
from cnnkit.metrics._functional import top_k_accuracy as top_k_accuracy
from cnnkit.metrics._interval import wilson_interval as wilson_interval
from cnnkit.metrics._mistakes import Confusion as Confusion
from cnnkit.metrics._mistakes import Mistake as Mistake
from cnnkit.metrics._report import BinaryFigures as BinaryFigures
from cnnkit.metrics._report import Report as Report
from cnnkit.metrics._tally import Tally as Tally
from cnnkit.metrics._threshold import ThresholdChoice as ThresholdChoice
from cnnkit.metrics._threshold import choose_threshold as choose_threshold

__all__ = [
    "BinaryFigures",
    "ClassFigures",
    "Confusion",
    "Mistake",
    "PRCurve",
    "ROCCurve",
    "Report",
    "Tally",
    "ThresholdChoice",
    "accuracy",
    "balanced_accuracy",
    "choose_threshold",
    "confusion_matrix",
    "precision_recall_curve",
    "precision_recall_f1",
    "predicted_classes",
    "probabilities",
    "roc_curve",
    "top_k_accuracy",
    "wilson_interval",
]
