"""Labelled images: where they come from, how they are split, checked and handed to a model."""

from cnnkit.data import augment as augment
from cnnkit.data._arrays import ArrayDataset as ArrayDataset
from cnnkit.data._check import check as check
from cnnkit.data._describe import Description as Description
from cnnkit.data._describe import describe as describe
from cnnkit.data._extract import Limits as Limits
from cnnkit.data._extract import extract as extract
from cnnkit.data._fetch import fetch as fetch
from cnnkit.data._folder import ImageFolder as ImageFolder
from cnnkit.data._loaders import Loaders as Loaders
from cnnkit.data._loaders import class_weights as class_weights
from cnnkit.data._loaders import make_loader as make_loader
from cnnkit.data._loaders import make_loaders as make_loaders
from cnnkit.data._report import DataReport as DataReport
from cnnkit.data._report import Finding as Finding
from cnnkit.data._resize import resize_folder as resize_folder
from cnnkit.data._split import Split as Split
from cnnkit.data._split import k_fold as k_fold
from cnnkit.data._split import train_val_split as train_val_split
from cnnkit.preprocess import Preprocess as Preprocess

__all__ = [
    "ArrayDataset",
    "DataReport",
    "Description",
    "Finding",
    "ImageFolder",
    "Limits",
    "Loaders",
    "Preprocess",
    "Split",
    "augment",
    "check",
    "class_weights",
    "describe",
    "extract",
    "fetch",
    "k_fold",
    "make_loader",
    "make_loaders",
    "resize_folder",
    "train_val_split",
]
