"""The network of `cifar10_fast.py --wide`: `FastCNN` with three habits of a record holder."""

import torch
from torch import Tensor, nn

from cnnkit import models


@models.register
class WideCNN(models.FastCNN):
    """`FastCNN` with small logits, which predicts from an image, moved a little and mirrored.

    After Jordan, "94% on CIFAR-10 in 3.29 seconds" (arXiv:2404.00498).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C).

        When not training they are the mean of those of the image and of the image moved by a pixel
        to either corner, which count half as much each, and of their mirror images.
        """
        plain = super().forward
        if self.training:
            return plain(images) / 9
        padded = nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        views = (images, 0.5), (padded[..., :-2, :-2], 0.25), (padded[..., 2:, 2:], 0.25)
        seen = [share * (plain(view) + plain(view.flip(-1))) / 2 for view, share in views]
        return torch.stack(seen).sum(0) / 9

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the stem to whiten 2x2 patches, and let the other convolutions begin as identity.

        Args:
            images: Normalised as in training, (N, C, H, W), C = 3.
        """
        patches = nn.functional.unfold(images, 2).transpose(1, 2).flatten(0, 1)  # (patches, 12)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + 5e-4).sqrt()).T.reshape(-1, images.shape[1], 2, 2)
        self.stem.weight.copy_(torch.cat([filters, -filters]))  # GELU keeps one side of each
        self.stem.weight.requires_grad_(False)
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight[: layer.in_channels])
