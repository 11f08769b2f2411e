"""Many images through the model: decoded in parallel, computed in batches that suit the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cnnkit.classifier._sources import pixels_of
from cnnkit.data._threads import in_threads
from cnnkit.errors import CnnkitError, ImageReadError, ModelError, NotFoundError
from cnnkit.metrics import predicted_classes, probabilities
from cnnkit.preprocess import Preprocess

__all__ = ["Answer", "Network", "device_of"]

_READ_AT_ONCE = 128  # images in memory; so many keep all threads busy to the last few
_LARGEST_BATCH = 128
_VALUES_OF_A_CORE = 1 << 18  # 1 MiB of float32
_SMALLEST_BATCH = 8  # smaller ones cost more in calls than they save


def device_of(model: nn.Module) -> torch.device:
    """Where the model is; one without parameters and buffers is on the CPU."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


class Answer(NamedTuple):
    """What the model says about one image of several."""

    position: int  # among the sources
    chosen: int  # class
    probabilities: list[float]  # of every class


class Network(NamedTuple):
    """A model in eval mode with what it needs to answer.

    Args:
        model: Returns logits (N, C), or (N,).
        preprocess: How an image is read and normalised.
        threshold: For two classes, as `cnnkit.metrics.predicted_classes` takes it.
        memory_format: Of the images on the CPU.
    """

    model: nn.Module
    preprocess: Preprocess
    threshold: float | None
    memory_format: torch.memory_format

    def check_mode(self) -> None:
        """Raise a ModelError where any part of the model is in training mode."""
        if any(module.training for module in self.model.modules()):
            raise ModelError(
                "the classifier's model is in training mode, in which dropout and batch-norm would "
                "change its answers: call classifier.model.eval()"
            )

    def answers(
        self,
        sources: Sequence[Any],
        *,
        workers: int | None = None,
        unreadable: dict[int, str] | None = None,
        after_images: Callable[[int], object] = lambda _: None,
    ) -> Iterator[Answer]:
        """An answer for each source in turn, those that cannot be read left out.

        Args:
            sources: What `pixels_of` takes.
            workers: Threads that decode; by default one a core.
            unreadable: Takes the reason why a source cannot be read, by its position; without it
                that is an error.
            after_images: Called with the number of images that were computed.

        Raises:
            ModelError: The model is in training mode, or its outputs are no numbers.
        """
        self.check_mode()
        before: tuple[list[int], list[Tensor]] = ([], [])
        for start in range(0, len(sources), _READ_AT_ONCE):
            numbers = range(start, min(start + _READ_AT_ONCE, len(sources)))
            positions, images = self._read(sources, numbers, workers, unreadable)
            with torch.no_grad():
                parts = images.split(self._batch_size()) if positions else ()
                logits = [self._logits(part) for part in parts]
            # One step behind: an accelerator computes while the next images are decoded.
            yield from self._named(*before)
            before = (positions, logits)
            after_images(len(numbers))
        yield from self._named(*before)

    def _read(
        self,
        sources: Sequence[Any],
        numbers: range,
        workers: int | None,
        unreadable: dict[int, str] | None,
    ) -> tuple[list[int], Tensor]:
        """Those of the numbers that can be read, and their pixels, uint8 (n, C, H, W)."""
        images = torch.empty((len(numbers), *self.preprocess.image_shape), dtype=torch.uint8)

        def fill(place: int) -> None:
            position = numbers[place]
            try:
                images[place] = pixels_of(sources[position], self.preprocess)
            except CnnkitError as error:
                if unreadable is not None and isinstance(error, (ImageReadError, NotFoundError)):
                    unreadable[position] = str(error)
                elif len(sources) > 1:
                    raise type(error)(f"image {position} of the list: {error}") from error
                else:
                    raise

        in_threads(fill, len(numbers), workers, "decoding", progress=False)
        missing = unreadable or {}
        places = [place for place, position in enumerate(numbers) if position not in missing]
        kept = images if len(places) == len(numbers) else images[places]
        return [numbers[place] for place in places], kept

    def _logits(self, images: Tensor) -> Tensor:
        """Of uint8 images (n, C, H, W)."""
        ready = self.preprocess(images.to(device_of(self.model)))
        if ready.device.type == "cpu":
            ready = ready.contiguous(memory_format=self.memory_format)
        logits: Tensor = self.model(ready)
        return logits

    def _batch_size(self) -> int:
        """On the CPU as many images as the caches of its cores hold: larger batches are slower."""
        if device_of(self.model).type != "cpu":
            return _LARGEST_BATCH
        channels, height, width = self.preprocess.image_shape
        fitting = torch.get_num_threads() * _VALUES_OF_A_CORE // (channels * height * width)
        return min(max(fitting, _SMALLEST_BATCH), _LARGEST_BATCH)

    def _named(self, positions: list[int], parts: list[Tensor]) -> Iterator[Answer]:
        if not positions:
            return
        logits = torch.cat(parts).cpu()
        rows = probabilities(logits)
        sound = rows.isfinite().all(dim=1)
        if not bool(sound.all()):
            place = int(sound.logical_not().nonzero()[0])
            raise ModelError(
                f"the model's outputs are no numbers for image {positions[place]}: its weights "
                "have diverged, train it again with a smaller learning rate"
            )
        chosen = predicted_classes(logits, self.threshold).tolist()
        for position, best, row in zip(positions, chosen, rows.tolist(), strict=True):
            yield Answer(position, best, row)
