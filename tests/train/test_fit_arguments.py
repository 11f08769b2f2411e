"""What `fit` takes and what it refuses: optimisers, losses, loaders, labels, models."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from cnnkit import Preprocess
from cnnkit.data import ArrayDataset, make_loader
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    CnnkitError,
    CnnkitWarning,
    DataError,
    ModelError,
)
from cnnkit.models import MLP, TwoLayerCNN
from cnnkit.train import History, fit


def batches(
    n: int = 10, classes: int = 3, dtype: torch.dtype = torch.int64
) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 1, 3, 3, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    return list(zip(images.split(4), labels.to(dtype).split(4), strict=True))


def net(outputs: int = 3) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(9, outputs))


class Binary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net(1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images).squeeze(1)
        return logits


def run(
    model: nn.Module | None = None, train: Iterable[Any] | None = None, *args: Any, **options: Any
) -> History:
    model = net() if model is None else model
    train = batches() if train is None else train
    return fit(model, train, *args, **{"epochs": 1, "progress": False, **options})


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


# --- optimisers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make", "lr"),
    [
        ("sgd", SGD, 0.01),
        ("momentum", partial(SGD, momentum=0.9, nesterov=True, fused=True), 0.01),
        ("adam", partial(Adam, fused=True), 0.001),
        ("adamw", partial(AdamW, fused=True), 0.001),
        ("rmsprop", RMSprop, 0.001),
    ],
)
@pytest.mark.parametrize("given", [None, 0.05])
def test_a_name_is_the_optimiser_it_says(name: Any, make: Any, lr: float, given: float) -> None:
    one, other, third = net(), net(), net()
    history = run(one, optimizer=name, lr=given, epochs=2)
    run(other, optimizer=make, lr=given or lr, epochs=2)
    run(third, optimizer=make(third.parameters(), lr=given or lr), epochs=2)
    assert all(map(torch.equal, weights(one), weights(other)))
    assert all(map(torch.equal, weights(one), weights(third)))
    assert history.column("lr") == [given or lr] * 2


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("name", "make"),
    [("momentum", partial(SGD, momentum=0.9, nesterov=True)), ("adam", Adam), ("adamw", AdamW)],
)
def test_one_pass_over_a_tensor_is_the_same_step(name: Any, make: Any, memory_format: Any) -> None:
    """torch's fused steps take it for granted that weight and gradient lie in memory alike."""
    torch.manual_seed(0)
    one = TwoLayerCNN(3, image_size=8, init="kaiming")
    other = copy.deepcopy(one)
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
    train = [(images[rows], torch.arange(32)[rows] % 3) for rows in torch.arange(32).split(8)]
    options = {"lr": 0.01, "epochs": 3, "memory_format": memory_format}
    run(one, train, optimizer=name, **options)
    run(other, train, optimizer=make, **options)
    for mine, theirs in zip(weights(one), weights(other), strict=True):
        assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_sgd_is_the_default() -> None:
    one, other = net(), net()
    run(one)
    run(other, optimizer="sgd", lr=0.01)
    assert all(map(torch.equal, weights(one), weights(other)))


def test_an_instance_keeps_its_groups() -> None:
    model = net()
    before = weights(model)
    optimizer = SGD(
        [{"params": [model[1].weight], "lr": 0.5}, {"params": [model[1].bias], "lr": 0}]
    )
    assert run(model, optimizer=optimizer).column("lr") == [0.5]
    moved = [not torch.equal(a, b) for a, b in zip(before, weights(model), strict=True)]
    assert moved == [True, False]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"'sgd', 'momentum', 'adam'.*received 'SGD'"):
        run(optimizer="SGD")


def test_an_instance_has_its_own_lr() -> None:
    model = net()
    with pytest.raises(ArgumentError, match=r"lr=0\.1 beside an optimiser instance"):
        run(model, optimizer=SGD(model.parameters(), lr=0.2), lr=0.1)


def test_an_optimiser_of_another_model_is_refused() -> None:
    with pytest.raises(ArgumentError, match="none of this model's parameters"):
        run(net(), optimizer=SGD(net().parameters(), lr=0.1))


def test_a_frozen_model_has_nothing_to_train() -> None:
    with pytest.raises(ArgumentError, match=r"no parameters to train.*requires_grad"):
        run(net().requires_grad_(False))


@pytest.mark.parametrize("lr", [-0.1, math.nan])
def test_a_learning_rate_is_a_number_from_zero_on(lr: float) -> None:
    with pytest.raises(ArgumentError, match=f"lr must be 0 or more, received {lr}"):
        run(lr=lr)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "2", None])
def test_epochs_are_a_positive_number(epochs: Any) -> None:
    with pytest.raises(ArgumentError, match=f"positive int, received {epochs!r}"):
        run(epochs=epochs)


@pytest.mark.parametrize("optimizer", [5, None, lambda _: 7])
def test_what_is_no_optimiser_is_refused(optimizer: Any) -> None:
    with pytest.raises(ArgumentError, match="optimi"):
        run(optimizer=optimizer)


@pytest.mark.parametrize("norm", [-1.0, math.nan])
def test_a_clipping_norm_is_positive(norm: float) -> None:
    with pytest.raises(ArgumentError, match=f"clip_norm.*{norm}"):
        run(clip_norm=norm)


# --- monitor -------------------------------------------------------------------------------------


def test_an_unknown_figure_to_watch_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"monitor='val_f1'.*'train_loss', 'train_acc'"):
        run(net(), batches(), batches(), monitor="val_f1")


def test_an_unknown_figure_to_watch_is_refused_without_restoring_too() -> None:
    with pytest.raises(ArgumentError, match="val_f1"):
        run(net(), batches(), batches(), monitor="val_f1", restore_best=False)


# --- losses --------------------------------------------------------------------------------------


def test_a_loss_of_probabilities_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"BCELoss takes probabilities.*BCEWithLogitsLoss"):
        run(loss=nn.BCELoss())


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_refused(reduction: str) -> None:
    model = net()
    before = weights(model)
    with pytest.raises(ArgumentError, match=f"reduction='{reduction}'"):
        run(model, loss=nn.CrossEntropyLoss(reduction=reduction))
    assert all(map(torch.equal, before, weights(model))), "refused before the first step"


def test_binary_cross_entropy_takes_integer_labels() -> None:
    rows = run(Binary(), batches(classes=2), loss=nn.BCEWithLogitsLoss()).rows
    again = run(Binary(), batches(classes=2)).rows
    assert rows[0]["train_loss"] == again[0]["train_loss"]


def test_a_loss_function_of_ones_own() -> None:
    one, other = net(), net()
    run(one, loss=lambda logits, labels: F.cross_entropy(logits, labels) * 2, lr=0.05)
    run(other, lr=0.1)
    assert all(torch.allclose(a, b) for a, b in zip(weights(one), weights(other), strict=True))


# --- loaders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["train", "val"])
def test_a_loader_that_yields_nothing(where: str) -> None:
    loaders: list[list[Any]] = [[], batches()] if where == "train" else [batches(), []]
    with pytest.raises(CnnkitError, match="loader yielded no batch"):
        run(net(), *loaders)


@pytest.mark.parametrize("where", ["train", "val"])
def test_an_iterator_is_refused_where_it_would_be_needed_again(where: str) -> None:
    given: list[Any] = [batches(), batches()]
    given[where == "val"] = iter(given[where == "val"])
    model = net()
    before = weights(model)
    with pytest.raises(ArgumentError, match=f"batches of {where}_loader.*list_iterator.*once"):
        run(model, *given, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    run(model, *given, epochs=1)


@pytest.mark.parametrize(
    ("batch", "values"),
    [
        (torch.zeros(4, 1, 3, 3), "received Tensor"),
        ((torch.zeros(4, 9),), "received tuple of 1 parts"),
        ((torch.zeros(4, 9), torch.zeros(4), torch.zeros(4)), "tuple of 3 parts"),
        ({"images": torch.zeros(4, 9)}, "dict of 1 parts"),
        ((torch.zeros(4, 9), [0, 1, 2, 0]), r"\(Tensor, list\)"),
        ((torch.zeros(4, 9), torch.zeros(3).long()), "4 images but 3 labels"),
    ],
)
def test_a_batch_is_images_and_labels(batch: Any, values: str) -> None:
    with pytest.raises(DataError, match=values):
        run(net(), [batch])


def images_of(classes: list[str], n: int = 12, **options: Any) -> DeviceDataLoader:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 3), generator=generator).to(torch.uint8)
    ds = ArrayDataset(pixels, torch.arange(n) % len(classes), classes=classes)
    return make_loader(ds, 4, **{"device": "cpu", **options})


@pytest.mark.parametrize("other", [["a", "c", "b"], ["a", "b"], ["a", "b", "c", "d"]])
def test_loaders_of_other_classes_are_refused(other: list[str]) -> None:
    shown = ", ".join(f"{i}: {name}" for i, name in enumerate(other))
    with pytest.raises(ClassMismatchError, match=rf"0: a, 1: b, 2: c.*\({shown}\)"):
        run(net(), images_of(["a", "b", "c"]), images_of(other))


def test_a_model_that_learnt_the_classes_in_another_order_is_warned_of() -> None:
    model = net()
    run(model, images_of(["a", "b", "c"]))
    said = r"then \(0: a, 1: b, 2: c\), now \(0: a, 1: c, 2: b\)"
    with pytest.warns(CnnkitWarning, match=said) as caught:
        run(model, images_of(["a", "c", "b"]))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(model, images_of(["a", "c", "b"]))  # it has learnt these by now
        run(model, images_of(["x", "y", "z"]))  # another task
        run(model, batches())  # whose classes nobody knows


def test_loaders_of_other_preprocessing_are_warned_of() -> None:
    one, other = (Preprocess(3, "L", (mean,), (0.5,)) for mean in (0.5, 0.25))
    train, val = (images_of(["a", "b", "c"], preprocess=p) for p in (one, other))
    with pytest.warns(CnnkitWarning, match=r"mean \[0\.5\] and \[0\.25\].*preprocess=") as caught:
        run(net(), train, val)
    assert [warning.filename for warning in caught] != []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(net(), train, images_of(["a", "b", "c"], preprocess=one))


def test_the_warning_points_at_the_callers_line() -> None:
    one, other = (Preprocess(3, "L", (mean,), (0.5,)) for mean in (0.5, 0.25))
    with pytest.warns(CnnkitWarning) as caught:
        fit(
            net(),
            images_of(["a", "b", "c"], preprocess=one),
            images_of(["a", "b", "c"], preprocess=other),
            epochs=1,
            progress=False,
        )
    assert [warning.filename for warning in caught] == [__file__]


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [3, -1, 255])
def test_labels_outside_the_outputs_are_named(label: int) -> None:
    images, labels = batches()[0]
    labels = labels.clone()
    labels[1] = label
    with pytest.raises(DataError, match=rf"{label}.*3 outputs.*0 to 2"):
        run(net(), [(images, labels)])


def test_a_label_that_the_loss_would_skip_is_outside_too() -> None:
    """-100 is cross-entropy's ignore_index: the loss says nothing."""
    images, labels = batches()[0]
    labels = labels.clone()
    labels[1] = -100
    with pytest.raises(DataError, match="1 labels are outside the 3 classes"):
        run(net(), [(images, labels)])


def test_labels_outside_of_a_binary_model() -> None:
    with pytest.raises(DataError, match="labels are outside the 2 classes"):
        run(Binary(), batches(classes=3))


def test_a_label_that_a_weighted_loss_would_skip() -> None:
    images, labels = batches()[0]
    labels = labels.clone()
    labels[1] = -100
    with pytest.raises(DataError, match=r"-100|outside"):
        run(net(), [(images, labels)], loss=nn.CrossEntropyLoss(torch.ones(3)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda y: y.float(), id="floats"),
        pytest.param(lambda y: y[:, None], id="(N, 1)"),
        pytest.param(lambda y: F.one_hot(y, 3).float(), id="one-hot"),
    ],
)
def test_labels_of_another_kind_are_refused(change: Any) -> None:
    images, labels = batches()[0]
    with pytest.raises(DataError, match="labels"):
        run(net(), [(images, change(labels))])


# --- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (net(4), r"expected logits of shape \(4, 3\), received \(4, 4\): open the data with"),
        (net(2), r"received \(4, 2\)"),
        (net(1), r"received \(4, 1\): squeeze the last dimension"),
        (Binary(), r"received \(4,\)"),
        (nn.Unflatten(1, (1, 1)), r"received \(4, 1, 1, 3, 3\): return one row of logits"),
    ],
)
def test_outputs_that_do_not_match_the_classes(model: nn.Module, values: str) -> None:
    if not list(model.parameters()):
        model.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    with pytest.raises(ModelError, match=values):
        run(model, images_of(["a", "b", "c"]))


def test_one_column_of_logits_is_refused_for_two_classes_too() -> None:
    """The argmax of (N, 1) is always 0, and broadcasting would hide it in the loss."""
    with pytest.raises(ModelError, match=r"\(4,\) with one logit a sample, received \(4, 1\)"):
        run(net(1), images_of(["a", "b"]))
    with pytest.raises(ModelError, match="squeeze"):
        run(net(1), batches(classes=2))


def test_outputs_that_are_no_tensor() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(images), images

    with pytest.raises(ModelError, match="tensor of logits, received tuple"):
        run(Two())


def test_images_of_another_size_than_the_models() -> None:
    with pytest.raises(ModelError, match=r"\(N, 1, 8, 8\), received \(4, 1, 3, 3\)"):
        run(MLP(3, image_size=8), images_of(["a", "b", "c"]))


def test_a_refused_run_leaves_the_weights() -> None:
    model = net(4)
    before = weights(model)
    with pytest.raises(ModelError):
        run(model, images_of(["a", "b", "c"]))
    assert all(map(torch.equal, before, weights(model)))


def test_a_torch_loader_with_workers() -> None:
    images, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    here: DataLoader[Any] = DataLoader(TensorDataset(images, labels), 4)
    there: DataLoader[Any] = DataLoader(TensorDataset(images, labels), 4, num_workers=1)
    assert run(net(), here).rows[0]["train_loss"] == run(net(), there).rows[0]["train_loss"]
