"""Torchvision's classifiers with a new head: the way to a good classifier from few photographs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn

from cnnkit.errors import DownloadError, ModelError
from cnnkit.models._base import ImageClassificationBase, output_size

__all__ = ["TorchvisionClassifier", "did_you_mean", "from_torchvision", "torchvision_names"]

_IMAGENET_CLASSES = 1000


class TorchvisionClassifier(ImageClassificationBase):
    """One of torchvision's networks, `net`, whose last layer is new; made by `from_torchvision`.

    Attributes:
        net: The torchvision module itself.
        head: Name of the new last layer within `net`, "fc" say.
        freeze: Whether all but the head is fixed.
        arguments: What `from_torchvision` makes this again from, without the weights.
    """

    def __init__(self, net: nn.Module, head: str, *, freeze: bool, arguments: dict[str, Any]):
        super().__init__()
        self.net = net
        self.head = head
        self.freeze = freeze
        self.arguments = arguments
        if freeze:
            net.requires_grad_(False)
            net.get_submodule(head).requires_grad_(True)
            self.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W), normalised as `Preprocess.imagenet` does."""
        logits: Tensor = self.net(images)
        return logits

    def train(self, mode: bool = True) -> TorchvisionClassifier:
        """Set training mode, in which a frozen network keeps all but its dropout in eval mode.

        Batch-norm would otherwise replace its statistics by those of a few new images, and so
        change the network that was to be kept.
        """
        super().train(mode)
        if self.freeze:
            for module in self.net.modules():
                if not isinstance(module, nn.Dropout):
                    module.training = False
            self.net.get_submodule(self.head).train(mode)
        return self


def from_torchvision(
    name: str,
    num_classes: int,
    *,
    weights: str | None = None,
    freeze: bool = False,
    **options: Any,
) -> TorchvisionClassifier:
    """Make one of torchvision's classifiers with a head for other classes.

    Use `Preprocess.imagenet(image_size)` with pretrained weights: they expect its mean and std, and
    colour images.

    Args:
        name: A name of `torchvision.models`, e.g. "resnet18", "mobilenet_v3_small".
        num_classes: Number of classes C.
        weights: None draws them; "DEFAULT" or another name of torchvision's downloads those trained
            on ImageNet to torch's own cache. The new head is always drawn.
        freeze: Train the head only: nothing else gets gradients, and batch-norm keeps its
            statistics.
        **options: For torchvision's builder, e.g. `image_size=64` for "vit_b_16".

    Returns:
        The model; its logits are (N, C). Auxiliary heads of "googlenet" and "inception_v3" are left
        out.

    Raises:
        ModelError: If torchvision has no such classifier, weights or option.
        DownloadError: If the weights cannot be downloaded.

    Example:
        >>> import torch
        >>> model = from_torchvision("resnet18", 2, freeze=True)
        >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
        1026
        >>> model(torch.rand(4, 3, 64, 64)).shape
        torch.Size([4, 2])
    """
    outputs = output_size(num_classes, binary=False)
    net, kept = _build(name, weights, options)
    head = _replace_head(name, net, outputs)
    arguments = {"name": name, "num_classes": int(num_classes), "freeze": freeze, **kept}
    return TorchvisionClassifier(net, head, freeze=freeze, arguments=arguments)


def torchvision_names() -> list[str]:
    """Names of all of torchvision's classifiers."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A sentence for an error: the nearest names, whatever their case, each after `prefix`; or "".

    Example:
        >>> did_you_mean("resnet81", ["resnet18", "vgg11"])
        ' Did you mean resnet18?'
    """
    lowered = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=3)
    names = " or ".join(prefix + lowered[match] for match in close)
    return f" Did you mean {names}?" if close else ""


def _build(
    name: str, weights: str | None, options: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with its ImageNet head, and the options that make it again without weights."""
    from torchvision import models

    _check_names(name, weights)
    given = dict(options)
    inception = name in ("googlenet", "inception_v3")
    if inception and weights is None:
        # As the pretrained ones: they expect what Preprocess.imagenet gives, and rescale it.
        given = {"aux_logits": False, "init_weights": True, "transform_input": True, **given}
    try:
        net: nn.Module = models.get_model(name, weights=weights, **given)
    except URLError as error:
        raise DownloadError(
            f"the weights {weights!r} of {name} could not be downloaded ({error.reason}): check "
            f"the connection, or put the file into torch.hub.get_dir()/checkpoints yourself"
        ) from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision cannot make {name} with {options}: {error}") from error
    if inception:
        for attribute in ("aux1", "aux2", "AuxLogits"):
            if hasattr(net, attribute):
                setattr(net, attribute, None)
        net.aux_logits = False  # type: ignore[assignment]  # a plain attribute of torchvision's
    if name.startswith("vit_"):
        # Some weights bring a size of their own, on which the position embedding depends.
        options = {**options, "image_size": net.image_size}
    return net, options


def _check_names(name: str, weights: str | None) -> None:
    from torchvision import models

    known = torchvision_names()
    if name not in known:
        raise ModelError(
            f"torchvision has no classifier {name!r}.{did_you_mean(name, known)} "
            f"There are {', '.join(known)}"
        )
    if weights is not None:
        names = [*(w.name for w in models.get_model_weights(name)), "DEFAULT"]
        if weights not in names:
            raise ModelError(
                f"torchvision has no weights {weights!r} for {name}: there are {', '.join(names)}"
            )


def _replace_head(name: str, net: nn.Module, outputs: int) -> str:
    """Put a new layer in the place of the last one that gives the ImageNet classes; its name."""
    layers: list[tuple[str, nn.Module]] = list(net.named_modules())
    for path, layer in reversed(layers):
        new: nn.Module
        if isinstance(layer, nn.Linear) and layer.out_features == _IMAGENET_CLASSES:
            new = nn.Linear(layer.in_features, outputs, bias=layer.bias is not None)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == _IMAGENET_CLASSES:
            new = nn.Conv2d(layer.in_channels, outputs, 1, bias=layer.bias is not None)
        else:
            continue
        parent, _, attribute = path.rpartition(".")
        setattr(net.get_submodule(parent), attribute, new)
        return path
    raise ModelError(f"{name} has no last layer with {_IMAGENET_CLASSES} outputs to replace")
