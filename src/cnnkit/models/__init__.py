"""The networks of the articles under their own names, and the base class they share."""

from __future__ import annotations

from cnnkit.models._alexnet import AlexNet as AlexNet
from cnnkit.models._base import ImageClassificationBase as ImageClassificationBase
from cnnkit.models._cnn import SixConvCIFAR as SixConvCIFAR
from cnnkit.models._cnn import ThreeConvCIFAR as ThreeConvCIFAR
from cnnkit.models._cnn import TwoLayerCNN as TwoLayerCNN
from cnnkit.models._fast import FastCNN as FastCNN
from cnnkit.models._init import init_weights as init_weights
from cnnkit.models._lenet import LeNetVariant as LeNetVariant
from cnnkit.models._mlp import MLP as MLP
from cnnkit.models._registry import create_model as create_model
from cnnkit.models._registry import list_models as list_models
from cnnkit.models._registry import model_spec as model_spec
from cnnkit.models._registry import register as register
from cnnkit.models._shapes import conv_output_size as conv_output_size
from cnnkit.models._summary import LayerSummary as LayerSummary
from cnnkit.models._summary import ModelSummary as ModelSummary
from cnnkit.models._summary import summary as summary
from cnnkit.models._torchvision import TorchvisionClassifier as TorchvisionClassifier
from cnnkit.models._torchvision import from_torchvision as from_torchvision
from cnnkit.models._weights import load_weights as load_weights

__all__ = [
    "AlexNet",
    "FastCNN",
    "ImageClassificationBase",
    "LayerSummary",
    "LeNetVariant",
    "MLP",
    "ModelSummary",
    "SixConvCIFAR",
    "ThreeConvCIFAR",
    "TorchvisionClassifier",
    "TwoLayerCNN",
    "conv_output_size",
    "create_model",
    "from_torchvision",
    "init_weights",
    "list_models",
    "load_weights",
    "model_spec",
    "register",
    "summary",
]
