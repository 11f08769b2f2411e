"""Runs on an accelerator, most of them compared with the same run on the CPU.

`test_accelerator.py` calls them for a CUDA card, and in a process of its own for the fake
accelerator, where this module is the script. A card's figures are those of the CPU but for
rounding, the fake one's are equal.
"""

from __future__ import annotations

import functools
import gc
import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_runs import C, Result, dataset, loaders, network, train

from cnnkit.data import make_loader, make_loaders, train_val_split
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import CnnkitWarning
from cnnkit.models import MLP
from cnnkit.train import (
    Callback,
    TrainState,
    cross_validate,
    evaluate,
    find_lr,
    fit,
    load_checkpoint,
)
from cnnkit.train._optimizers import OptimizerName

close = functools.partial(pytest.approx, rel=0.01)  # a card adds up in another order


_momentum = functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True)


def trained(device: str, dropout: float = 0.0, **options: Any) -> Result:
    # The rule for the format goes by the device, and another one adds up in another order; an
    # optimiser by name is fused on the CPU alone.
    options = {"memory_format": "contiguous", "optimizer": _momentum, **options}
    return train(model=network(dropout=dropout), data=loaders(device=device), **options)


def there(tensors: Any, device: str) -> bool:
    return all(tensor.device.type == device for tensor in tensors)


def assert_alike(device: str, one: Result, other: Result) -> None:
    if device == "fakegpu":
        assert one.rows == other.rows
        assert all(torch.equal(one.weights[n].cpu(), other.weights[n].cpu()) for n in one.weights)
        return
    for row, expected in zip(one.rows, other.rows, strict=True):
        # A rounding may decide what a single sample is taken for: accuracies are not compared.
        exact = {name: value for name, value in expected.items() if not name.endswith("acc")}
        assert {name: row[name] for name in exact} == close(exact)


def fit_gives_the_same(device: str) -> None:
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)
    for options in (
        {"evaluate_first": True},
        {"accumulate": 3, "clip_norm": 0.5},
        {"optimizer": torch.optim.Adam, "lr": 0.01, "scheduler": "plateau", "loss": weighted},
    ):
        ours = trained(device, **options)
        assert there(ours.model.parameters(), device)
        assert there(ours.model.buffers(), device)
        assert_alike(device, ours, trained("cpu", **options))


def the_optimisers_state_is_there(device: str) -> None:
    model = network()
    adam = torch.optim.Adam(model.to(device).parameters())
    fit(model, loaders(device=device).train, epochs=1, optimizer=adam, progress=False)
    moments = [state["exp_avg"] for state in adam.state.values()]
    assert len(moments) == len(list(model.parameters()))
    assert there(moments, device)


def the_losses_of_an_epoch_keep_no_graph(device: str) -> None:
    class Graphs(Callback):
        alive = 0

        def on_epoch_end(self, state: TrainState) -> None:
            held = (one for one in gc.get_objects() if type(one) is Tensor)
            self.alive = sum(one.grad_fn is not None for one in held)

    graphs = Graphs()
    fit(network(), loaders(4, device=device).train, epochs=1, callbacks=graphs, progress=False)
    assert graphs.alive < 4, graphs.alive  # of the last batch at most, and there were twelve


def an_optimiser_by_name_is_computed_as_its_device_does(device: str) -> None:
    """On the CPU fused, or one by one; where the checkpoint came from elsewhere as well."""
    kinds: tuple[tuple[OptimizerName, str, bool], ...]
    kinds = ("adam", "fused", True), ("sgd", "foreach", False)
    for name, option, on_cpu in kinds:
        with tempfile.TemporaryDirectory() as folder:
            for where, epochs, found in (("cpu", 1, on_cpu), (device, 2, None), ("cpu", 3, on_cpu)):
                seen = See(option)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", CnnkitWarning)  # the device is another
                    fit(
                        network(), loaders(device=where).train, epochs=epochs, optimizer=name,
                        checkpoint_dir=folder, resume="auto", callbacks=seen, progress=False,
                    )  # fmt: skip
                assert seen.found == [found] * 2, (name, where, seen.found)


class See(Callback):
    """An option of the optimiser, at the beginning and after an epoch."""

    def __init__(self, option: str) -> None:
        self.option = option
        self.found: list[bool | None] = []

    def on_epoch_start(self, state: TrainState) -> None:
        self.found.append(state.optimizer.param_groups[0][self.option])

    def on_epoch_end(self, state: TrainState) -> None:
        self.on_epoch_start(state)


def a_foreign_loader_is_moved(device: str) -> None:
    """`fit`, `find_lr` and `evaluate` take plain torch, and find the accelerator themselves."""
    ds = dataset()
    foreign: DataLoader[Any] = DataLoader(TensorDataset(ds.images.float() / 255, ds.targets), 8)
    one, other = network(dropout=0.0), network(dropout=0.0)
    tried = find_lr(one, foreign, steps=10, progress=False)
    fit(one, foreign, epochs=1, lr=0.1, progress=False)
    assert there(one.parameters(), device)
    on_cpu = DeviceDataLoader(foreign, "cpu")
    expected_losses = find_lr(other, on_cpu, steps=10, progress=False).losses
    assert tried.losses[:5] == close(expected_losses[:5])
    fit(other, on_cpu, epochs=1, lr=0.1, progress=False)
    report, expected = evaluate(one, foreign), evaluate(other, on_cpu)
    assert report.loss == close(expected.loss)


def find_lr_gives_the_same(device: str) -> None:
    options: dict[str, Any] = {"accumulate": 2, "clip_norm": 1.0, "progress": False}
    model = MLP(C, image_size=8)
    ours, theirs = (
        find_lr(model, loaders(device=where).train, **options) for where in (device, "cpu")
    )
    assert there(model.parameters(), "cpu")  # a copy was moved
    if device == "fakegpu":
        assert ours.losses == theirs.losses
    assert ours.losses[0] == close(theirs.losses[0])  # dropout is drawn on the device


def a_resumed_run_is_the_uninterrupted_one(device: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = trained(device, dropout=0.3, checkpoint_dir=folder, checkpoint_every=2)
        (Path(folder) / "epoch-0003.pt").unlink()  # so that the newest is one within the epoch
        assert [path.name for path in Path(folder).glob("epoch-0003*")]
        again = trained(device, dropout=0.3, checkpoint_dir=folder, checkpoint_every=2, resume=True)
        assert there(again.model.parameters(), device)
        assert_alike(device, again, whole)


def a_checkpoint_goes_from_one_device_to_the_other(device: str) -> None:
    whole = trained("cpu")
    for first, second in ((device, "cpu"), ("cpu", device)):
        with tempfile.TemporaryDirectory() as folder:
            trained(first, checkpoint_dir=folder, checkpoint_every=2)
            (Path(folder) / "epoch-0003.pt").unlink()
            model = network()
            load_checkpoint(folder, model)
            assert there(model.parameters(), "cpu")
            with pytest.warns(CnnkitWarning, match="goes on elsewhere.*device"):
                on = trained(second, checkpoint_dir=folder, checkpoint_every=2, resume=True)
            assert there(on.model.parameters(), second)
            assert_alike(device, on, whole)


def cross_validate_gives_the_same(device: str) -> None:
    options: dict[str, Any] = {
        "k": 2,
        "epochs": 1,
        "batch_size": 8,
        "lr": 0.05,
        "memory_format": "contiguous",
        "progress": False,
    }
    ours, theirs = (
        cross_validate(lambda: network(dropout=0.0), dataset(), device=where, **options)
        for where in (None, "cpu")
    )
    assert ours.report.loss == close(theirs.report.loss)
    refitted, expected = ours.refit(), theirs.refit()
    assert there(refitted.model.parameters(), device)
    if device == "fakegpu":
        assert ours.report.to_dict() == theirs.report.to_dict()
        assert all(
            torch.equal(one.cpu(), other)
            for one, other in zip(
                refitted.model.parameters(), expected.model.parameters(), strict=True
            )
        )


def a_nan_is_found_at_the_end_of_its_epoch(device: str) -> None:
    """Not at its batch, as on the CPU: the loop never waits for the accelerator."""
    images, labels = torch.rand(8, 1, 8, 8), torch.arange(8) % C
    batches = [(images, labels), (images * torch.nan, labels), (images, labels)]
    model, rates = MLP(C, image_size=8), []
    before = {name: one.clone() for name, one in model.state_dict().items()}

    class Noting(Callback):
        def on_step_end(self, state: TrainState) -> None:
            rates.append(state.lr)

    with pytest.warns(CnnkitWarning, match="the loss became nan in epoch 1, batch 2") as caught:
        history = fit(model, batches, epochs=3, lr=0.25, scheduler="cosine", callbacks=Noting(),
                      progress=False)  # fmt: skip
    assert len(rates) == 3
    assert f"at the learning rate {rates[0]:g}:" in str(caught[0].message)  # after batch 1
    assert (history.stop_reason, len(history), history.restored) == ("nan", 1, 0)
    assert there(model.parameters(), device)
    assert all(torch.equal(one.cpu(), before[n]) for n, one in model.state_dict().items())


def constant_outputs_are_seen(device: str) -> None:
    dead = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, C))
    nn.init.constant_(dead.get_submodule("1").get_parameter("bias"), -1e3)
    val = loaders(device=device).val
    with pytest.warns(CnnkitWarning, match=r"same for all 12 images: 100 % of the ReLU") as caught:
        fit(dead, loaders(device=device).train, val, epochs=1, lr=1e-6, progress=False)
    assert any("validation predictions are" in str(one.message) for one in caught)
    assert there(dead.parameters(), device)


def a_batch_moves_once_and_nothing_waits(device: str) -> None:
    """Only on the fake accelerator, which keeps a list of what was moved and read."""
    import fake_accelerator

    assert device == "fakegpu"
    number, epochs, waited = 60, 2, []
    train_samples, val_samples = 48, 12
    for batch_size, workers in ((3, 0), (12, 0), (12, 2)):
        split = train_val_split(dataset(number), val=0.2)
        data = make_loaders(split, batch_size, num_workers=workers)
        model = network().to(device)
        fake_accelerator.moves.clear()
        fake_accelerator.waits.clear()
        fit(model, data.train, data.val, epochs=epochs, lr=0.1, optimizer="adam",
            scheduler="one_cycle", clip_norm=1.0, progress=False)  # fmt: skip
        moves = fake_accelerator.moves
        pixels = [move for move in moves if move.dtype is torch.uint8 and len(move.shape) == 4]
        labels = [move for move in moves if move.dtype is torch.int64 and len(move.shape) == 1]
        for moved in (pixels, labels):
            assert sum(m.shape[0] for m in moved) == epochs * (train_samples + val_samples)
            assert all(move.non_blocking for move in moved), moved
        waited.append(len(fake_accelerator.waits))
    assert waited[0] == waited[1] == waited[2], waited  # whatever the number of batches
    assert waited[0] <= 12 * epochs

    images = torch.rand(20, 1, 8, 8)
    foreign: DataLoader[Any] = DataLoader(TensorDataset(images, torch.arange(20) % C), 5)
    model = network().to(device)
    fake_accelerator.moves.clear()
    fit(model, foreign, epochs=1, progress=False)
    pixels = [move for move in fake_accelerator.moves if len(move.shape) == 4]
    assert pixels == [((5, 1, 8, 8), torch.float32, True)] * 4

    fake_accelerator.moves.clear()
    fake_accelerator.waits.clear()
    evaluate(model, make_loader(dataset(number), 5))
    few, moved = len(fake_accelerator.waits), list(fake_accelerator.moves)
    assert sum(move.shape[0] for move in moved if len(move.shape) == 4) == number
    assert all(move.non_blocking for move in moved if len(move.shape) == 4)
    fake_accelerator.waits.clear()
    evaluate(model, make_loader(dataset(number), 30))
    assert few == len(fake_accelerator.waits)


def what_stays_on_the_cpu_is_an_error(device: str) -> None:
    """That the other runs prove anything: a model that keeps a tensor to itself fails."""

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.kept = nn.Linear(64, C), torch.ones(64)  # no buffer

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.linear(images.flatten(1) * self.kept)
            return out

    with pytest.raises(RuntimeError, match=r"meets|same device"):
        fit(Keeping(), loaders(device=device).train, epochs=1, progress=False)


RUNS: dict[str, Callable[[str], None]] = {
    run.__name__: run
    for run in (
        fit_gives_the_same,
        the_optimisers_state_is_there,
        the_losses_of_an_epoch_keep_no_graph,
        an_optimiser_by_name_is_computed_as_its_device_does,
        a_foreign_loader_is_moved,
        find_lr_gives_the_same,
        a_resumed_run_is_the_uninterrupted_one,
        a_checkpoint_goes_from_one_device_to_the_other,
        cross_validate_gives_the_same,
        a_nan_is_found_at_the_end_of_its_epoch,
        constant_outputs_are_seen,
        a_batch_moves_once_and_nothing_waits,
        what_stays_on_the_cpu_is_an_error,
    )
}


def outcome(run: Callable[[str], None], device: str) -> str:
    """The traceback of a run; empty where all was well."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=CnnkitWarning)  # the runs are short
            run(device)
    except BaseException:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    import fake_accelerator as fake_accelerator

    json.dump({name: outcome(run, "fakegpu") for name, run in RUNS.items()}, sys.stdout)
