"""A model's own hooks, written as in the course: `fit` calls them and records what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkit.errors import CnnkitWarning, ModelError
from cnnkit.models import ImageClassificationBase
from cnnkit.train import fit

Batch = tuple[Tensor, Tensor]


def batches(n: int = 10, size: int = 4, seed: int = 0) -> list[Batch]:
    """10 samples in batches of 4, 4 and 2."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, 3, 3, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return list(zip(images.split(size), labels.split(size), strict=True))


class Plain(ImageClassificationBase):
    """Nothing overridden."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(9, 3, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


def right(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.tensor(torch.sum(logits.argmax(1) == labels).item() / len(labels))


class Course(Plain):
    """All four hooks as the article has them: a bare loss, and means over batches."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, dict[str, float]]] = []

    def training_step(self, batch: Batch) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = batch
        out = self(images)
        return {"val_loss": F.cross_entropy(out, labels).detach(), "val_acc": right(out, labels)}

    def validation_epoch_end(self, outputs: Sequence[Any]) -> dict[str, float]:
        losses = [x["val_loss"] for x in outputs]
        accs = [x["val_acc"] for x in outputs]
        return {
            "val_loss": torch.stack(losses).mean().item(),
            "val_acc": torch.stack(accs).mean().item(),
        }

    def epoch_end(self, epoch: int, result: dict[str, float]) -> None:
        self.told.append((epoch, result))
        print(
            f"Epoch [{epoch}], train_loss: {result['train_loss']:.4f}, "
            f"val_loss: {result['val_loss']:.4f}, val_acc: {result['val_acc']:.4f}"
        )


def test_the_courses_model_trains_and_says_its_own_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net, val = Course(), batches(seed=1)
    history = fit(net, batches(), val, epochs=2, lr=0.0)
    row = history.rows[0]
    with torch.no_grad():
        outputs = [net.validation_step(batch) for batch in val]
    assert row["val_loss"] == net.validation_epoch_end(outputs)["val_loss"]
    assert row["val_acc"] == net.validation_epoch_end(outputs)["val_acc"]
    # A mean over batches, in which the two samples of the short one weigh double: as it was given.
    images, labels = (torch.cat(parts) for parts in zip(*val, strict=True))
    with torch.no_grad():
        exact = F.cross_entropy(net(images), labels).item()
    assert row["val_loss"] != pytest.approx(exact, rel=1e-4)
    assert "train_acc" not in row, "a bare loss gives no accuracy"
    assert net.told == [(1, history.rows[0]), (2, history.rows[1])]
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines] == ["Epoch [1]", "Epoch [2]"]


def test_a_bare_loss_is_averaged_over_the_samples() -> None:
    net, train = Course(), batches()
    row = fit(net, train, batches(), epochs=1, lr=0.0, progress=False).rows[0]
    images, labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    with torch.no_grad():
        exact = F.cross_entropy(net(images), labels).item()
    assert row["train_loss"] == pytest.approx(exact, rel=1e-6)


def test_each_hook_alone_is_honoured() -> None:
    class OwnTraining(Plain):
        def training_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
            images, labels = batch
            logits = self(images)
            return 3 * F.cross_entropy(logits, labels), logits

    class OwnStep(Plain):
        def validation_step(self, batch: Batch) -> dict[str, Tensor]:
            assert not torch.is_grad_enabled()
            assert not self.training
            return {"val_loss": torch.tensor(1.0), "val_f1": torch.tensor(float(len(batch[1])))}

    class OwnEnd(Plain):
        def validation_epoch_end(self, outputs: Sequence[Any]) -> dict[str, float]:
            return {"val_loss": 0.25, "batches": len(outputs)}

    plain = fit(Plain(), batches(), batches(), epochs=1, lr=0.0, progress=False).rows[0]
    row = fit(OwnTraining(), batches(), batches(), epochs=1, lr=0.0, progress=False).rows[0]
    assert row["train_loss"] == pytest.approx(3 * plain["train_loss"], rel=1e-6)
    assert row["train_acc"] == plain["train_acc"]
    assert (row["val_loss"], row["val_acc"]) == (plain["val_loss"], plain["val_acc"])

    row = fit(OwnStep(), batches(), batches(), epochs=1, progress=False).rows[0]
    assert row["val_loss"] == 1.0
    assert row["val_f1"] == pytest.approx(10 / 3)
    assert "val_acc" not in row

    row = fit(OwnEnd(), batches(), batches(), epochs=1, progress=False).rows[0]
    assert (row["val_loss"], row["batches"]) == (0.25, 3)
    assert row["train_acc"] == plain["train_acc"]


def test_an_own_training_step_trains() -> None:
    class Halved(Plain):
        def training_step(self, batch: Batch) -> Tensor:
            return self.loss(self(batch[0]), batch[1]) / 2

    ours, theirs = Halved(), Plain()
    fit(ours, batches(), epochs=2, lr=0.2, progress=False)
    fit(theirs, batches(), epochs=2, lr=0.1, progress=False)
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert not torch.equal(ours.weight, Plain().weight)


def test_an_own_figure_may_be_watched() -> None:
    class Falling(Plain):
        def validation_epoch_end(self, outputs: Sequence[Any]) -> dict[str, float]:
            self.calls = getattr(self, "calls", 0) + 1
            return {"val_loss": 1.0, "val_f1": 1 / self.calls}

    net = Falling()
    history = fit(net, batches(), batches(), epochs=3, lr=0.1, monitor="val_f1", progress=False)
    assert history.best is history.rows[0]
    again = Falling()
    fit(again, batches(), epochs=1, lr=0.1, progress=False)
    assert torch.equal(net.weight, again.weight)


def test_an_own_epoch_end_is_called_without_progress_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever writes one wants it called; what it prints is its own affair."""
    net = Course()
    fit(net, batches(), batches(), epochs=1, progress=False)
    assert [epoch for epoch, _ in net.told] == [1]
    assert capsys.readouterr().out.startswith("Epoch [1]")


def test_what_epoch_end_does_to_its_result_stays_there() -> None:
    class Careless(Plain):
        def epoch_end(self, epoch: int, result: dict[str, float]) -> None:
            result.clear()

    history = fit(Careless(), batches(), batches(), epochs=1, progress=False)
    assert history.rows[0]["epoch"] == 1


def test_a_plain_module_may_bring_a_training_step() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(9, 3)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.linear(images.flatten(1))
            return out

        def training_step(self, batch: Batch) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

    row = fit(Own(), batches(), batches(), epochs=1, progress=False).rows[0]
    assert "train_acc" not in row
    assert "val_acc" in row
    with pytest.warns(CnnkitWarning, match="training_step of its own.* loss= is for validation"):
        fit(Own(), batches(), batches(), epochs=1, progress=False, loss=F.cross_entropy)


def test_a_loss_that_training_never_asks_for_may_be_any() -> None:
    class Own(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.loss = nn.CrossEntropyLoss(reduction="none")  # type: ignore[method-assign]

        def training_step(self, batch: Batch) -> Tensor:
            return self.loss(self(batch[0]), batch[1]).mean()

    row = fit(Own(), batches(), epochs=1, progress=False).rows[0]
    assert 0 < row["train_loss"] < 3


@pytest.mark.parametrize(
    ("result", "values"),
    [
        (None, "NoneType"),
        (0.5, "float"),
        (torch.zeros(4), r"Tensor of shape \(4,\)"),
        ({"loss": torch.zeros(())}, "dict"),
        ((torch.zeros(2), None), r"Tensor of shape \(2,\)"),
    ],
)
def test_a_training_step_returns_a_loss(result: Any, values: str) -> None:
    class Wrong(Plain):
        def training_step(self, batch: Batch) -> Any:
            return result

    with pytest.raises(ModelError, match=f"training_step must return.*received {values}"):
        fit(Wrong(), batches(), epochs=1, progress=False)


def test_logits_of_a_training_step_must_match_the_labels() -> None:
    class Wrong(Plain):
        def training_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
            logits = self(batch[0])
            return self.loss(logits, batch[1]), logits[:1]

    with pytest.raises(ModelError, match=r"expected logits of shape \(4, classes\).*\(1, 3\)"):
        fit(Wrong(), batches(), epochs=1, progress=False)


def test_the_courses_epoch_end_with_a_row_before_training() -> None:
    history = fit(Course(), batches(), batches(), epochs=1, evaluate_first=True, progress=False)
    assert [row["epoch"] for row in history.rows] == [0, 1]


def test_a_base_class_of_ones_own_is_honoured_as_well() -> None:
    """The course's notebook defines ImageClassificationBase itself, on nn.Module."""

    class Notebook(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(9, 3)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.linear(images.flatten(1))
            return out

        def validation_step(self, batch: Batch) -> dict[str, Tensor]:
            return {"val_loss": torch.tensor(7.0), "val_acc": torch.tensor(0.5)}

        def validation_epoch_end(self, outputs: Sequence[Any]) -> dict[str, float]:
            return {"val_loss": 7.0, "val_acc": 0.5}

    row = fit(Notebook(), batches(), batches(), epochs=1, progress=False).rows[0]
    assert (row["val_loss"], row["val_acc"]) == (7.0, 0.5)


def test_a_plain_module_with_one_hook_of_two_is_told_of_the_other() -> None:
    class Notebook(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(9, 3)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.linear(images.flatten(1))
            return out

        def validation_step(self, batch: Batch) -> dict[str, Tensor]:
            return {"val_loss": torch.tensor(7.0)}

    with pytest.raises(ModelError, match="validation_epoch_end"):
        fit(Notebook(), batches(), batches(), epochs=1, progress=False)
