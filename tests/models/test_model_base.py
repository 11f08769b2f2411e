from __future__ import annotations

import copy
import math
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnkit.errors import ModelError
from cnnkit.models import MLP, ImageClassificationBase, ThreeConvCIFAR, TwoLayerCNN
from cnnkit.models._base import evaluating, hook_overridden
from cnnkit.train import evaluate, fit


class Constant(ImageClassificationBase):
    """Gives the logits it was made with, whatever the image."""

    def __init__(self, logits: Tensor, *, binary: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.binary = binary

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def images(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *(shape or (1, 28, 28)))


def test_loss_is_cross_entropy_of_logits() -> None:
    logits, labels = torch.randn(7, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    expected = -(logits - logits.logsumexp(1, keepdim=True))[range(7), labels].mean()
    assert torch.allclose(MLP(4).loss(logits, labels), expected)


def test_loss_takes_probabilities_as_labels() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    soft = F.one_hot(labels, 3).float()
    assert torch.allclose(MLP(3).loss(logits, soft), MLP(3).loss(logits, labels))


def test_binary_loss_takes_integer_labels() -> None:
    logits, labels = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1, 0, 0])
    p = logits.sigmoid()
    expected = -(p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    assert torch.allclose(MLP(2, binary=True).loss(logits, labels), expected)


def test_fit_trains_a_binary_model_as_a_loop_with_bce_does() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 1, 4, 4, generator=generator), torch.arange(24) % 2
    x += y.reshape(-1, 1, 1, 1)
    batches = list(zip(x.split(8), y.split(8), strict=True))  # labels are integers
    torch.manual_seed(0)
    ours = MLP(2, image_size=4, hidden=(6,), dropout=0.0, binary=True)
    theirs = copy.deepcopy(ours)
    row = fit(ours, batches, epochs=3, lr=0.1, optimizer="sgd", progress=False).rows[-1]
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    criterion, correct = nn.BCEWithLogitsLoss(), 0
    for _ in range(3):
        correct = 0
        for images, labels in batches:
            logits = theirs(images)
            correct += int(((logits > 0).long() == labels).sum())
            optimizer.zero_grad()
            criterion(logits, labels.float()).backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert row["train_acc"] == correct / 24
    report = evaluate(ours, batches, threshold=0.8)
    probabilities = theirs.predict_proba(x)
    assert report.accuracy == ((probabilities[:, 1] >= 0.8).long() == y).float().mean().item()


@pytest.mark.parametrize(
    ("binary", "logits", "labels", "shapes"),
    [
        (False, (4,), (4,), r"logits \(4,\) and labels \(4,\).*binary=True"),
        (False, (4, 2), (3,), r"logits \(4, 2\) and labels \(3,\)"),
        (False, (4, 2), (4, 1), r"logits \(4, 2\) and labels \(4, 1\)"),
        (True, (4, 2), (4,), r"expected logits \(N,\).*\(4, 2\).*squeeze"),
        (True, (4, 1), (4,), r"logits \(4, 1\) and labels \(4,\)"),
        (True, (4,), (5,), r"logits \(4,\) and labels \(5,\)"),
    ],
)
def test_loss_refuses_shapes_that_do_not_belong_together(
    binary: bool, logits: tuple[int, ...], labels: tuple[int, ...], shapes: str
) -> None:
    model = MLP(2, binary=binary)
    with pytest.raises(ModelError, match=shapes):
        model.loss(torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


def test_softmax_under_cross_entropy_is_what_the_article_trains_with() -> None:
    """A network that always answers class 0 with certainty: 0.813 on balanced labels, never 0."""
    answers, labels = torch.tensor([[1.0, 0.0]]).expand(10, 2), torch.arange(10) % 2
    twice = F.cross_entropy(answers, labels)
    assert twice.item() == pytest.approx(math.log(math.e + 1) - 0.5, abs=1e-6)
    assert twice.item() == pytest.approx(0.813, abs=5e-4)
    # Right about every image, its loss is still 0.313; that of our logits goes to 0.
    right = F.one_hot(labels, 2).float()
    assert F.cross_entropy(right, labels).item() == pytest.approx(0.313, abs=5e-4)
    assert MLP(2).loss(right * 50, labels).item() < 1e-6


def test_log_softmax_is_harmless_under_cross_entropy() -> None:
    logits, labels = torch.randn(6, 10), torch.arange(6)
    assert torch.allclose(
        F.cross_entropy(logits.log_softmax(1), labels), F.cross_entropy(logits, labels)
    )


def test_validation_figures_are_exact_over_samples() -> None:
    torch.manual_seed(0)
    model = TwoLayerCNN(10).eval()
    x, y = images(50), torch.randint(10, (50,))
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 50, 16)]  # the last one has 2
    outputs = [model.validation_step(batch) for batch in batches]
    result = model.validation_epoch_end(outputs)
    logits = model(x)
    assert result["val_acc"] == (logits.argmax(1) == y).sum().item() / 50
    assert result["val_loss"] == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)
    assert set(result) == {"val_loss", "val_acc"}
    assert not any(value.requires_grad for output in outputs for value in output.values())


def test_outputs_without_samples_are_averaged_as_the_article_does() -> None:
    outputs = [{"val_loss": torch.tensor(1.0)}, {"val_loss": torch.tensor(4.0)}]
    assert MLP(2).validation_epoch_end(outputs) == {"val_loss": 2.5}


def test_validation_epoch_end_refuses_what_it_cannot_average() -> None:
    with pytest.raises(ModelError, match="no outputs"):
        MLP(2).validation_epoch_end([])
    outputs = [{"val_loss": torch.tensor(1.0)}, {"loss": torch.tensor(1.0)}]
    with pytest.raises(ModelError, match=r"\['val_loss'\] for batch 0 but \['loss'\] for batch 1"):
        MLP(2).validation_epoch_end(outputs)


def test_training_step_gives_loss_and_logits() -> None:
    model = TwoLayerCNN(10)
    step = model.training_step((images(4), torch.arange(4)))
    assert isinstance(step, tuple)
    loss, logits = step
    assert logits.shape == (4, 10)
    assert loss.requires_grad
    assert torch.equal(loss, model.loss(logits, torch.arange(4)))


def test_predict_proba_is_a_distribution() -> None:
    model = ThreeConvCIFAR(10)
    proba = model.predict_proba(images(5, 3, 32, 32))
    assert proba.shape == (5, 10)
    assert torch.allclose(proba.sum(1), torch.ones(5))
    assert not torch.allclose(model(images(5, 3, 32, 32)).sum(1), torch.ones(5))  # logits


def test_binary_probabilities_have_two_columns_and_a_threshold() -> None:
    logits = torch.tensor([-30.0, -1.0, 0.0, 1.0, 30.0])
    model = Constant(logits, binary=True)
    proba = model.predict_proba(images(5))
    assert torch.allclose(proba[:, 1], 1 / (1 + (-logits).exp()))
    assert torch.allclose(proba.sum(1), torch.ones(5))
    assert proba[4, 0] > 0  # the digits that 1 - p would lose
    assert model.predict(images(5)).tolist() == [0, 0, 1, 1, 1]
    model.threshold = 0.8
    assert model.predict(images(5)).tolist() == [0, 0, 0, 0, 1]
    assert model.predict(images(5)).dtype == torch.int64


def test_binary_accuracy_obeys_the_threshold() -> None:
    model = Constant(torch.tensor([-1.0, 1.0, 1.0, 3.0]), binary=True)
    batch = (images(4), torch.tensor([0, 0, 1, 1]))
    assert model.validation_step(batch)["val_acc"] == 0.75
    model.threshold = 0.9
    assert model.validation_step(batch)["val_acc"] == 0.75
    model.threshold = 0.99
    assert model.validation_step(batch)["val_acc"] == 0.5


def test_half_precision_logits_give_float32_probabilities() -> None:
    model = Constant(torch.randn(8, 100).bfloat16())
    proba = model.predict_proba(images(8))
    assert proba.dtype == torch.float32
    assert torch.allclose(proba.sum(1), torch.ones(8))


def test_predicting_needs_no_mode_and_restores_the_one_there_was() -> None:
    model = ThreeConvCIFAR(10, batch_norm=True, dropout=0.9)
    model.bn2.eval()  # a part kept in eval mode on purpose stays so
    before = {name: module.training for name, module in model.named_modules()}
    mean = model.get_buffer("bn1.running_mean").clone()
    x = images(4, 3, 32, 32)
    assert torch.equal(model.predict_proba(x), model.predict_proba(x))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(model.get_buffer("bn1.running_mean"), mean)
    assert not model.predict_proba(x).requires_grad
    with pytest.raises(ModelError):
        model.predict(torch.zeros(1, 1))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.is_grad_enabled()


def test_a_model_in_eval_mode_is_not_touched_by_threads() -> None:
    model = TwoLayerCNN(10, dropout=0.5).eval()
    x = images(8)
    expected, found = model.predict_proba(x), []
    threads = [
        threading.Thread(target=lambda: found.append(model.predict_proba(x))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(proba, expected) for proba in found)


def test_evaluating_leaves_other_threads_gradients_alone() -> None:
    with evaluating(nn.Linear(2, 2)):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "hook", ["training_step", "validation_step", "validation_epoch_end", "epoch_end", "loss"]
)
def test_hook_overridden(hook: str) -> None:
    def override(self: nn.Module, *args: Any) -> None: ...

    assert not hook_overridden(MLP(2), hook)
    assert not hook_overridden(nn.Linear(2, 2), hook)
    mine = type("Mine", (MLP,), {hook: override})(2)
    assert hook_overridden(mine, hook)
    assert hook_overridden(type("Child", (type(mine),), {})(2), hook)
    assert hook_overridden(type("Plain", (nn.Module,), {hook: override})(), hook)
    patched = MLP(2)
    setattr(patched, hook, override)
    assert hook_overridden(patched, hook)


@pytest.mark.parametrize("build", [MLP, TwoLayerCNN, ThreeConvCIFAR])
def test_images_of_another_shape_are_named(build: Any) -> None:
    model = build(10, in_channels=3, image_size=(32, 40))
    with pytest.raises(ModelError, match=r"\(N, 3, 32, 40\), received \(2, 3, 40, 32\)"):
        model(images(2, 3, 40, 32))
    with pytest.raises(ModelError, match=r"received \(3, 32, 40\)"):
        model(torch.rand(3, 32, 40))


@pytest.mark.parametrize("binary", [False, True])
def test_diverged_weights_predict_nothing(binary: bool) -> None:
    """The argmax of nan is class 0, which would look like an answer."""
    model = TwoLayerCNN(2, image_size=8, binary=binary)
    with torch.no_grad():
        model.fc1.bias.fill_(torch.nan)
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(ModelError, match=r"2 of 2 samples are nan.*number 0.*diverged"):
            ask(torch.rand(2, 1, 8, 8))
