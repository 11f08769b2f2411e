"""Augmentation of whole batches, on the device that they are on.

Each object here is called as ``(images, generator) -> images``:

- `images` are float, (N, C, H, W), in [0, 1], on any device. They are never modified; the result
  has their dtype, stays in [0, 1], and has their shape unless a crop is asked for another size.
- `generator` is a `torch.Generator` on the CPU. Every random number comes from it, one independent
  draw for each sample, and is moved to the device afterwards: the same seed gives the same
  augmentation on every device. The global random state is neither read nor changed.
- A generator with an attribute ``shard = (start, total)`` makes these images the rows
  ``start : start + N`` of a batch of `total` samples: several processes that share one batch
  augment it as one process would.

They run after the conversion to float and before the normalisation, which is when a loader made
with ``make_loader(…, augment=[…])`` calls them. No call waits for the device.

Example:
    >>> import torch
    >>> from cnnkit.data import augment
    >>> images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> generator = torch.Generator().manual_seed(1)
    >>> for augmentation in (augment.RandomFlip(), augment.RandomTranslate(4)):
    ...     images = augmentation(images, generator)
    >>> images.shape
    torch.Size([8, 3, 32, 32])
"""

from cnnkit.data.augment._colour import ColorJitter as ColorJitter
from cnnkit.data.augment._colour import GaussianNoise as GaussianNoise
from cnnkit.data.augment._place import Cutout as Cutout
from cnnkit.data.augment._place import RandomCrop as RandomCrop
from cnnkit.data.augment._place import RandomFlip as RandomFlip
from cnnkit.data.augment._place import RandomTranslate as RandomTranslate
from cnnkit.data.augment._warp import RandomResizedCrop as RandomResizedCrop
from cnnkit.data.augment._warp import RandomRotate as RandomRotate
from cnnkit.data.augment._warp import RandomShear as RandomShear

__all__ = [
    "ColorJitter",
    "Cutout",
    "GaussianNoise",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotate",
    "RandomShear",
    "RandomTranslate",
]
