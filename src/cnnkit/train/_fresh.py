"""A new model for each fold: drawn by its seed, and sharing nothing with the one before."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from cnnkit.errors import ArgumentError
from cnnkit.train._random import seeded

__all__ = ["Builder"]


class Builder:
    """Calls the user's function, and refuses what would carry one fold over into the next.

    Args:
        build_model: Makes a model when it is called without arguments.
        device: Whose random state is put back as well.

    Raises:
        ArgumentError: It is a model, or nothing that can be called.
    """

    def __init__(self, build_model: Callable[[], nn.Module], device: torch.device) -> None:
        if isinstance(build_model, nn.Module) or not callable(build_model):
            raise ArgumentError(
                "build_model must be a function that makes a new model for each fold, such as "
                f"lambda: MLP(10), received {type(build_model).__name__}"
            )
        self.build_model, self.device = build_model, device
        # Weakly: the model of a fold that is done shall be freed.
        self._before: list[weakref.ref[nn.Parameter]] = []

    def __call__(self, seed: int) -> nn.Module:
        """A model drawn by this seed; every global random state is as it was.

        Raises:
            ArgumentError: It is no model, or has parameters of one that was made before.
        """
        with seeded(seed, self.device):  # puts all of them back
            torch.manual_seed(seed)  # the same in every process
            random.seed(seed)
            np.random.seed(seed % 2**32)
            model = self.build_model()
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"build_model must return a model (nn.Module), received {type(model).__name__}"
            )
        alive = {id(parameter()) for parameter in self._before}
        if any(id(parameter) in alive for parameter in model.parameters()):
            raise ArgumentError(
                "build_model returned the parameters of the model before: a fold would begin with "
                "what another one learnt, from the very samples it is measured on. Make the model "
                "inside of the function"
            )
        self._before = [weakref.ref(parameter) for parameter in model.parameters()]
        return model
