"""The base class of every model here: four hooks with defaults that are right, and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnkit._logits import check_no_nan, decided, probabilities
from cnnkit.errors import ModelError
from cnnkit.types import Batch

__all__ = ["ImageClassificationBase", "evaluating", "hook_overridden", "output_size"]


class ImageClassificationBase(nn.Module):
    """A classifier: a `forward` that returns logits, plus what training and predicting ask of it.

    A subclass writes `__init__` and `forward`; each hook below has a default and may be overridden,
    and `cnnkit.train.fit` then calls the override and records its figures as given.

    Attributes:
        binary: True where `forward` returns one logit a sample, (N,), that of class 1.
        threshold: Probability in [0, 1] from which on a binary model says class 1.
        image_shape: (C, H, W) of the images that the model was built for, where it depends on it.
        arguments: What a registered model was made with, so that it can be made again.

    Example:
        >>> class Flat(ImageClassificationBase):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = torch.nn.Linear(28 * 28, 10)
        ...
        ...     def forward(self, images):
        ...         return self.linear(images.flatten(1))
        >>> Flat().predict_proba(torch.rand(4, 1, 28, 28)).shape
        torch.Size([4, 10])
    """

    binary: bool = False
    threshold: float = 0.5
    image_shape: tuple[int, int, int] | None = None
    arguments: dict[str, Any]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy; with `binary`, mean binary cross-entropy on the logit.

        Args:
            logits: Float (N, C), or (N,) with `binary`.
            labels: Int (N,) in [0, C); or float of the shape of `logits`, as probabilities.

        Returns:
            The loss in nats, a scalar.

        Raises:
            ModelError: If the shapes of logits and labels do not belong together.
        """
        self._check_loss_shapes(logits, labels)
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)

    def training_step(self, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
        """Loss and logits of one training batch; an override may return the loss alone.

        Args:
            batch: Images (N, C, H, W) and labels (N,), on the model's device.

        Returns:
            The loss to call `backward` on, or (loss, logits), from which the training accuracy is
            counted.
        """
        images, labels = batch
        logits: Tensor = self(images)
        return self.loss(logits, labels), logits

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        """Figures of one validation batch, called in eval mode without gradients.

        Args:
            batch: Images (N, C, H, W) and labels (N,), on the model's device.

        Returns:
            `val_loss` and `val_acc`, means over the batch, and `samples`, the N they count for.
        """
        images, labels = batch
        logits: Tensor = self(images)
        loss = self.loss(logits, labels).detach()
        correct = self._decided(logits) == labels
        # In double a batch's accuracy gives its count back exactly; MPS has no double.
        dtype = torch.float32 if logits.device.type == "mps" else torch.float64
        samples = torch.tensor(len(labels))
        return {"val_loss": loss, "val_acc": correct.to(dtype).mean(), "samples": samples}

    def validation_epoch_end(self, outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """Figures of the epoch from those of its batches.

        Each figure is a mean over samples where every output says its `samples`, as the default
        `validation_step` does; otherwise it is the mean over batches, in which the samples of a
        short last batch weigh more.

        Args:
            outputs: What `validation_step` returned, a mapping from name to scalar for each batch.

        Returns:
            A float for each name other than `samples`.

        Raises:
            ModelError: If there are no outputs, or they do not have the same names.
        """
        if not outputs:
            raise ModelError("validation_epoch_end received no outputs: expected one a batch")
        names = set(outputs[0])
        for position, output in enumerate(outputs):
            if set(output) != names:
                raise ModelError(
                    f"validation_step returned {sorted(names)} for batch 0 but {sorted(output)} "
                    f"for batch {position}: return the same names for every batch"
                )
        weights = _to_floats(outputs, "samples") if "samples" in names else [1.0] * len(outputs)
        return {
            name: sum(w * v for w, v in zip(weights, _to_floats(outputs, name), strict=True))
            / sum(weights)
            for name in outputs[0]
            if name != "samples"
        }

    def epoch_end(self, epoch: int, result: dict[str, float]) -> None:
        """Report an epoch; does nothing, and `fit` prints its own line unless it is overridden.

        Args:
            epoch: Number of the epoch.
            result: The figures of the epoch by name.
        """

    def predict_proba(self, images: Tensor) -> Tensor:
        """Probability of every class, in eval mode and without gradients.

        Args:
            images: Float (N, C, H, W), preprocessed as in training, on the model's device.

        Returns:
            Float (N, C) in [0, 1], rows summing to 1; for a binary model (N, 2), class 1 second.
            The model's mode is as before.

        Raises:
            ModelError: A logit is nan; the message says of which image.
        """
        with evaluating(self):
            logits = self(images)
        check_no_nan(logits)
        return probabilities(logits)

    def predict(self, images: Tensor) -> Tensor:
        """Most probable class; for a binary model class 1 from `threshold` on.

        Args:
            images: Float (N, C, H, W), preprocessed as in training, on the model's device.

        Returns:
            Class indices, int64 (N,). The model's mode is as before.

        Raises:
            ModelError: A logit is nan; the message says of which image.
        """
        with evaluating(self):
            logits = self(images)
        check_no_nan(logits)
        return self._decided(logits)

    def _decided(self, logits: Tensor) -> Tensor:
        return decided(logits, self.threshold if self.binary else None)

    def _as_logits(self, outputs: Tensor) -> Tensor:
        """(N, 1) -> (N,) where the model is binary: argmax of (N, 1) would always be 0."""
        return outputs.squeeze(1) if self.binary else outputs

    def _check_images(self, images: Tensor) -> None:
        """Name the shape that was expected, where torch would name two matrices."""
        if images.dim() != 4 or tuple(images.shape[1:]) != self.image_shape:
            channels, height, width = self.image_shape or (0, 0, 0)
            raise ModelError(
                f"{type(self).__name__} was built for images of shape (N, {channels}, {height}, "
                f"{width}), received {tuple(images.shape)}: build it with the in_channels and "
                f"image_size of the data, or give the data that size"
            )

    def _check_loss_shapes(self, logits: Tensor, labels: Tensor) -> None:
        given, named = logits.shape, labels.shape
        if self.binary:
            fits = len(given) == 1 and named == given
        else:
            fits = len(given) == 2 and (
                named == given[:1] or (named == given and labels.is_floating_point())
            )
        if fits:
            return
        received = f"received logits {tuple(given)} and labels {tuple(named)}"
        raise ModelError(
            f"a binary model's loss expected logits (N,) and labels (N,), {received}: return one "
            "logit a sample, `logits.squeeze(1)`, or set binary=False"
            if self.binary
            else f"the loss expected logits (N, C) and labels (N,), {received}: return one logit "
            "for each class, or set binary=True for a model with one logit a sample, (N,)"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; after it each module has the mode it had, error or not.

    Args:
        model: Any module. One that is wholly in eval mode is not touched, so that several threads
            may predict with it.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    # Module by module: a part that was in eval mode on purpose, a frozen backbone say, stays so.
    training = [module for module in model.modules() if module.training]
    try:
        if training:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def hook_overridden(model: nn.Module, name: str) -> bool:
    """Whether `model` brings its own version of a hook of `ImageClassificationBase`.

    Args:
        model: Any module. One that does not derive from the base class has a hook only where it
            defines a method of that name.
        name: Name of the method, e.g. "training_step".

    Example:
        >>> hook_overridden(ImageClassificationBase(), "epoch_end")
        False
    """
    own = getattr(type(model), name, None)
    if name in vars(model):
        return True
    return own is not None and own is not getattr(ImageClassificationBase, name)


def output_size(num_classes: int, binary: bool) -> int:
    """Number of logits a sample, for the last layer of a model.

    Raises:
        ModelError: If there are fewer than two classes, or others than two with `binary`.
    """
    if num_classes < 2:
        raise ModelError(
            f"a classifier needs at least 2 classes, received num_classes={num_classes}: "
            f"for one logit pass num_classes=2, binary=True"
        )
    if binary and num_classes != 2:
        raise ModelError(
            f"binary=True is for 2 classes, received num_classes={num_classes}: "
            f"pass num_classes=2, or binary=False"
        )
    return 1 if binary else num_classes


def _to_floats(outputs: Sequence[Mapping[str, Tensor]], name: str) -> list[float]:
    """One figure of every batch, fetched from the device at once."""
    values = [torch.as_tensor(output[name]).detach() for output in outputs]
    floats: list[float] = torch.stack(values).tolist()
    return floats
