"""What `fit` says when a run does not do what its user thinks: each once, with its figures."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from training_runs import equal, weights

from cnnkit.data import ArrayDataset, ImageFolder, make_loader, train_val_split
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ClassMismatchError, CnnkitWarning
from cnnkit.models import MLP, LeNetVariant
from cnnkit.train import Callback, EarlyStopping, History, TrainState, fit
from cnnkit.train._watch import Watch

C = 3


def told(run: Callable[..., Any], *args: Any, **options: Any) -> list[str]:
    """What a run warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(*args, **options)
    assert all(one.category is CnnkitWarning for one in caught)
    return [str(one.message) for one in caught]


def seen(label: int, n: int = 36) -> Tensor:
    """Labels of three classes, of which one is half of all."""
    return torch.tensor([label, (label + 1) % C, label, (label + 2) % C] * (n // 4))


def dataset(labels: Tensor, seed: int = 0) -> ArrayDataset:
    """Grey 6x6 images whose class a linear layer sees."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (len(labels), 6, 6), generator=generator)
    images[torch.arange(len(labels)), labels, labels] += 190
    return ArrayDataset(images.to(torch.uint8), labels, classes="abc"[: int(labels.max()) + 1])


def loader(labels: Tensor, batch_size: int = 12, seed: int = 0) -> DeviceDataLoader:
    return make_loader(dataset(labels, seed), batch_size, shuffle=True, device="cpu")


def network(**options: Any) -> MLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MLP(C, **{"image_size": 6, "hidden": (16,), "dropout": 0.0, **options})


def always(chosen: int) -> nn.Module:
    """A model that sees the images, and says one class of all of them."""
    linear = nn.Linear(36, C)
    nn.init.normal_(linear.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    nn.init.constant_(linear.bias, 0.0)
    linear.bias.data[chosen] = 9.0
    return nn.Sequential(nn.Flatten(), linear)


# --- a run that is all right ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 40},
        {"epochs": 40, "evaluate_first": True, "optimizer": "adam", "lr": 0.01},
        {"epochs": 40, "loss": nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 2.0]))},
        {"epochs": 10, "scheduler": "cosine"},
    ],
)
@pytest.mark.parametrize("validated", [True, False])
def test_a_healthy_run_is_not_disturbed(options: dict[str, Any], validated: bool) -> None:
    val = loader(seen(0, 24), seed=1) if validated else None
    options = {"optimizer": "momentum", "lr": 0.1, "progress": False, **options}
    net = network()
    assert told(fit, net, loader(seen(0)), val, **options) == []


def test_a_healthy_run_of_one_logit_is_not_disturbed() -> None:
    halves = torch.arange(36) % 2
    net = MLP(2, image_size=6, hidden=(), dropout=0.0, binary=True)
    val = loader(halves, seed=1)
    options: dict[str, Any] = {"epochs": 60, "lr": 0.05, "optimizer": "momentum"}
    assert told(fit, net, loader(halves), val, **options, progress=False) == []


# --- one class for all ---------------------------------------------------------------------------


def test_one_class_for_all_beside_the_share_of_the_majority() -> None:
    said = told(fit, always(2), loader(seen(0)), loader(seen(0)), epochs=3, lr=0, progress=False)
    assert len(said) == 1  # for three epochs
    assert re.search(
        r"all 36 validation predictions are 'c': an accuracy of 25\.0 % says nothing, always "
        r"naming the most frequent class has 50\.0 %\..*find_lr.*class_weights",
        said[0],
    )


def test_one_class_of_a_model_with_one_logit() -> None:
    halves = torch.arange(36) % 2
    net = MLP(2, image_size=6, hidden=(), dropout=0.0, binary=True)
    net.get_parameter("fc1.bias").data.fill_(-9)
    said = told(fit, net, loader(halves), loader(halves), epochs=1, lr=0, progress=False)
    assert len(said) == 1
    assert "all 36 validation predictions are 'a': an accuracy of 50.0 %" in said[0]


@pytest.mark.parametrize(
    ("labels", "epochs", "expected"),
    [
        (seen(0, 12), 1, 1),
        (seen(0, 8), 1, 0),  # so few may all look alike
        (torch.full((36,), 2), 1, 0),  # there is no other class to say
    ],
)
def test_one_class_tells_something_or_nothing(labels: Tensor, epochs: int, expected: int) -> None:
    ds = ArrayDataset(torch.rand(len(labels), 1, 6, 6), labels, classes="abc")
    val = make_loader(ds, 36, device="cpu")
    said = told(fit, always(2), loader(seen(0)), val, epochs=epochs, lr=0, progress=False)
    assert len(said) == expected


@pytest.mark.parametrize(("epochs", "expected"), [(2, 0), (20, 1)])
def test_one_class_after_a_few_steps_is_only_a_beginning(epochs: int, expected: int) -> None:
    """Three steps an epoch, and many epochs to come, of which all but a few are left out."""
    stopping = EarlyStopping(patience=epochs)
    said = told(fit, always(2), loader(seen(0)), loader(seen(0)), epochs=99, lr=0,
                callbacks=stopping, progress=False)  # fmt: skip
    assert len(said) == expected


class AfterOne(Callback):
    """Lets the first of the epochs that were asked for be the last."""

    def on_epoch_end(self, state: TrainState) -> None:
        state.stop()


@pytest.mark.parametrize("ending", ["logits", "softmax"])
def test_the_cat_detector_is_told_within_an_epoch(ending: str) -> None:
    """The article's LeNet at 116 pixels, Adam at 1, in the first of 100 epochs."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (28, 3, 116, 116), dtype=torch.uint8, generator=generator)
    labels = torch.arange(28) % 2
    pets = ArrayDataset(images, labels, classes=["cat", "dog"])
    train, val = pets.subset(range(16)), pets.subset(range(16, 28))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = LeNetVariant(image_size=116, init="xavier")
    if ending == "softmax":
        net = nn.Sequential(net, nn.Softmax(1))
    said = told(
        fit,
        net,
        make_loader(train, 4, shuffle=True, device="cpu"),
        make_loader(val, 12, device="cpu"),
        epochs=100,
        lr=1,
        optimizer="adam",
        callbacks=AfterOne(),
        progress=False,
    )
    one_class = [one for one in said if "all 12 validation predictions are" in one]
    assert len(one_class) == 1
    assert "an accuracy of 50.0 % says nothing" in one_class[0]
    assert any("probabilities already" in one for one in said) == (ending == "softmax")
    assert any("the outputs are the same for all 12 images" in one for one in said)


# --- the same outputs for all images -------------------------------------------------------------


class Rectified(nn.Module):
    """Four units, three of which are silent, and the fourth of which nobody listens to."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.relu = nn.Linear(36, 4), nn.Linear(4, C), relu
        nn.init.zeros_(self.first.weight)
        self.first.bias.data = torch.tensor([1.0, -1.0, -1.0, -1.0])
        self.last.weight.data[:, 0] = 0
        self.last.bias.data = torch.tensor([0.0, 2.0, 0.0])

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.relu(self.first(images.flatten(1))))
        return out


@pytest.mark.parametrize("relu", [F.relu, nn.ReLU(inplace=True), Tensor.relu, torch.relu])
def test_constant_outputs_with_the_share_of_silent_units(relu: Callable[..., Tensor]) -> None:
    net = Rectified(relu)
    said = told(fit, net, loader(seen(0)), loader(seen(0)), epochs=2, lr=0, progress=False)
    constant, one_class = said
    assert constant.startswith(
        "the outputs are the same for all 36 images: 75 % of the ReLU units are always 0; the "
        "first suspect is a learning rate that is too high."
    )
    assert "predictions are 'b': an accuracy of 25.0 %" in one_class


def test_constant_outputs_without_units_or_without_a_validation_set() -> None:
    net = Rectified(torch.tanh)
    said = told(fit, net, loader(seen(0)), loader(seen(0)), epochs=1, lr=0, progress=False)
    assert said[0].startswith("the outputs are the same for all 36 images: the first suspect is")
    said = told(fit, net, loader(seen(0)), epochs=2, lr=0, progress=False)
    assert len(said) == 1
    assert said[0].startswith("the outputs are the same for all 12 images of the last batch: the")


# --- probabilities where logits are wanted -------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_probabilities_under_cross_entropy(name: str) -> None:
    number = 3 if name == "softmax" else 2
    labels = torch.arange(36) % number
    end = nn.Softmax(1) if name == "softmax" else nn.Sequential(nn.Flatten(0), nn.Sigmoid())
    linear = nn.Linear(36, number if name == "softmax" else 1)
    net = nn.Sequential(nn.Flatten(), linear, end)
    said = told(fit, net, loader(labels), epochs=2, lr=1e-3, progress=False)
    assert len(said) == 1
    assert f"the loss takes a {name} of them once more" in said[0]
    assert f"Remove the {name} from the model's end" in said[0]


def test_probabilities_where_the_loss_wants_them() -> None:
    def likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(probabilities.log(), labels)

    net = nn.Sequential(network(), nn.Softmax(1))
    options: dict[str, Any] = {"epochs": 2, "lr": 1e-3, "progress": False}
    assert told(fit, net, loader(seen(0)), loss=likelihood, **options) == []
    net = nn.Sequential(network(), nn.LogSoftmax(1))
    assert told(fit, net, loader(seen(0)), **options) == []  # a second one changes nothing


# --- a validation set that is trained on ---------------------------------------------------------


def shared(train: Any, val: Any) -> int | None:
    """How many samples `fit` says are in both; None where it says nothing."""
    loaders = [
        DeviceDataLoader(DataLoader(ds, 8), "cpu")
        if isinstance(ds, (TensorDataset, Subset))
        else make_loader(ds, 8, device="cpu")
        for ds in (train, val)
    ]
    said = told(fit, always(0), *loaders, epochs=1, lr=0, progress=False)
    found = [re.match(r"(\d+) of the (\d+) validation samples are in the tr", one) for one in said]
    numbers = [(int(one[1]), int(one[2])) for one in found if one is not None]
    assert all(of == len(val) for _, of in numbers)
    return numbers[0][0] if numbers else None


def test_samples_that_are_in_both() -> None:
    ds = dataset(seen(0))
    assert shared(ds, ds) == 36
    one, other = (train_val_split(ds, val=0.3, seed=seed) for seed in (0, 1))
    assert one.val is not None
    assert other.val is not None
    both = set(one.train.indices.tolist()) & set(other.val.indices.tolist())
    assert shared(one.train, other.val) == len(both) > 0
    assert shared(one.train, one.val) is None
    assert shared(ds, dataset(seen(0), seed=1)) is None
    assert shared(ds.subset(range(10)), ds.subset(range(7, 20))) == 3


def test_samples_of_torchs_own_data_sets_that_are_in_both() -> None:
    ds = TensorDataset(torch.rand(36, 1, 6, 6), seen(0))
    assert shared(ds, Subset(ds, range(20))) == 20
    assert shared(Subset(ds, range(10)), Subset(Subset(ds, range(8, 20)), [0, 1, 2, 3])) == 2
    halves = random_split(ds, [18, 18], torch.Generator().manual_seed(0))
    assert shared(*halves) is None


def test_files_that_are_in_both(tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / "abc"[number % C]
        folder.mkdir(exist_ok=True)
        Image.new("L", (6, 6), 20 * number).save(folder / f"{number}.png")
    opened = [ImageFolder(tmp_path, mode="L", image_size=6) for _ in range(2)]
    assert shared(*opened) == 12
    split = train_val_split(opened[0], val=0.5)
    assert shared(split.train, split.val) is None


def test_class_maps_that_differ_are_an_error() -> None:
    other = make_loader(
        ArrayDataset(torch.rand(12, 1, 6, 6), seen(0, 12), classes="acb"), 12, device="cpu"
    )
    with pytest.raises(ClassMismatchError, match=r"0: a, 1: b, 2: c.*0: a, 1: c, 2: b"):
        fit(network(), loader(seen(0)), other, epochs=1, progress=False)


# --- losses out of all measure -------------------------------------------------------------------


def diverging(lr: float, *, validated: bool = True, **options: Any) -> list[str]:
    """A run that sees its classes, at a learning rate of its choice."""
    val = loader(seen(0, 24), seed=1) if validated else None
    options = {"epochs": 3, "optimizer": "adam", "restore_best": False, **options}
    said = told(fit, network(), loader(seen(0)), val, lr=lr, progress=False, **options)
    return [one for one in said if "diverged" in one]


def test_losses_far_above_those_of_the_beginning() -> None:
    said = diverging(100)
    assert len(said) == 1
    figures = r"training and validation loss came to (\S+) and (\S+) from 1\.\d+ in the first batch"
    found = re.match(figures, said[0])
    assert found
    assert min(float(found[1]), float(found[2])) > 100
    assert "find_lr" in said[0]
    assert diverging(0.01) == []


def test_without_images_to_watch_a_second_epoch_tells() -> None:
    assert diverging(100, validated=False, epochs=1) == []
    assert len(diverging(100, validated=False, epochs=2)) == 1


class OnceHuge(nn.Module):
    """A loss that one batch makes huge, as a first step that was too long does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(logits, labels) * (1e4 if self.calls == 2 else 1)


def test_a_run_that_finds_its_way_back_has_not_diverged() -> None:
    assert diverging(0.01, loss=OnceHuge()) == []


def test_a_loss_that_is_large_by_nature_has_not_diverged() -> None:
    assert diverging(0.01, loss=lambda logits, labels: 1e3 * F.cross_entropy(logits, labels)) == []


# --- by heart, or too short ----------------------------------------------------------------------


def noise(seed: int) -> DeviceDataLoader:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (30, 6, 6), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, C, (30,), generator=generator)
    return make_loader(ArrayDataset(images, labels, classes="abc"), 8, shuffle=True, device="cpu")


def test_learning_by_heart_with_the_losses_it_rose_from_and_to() -> None:
    def run(epochs: int) -> History:
        options: dict[str, Any] = {"lr": 0.01, "optimizer": "adam", "progress": False}
        return fit(network(hidden=(64,)), noise(1), noise(2), epochs=epochs, **options)

    histories: list[History] = []
    said = told(lambda: histories.append(run(25)))
    train, val = (histories[0].column(name) for name in ("train_loss", "val_loss"))

    def three(losses: list[float], end: int, sign: int) -> bool:
        return all(sign * (losses[i] - losses[i - 1]) > 0 for i in range(end - 2, end + 1))

    rises = [end for end in range(3, 25) if three(train, end, -1) and three(val, end, 1)]
    first = next(end for end in rises if val[end] - val[end - 3] > 0.03 * val[end - 3])
    assert len(said) == 1, "and once only"
    assert f"rising (from {val[first - 3]:.4f} to {val[first]:.4f})" in said[0]
    assert "EarlyStopping" in said[0]
    assert told(run, first) == []  # rows count from 0: an epoch fewer, and nothing is known yet


@pytest.mark.parametrize("validated", [True, False])
def test_still_falling_fast_at_the_last_epoch(validated: bool) -> None:
    val = loader(seen(0, 24), seed=1) if validated else None
    histories: list[History] = []

    def run(**options: Any) -> None:
        options = {"epochs": 10, "lr": 0.1, "optimizer": "momentum", "progress": False, **options}
        histories.append(fit(network(), loader(seen(0)), val, **options))

    said = told(run)
    name = "val_loss" if validated else "train_loss"
    losses = histories[0].column(name)
    assert len(said) == 1
    assert re.match(
        rf"the {'validation' if validated else 'training'} loss was still falling fast at the last "
        rf"epoch \(from {losses[-4]:.4f} to {losses[-1]:.4f} in 3 epochs\): train longer",
        said[0],
    )
    assert told(run, scheduler="cosine") == []  # it falls because the rate does
    stopping = EarlyStopping(patience=1, min_delta=9, monitor=name)
    assert told(run, callbacks=stopping, epochs=99) == []  # not at its last epoch
    assert len(histories[-1]) == 2


FALLING = [1.0, 0.9, 0.8, 0.7]


@pytest.mark.parametrize(
    ("train", "val", "rates", "epochs", "expected"),
    [
        (FALLING, [1.0, 1.02, 1.03, 1.04], [1, 1, 1, 1], 9, "rising .from 1.0000 to 1.0400"),
        (FALLING, [1.0, 1.01, 1.015, 1.02], [1, 1, 1, 1], 9, ""),  # by less than one would see
        (FALLING, [1.0, 1.1, 1.0, 1.1], [1, 1, 1, 1], 9, ""),  # not at each of them
        ([0.7, 0.8, 0.9, 1.0], [1.0, 1.1, 1.2, 1.3], [1, 1, 1, 1], 9, ""),  # nothing is learnt
        (FALLING, FALLING, [1, 1, 1, 1], 4, "validation .*still .*from 1.0000 to 0.7000 in 3 ep"),
        (FALLING, FALLING, [1, 1, 1, 1], 9, ""),  # there are epochs to come
        (FALLING, FALLING, [1, 1, 0.5, 0.25], 4, ""),  # the rate falls as well
        (FALLING, [0.005, 0.004, 0.003, 0.002], [1, 1, 1, 1], 4, ""),  # to nothing worth having
    ],
)
def test_what_the_losses_of_four_epochs_say(
    train: list[float], val: list[float], rates: list[float], epochs: int, expected: str
) -> None:
    watch, history = Watch(None), History(monitor="val_loss")
    rows = enumerate(zip(train, val, rates, strict=True), 1)
    history.rows = [
        {"epoch": epoch, "train_loss": one, "val_loss": other, "lr": rate}
        for epoch, (one, other, rate) in rows
    ]
    said = told(watch.after_epoch, history, epochs)
    assert told(watch.after_epoch, history, epochs) == []
    assert len(said) == bool(expected)
    assert re.search(expected, "".join(said))


# --- a loss that is no number --------------------------------------------------------------------


class Turning:
    """Batches of three, the second of which is multiplied in epochs from the third on."""

    def __init__(self, factor: float) -> None:
        self.factor, self.epoch = factor, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = make_loader(dataset(seen(0)), 12, device="cpu")
        for number, (images, labels) in enumerate(batches):
            bad = self.epoch >= 2 and number == 1
            yield (images * self.factor if bad else images), labels


def exploding(logits: Tensor, labels: Tensor) -> Tensor:
    """Infinite where the outputs are large, where float32 would be at a thousand times as much."""
    return F.cross_entropy(logits, labels) * (math.inf if logits.abs().max() > 1e3 else 1.0)


@pytest.mark.parametrize(("factor", "value"), [(math.nan, "nan"), (1e6, "inf")])
def test_a_loss_that_is_no_number_ends_the_run(factor: float, value: str) -> None:
    net, shorter, val = network(), network(), loader(seen(0, 24), seed=1)
    options: dict[str, Any] = {"lr": 0.125, "loss": exploding, "progress": False}
    histories: list[History] = []
    said = told(
        lambda: histories.append(fit(net, Turning(factor), val, epochs=9, **options)),
    )
    assert len(said) == 1
    assert re.match(
        rf"the loss became {value} in epoch 3, batch 2, at the learning rate 0\.125: the run has "
        r"ended, and the weights of epoch 2 are back in the model\. Try a smaller .*clip_norm=1",
        said[0],
    )
    (history,) = histories
    assert (history.stop_reason, len(history), history.restored) == ("nan", 3, 2)
    told(fit, shorter, Turning(1.0), val, epochs=2, **options)
    assert equal(weights(net), weights(shorter))


def test_weights_that_are_no_numbers_after_the_last_batch() -> None:
    """The loss of the one batch is a number, but not what the step made of the weights."""
    net, before = network(), weights(network())
    images, labels = torch.rand(12, 1, 6, 6) * 1e3, seen(0, 12)
    said = told(fit, net, [(images, labels)], epochs=3, lr=1e38, progress=False)
    assert len(said) == 1
    assert re.match(
        r"the weights became nan in epoch 1, batch 1, at the learning rate 1e\+38: .* the weights "
        r"of the beginning are back",
        said[0],
    )
    assert equal(weights(net), before)


# --- how it is said ------------------------------------------------------------------------------


def test_a_warning_is_of_the_callers_line() -> None:
    with pytest.warns(CnnkitWarning, match="predictions are 'c'") as caught:
        fit(always(2), loader(seen(0)), loader(seen(0)), epochs=1, lr=0, progress=False)
    assert [one.filename for one in caught] == [__file__]


def test_each_run_says_it_anew() -> None:
    net, train, val = always(2), loader(seen(0)), loader(seen(0))
    first = told(fit, net, train, val, epochs=2, lr=0, progress=False)
    assert told(fit, net, train, val, epochs=2, lr=0, progress=False) == first
    assert len(first) == 1
