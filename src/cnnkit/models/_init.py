"""Initial weights, chosen by name."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import nn

from cnnkit.errors import ArgumentError

__all__ = ["Init", "init_weights"]

#: torch's own, Glorot's, He's.
Init: TypeAlias = Literal["default", "xavier", "kaiming"]


def init_weights(model: nn.Module, init: Init) -> None:
    """Draw the weights of all convolutional and linear layers anew; biases stay as they are.

    The numbers come from torch's global generator, as those of torch's own layers do: seed it with
    `torch.manual_seed` before building a model that is to be the same again.

    Args:
        model: Any module, changed in place.
        init: "default" leaves what the layers drew themselves; "xavier" is uniform with variance
            2 / (fan_in + fan_out), for linear, tanh and sigmoid layers; "kaiming" is uniform with
            variance 2 / fan_in, for ReLU.

    Raises:
        ArgumentError: If `init` is none of these.

    Example:
        >>> layer = nn.Linear(100, 50)
        >>> init_weights(layer, "xavier")
        >>> bool(layer.weight.abs().max() <= (6 / (100 + 50)) ** 0.5)
        True

    Source: Glorot & Bengio, AISTATS 2010; He et al., ICCV 2015 (arXiv:1502.01852).
    """
    if init not in get_args(Init):
        raise ArgumentError(f"expected init to be one of {get_args(Init)}, received {init!r}")
    if init == "default":
        return
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if init == "xavier":
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
