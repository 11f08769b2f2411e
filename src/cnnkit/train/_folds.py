"""One fold after the other: those that are finished are read, the others trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnkit.data import Split
from cnnkit.distributed import barrier, broadcast, gather, is_main
from cnnkit.errors import TrainingError
from cnnkit.train._cross_validation import CrossValidation
from cnnkit.train._evaluate import evaluate
from cnnkit.train._fit import fit
from cnnkit.train._fold import Fold
from cnnkit.train._fold_files import FoldFiles, Trained
from cnnkit.train._history import StopReason
from cnnkit.train._interrupt import Interrupt
from cnnkit.train._loss import default_loss, denominator
from cnnkit.train._out_of_fold import placed
from cnnkit.train._plan import Plan
from cnnkit.train._warn import warn

__all__ = ["run_folds"]

_CUT: tuple[StopReason, ...] = ("interrupted", "terminated", "not_saved")


class _CutError(Exception):
    """A fold was not finished; `reason` says why."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


def run_folds(plan: Plan, files: FoldFiles | None, interrupt: Interrupt) -> CrossValidation:
    """Train the folds that are not finished, until there are no more or somebody asks to end.

    Args:
        plan: What they are trained with.
        files: Where finished folds and checkpoints are.
        interrupt: Of the whole cross-validation; a fold's own `fit` notes what comes meanwhile.
    """
    folds: list[Fold] = []
    reason: StopReason = "finished"
    for number, split in enumerate(plan.splits, start=1):
        try:
            trained = _trained(plan, number, split, files, interrupt)
        except _CutError as cut:
            reason = cut.reason
            break
        folds.append(
            Fold(
                number=number,
                history=trained.history,
                report=trained.report,
                indices=plan.held_out(number),
                preprocess=trained.preprocess,
                loss_weight=trained.loss_weight,
            )
        )
        plan.say(
            f"fold {number} of {len(plan.splits)}: {plan.monitor} {folds[-1].score:.4f}, "
            f"accuracy {trained.report.accuracy:.1%}"
        )
    result = CrossValidation(plan, folds, reason, files)
    if files is not None and folds:
        try:
            _write(plan, "all folds", lambda: files.summarise(result, result.report))
        except _CutError as cut:
            result = CrossValidation(plan, folds, cut.reason, files)
        barrier()  # what is returned can be read
    return result


def _trained(
    plan: Plan, number: int, split: Split[Any], files: FoldFiles | None, interrupt: Interrupt
) -> Trained:
    """A fold, read or trained.

    Raises:
        _CutError: Its training was cut short, or was not to begin any more.
    """
    done = broadcast(files.load(number)) if files is not None else None
    if done is not None:
        return done
    plan.say(f"fold {number} of {len(plan.splits)}")
    loaders, model = plan.loaders(split), plan.model(number)
    assert loaders.val is not None, "every fold has a validation part"
    asked = _asked(interrupt)
    if asked is not None:  # before, or while the images were read
        raise _CutError(asked)
    arguments = plan.fresh(number)
    if files is not None:
        arguments |= {"checkpoint_dir": files.checkpoints(number), "resume": "auto"}
    history = fit(
        model,
        loaders.train,
        loaders.val,
        epochs=plan.epochs,
        seed=plan.seed,
        progress=plan.progress,
        **arguments,
    )
    if history.stop_reason in _CUT:
        raise _CutError(history.stop_reason)
    loss = arguments["loss"] or default_loss(model)
    report = evaluate(model, loaders.val, loss=loss, precision=plan.arguments["precision"])
    held_out = plan.held_out(number)
    labels = plan.whole.targets[held_out].to(loaders.val.device)
    trained = Trained(
        history,
        placed(report, held_out),
        float(denominator(loss, labels)),
        loaders.train.preprocess,
    )
    if files is not None:
        _write(plan, f"fold {number}", lambda: files.save(number, trained, model))
    return trained


def _write(plan: Plan, what: str, write: Callable[[], None]) -> None:
    """Write results; a disk that is full ends the cross-validation only if that is wanted.

    Raises:
        _CutError: It is.
    """
    failed = None
    try:
        write()  # in the main process alone
    except (OSError, RuntimeError) as error:
        if isinstance(error, TrainingError):
            raise
        failed = str(error)
    failed = broadcast(failed)
    if failed is None:
        return
    stop = plan.arguments["on_checkpoint_error"] == "stop"
    if is_main():
        warn(
            f"the results of {what} could not be written ({failed}). The checkpoints in the folder "
            "are whole, and calling this again goes on from them; this run "
            + ("ends here" if stop else "goes on")
        )
    if stop:
        raise _CutError("not_saved")


def _asked(interrupt: Interrupt) -> StopReason | None:
    """Whether, and how, any of the processes was asked to end."""
    reasons: list[StopReason | None] = gather(interrupt.reason)
    return next((reason for reason in reasons if reason is not None), None)
