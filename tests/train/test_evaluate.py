"""`evaluate` against scikit-learn and against the model asked about everything at once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    SequentialSampler,
    TensorDataset,
)

from cnnkit import Preprocess
from cnnkit.data import ArrayDataset, make_loader
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, ClassMismatchError, CnnkitError, CnnkitWarning, ModelError
from cnnkit.models import MLP, ImageClassificationBase
from cnnkit.train import evaluate, fit

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes


def dataset(n: int = 53, classes: tuple[str, ...] = ("cat", "dog", "emu")) -> ArrayDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 6, 6), generator=generator).to(torch.uint8)
    labels = torch.randint(0, len(classes), (n,), generator=generator)
    return ArrayDataset(images, labels, classes=classes)


def loader(ds: ArrayDataset, batch_size: int = 8, **options: Any) -> DeviceDataLoader:
    return make_loader(ds, batch_size, **{"device": "cpu", **options})


def model(classes: int = 3, **options: Any) -> MLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MLP(classes, **{"image_size": 6, "init": "default", **options})


def all_logits(net: nn.Module, ds: ArrayDataset) -> Tensor:
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        logits: Tensor = net(ds.images.float() / 255)
    return logits


@pytest.mark.parametrize("batch_size", [1, 8, 53, 99])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_report_is_scikit_learns(batch_size: int, shuffle: bool) -> None:
    ds, net = dataset(), model()
    report = evaluate(net, loader(ds, batch_size, shuffle=shuffle))
    logits = all_logits(net, ds)
    predicted = logits.argmax(1)
    expected = reference.confusion_matrix(ds.targets, predicted, labels=[0, 1, 2])
    np.testing.assert_array_equal(report.confusion_matrix.numpy(), expected)
    assert report.accuracy == reference.accuracy_score(ds.targets, predicted)
    assert report.loss == pytest.approx(F.cross_entropy(logits, ds.targets).item(), rel=1e-6)
    figures = reference.precision_recall_fscore_support(
        ds.targets, predicted, labels=[0, 1, 2], zero_division=np.nan
    )
    ours = (report.precision, report.recall, report.f1, report.support)
    for figure, theirs in zip(ours, figures, strict=True):
        np.testing.assert_allclose(figure.numpy(), theirs, atol=1e-12)
    assert report.classes == ("cat", "dog", "emu")
    assert report.samples == 53


@pytest.mark.parametrize("threshold", [None, 0.3, 0.5, 0.52])
def test_a_binary_model_and_its_threshold(threshold: float | None) -> None:
    ds, net = dataset(classes=("no", "yes")), model(2, binary=True)
    probability = torch.sigmoid(all_logits(net, ds))
    report = evaluate(net, loader(ds), threshold=threshold)
    predicted = (probability >= (threshold or 0.5)).long()
    expected = reference.confusion_matrix(ds.targets, predicted, labels=[0, 1])
    np.testing.assert_array_equal(report.confusion_matrix.numpy(), expected)
    # The loss knows no threshold.
    assert report.loss == evaluate(net, loader(ds)).loss


def test_the_models_own_threshold_is_the_default() -> None:
    ds, net = dataset(classes=("no", "yes")), model(2, binary=True)
    net.threshold = 0.52
    report = evaluate(net, loader(ds))
    expected = evaluate(net, loader(ds), threshold=0.52)
    assert torch.equal(report.confusion_matrix, expected.confusion_matrix)
    assert not torch.equal(
        report.confusion_matrix, evaluate(net, loader(ds), threshold=0.5).confusion_matrix
    )
    predicted = net.predict(ds.images.float() / 255)
    assert report.correct == int((predicted == ds.targets).sum())


def test_a_foreign_loader_has_numbers_for_names() -> None:
    ds = dataset()
    pairs: DataLoader[Any] = DataLoader(TensorDataset(ds.images.float() / 255, ds.targets), 8)
    net = model()
    report = evaluate(net, pairs)
    assert report.classes == ("0", "1", "2")
    assert torch.equal(report.confusion_matrix, evaluate(net, loader(ds)).confusion_matrix)


def test_the_classes_of_a_foreign_data_set_are_found() -> None:
    class Named(Dataset[Any]):
        classes = ("x", "y", "z")

        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            return torch.zeros(1, 6, 6), index % 3

    assert evaluate(model(), DataLoader(Named(), 2)).classes == ("x", "y", "z")


@pytest.mark.parametrize("training", [True, False])
def test_the_modes_are_put_back_module_by_module(training: bool) -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(), nn.Linear(36, 3))
    net.train(training)
    net[1].train(not training)  # a part that was set on purpose
    before = [module.training for module in net.modules()]
    state = copy.deepcopy(net.state_dict())
    evaluate(net, loader(dataset()))
    assert [module.training for module in net.modules()] == before
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_the_modes_are_put_back_after_an_error() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(36, 2)).train()
    with pytest.raises(ModelError, match=r"\(8, 3\), received \(8, 2\)"):
        evaluate(net, loader(dataset()))
    assert all(module.training for module in net.modules())


def test_nothing_remembers_gradients() -> None:
    net = model()
    report = evaluate(net, loader(dataset()))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not report.confusion_matrix.requires_grad


def test_twice_is_the_same() -> None:
    net, batches = model(), loader(dataset())
    assert evaluate(net, batches).to_dict() == evaluate(net, batches).to_dict()


def test_own_validation_hooks_do_not_change_the_report() -> None:
    class Own(MLP):
        def validation_epoch_end(self, outputs: Any) -> dict[str, float]:
            return {"val_loss": 0.0, "val_acc": 1.0}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = Own(3, image_size=6)
    assert (
        evaluate(net, loader(dataset())).to_dict() == evaluate(model(), loader(dataset())).to_dict()
    )


def test_the_models_own_loss_is_used() -> None:
    class Doubled(ImageClassificationBase):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner(images)
            return logits

        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return 2 * super().loss(logits, labels)

    ds = dataset()
    plain = evaluate(model(), loader(ds)).loss
    assert evaluate(Doubled(), loader(ds)).loss == pytest.approx(2 * plain, rel=1e-6)
    own = evaluate(Doubled(), loader(ds), loss=nn.CrossEntropyLoss())
    assert own.loss == pytest.approx(plain, rel=1e-6)


def test_a_model_of_other_classes_is_refused() -> None:
    net = model()
    fit(net, loader(dataset()), epochs=1, progress=False)
    assert evaluate(net, loader(dataset())).classes == ("cat", "dog", "emu")
    with pytest.raises(ClassMismatchError, match=r"0: cat, 1: dog, 2: emu.*0: cat, 1: emu, 2: dog"):
        evaluate(net, loader(dataset(classes=("cat", "emu", "dog"))))
    # A foreign loader does not say its classes: the model's are its own.
    ds = dataset()
    assert evaluate(net, [(ds.images.float() / 255, ds.targets)]).classes == ("cat", "dog", "emu")


def test_what_was_trained_on_survives_a_copy() -> None:
    net = model()
    fit(net, loader(dataset()), epochs=1, progress=False)
    with pytest.raises(ClassMismatchError):
        evaluate(copy.deepcopy(net), loader(dataset(classes=("a", "b", "c"))))


def test_other_pixels_than_in_training_are_warned_of() -> None:
    net, ds = model(), dataset()
    one, other = Preprocess(6, "L", (0.5,), (0.5,)), Preprocess(6, "L", (0.5,), (0.25,))
    fit(net, loader(ds, preprocess=one), epochs=1, progress=False)
    with pytest.warns(CnnkitWarning, match=r"std \[0\.5\] and \[0\.25\]") as caught:
        evaluate(net, loader(ds, preprocess=other))
    assert [warning.filename for warning in caught] == [__file__]
    evaluate(net, loader(ds, preprocess=one))


def test_a_loader_that_yields_nothing() -> None:
    with pytest.raises(CnnkitError, match="yielded no batch"):
        evaluate(model(), [])
    ds = TensorDataset(torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 0, 1]))
    none: Any = BatchSampler(SequentialSampler(ds), 8, drop_last=True)
    with pytest.raises(CnnkitError, match="yielded no batch"):
        evaluate(model(), DataLoader(ds, batch_size=None, sampler=none))


def test_a_loss_that_is_no_mean_is_refused() -> None:
    with pytest.raises(ArgumentError, match="reduction='sum'"):
        evaluate(model(), loader(dataset()), loss=nn.CrossEntropyLoss(reduction="sum"))


@pytest.mark.parametrize("threshold", [50, -0.1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    ds, net = dataset(classes=("no", "yes")), model(2, binary=True)
    with pytest.raises(ArgumentError, match=f"threshold.*{threshold}"):
        evaluate(net, loader(ds), threshold=threshold)


def test_a_threshold_for_two_columns_of_logits() -> None:
    ds, net = dataset(classes=("no", "yes")), model(2)
    predicted = (all_logits(net, ds).softmax(1)[:, 1] >= 0.52).long()
    report = evaluate(net, loader(ds), threshold=0.52)
    assert report.correct == int((predicted == ds.targets).sum())
    assert report.confusion_matrix[:, 1].sum() == predicted.sum()
