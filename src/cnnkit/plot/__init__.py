"""Pictures of data, training and results; each needs the extra ``cnnkit[plot]``.

Each function draws on the axes that it is given, or makes and returns a Figure; none of them calls
``show()``.
"""

from cnnkit.plot._batch import batch as batch
from cnnkit.plot._binary import precision_recall as precision_recall
from cnnkit.plot._binary import roc as roc
from cnnkit.plot._channels import channels as channels
from cnnkit.plot._classes import classes as classes
from cnnkit.plot._confusion import confusion_matrix as confusion_matrix
from cnnkit.plot._feature_maps import feature_maps as feature_maps
from cnnkit.plot._filters import filters as filters
from cnnkit.plot._folds import folds as folds
from cnnkit.plot._history import history as history
from cnnkit.plot._lr_curve import lr_curve as lr_curve
from cnnkit.plot._mistakes import mistakes as mistakes
from cnnkit.plot._pixels import pixels as pixels
from cnnkit.plot._predictions import predictions as predictions

__all__ = [
    "batch",
    "channels",
    "classes",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "folds",
    "history",
    "lr_curve",
    "mistakes",
    "pixels",
    "precision_recall",
    "predictions",
    "roc",
]
