"""What must hold of the parts of a classifier before it may answer."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from cnnkit.classifier._batches import device_of
from cnnkit.errors import ArgumentError, ClassMismatchError, CnnkitWarning, ModelError
from cnnkit.metrics import Report
from cnnkit.preprocess import Preprocess
from cnnkit.train._compute import by_rule
from cnnkit.train._meeting import own_threshold

__all__ = ["agreed_threshold", "check_outputs", "check_parts", "fitting_format"]


def check_parts(classes: tuple[str, ...], preprocess: Any, report: Report | None) -> None:
    """Refuse names that are not different, and parts that do not belong together.

    Raises:
        ArgumentError: Two classes have one name, or there is no `Preprocess`.
        ClassMismatchError: The report is on other classes.
    """
    if not isinstance(preprocess, Preprocess):
        raise ArgumentError(
            "a classifier needs the Preprocess that its images went through, received "
            f"{type(preprocess).__name__}; models of float features have none"
        )
    if len(set(classes)) != len(classes):
        raise ArgumentError(f"class names must differ, received {classes}")
    if report is not None and report.classes != classes:
        raise ClassMismatchError(
            f"the report is on the classes {report.classes}, the classifier has {classes}"
        )


def agreed_threshold(
    model: nn.Module, classes: tuple[str, ...], threshold: float | None, report: Report | None
) -> float | None:
    """The threshold for class 1: as given, else the report's, else the model's own.

    Raises:
        ArgumentError: It is no probability, or there are not two classes.

    Warns:
        CnnkitWarning: The report was made with another one.
    """
    if threshold is not None and (len(classes) != 2 or not 0 <= threshold <= 1):
        raise ArgumentError(
            "a threshold is a probability, 0 to 1, of the second of two classes; received "
            f"{threshold} for {len(classes)} classes"
        )
    own = own_threshold(model)
    if report is None:
        return own if threshold is None else float(threshold)
    reported = report.threshold
    if reported is not None and report.positive == classes[0]:
        reported = 1 - reported
    if threshold is None:
        return own if reported is None else reported
    if abs((0.5 if reported is None else reported) - threshold) > 1e-9:
        said = "0.5, the larger probability," if reported is None else f"{reported:g}"
        warnings.warn(
            f"the report was made with the threshold {said} and the classifier answers with "
            f"{threshold:g}, so its figures are not those of the report: evaluate with "
            f"threshold={threshold:g}",
            CnnkitWarning,
            stacklevel=3,
        )
    return float(threshold)


def check_outputs(model: nn.Module, preprocess: Preprocess, classes: tuple[str, ...]) -> None:
    """Run the model on one image.

    Raises:
        ModelError: It does not take such images, or its outputs do not match the classes.
    """
    images = torch.zeros(1, *preprocess.image_shape, device=device_of(model))
    try:
        with torch.no_grad():
            logits = model(images)
    except RuntimeError as error:
        raise ModelError(
            f"the model does not take images of shape {tuple(images.shape)}, which its "
            f"preprocess makes: {error}"
        ) from error
    expected = [(1, len(classes))] + ([(1,)] if len(classes) == 2 else [])
    if not isinstance(logits, Tensor) or tuple(logits.shape) not in expected:
        shape = tuple(getattr(logits, "shape", ()))
        raise ModelError(
            f"the model's outputs do not match the {len(classes)} classes {classes}: expected "
            f"shape {' or '.join(map(str, expected))} for one image, received {shape}; name a "
            "class for each output, in their order"
        )


def fitting_format(model: nn.Module, preprocess: Preprocess) -> torch.memory_format:
    """The memory format in which the model is the faster one on its device, as `fit` chooses it.

    A model that asks for contiguous activations, with `view` say, gets them.
    """
    # Two: a single image may have the same strides in both formats.
    images = torch.zeros(2, *preprocess.image_shape, device=device_of(model))
    if by_rule(model, images.device, "fp32") == "contiguous":
        return torch.contiguous_format
    try:
        with torch.no_grad():
            model(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last
