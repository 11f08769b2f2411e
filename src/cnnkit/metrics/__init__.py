"""Figures of a classifier: pure functions, the count matrix they share, and the report."""

from cnnkit.metrics._functional import ClassFigures as ClassFigures
from cnnkit.metrics._functional import accuracy as accuracy
from cnnkit.metrics._functional import confusion_matrix as confusion_matrix
from cnnkit.metrics._functional import precision_recall_f1 as precision_recall_f1
from cnnkit.metrics._functional import predicted_classes as predicted_classes
from cnnkit.metrics._functional import probabilities as probabilities
from cnnkit.metrics._functional import top_k_accuracy as top_k_accuracy
from cnnkit.metrics._report import Report as Report
from cnnkit.metrics._tally import Tally as Tally

__all__ = [
    "ClassFigures",
    "Report",
    "Tally",
    "accuracy",
    "confusion_matrix",
    "precision_recall_f1",
    "predicted_classes",
    "probabilities",
    "top_k_accuracy",
]
