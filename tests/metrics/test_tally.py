"""The sums of an epoch against the same figures over everything at once."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cnnkit.errors import ArgumentError, DataError
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
        assert parts._room._used <= parts._room.rows == 37
        assert parts.last is not None
        assert torch.equal(parts.last[0], some)
        assert torch.equal(parts.last[1], true)
    assert torch.equal(parts.totals().matrix, whole.totals().matrix)
    assert int(parts.totals().matrix.sum()) == 1000


def test_batches_of_every_size_and_kind_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "_ROWS_AT_ONCE", 8)
    logits, labels = torch.randn(60, 3), torch.randint(0, 3, (60,))
    tally = Tally(3)
    at = 0
    for number, dtype in ((3, torch.float32), (20, torch.float32), (5, torch.float64),
                          (8, torch.float64), (1, torch.float32), (0, torch.float32),
                          (23, torch.float32)):  # fmt: skip
        tally.add_predictions(logits[at : at + number].to(dtype), labels[at : at + number])
        at += number
    expected = confusion_matrix(logits.argmax(1), labels, 3)
    assert torch.equal(tally.totals().matrix, expected)
    assert Tally(3).last is None


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
    assert not any(t.requires_grad for t in (*tally._losses, *(tally.last or ())))


def test_a_nan_in_one_batch_is_seen_in_the_total() -> None:
    tally = Tally(2)
    tally.add_loss(torch.tensor(math.nan), 1)
    tally.add_loss(torch.tensor(1.0), 1000)
    assert math.isnan(tally.totals().loss)


def test_nan_logits_are_said_by_the_loss() -> None:
    logits, labels = torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 1])
    tally = Tally(2)
    tally.add_loss(torch.nn.functional.cross_entropy(logits, labels), 2)
    tally.add_predictions(logits, labels)
    assert math.isnan(tally.totals().loss)


def test_more_logits_than_classes_are_refused() -> None:
    tally = Tally(2)
    with pytest.raises(DataError, match=r"2 classes, received \(1, 3\)"):
        tally.add_predictions(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([1, 7, 4096]))
def test_tallies_of_processes_add_up(c: int, processes: int, seed: int, at_once: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(50, c, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, c, (50,), generator=generator)
    parts = [Tally(c) for _ in range(processes)]
    whole = Tally(c)
    for number, (some, true) in enumerate(zip(logits.split(9), labels.split(9), strict=True)):
        for tally in (whole, parts[number % processes]):
            tally.add_loss(F.cross_entropy(some, true), len(true))
            tally.add_predictions(some, true)
    together = sum(parts, start=Tally(c)).totals()
    assert torch.equal(together.matrix, whole.totals().matrix)
    assert together.loss == pytest.approx(whole.totals().loss, rel=1e-12)
    assert (
        pickle.loads(pickle.dumps(parts[0])).totals().matrix.sum() == parts[0].totals().matrix.sum()
    )


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1)])
def test_labels_of_another_length_are_refused_at_once(shape: tuple[int, ...]) -> None:
    words = r"logits of shape \(3, 2\) and labels of shape .*: give both of the same samples"
    with pytest.raises(DataError, match=words):
        Tally(2).add_predictions(torch.zeros(3, 2), torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize(
    ("logits", "labels"), [((2, 2), (3,)), ((3, 2), (2,)), ((3, 3), (3,)), ((1, 2), (3,))]
)
def test_a_later_batch_that_does_not_fit_is_refused_too(
    logits: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    tally = Tally(2)
    for _ in range(2):
        tally.add_predictions(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    for _ in range(2):
        with pytest.raises(DataError):
            tally.add_predictions(torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))
    tally.add_predictions(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    assert int(tally.totals().matrix.sum()) == 7


def test_adding_leaves_both_as_they_were() -> None:
    one, other = Tally(2), Tally(2)
    for tally, label in ((one, 0), (other, 1)):
        tally.add_loss(torch.tensor(1.0), 1)
        tally.add_predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([label]))
    both = one + other
    both.add_predictions(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert one.totals().matrix.tolist() == [[1, 0], [0, 0]]
    assert other.totals().matrix.tolist() == [[0, 0], [1, 0]]
    assert both.totals().matrix.tolist() == [[2, 0], [1, 0]]


def test_tallies_that_count_otherwise_do_not_add_up() -> None:
    with pytest.raises(ArgumentError, match=r"\(2, None, 1\) and \(3, None, 1\)"):
        _ = Tally(2) + Tally(3)
    with pytest.raises(ArgumentError, match=r"0\.5, 1\) and \(2, 0\.7, 1\)"):
        _ = Tally(2, threshold=0.5) + Tally(2, threshold=0.7)


def test_few_rows_are_kept_where_there_are_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "_LOGITS_AT_ONCE", 5000)
    tally = Tally(50)
    for _ in range(7):
        tally.add_predictions(torch.zeros(30, 50), torch.zeros(30, dtype=torch.int64))
        assert tally._room._used <= tally._room.rows == 100
    assert tally.totals().matrix.sum() == 210
