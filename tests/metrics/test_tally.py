"""The sums of an epoch against the same figures over everything at once."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cnnkit.errors import DataError
from cnnkit.metrics import Tally, _tally, accuracy, confusion_matrix, predicted_classes


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(2, 6),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_batches_add_up_to_the_whole(n: int, batch: int, c: int, seed: int, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, c, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, c, (n,), generator=generator)
    weight = torch.rand(c, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    tally = Tally(c)
    for part, true in zip(logits.split(batch), labels.split(batch), strict=True):
        loss = F.cross_entropy(part, true, weight)
        tally.add_loss(loss, len(true) if weight is None else weight[true].sum())
        tally.add_predictions(part, true)
    totals = tally.totals()
    expected = F.cross_entropy(logits, labels, weight).item()
    assert totals.loss == pytest.approx(expected, rel=1e-12)
    assert totals.accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert torch.equal(totals.matrix, confusion_matrix(logits.argmax(1), labels, c))


def test_counting_in_groups_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.randn(1000, 3), torch.randint(0, 3, (1000,))
    whole = Tally(3)
    whole.add_predictions(logits, labels)
    monkeypatch.setattr(_tally, "_ROWS_AT_ONCE", 37)
    parts = Tally(3)
    for some, true in zip(logits.split(10), labels.split(10), strict=True):
        parts.add_predictions(some, true)
        assert sum(map(len, parts._logits)) < 37, "rows are kept only until there are enough"
    assert torch.equal(parts.totals().matrix, whole.totals().matrix)
    assert int(parts.totals().matrix.sum()) == 1000


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_binary_logits_are_counted_by_the_threshold(threshold: float) -> None:
    logits, labels = torch.randn(200), torch.randint(0, 2, (200,))
    tally = Tally(2, threshold=threshold)
    for some, true in zip(logits.split(64), labels.split(64), strict=True):
        tally.add_predictions(some, true)
    expected = confusion_matrix(predicted_classes(logits, threshold), labels, 2)
    assert torch.equal(tally.totals().matrix, expected)
    if threshold == 0.5:
        assert tally.totals().accuracy == pytest.approx(accuracy(logits, labels).item())


def test_totals_may_be_asked_between_batches() -> None:
    tally = Tally(2)
    tally.add_loss(torch.tensor(1.0), 1)
    tally.add_predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert (tally.totals().loss, tally.totals().accuracy) == (1.0, 1.0)
    tally.add_loss(torch.tensor(3.0), 3)
    tally.add_predictions(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([1, 1, 1]))
    assert (tally.totals().loss, tally.totals().accuracy) == (2.5, 0.25)


def test_nothing_added_is_nan() -> None:
    totals = Tally(3).totals()
    assert math.isnan(totals.loss)
    assert math.isnan(totals.accuracy)
    assert totals.matrix.tolist() == [[0] * 3] * 3


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_labels_outside_are_counted_and_refused(label: int) -> None:
    tally = Tally(3)
    tally.add_predictions(torch.eye(3), torch.tensor([0, label, 2]))
    tally.add_predictions(torch.eye(3), torch.tensor([0, 1, label]))
    with pytest.raises(DataError, match=r"2 labels are outside the 3 classes.*0 to 2"):
        tally.totals()


def test_the_graph_is_not_kept() -> None:
    parameter = torch.ones(1, requires_grad=True)
    tally = Tally(2)
    tally.add_loss((parameter * 2).sum(), 1)
    tally.add_predictions(parameter * torch.eye(2), torch.tensor([0, 1]))
    assert not any(t.requires_grad for t in (*tally._losses, *tally._logits))


def test_a_nan_in_one_batch_is_seen_in_the_total() -> None:
    tally = Tally(2)
    tally.add_loss(torch.tensor(math.nan), 1)
    tally.add_loss(torch.tensor(1.0), 1000)
    assert math.isnan(tally.totals().loss)


def test_more_logits_than_classes_are_refused() -> None:
    tally = Tally(2)
    with pytest.raises(DataError, match=r"2 classes, received \(1, 3\)"):
        tally.add_predictions(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]))
