"""One optimiser step from one batch or from several: scale, accumulate, unscale, clip, step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cnnkit.distributed import all_reduce_sum, together, world_size
from cnnkit.train._schedules import Schedule

__all__ = ["Updates"]


class Updates:
    """Turns losses into optimiser steps.

    With `accumulate` batches a step, the gradient is that of the mean over all their samples, by
    the loss's own denominator: a short last batch or group counts for no more than its samples.

    Args:
        optimizer: Of the run.
        schedule: Stepped after each optimiser step, where it goes by steps.
        accumulate: Batches a step.
        clip_norm: Largest norm of all gradients together, after unscaling.
        scaler: For float16.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        scaler: GradScaler | None = None,
    ) -> None:
        self.optimizer, self.schedule = optimizer, schedule
        self.accumulate, self.clip_norm, self.scaler = accumulate, clip_norm, scaler
        self.processes = world_size()
        self.pending = 0
        self._first: float | Tensor = 1.0
        self._total: float | Tensor = 0.0
        self.clear()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that the optimiser steps; a callback may have given it another group."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def clear(self) -> None:
        """Forget all gradients."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self.pending = 0

    def add(self, loss: Tensor, weight: float | Tensor) -> bool:
        """Add a batch's gradients; True where that completed an optimiser step."""
        if self.accumulate > 1 or self.processes > 1:
            whole = self._of_all(weight)
            if not self.pending:
                # Of no labels that count, say, there is nothing to measure the others by.
                nothing = isinstance(whole, (int, float)) and whole == 0
                self._first, self._total = 1.0 if nothing else whole, 0.0
            self._total = self._total + whole
            # As if all batches weighed what the first does; `finish` corrects it if they did not.
            # The gradients of several processes are averaged, and this undoes the division.
            loss = loss * (self.processes * weight / (self._first * self.accumulate))
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        if self.processes > 1:
            with together():
                loss.backward()
        else:
            loss.backward()
        self.pending += 1
        return self.pending == self.accumulate and self.finish()

    def finish(self) -> bool:
        """Step with what was added; False where nothing was."""
        if not self.pending:
            return False
        if self.scaler is not None and (self.clip_norm is not None or self.accumulate > 1):
            self.scaler.unscale_(self.optimizer)
        if self.accumulate > 1:
            self._correct()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            # Where gradients overflow no step is taken, at which torch's schedulers would wonder.
            self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self.schedule.after_step()
        self.clear()
        return True

    def _of_all(self, weight: float | Tensor) -> float | Tensor:
        """What the batch weighs, of which this process has a share."""
        if self.processes == 1:
            return weight
        if isinstance(weight, Tensor):
            return all_reduce_sum(weight)
        return float(all_reduce_sum(torch.tensor(weight, dtype=torch.float64)))

    def _correct(self) -> None:
        """From the sum that assumed equal batches to the mean over the samples that came."""
        if isinstance(self._total, (int, float)) and self._total == 0:
            return
        factor = self._first * self.accumulate / self._total
        if not isinstance(factor, Tensor) and factor == 1:
            return
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
