"""`fit` against a ten-line loop: the same weights bit for bit, best weights, seeds, modes."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from cnnkit.data import ArrayDataset, make_loader
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import CnnkitWarning, DataError
from cnnkit.models import MLP
from cnnkit.train import History, evaluate, fit

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

C = 3


def dataset(n: int = 43, seed: int = 0) -> ArrayDataset:
    """Grey 6x6 images of three classes that a linear layer tells apart fairly well."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % C
    images = torch.randint(0, 160, (n, 6, 6), generator=generator)
    images[torch.arange(n), labels, labels] += 90
    return ArrayDataset(images.to(torch.uint8), labels)


def noise(n: int = 30, seed: int = 1) -> ArrayDataset:
    """Labels that have nothing to do with the images: to fit them is to overfit."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 6, 6), generator=generator).to(torch.uint8)
    return ArrayDataset(images, torch.randint(0, C, (n,), generator=generator), classes="012")


def loader(ds: ArrayDataset, batch_size: int = 8, **options: Any) -> DeviceDataLoader:
    return make_loader(ds, batch_size, **{"shuffle": True, "device": "cpu", **options})


def model(seed: int = 0, **options: Any) -> MLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(C, **{"image_size": 6, "hidden": (16,), **options})


def bare_loop(net: nn.Module, batches: Any, *, epochs: int, lr: float, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        optimizer = torch.optim.SGD(net.parameters(), lr)
        for epoch in range(epochs):
            net.train()
            batches.set_epoch(epoch)
            for images, labels in batches:
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
    return net


def weights(net: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in net.state_dict().values()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, weights(one), weights(other)))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("seed", [0, 7])
def test_weights_are_those_of_a_bare_loop(dropout: float, seed: int) -> None:
    ours, theirs = model(dropout=dropout), model(dropout=dropout)
    fit(ours, loader(dataset()), epochs=3, lr=0.1, seed=seed, progress=False)
    bare_loop(theirs, loader(dataset()), epochs=3, lr=0.1, seed=seed)
    assert same(ours, theirs)
    assert not same(ours, model(dropout=dropout))


def test_watching_a_validation_set_does_not_change_training() -> None:
    ours, theirs = model(dropout=0.5), model(dropout=0.5)
    fit(ours, loader(dataset()), loader(noise()), epochs=3, lr=0.1, restore_best=False,
        evaluate_first=True, progress=False)  # fmt: skip
    assert same(ours, bare_loop(theirs, loader(dataset()), epochs=3, lr=0.1))


def test_a_plain_module_with_a_torch_loader() -> None:
    """Shuffled by torch's global generator, which `fit` seeds: the same as the bare loop."""
    torch.manual_seed(3)
    samples = TensorDataset(torch.rand(21, 1, 4, 4), torch.randint(0, 2, (21,)))
    ours = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.3), nn.Linear(8, 2))
    theirs = copy.deepcopy(ours)
    foreign: DataLoader[Any] = DataLoader(samples, 5, shuffle=True)
    history = fit(ours, foreign, epochs=2, lr=0.2, progress=False)
    assert same(ours, bare_loop(theirs, DeviceDataLoader(foreign, "cpu"), epochs=2, lr=0.2))
    assert [row["epoch"] for row in history.rows] == [1, 2]


def test_a_list_of_batches_is_a_loader() -> None:
    batches = [(torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])) for _ in range(3)]
    history = fit(model(), batches, batches[:1], epochs=2, progress=False)
    assert len(history) == 2
    assert set(history.rows[0]) >= {"train_loss", "train_acc", "val_loss", "val_acc"}


def test_frozen_parameters_stay() -> None:
    net = model()
    first, second = net.get_submodule("fc1").requires_grad_(False), net.get_submodule("fc2")
    before, last = weights(first), weights(second)
    # AdamW would shrink whatever it holds, gradient or none.
    fit(net, loader(dataset()), epochs=2, lr=0.1, optimizer="adamw", progress=False)
    assert all(map(torch.equal, before, weights(first)))
    assert not any(map(torch.equal, last, weights(second)))
    assert all(parameter.grad is None for parameter in first.parameters())


def test_clipping_bounds_the_step() -> None:
    net, lr, norm = model(), 1.0, 1e-3
    before = torch.cat([p.detach().flatten().clone() for p in net.parameters()])
    whole = loader(dataset(), 43)
    fit(net, whole, epochs=1, lr=lr, clip_norm=norm, progress=False)
    step = torch.cat([p.detach().flatten() for p in net.parameters()]) - before
    assert step.norm().item() == pytest.approx(lr * norm, rel=1e-3)


# --- the best weights ----------------------------------------------------------------------------


def overfitting(epochs: int, **options: Any) -> tuple[MLP, History]:
    net = model()
    history = fit(
        net, loader(noise(seed=1)), loader(noise(seed=2), shuffle=False),
        epochs=epochs, **{"lr": 0.02, "optimizer": "adam", "progress": False, **options},
    )  # fmt: skip
    return net, history


def test_the_best_weights_are_those_of_training_that_long() -> None:
    net, history = overfitting(12)
    assert history.best is not None
    best = int(history.best["epoch"])
    assert 1 <= best < 12, "this run is meant to overfit"
    assert history.best["val_loss"] == min(history.column("val_loss"))
    assert history.restored == best
    again, shorter = overfitting(best, restore_best=False)
    assert same(net, again)
    assert shorter.rows[-1]["val_loss"] == history.best["val_loss"]
    assert evaluate(net, loader(noise(seed=2), shuffle=False)).loss == history.best["val_loss"]


def test_the_last_weights_stay_where_asked() -> None:
    net, history = overfitting(12, restore_best=False)
    assert history.restored is None
    assert history.best is not None
    assert history.best["epoch"] < 12
    val = evaluate(net, loader(noise(seed=2), shuffle=False))
    assert val.loss == history.rows[-1]["val_loss"] > history.best["val_loss"]


def test_another_figure_may_decide() -> None:
    net, history = overfitting(12, monitor="val_acc")
    assert (history.monitor, history.mode) == ("val_acc", "max")
    assert history.best is not None
    accuracies = history.column("val_acc")
    assert history.best["epoch"] == 1 + accuracies.index(max(accuracies))
    report = evaluate(net, loader(noise(seed=2), shuffle=False))
    assert report.accuracy == max(accuracies)
    net, history = overfitting(5, monitor="train_loss")
    assert history.best is history.rows[-1]
    assert history.restored is None


def test_a_run_that_only_gets_worse_ends_with_the_initial_weights() -> None:
    ds, net = dataset(), model()
    wrong = ArrayDataset(ds.images, (ds.labels + 1) % C)  # every step towards ds is away from it
    history = fit(
        net, loader(ds), loader(wrong), epochs=3, lr=0.3, evaluate_first=True, progress=False
    )
    assert history.best is history.rows[0]
    assert history.restored == 0
    assert same(net, model())


def test_without_a_validation_set_the_last_weights_stay() -> None:
    net = model()
    history = fit(net, loader(noise()), epochs=3, lr=0.1, progress=False)
    assert (history.monitor, history.best, history.restored) == (None, None, None)
    assert same(net, bare_loop(model(), loader(noise()), epochs=3, lr=0.1))
    assert set(history.rows[0]) == {"epoch", "train_loss", "train_acc", "lr", "seconds"}


def test_buffers_are_restored_too() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 16), nn.Linear(16, C))
    train = loader(noise(seed=1))
    history = fit(
        net, train, loader(noise(seed=2)), epochs=8, lr=0.05, optimizer="adam", progress=False
    )
    assert history.restored is not None, "this run is meant to overfit"
    assert int(net.state_dict()["1.num_batches_tracked"]) == history.restored * len(train)


# --- a row before training -----------------------------------------------------------------------


def test_row_zero_is_chance() -> None:
    net = model(hidden=(), dropout=0.0)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    val = loader(dataset(), shuffle=False)
    history = fit(net, val, val, epochs=1, evaluate_first=True, progress=False)
    first = history.rows[0]
    assert [row["epoch"] for row in history.rows] == [0, 1]
    assert first["val_loss"] == pytest.approx(math.log(C), abs=1e-6)
    assert first["val_acc"] == pytest.approx(15 / 43)  # it says class 0 of every image
    assert "train_loss" not in first


def test_row_zero_of_random_weights_is_about_chance() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MLP(10, image_size=6)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (500, 6, 6), generator=generator).to(torch.uint8)
    val = make_loader(ArrayDataset(images, torch.arange(500) % 10), 100, device="cpu")
    expected = evaluate(copy.deepcopy(net), val)
    first = fit(net, val, val, epochs=1, evaluate_first=True, progress=False).rows[0]
    assert first["val_loss"] == pytest.approx(math.log(10), abs=0.1)
    assert first["val_acc"] == pytest.approx(0.1, abs=0.05)
    assert (first["val_loss"], first["val_acc"]) == (expected.loss, expected.accuracy)


# --- when the loss is no number ------------------------------------------------------------------


class Poisoned:
    """Batches whose pixels are nan from one epoch on."""

    def __init__(self, from_epoch: int) -> None:
        self.from_epoch, self.epoch = from_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader(dataset(), shuffle=False):
            yield (images * math.nan if self.epoch >= self.from_epoch else images), labels


def test_a_nan_stops_and_the_best_weights_are_back() -> None:
    net, shorter = model(dropout=0.0), model(dropout=0.0)
    val = loader(dataset(seed=5), shuffle=False)
    history = fit(net, Poisoned(2), val, epochs=9, lr=0.1, progress=False)
    assert history.stop_reason == "nan"
    assert len(history) == 3
    assert math.isnan(history.rows[-1]["train_loss"])
    assert history.restored == 2
    fit(shorter, Poisoned(99), val, epochs=2, lr=0.1, progress=False)
    assert same(net, shorter)


def test_a_nan_in_the_first_epoch_leaves_the_initial_weights() -> None:
    net = model()
    history = fit(net, Poisoned(0), loader(dataset()), epochs=3, lr=0.1, progress=False)
    assert (history.stop_reason, len(history), history.best, history.restored) == (
        "nan",
        1,
        None,
        0,
    )
    assert same(net, model())


@pytest.mark.parametrize("first", [True, False])
def test_a_validation_loss_that_is_no_number_ends_the_run(tmp_path: Path, first: bool) -> None:
    net = model()
    with pytest.warns(CnnkitWarning, match=r"the validation loss became nan in epoch \d: the run"):
        history = fit(
            net, loader(dataset()), Poisoned(0), epochs=3, evaluate_first=first,
            checkpoint_dir=tmp_path, progress=False,
        )  # fmt: skip
    assert (history.stop_reason, history.restored) == ("nan", None if first else 0)
    assert [row["epoch"] for row in history.rows] == [0 if first else 1]
    assert same(net, model())
    assert not list(tmp_path.glob("*.pt")), "there is nothing to go on from"


def test_a_nan_never_is_the_best_by_accuracy_either() -> None:
    net = model()
    val = make_loader(
        dataset().subset(range(0, 43, 3)), 8, device="cpu"
    )  # nan says class 0: all right
    history = fit(net, Poisoned(1), val, epochs=3, lr=1e-6, monitor="val_acc", progress=False)
    assert history.stop_reason == "nan"
    assert all(tensor.isfinite().all() for tensor in weights(net))


# --- randomness ----------------------------------------------------------------------------------


def random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())


@pytest.mark.parametrize("foreign", [False, True])
def test_the_global_random_state_is_as_before(foreign: bool) -> None:
    ds = dataset()
    train: Iterable[Any] = loader(ds)
    if foreign:
        train = DataLoader(TensorDataset(ds.images.float(), ds.labels), 8, shuffle=True)
    net = model(dropout=0.5)
    before = random_states()
    fit(net, train, train, epochs=2, evaluate_first=True, progress=False)
    evaluate(net, loader(ds))
    assert random_states() == before


def test_the_global_random_state_is_put_back_after_an_error() -> None:
    wrong = [(torch.rand(2, 1, 6, 6), torch.tensor([0, 9]))]
    before = torch.get_rng_state()
    with pytest.raises(DataError, match="9"):
        fit(model(dropout=0.5), wrong, epochs=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_runs_are_equal_whatever_was_drawn_between() -> None:
    def run(seed: int | None = 0, data_seed: int = 0) -> tuple[MLP, list[dict[str, float]]]:
        torch.rand(random.randrange(1, 5))
        net = model(dropout=0.5)
        train = loader(dataset(), seed=data_seed)
        rows = fit(net, train, loader(noise()), epochs=2, lr=0.1, seed=seed, progress=False).rows
        return net, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    one, rows = run()
    other, again = run()
    assert rows == again
    assert same(one, other)
    assert not same(one, run(seed=1)[0])
    assert not same(one, run(data_seed=1)[0])


def test_the_same_loader_trains_the_same_again() -> None:
    train = loader(dataset())
    one, other = model(), model()
    fit(one, train, epochs=2, progress=False)
    fit(other, train, epochs=2, progress=False)
    assert same(one, other)


def test_without_a_seed_the_global_generator_is_used() -> None:
    def run() -> MLP:
        net = model(dropout=0.5)
        fit(net, loader(dataset()), epochs=1, lr=0.5, seed=None, progress=False)
        return net

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        one = run()
        drawn = torch.get_rng_state()
        torch.manual_seed(11)
        assert not torch.equal(torch.get_rng_state(), drawn)
        assert same(one, run())
        assert not same(one, run())  # the generator has moved on


# --- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_fit_trains_in_train_mode_and_ends_in_eval_mode(training: bool) -> None:
    seen: list[bool] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(36, C)

        def forward(self, images: Tensor) -> Tensor:
            seen.append(self.training and torch.is_grad_enabled())
            out: Tensor = self.linear(images.flatten(1))
            return out

    net = Watching().train(training)
    fit(
        net,
        loader(dataset(), 43),
        loader(noise(), 30),
        epochs=2,
        evaluate_first=True,
        progress=False,
    )
    assert seen == [False, True, False, True, False]
    assert not net.training, "ready to predict"
