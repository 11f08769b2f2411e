"""The class itself: the parts that belong together, and what can be asked of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import nn

from cnnkit.classifier._batches import Network, device_of
from cnnkit.classifier._checks import agreed_threshold, check_outputs, check_parts, fitting_format
from cnnkit.classifier._file import Builder, model_parts, read_file, write_file
from cnnkit.classifier._folder import FolderPredictions, predict_files
from cnnkit.classifier._onnx import write_onnx
from cnnkit.classifier._prediction import Prediction, as_prediction, checked_unknown_below
from cnnkit.device import DeviceDataLoader, default_device
from cnnkit.errors import ArgumentError, ModelError
from cnnkit.metrics import Report
from cnnkit.preprocess import Preprocess
from cnnkit.train._meeting import TrainedOn, meet, trained_on
from cnnkit.types import PathLike

if TYPE_CHECKING:
    from typing_extensions import Self

    from cnnkit.classifier._sources import Source

__all__ = ["Classifier"]


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
            class 1. By default the one that the report was made with; without one the model's own
            for one logit, the larger of two.
        builder: For a model that is not in `list_models()`: the function or class that makes an
            empty one when called without arguments. Its dotted name is kept in the file, and
            `load` must be handed it.

    Attributes:
        model: The copy, in eval mode.
        classes: As given, a tuple.
        preprocess: As given.
        report: As given.
        threshold: For class 1; None where the largest probability decides.
        provenance: Of a loaded classifier: the date (UTC) when it was "saved", and the "versions"
            of Python and of the packages that it was saved with. None otherwise.

    Raises:
        ModelError: The model's outputs do not match the classes, or it cannot be copied.
        ClassMismatchError: The model was trained, or the report made, on other classes.
        ArgumentError: Two classes have one name, `threshold` is no probability, or there is no
            `Preprocess`.

    Warns:
        CnnkitWarning: The model was trained on images that were preprocessed differently, or the
            report was made with another threshold.

    Example:
        >>> from cnnkit import models
        >>> model = models.MLP(2, image_size=8)
        >>> classifier = Classifier(model, ["cat", "dog"], Preprocess(8, "L", (0.5,), (0.5,)))
        >>> classifier.predict(torch.zeros(1, 8, 8, dtype=torch.uint8)).label in ("cat", "dog")
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
        builder: Builder | None = None,
    ) -> None:
        self.classes = tuple(str(name) for name in classes)
        check_parts(self.classes, preprocess, report)
        self.threshold = agreed_threshold(model, self.classes, threshold, report)
        meet(model=trained_on(model), classifier=TrainedOn(self.classes, preprocess))
        self.model = _copy_of(model).eval().requires_grad_(False)
        self.preprocess = preprocess
        self.report = report
        self.builder = builder
        self.provenance: dict[str, Any] | None = None
        check_outputs(self.model, preprocess, self.classes)
        self._choose_format()

    @classmethod
    def from_loader(
        cls,
        model: nn.Module,
        loader: DeviceDataLoader,
        *,
        report: Report | None = None,
        threshold: float | None = None,
        builder: Builder | None = None,
    ) -> Self:
        """Take classes and preprocessing from the loader that the model was evaluated on.

        Args:
            model: As for `Classifier`.
            loader: Of `make_loader` on uint8 images.
            report: As for `Classifier`.
            threshold: As for `Classifier`.
            builder: As for `Classifier`.

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
        return device_of(self.model)

    def to(self, device: torch.device | str) -> Self:
        """Move the model; returns the classifier itself."""
        self.model.to(device)
        self._choose_format()
        return self

    @overload
    def predict(
        self, x: list[Any] | tuple[Any, ...], *, unknown_below: float | None = None
    ) -> list[Prediction]: ...
    @overload
    def predict(self, x: Source, *, unknown_below: float | None = None) -> Prediction: ...
    def predict(
        self, x: Any, *, unknown_below: float | None = None
    ) -> Prediction | list[Prediction]:
        """Say what one image, or each of a list of images, shows.

        The images of a list are decoded in parallel. For a path or bytes the probabilities are
        those that the model gave for the same file when it was evaluated.

        Args:
            x: A path, the bytes of an image file, a Pillow image, a numpy array uint8 (H, W) or
                (H, W, C), a tensor uint8 (C, H, W), or a list of these.
            unknown_below: Answer "none of these", a `Prediction` whose label is None, where no
                class has at least this probability, 0 to 1.

        Returns:
            A `Prediction`, or a list of them for a list.

        Raises:
            ImageReadError: A file is no readable image; the message names it.
            NotFoundError: There is no such file.
            DataError: An array or tensor has another shape or dtype.
            ModelError: The model's outputs are no numbers.
            ArgumentError: `unknown_below` is no probability.
        """
        below = checked_unknown_below(unknown_below)
        several = isinstance(x, (list, tuple))
        answers = self._network().answers(x if several else [x])
        found = [as_prediction(self.classes, chosen, row, below) for _, chosen, row in answers]
        return found if several else found[0]

    def predict_folder(
        self,
        path: PathLike,
        *,
        unknown_below: float | None = None,
        workers: int | None = None,
        progress: bool = True,
    ) -> FolderPredictions:
        """Say what each image in a folder and the folders below it shows.

        Hidden files and files without the extension of an image are left out; those that cannot be
        read are listed.

        Args:
            path: The folder.
            unknown_below: As for `predict`.
            workers: Threads that decode; by default one a core.
            progress: Show a bar, where the extra `progress` is installed and this is a terminal.

        Returns:
            `FolderPredictions`: the table, sorted, which prints and can be written as CSV.

        Raises:
            NotFoundError: There is no such folder.
            DataError: It is a file, or there is no image in it.
            ArgumentError: `unknown_below` is no probability, or `workers` is less than 1.

        Example:
            >>> classifier = Classifier.load("pets.pt")  # doctest: +SKIP
            >>> found = classifier.predict_folder("new photos")  # doctest: +SKIP
            >>> found.counts  # doctest: +SKIP
            {'cat': 512, 'dog': 480}
            >>> table = found.to_csv("found.csv")  # doctest: +SKIP
        """
        return predict_files(
            self._network(),
            self.classes,
            path,
            unknown_below=checked_unknown_below(unknown_below),
            workers=workers,
            progress=progress,
        )

    def save(self, path: PathLike) -> None:
        """Write everything to one file, under a temporary name that is renamed when it is whole.

        Of the report all figures are kept, but no samples: no paths of your test images.

        Args:
            path: The file; folders above it are made.

        Raises:
            ModelError: The file could not say how to make the model: it is not in `list_models()`,
                or was changed since it was made, and no `builder` was given.
        """
        report = None if self.report is None else self.report.to_dict(samples=False)
        parts = {
            **model_parts(self.model, self.builder, self.preprocess),
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "threshold": self.threshold,
            "report": report,
        }
        write_file(path, parts)

    @classmethod
    def load(
        cls,
        path: PathLike,
        *,
        device: torch.device | str | None = None,
        builder: Builder | None = None,
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
        with read_file(path, builder) as (saved, model):
            classes = tuple(saved["classes"])
            preprocess = Preprocess.from_dict(saved["preprocess"])
            report = None if saved["report"] is None else Report.from_dict(saved["report"])
            check_parts(classes, preprocess, report)
            # Without the report, which was compared with the threshold when both were saved.
            made = cls(model, classes, preprocess, threshold=saved["threshold"], builder=builder)
            made.report = report
            made.provenance = {name: saved[name] for name in ("saved", "versions")}
        return made.to(default_device() if device is None else device)

    def export_onnx(self, path: PathLike, *, images: Sequence[Any] | None = None) -> None:
        """Write the network as an ONNX file that needs neither torch nor cnnkit.

        Its input "images" is uint8 (N, C, H, W) at the model's size, any N; scaling and normalising
        are inside; its output "probabilities" is float32 (N, classes), also for one logit. The
        metadata hold "classes", "threshold" (for class 1) and "preprocess", each as JSON. Decoding
        and resizing stay outside: the guide "Shipping a classifier" has the lines that do them.

        The file is compared with the model on images before it takes its name.

        Args:
            path: The file; folders above it are made.
            images: What to compare on, of any kind that `predict` takes; by default made ones.

        Raises:
            ModelError: The model cannot be exported, or the file answers otherwise than it.
            MissingExtraError: The extra `onnx` is not installed.
        """
        write_onnx(self._network(), self.classes, path, images)

    def _network(self) -> Network:
        return Network(self.model, self.preprocess, self.threshold, self._format)

    def _choose_format(self) -> None:
        self._format = fitting_format(self.model, self.preprocess)
        self.model.to(memory_format=self._format)

    def __repr__(self) -> str:
        height, width = self.preprocess.image_size
        return (
            f"Classifier({type(self.model).__name__}, {len(self.classes)} classes, "
            f"{height}x{width} {self.preprocess.mode})"
        )


def _copy_of(model: nn.Module) -> nn.Module:
    """A copy, whose weights later training does not change.

    Raises:
        ModelError: It cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever a module's own copying raises
        raise ModelError(
            f"a classifier holds a copy of its model, and the {type(model).__name__} cannot be "
            f"copied with copy.deepcopy: {error}. What forward computes must not be kept in an "
            "attribute with its gradient: detach() it"
        ) from error
