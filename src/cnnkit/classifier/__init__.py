"""`Classifier`: a trained model with everything that using it needs, in one object and one file."""

from cnnkit.classifier._classifier import Classifier as Classifier
from cnnkit.classifier._folder import FolderPredictions as FolderPredictions
from cnnkit.classifier._folder import PredictedFile as PredictedFile
from cnnkit.classifier._prediction import Prediction as Prediction

__all__ = ["Classifier", "FolderPredictions", "PredictedFile", "Prediction"]
