"""`Classifier`: a trained model with everything that using it needs, in one object and one file."""

from __future__ import annotations

import copy
import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cnnkit._saved import load_saved, reading, save_whole
from cnnkit.device import DeviceDataLoader, default_device
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    DataError,
    ModelError,
)
from cnnkit.metrics import Report, predicted_classes, probabilities
from cnnkit.models import create_model
from cnnkit.models._registry import model_spec
from cnnkit.preprocess import Preprocess
from cnnkit.train._loop import own_threshold
from cnnkit.train._meeting import TrainedOn, meet, trained_on
from cnnkit.types import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Classifier", "Prediction"]

_KIND, _FORMAT = "Classifier", 1
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about one image.

    Attributes:
        label: Name of the class.
        probability: Of that class, between 0 and 1.
        probabilities: Of every class, by name.
    """

    label: str
    probability: float
    probabilities: dict[str, float]

    def __str__(self) -> str:
        return f"{self.label} ({100 * self.probability:.1f}%)"


class Classifier:
    """A model, its classes and its preprocessing: what is trained is what is shipped.

    The model is copied, set to eval mode and never changed again, so predicting is safe from
    several threads.

    Args:
        model: Any module that returns logits (N, C), or (N,) with one logit a sample.
        classes: Class names in the order of the outputs.
        preprocess: How an image is read, resized and normalised.
        report: Figures on the test set, kept in the file.
        threshold: For two classes, of one logit or two: from which probability on the answer is
            class 1. By default the model's own for one logit, the larger of two.
        builder: For a model that is not in `list_models()`: the function or class that makes an
            empty one when called without arguments. Its dotted name is kept in the file, and
            `load` must be handed it.

    Raises:
        ModelError: The model's outputs do not match the classes.
        ClassMismatchError: The model was trained, or the report made, on other classes.

    Warns:
        CnnkitWarning: The model was trained on images that were preprocessed differently.

    Example:
        >>> from cnnkit import models
        >>> model = models.MLP(2, image_size=8)
        >>> classifier = Classifier(model, ["cat", "dog"], Preprocess(8, "L", (0.5,), (0.5,)))
        >>> classifier.predict(np.zeros((8, 8), dtype=np.uint8)).label in ("cat", "dog")
        True
    """

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        preprocess: Preprocess,
        *,
        report: Report | None = None,
        threshold: float | None = None,
        builder: Callable[[], nn.Module] | None = None,
    ) -> None:
        if not isinstance(preprocess, Preprocess):
            raise ArgumentError(
                "a classifier needs the Preprocess that its images went through, received "
                f"{type(preprocess).__name__}; models of float features have none"
            )
        self.classes = tuple(str(name) for name in classes)
        if len(set(self.classes)) != len(self.classes):
            raise ArgumentError(f"class names must differ, received {self.classes}")
        if report is not None and report.classes != self.classes:
            raise ClassMismatchError(
                f"the report is on the classes {report.classes}, the classifier has {self.classes}"
            )
        if threshold is not None and (len(self.classes) != 2 or not 0 <= threshold <= 1):
            raise ArgumentError(
                "a threshold is a probability, 0 to 1, of the second of two classes; received "
                f"{threshold} for {len(self.classes)} classes"
            )
        meet(model=trained_on(model), classifier=TrainedOn(self.classes, preprocess))
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.preprocess = preprocess
        self.report = report
        self.threshold = own_threshold(model) if threshold is None else float(threshold)
        self.builder = builder
        self._check_outputs()

    @classmethod
    def from_loader(
        cls,
        model: nn.Module,
        loader: DeviceDataLoader,
        *,
        report: Report | None = None,
        threshold: float | None = None,
        builder: Callable[[], nn.Module] | None = None,
    ) -> Self:
        """Take classes and preprocessing from the loader that the model was evaluated on.

        Raises:
            ArgumentError: The loader does not know its classes or its preprocessing.
            ModelError: The model's outputs do not match the classes.
        """
        classes, preprocess = getattr(loader, "classes", None), getattr(loader, "preprocess", None)
        if classes is None or preprocess is None:
            raise ArgumentError(
                "the loader does not know its classes or its preprocessing (a loader of "
                "cnnkit.data.make_loader on uint8 images does): "
                "use Classifier(model, classes, preprocess)"
            )
        return cls(model, classes, preprocess, report=report, threshold=threshold, builder=builder)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            return tensor.device
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """Move the model; returns the classifier itself."""
        self.model.to(device)
        return self

    @overload
    def predict(self, x: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    @overload
    def predict(
        self, x: PathLike | bytes | Image.Image | np.ndarray[Any, Any] | Tensor
    ) -> Prediction: ...
    def predict(self, x: Any) -> Prediction | list[Prediction]:
        """Say what one image, or each of a list of images, shows.

        Args:
            x: A path, the bytes of an image file, a Pillow image, a numpy array uint8 (H, W) or
                (H, W, C), a tensor uint8 (C, H, W), or a list of these.

        Returns:
            A `Prediction`, or a list of them for a list.

        Raises:
            ImageReadError: A file is no readable image; the message names it.
            NotFoundError: There is no such file.
            DataError: An array or tensor has another shape or dtype.
        """
        if isinstance(x, (list, tuple)):
            return self._predict_all(x)
        return self._predict_all([x])[0]

    def _predict_all(self, sources: Sequence[Any]) -> list[Prediction]:
        found: list[Prediction] = []
        for start in range(0, len(sources), _IMAGES_AT_ONCE):
            some = sources[start : start + _IMAGES_AT_ONCE]
            images = torch.stack([self._pixels(source) for source in some])
            with torch.no_grad():
                logits = self.model(self.preprocess(images.to(self.device)))
            chosen = predicted_classes(logits, self.threshold).tolist()
            rows = probabilities(logits).cpu()
            found += [self._named(row, best) for row, best in zip(rows, chosen, strict=True)]
        return found

    def _pixels(self, source: Any) -> Tensor:
        """uint8 (C, H, W) of what was given."""
        if isinstance(source, Tensor):
            return self._exact_tensor(source)
        if isinstance(source, np.ndarray):
            source = _as_pillow(source)
        if isinstance(source, bytearray):
            source = bytes(source)
        if not isinstance(source, (str, os.PathLike, bytes, Image.Image)):
            raise DataError(
                "expected a path, the bytes of an image file, a Pillow image, a numpy array or a "
                f"tensor, or a list of these, received {type(source).__name__}"
            )
        return self.preprocess.read(source)

    def _exact_tensor(self, image: Tensor) -> Tensor:
        shape = self.preprocess.image_shape
        if image.dtype == torch.uint8 and tuple(image.shape) == shape:
            return image
        if image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] in (1, 3, 4):
            array = image.permute(1, 2, 0).cpu().numpy()  # (C, H, W) -> (H, W, C), of another size
            return self.preprocess.read(_as_pillow(array))
        raise DataError(
            f"expected a uint8 tensor of shape (channels, height, width), such as {shape}, "
            f"received {image.dtype} of shape {tuple(image.shape)}"
        )

    def _named(self, row: Tensor, best: int) -> Prediction:
        if not bool(row.isfinite().all()):
            raise ModelError(
                "the model's outputs are no numbers for this image: its weights have diverged, "
                "train it again with a smaller learning rate"
            )
        values = dict(zip(self.classes, row.tolist(), strict=True))
        label = self.classes[best]
        return Prediction(label, values[label], values)

    def _check_outputs(self) -> None:
        images = torch.zeros(1, *self.preprocess.image_shape, device=self.device)
        try:
            with torch.no_grad():
                logits = self.model(images)
        except RuntimeError as error:
            raise ModelError(
                f"the model does not take images of shape {tuple(images.shape)}, which its "
                f"preprocess makes: {error}"
            ) from error
        expected = [(1, len(self.classes))] + ([(1,)] if len(self.classes) == 2 else [])
        if not isinstance(logits, Tensor) or tuple(logits.shape) not in expected:
            shape = tuple(getattr(logits, "shape", ()))
            raise ModelError(
                f"the model's outputs do not match the {len(self.classes)} classes "
                f"{self.classes}: expected shape {' or '.join(map(str, expected))} for one image, "
                f"received {shape}"
            )

    def save(self, path: PathLike) -> None:
        """Write everything to one file, under a temporary name that is renamed when it is whole.

        Raises:
            ModelError: The file could not say how to make the model: it is not in `list_models()`,
                or was changed since it was made, and no `builder` was given.
        """
        spec = None if self.builder is not None else model_spec(self.model)
        if spec is None and self.builder is None:
            raise ModelError(
                f"{type(self.model).__name__} is not in list_models(), so a file could not say how "
                "to make it: give Classifier(…, builder=) the function that makes an empty one"
            )
        empty = _made(*spec) if spec is not None else _drawn(self.builder)
        misfits = _misfits(self.model.state_dict(), empty.state_dict())
        if misfits:
            raise ModelError(
                f"a new {type(self.model).__name__} would not fit these weights "
                f"({', '.join(misfits)}): give Classifier(…, builder=) the function that makes an "
                "empty one like this"
            )
        parts = {
            "model": None if spec is None else {"name": spec[0], "arguments": spec[1]},
            "builder": None if self.builder is None else _dotted(self.builder),
            "weights": {name: t.detach().cpu() for name, t in self.model.state_dict().items()},
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "threshold": self.threshold,
            "report": None if self.report is None else self.report.to_dict(),
            "versions": {"torch": str(torch.__version__)},
            "saved": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        save_whole(path, _KIND, _FORMAT, parts)

    @classmethod
    def load(
        cls,
        path: PathLike,
        *,
        device: torch.device | str | None = None,
        builder: Callable[[], nn.Module] | None = None,
    ) -> Self:
        """Open a file that `save` wrote. No code in the file is run.

        Args:
            path: The file.
            device: Where the model goes; by default `default_device()`.
            builder: Makes the empty model, for a classifier that was given one.

        Raises:
            NotFoundError: There is no such file.
            SavedFileError: It is none that `save` wrote, is cut, holds code, or is newer.
            ModelError: It needs a builder, or its weights do not fit the model.
        """
        saved = load_saved(path, _KIND, _FORMAT)
        with reading(path, _KIND):
            model = _rebuilt(saved, path, builder)
            report = saved["report"]
            classifier = cls(
                model,
                list(saved["classes"]),
                Preprocess.from_dict(saved["preprocess"]),
                report=None if report is None else Report.from_dict(report),
                threshold=saved["threshold"],
                builder=builder,
            )
        return classifier.to(default_device() if device is None else device)

    def __repr__(self) -> str:
        height, width = self.preprocess.image_size
        return (
            f"Classifier({type(self.model).__name__}, {len(self.classes)} classes, "
            f"{height}x{width} {self.preprocess.mode})"
        )


def _rebuilt(
    saved: Mapping[str, Any], file: PathLike, builder: Callable[[], nn.Module] | None
) -> nn.Module:
    spec = saved["model"]
    if spec is None and builder is None:
        raise ModelError(
            f"{file} holds a model made by {saved['builder']}, and nothing is imported by a name "
            "in a file: pass Classifier.load(path, builder=…)"
        )
    model = _drawn(builder) if spec is None else _made(spec["name"], spec["arguments"])
    misfits = _misfits(saved["weights"], model.state_dict())
    if misfits:
        raise ModelError(f"the weights in {file} do not fit the model: {', '.join(misfits)}")
    model.load_state_dict(saved["weights"])
    return model


def _made(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    return _drawn(lambda: create_model(name, **arguments))


def _drawn(builder: Callable[[], nn.Module] | None) -> nn.Module:
    """An empty model; the random weights that it begins with leave no trace."""
    assert builder is not None, "one of spec and builder is there"
    with torch.random.fork_rng(devices=[]):
        return builder()


def _misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What stands between the two, a few words for each of the first three names."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in s.items()} for s in (given, wanted)]
    different = [n for n in {**given, **wanted} if shapes[0].get(n) != shapes[1].get(n)]
    return [f"{n} is {shapes[0].get(n)} for {shapes[1].get(n)}" for n in different[:3]]


def _dotted(builder: Callable[[], nn.Module]) -> str:
    return f"{builder.__module__}.{getattr(builder, '__qualname__', type(builder).__qualname__)}"


def _as_pillow(array: np.ndarray[Any, Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (colour or array.ndim == 2) or 0 in array.shape:
        raise DataError(
            "expected a uint8 array of shape (height, width) or (height, width, channels), "
            f"received {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array))
