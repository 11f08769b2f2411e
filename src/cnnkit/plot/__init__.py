"""Pictures of data, training and results; each needs the extra ``cnnkit[plot]``.

Each function draws on the axes that it is given, or makes and returns a Figure; none of them calls
``show()``.
"""

from cnnkit.plot._confusion import confusion_matrix as confusion_matrix
from cnnkit.plot._history import history as history

__all__ = ["confusion_matrix", "history"]
