"""What a run goes on from, and whether it is the run that was begun."""

from __future__ import annotations

from typing import Any

from cnnkit.errors import ArgumentError, NotFoundError
from cnnkit.train import _settings
from cnnkit.train._checkpoint import CheckpointFolder
from cnnkit.train._warn import warn

__all__ = ["check_same_run", "to_go_on_from"]


def to_go_on_from(
    checkpoints: CheckpointFolder | None, resume: bool | str
) -> dict[str, Any] | None:
    """The contents of the newest checkpoint, or None for a run from its beginning.

    Raises:
        ArgumentError: The folder is occupied, or there is none.
        NotFoundError: There is nothing to resume.
    """
    if resume not in (True, False, "auto"):
        raise ArgumentError(f'resume must be True, False or "auto", received {resume!r}')
    if checkpoints is None:
        if resume:
            raise ArgumentError(f"resume={resume!r} needs the checkpoint_dir of the run to go on")
        return None
    if not resume and list(checkpoints):
        raise ArgumentError(
            f"{checkpoints.folder} holds the checkpoints of a run: go on with it by "
            'resume=True (or "auto"), or name another checkpoint_dir'
        )
    saved = checkpoints.newest()
    if saved is None and resume is True:
        raise NotFoundError(
            f"there is no checkpoint in {checkpoints.folder} to go on from: "
            'resume="auto" starts afresh where there is none'
        )
    checkpoints.prepare()
    return saved


def check_same_run(
    saved: dict[str, Any], settings: dict[str, Any], environment: dict[str, Any], epochs: int
) -> None:
    """Refuse to go on with another run than the one that was begun.

    Raises:
        ArgumentError: The message lists what is different.

    Warns:
        CnnkitWarning: torch, the number of threads, the device or what computes the
            optimiser's step are others.
    """
    different = _settings.differences(saved["settings"]["of_run"], settings)
    if epochs < saved["epoch"]:
        different.append(f"epochs is {epochs}, and {saved['epoch']} were begun already")
    if different:
        raise ArgumentError(
            "a resumed run must be set as it was, but: "
            + "; ".join(different)
            + ". Set it so, or begin a new run in another checkpoint_dir"
        )
    different = _settings.differences(saved["settings"]["environment"], environment)
    if different:
        warn(
            f"the run goes on elsewhere ({'; '.join(different)}): its figures may differ in their "
            "last digits from those of an uninterrupted run"
        )
