"""What to do when a device's memory is full."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory", "out_of_memory"]

_SIGNS = ("can't allocate memory", "out of memory")  # of the CPU, of MPS


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def out_of_memory(
    device: torch.device, where: str, batch_size: int | None, *, accumulate: int | None, fp32: bool
) -> str:
    """The message that names the batch size and what to try.

    Args:
        device: Whose memory is full.
        where: In which part of the run.
        batch_size: Where it is known.
        accumulate: Batches a step; None where no step is taken, in the validation.
        fp32: Whether the run is in full precision.
    """
    half = None if batch_size is None else batch_size // 2
    fewer = "half the batch size" if half is None else f"batch_size={half}"
    if half == 0:
        tries = ["smaller images", "a smaller model"]
    elif accumulate is None:
        tries = [f"{fewer} for the validation loader, whose figures stay the same"]
    else:
        tries = [
            f"{fewer} with accumulate={2 * accumulate}, which takes the same steps but for batch "
            "normalisation"
        ]
    if fp32 and device.type == "cuda":
        tries.append('precision="auto"')
    return (
        f"{device} has no memory left in {where}, with batches of {batch_size or 'unknown size'}: "
        f"try {', or '.join(tries)}. The best weights so far are in the model"
    )
