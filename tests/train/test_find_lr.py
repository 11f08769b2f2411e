"""`find_lr`: the trial is a training by the book, and the suggestion follows from its losses."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkit.errors import ArgumentError, DataError, ModelError, TrainingError
from cnnkit.models import MLP
from cnnkit.train import LRCurve, find_lr, fit

Batch = tuple[Tensor, Tensor]


def batches(number: int = 6, size: int = 8, seed: int = 0) -> list[Batch]:
    """Two classes that a linear model tells apart, most of the time."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(number):
        labels = torch.randint(0, 2, (size,), generator=generator)
        features = torch.randn(size, 4, generator=generator) + labels.unsqueeze(1)
        made.append((features, labels))
    return made


def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(4, 2)


def trial(
    model: nn.Module, data: list[Batch], lrs: list[float], make: Callable[..., Any]
) -> list[float]:
    """Ten lines by hand: the loss that each step begins with."""
    model, losses = copy.deepcopy(model), []
    optimizer = make(model.parameters(), lr=1.0)
    for number, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        features, labels = data[number % len(data)]
        loss = F.cross_entropy(model(features), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def smoothed(losses: list[float], reach: int) -> list[float]:
    """With a triangle, by its definition."""
    out = []
    for i in range(len(losses)):
        weights = [max(0, reach + 1 - abs(i - j)) for j in range(len(losses))]
        out.append(sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights))
    return out


@pytest.mark.parametrize(
    ("name", "make"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), (None, None)]
)
def test_the_losses_are_those_of_a_loop_by_hand(name: Any, make: Any) -> None:
    def momentum(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9)

    model = net()
    options: dict[str, Any] = {"lowest": 1e-4, "highest": 0.1, "steps": 60}
    curve = find_lr(model, batches(), optimizer=name or momentum, progress=False, **options)
    assert curve.lrs == pytest.approx([1e-4 * 10 ** (3 * i / 59) for i in range(60)])
    reference = trial(model, batches(), curve.lrs, make or momentum)
    assert curve.losses == pytest.approx(smoothed(reference, 2), rel=1e-5)


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss_and_trains() -> None:
    curve = find_lr(net(), batches(size=40), highest=1000.0, progress=False)
    lowest = curve.lrs[curve.losses.index(min(curve.losses))]
    assert curve.suggestion == lowest / 10
    options: dict[str, Any] = {"evaluate_first": True, "progress": False}
    history = fit(
        net(), batches(size=40), batches(size=40), epochs=3, lr=curve.suggestion, **options
    )
    assert history.rows[-1]["val_loss"] < 0.75 * history.rows[0]["val_loss"]


def test_the_trial_ends_where_the_loss_explodes() -> None:
    curve = find_lr(net(), batches(), highest=1e6, steps=200, progress=False)
    assert 10 < len(curve.lrs) == len(curve.losses) < 180
    assert curve.lrs[-1] < 1e4
    assert max(curve.losses) <= 4 * max(curve.losses[:40])


def test_the_trial_ends_where_the_loss_is_no_number() -> None:
    class Breaks(nn.Module):
        """Outputs nan as soon as its weights have moved far."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = net()

        def forward(self, features: Tensor) -> Tensor:
            far = self.linear.weight.abs().max() > 1.5  # type: ignore[operator]
            return self.linear(features) * (math.nan if far else 1.0)  # type: ignore[no-any-return]

    curve = find_lr(Breaks(), batches(), progress=False)
    assert len(curve.lrs) < 100
    assert all(math.isfinite(loss) for loss in curve.losses)


@pytest.mark.parametrize("labels", ["chance", "constant"])
def test_there_is_no_suggestion_where_the_loss_never_fell(labels: str) -> None:
    """Labels by chance and a fresh batch each step; and weights that no gradient reaches."""
    generator = torch.Generator().manual_seed(0)
    noise = [
        (torch.randn(16, 4, generator=generator), torch.randint(0, 2, (16,), generator=generator))
        for _ in range(100)
    ]

    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = net()

        def forward(self, features: Tensor) -> Tensor:
            return 0 * self.linear(features)  # type: ignore[no-any-return]

    model = net() if labels == "chance" else Deaf()
    curve = find_lr(model, noise, highest=0.1, progress=False)
    assert curve.suggestion is None
    assert "no suggestion: the loss never fell" in str(curve)


def test_a_small_loader_is_gone_over_again_with_its_next_epoch() -> None:
    class Loader:
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def __iter__(self) -> Iterator[Batch]:
            yield from batches(4)

    loader = Loader()
    curve = find_lr(net(), loader, steps=10, progress=False)
    assert (len(curve.lrs), loader.epochs) == (10, [0, 1, 2])


def test_accumulated_batches_are_one_step_with_the_mean_of_their_samples() -> None:
    model, parts = net(), batches(6, 4)
    whole = [
        (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]))
        for a, b in zip(parts[::2], parts[1::2], strict=True)
    ]
    options: dict[str, Any] = {"steps": 12, "highest": 0.1, "progress": False}
    split, together = (
        find_lr(model, parts, accumulate=2, **options),
        find_lr(model, whole, **options),
    )
    assert split.losses == pytest.approx(together.losses, rel=1e-5)


def test_clipping_makes_large_rates_bearable() -> None:
    options: dict[str, Any] = {"highest": 1000.0, "progress": False}
    free, clipped = (
        find_lr(net(), batches(), **options),
        find_lr(net(), batches(), clip_norm=1e-3, **options),
    )
    assert len(clipped.lrs) > len(free.lrs)


def test_class_weights_weigh_in_the_loss_of_a_step() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]))
    model = net()
    curve = find_lr(
        model, batches(1), loss=loss, steps=10, lowest=1e-9, highest=1e-8, progress=False
    )
    features, labels = batches(1)[0]
    assert curve.losses == pytest.approx([loss(model(features), labels).item()] * 10, rel=1e-5)


def test_groups_of_an_optimizer_keep_their_proportions() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    groups = [
        {"params": model[0].parameters(), "lr": 0.01},
        {"params": model[1].parameters(), "lr": 0.1},
    ]
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    curve = find_lr(model, batches(), optimizer=Watched(groups), steps=12, progress=False)
    assert [rates[0] for rates in seen] == pytest.approx(curve.lrs)
    assert [rates[1] for rates in seen] == pytest.approx([10 * lr for lr in curve.lrs])


def test_the_models_own_loss_and_step_are_used() -> None:
    class Halved(MLP):
        def training_step(self, batch: Batch) -> Tensor:
            features, labels = batch
            return F.cross_entropy(self(features), labels) / 2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = Halved(2, in_channels=1, image_size=2, hidden=(), dropout=0.0)
    plain = MLP(2, in_channels=1, image_size=2, hidden=(), dropout=0.0)
    plain.load_state_dict(own.state_dict())
    images = [(features.reshape(-1, 1, 2, 2), labels) for features, labels in batches(1)]
    options: dict[str, Any] = {"steps": 10, "lowest": 1e-9, "highest": 1e-8, "progress": False}
    half, whole = find_lr(own, images, **options), find_lr(plain, images, **options)
    assert half.losses == pytest.approx([loss / 2 for loss in whole.losses], rel=1e-5)


def test_the_curve_is_readable() -> None:
    curve = LRCurve([1e-4, 2e-4, 1e-3, 1e-2, 1e-1, 1.0], [2.3, 2.3, 2.2, 1.5, 0.9, 9.2], 0.01)
    assert str(curve).splitlines() == [
        "learning rate    loss",
        "0.0001            2.3",
        "0.0002            2.3",
        "0.001             2.2",
        "0.01              1.5",
        "0.1               0.9",
        "1                 9.2",
        "the loss is lowest, 0.9, at the learning rate 0.1",
        "suggestion: 0.01, a tenth of it",
    ]
    assert repr(curve) == "LRCurve(6 learning rates, suggestion=0.01)"
    assert len(str(find_lr(net(), batches(), progress=False)).splitlines()) < 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0.0}, "0 < lowest < highest, received lowest=0.0 and highest=10.0"),
        ({"lowest": 1.0, "highest": 1.0}, "received lowest=1.0 and highest=1.0"),
        ({"highest": math.inf}, "highest=inf"),
        ({"steps": 9}, "steps must be an int of 10 or more, received 9"),
        ({"steps": 20.0}, "steps must be an int of 10 or more, received 20.0"),
        ({"accumulate": 0}, "accumulate must be an int of 1 or more, received 0"),
        ({"clip_norm": -1}, "clip_norm must be positive, received -1"),
        ({"precision": "fp64"}, "precision must be one of .* received 'fp64'"),
        ({"optimizer": "lion"}, "optimizer must be one of .* received 'lion'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        find_lr(net(), batches(), progress=False, **options)


def test_loaders_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"generator.*gone over only once"):
        find_lr(net(), (batch for batch in batches()), progress=False)
    with pytest.raises(DataError, match="no batch that has a loss"):
        find_lr(net(), [], progress=False)
    ignored = [(torch.randn(4, 4), torch.ones(4, dtype=torch.int64))]
    with pytest.raises(DataError, match="no batch that has a loss"):
        find_lr(net(), ignored, loss=nn.CrossEntropyLoss(ignore_index=1), progress=False)
    with pytest.raises(TrainingError, match="no number before any step was taken"):
        find_lr(net(), [(torch.full((2, 4), math.nan), torch.tensor([0, 1]))], progress=False)


def test_models_and_optimizers_that_cannot_be_copied_are_refused() -> None:
    model: Any = net()
    model.lock = __import__("threading").Lock()
    with pytest.raises(ModelError, match=r"copy of the Linear, which cannot be copied.*lock"):
        find_lr(model, batches(), progress=False)
    original = net()
    with pytest.raises(ArgumentError, match="over other parameters than those that it was called"):
        find_lr(
            original,
            batches(),
            optimizer=lambda _, lr: torch.optim.SGD(original.parameters(), lr=lr),
            progress=False,
        )


def test_wrong_outputs_are_an_error_as_in_fit() -> None:
    with pytest.raises(ModelError, match=r"\(8, 1\)"):
        find_lr(nn.Linear(4, 1), batches(), progress=False)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    find_lr(net(), batches())
    assert capfd.readouterr() == ("", "")
