"""What a report knows of single samples, against looking at all of them at once."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError, ModelError
from cnnkit.metrics import Report, confusion_matrix, predicted_classes, probabilities
from cnnkit.metrics import _gather as gather
from cnnkit.metrics._details import Details
from cnnkit.metrics._gather import DetailTally


def samples(n: int, c: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, generator=generator), torch.randint(0, c, (n,), generator=generator)


def gathered(logits: Tensor, labels: Tensor, batch: int = 16, **options: Any) -> DetailTally:
    tally = DetailTally(2 if logits.ndim == 1 else logits.shape[1], **options)
    for some, true in zip(logits.split(batch), labels.split(batch), strict=True):
        tally.add(some, true)
    tally.place(torch.arange(len(labels)))
    return tally


def report(logits: Tensor, labels: Tensor, details: Details) -> Report:
    c = 2 if logits.ndim == 1 else logits.shape[1]
    matrix = confusion_matrix(predicted_classes(logits), labels, c)
    return Report(matrix, [f"c{label}" for label in range(c)], details=details)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(2, 8), st.integers(0, 1000), st.sampled_from([1, 50, 10**6]))
def test_mistakes_are_the_wrong_ones_by_confidence(n: int, c: int, seed: int, at_once: int) -> None:
    logits, labels = samples(n, c, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "_LOGITS_AT_ONCE", at_once)
        found = report(logits, labels, gathered(logits, labels, batch=7).details()).mistakes
    chances, predicted = probabilities(logits), logits.argmax(1)
    expected = sorted(
        (i for i in range(n) if predicted[i] != labels[i]), key=lambda i: -chances[i].max().item()
    )
    assert [mistake.index for mistake in found] == expected
    for mistake in found:
        row = chances[mistake.index]
        assert mistake.true == f"c{labels[mistake.index]}"
        assert mistake.predicted == f"c{row.argmax()}"
        assert mistake.probability == row.max().item()
        assert mistake.true_probability == row[labels[mistake.index]].item()
        top = row.sort(descending=True)
        names = [f"c{label}" for label in top.indices[:5]]
        assert list(mistake.probabilities) == names
        assert list(mistake.probabilities.values()) == top.values[:5].tolist()
        assert mistake.path is None


def test_ranks_are_those_of_the_sorted_logits() -> None:
    logits, labels = samples(500, 7)
    order = logits.argsort(dim=1, descending=True)
    found = report(logits, labels, gathered(logits, labels).details())
    for k in range(1, 8):
        assert found.top_k(k) == (order[:, :k] == labels[:, None]).any(1).double().mean().item()
    assert found.top_k(1) == found.accuracy


def test_only_the_most_confident_are_kept() -> None:
    logits, labels = samples(3000, 4)
    everything = report(logits, labels, gathered(logits, labels).details())
    some = report(logits, labels, gathered(logits, labels, max_mistakes=100).details())
    assert some.mistakes == everything.mistakes[:100]
    assert everything.mistakes_left_out == 0
    assert some.mistakes_left_out == len(everything.mistakes) - 100
    none = report(logits, labels, gathered(logits, labels, max_mistakes=0).details())
    assert none.mistakes == ()
    assert none.top_k(2) == everything.top_k(2)


def test_memory_stays_small_while_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_LOGITS_AT_ONCE", 400)
    tally = DetailTally(4, max_mistakes=10)
    for seed in range(100):
        tally.add(*samples(50, 4, seed))
        assert len(tally._mistakes) <= 2 * 10 + 150
        assert tally._room._used <= tally._room.rows == 100
    assert not tally._scores, "they are for two classes"


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("two_logits", [True, False])
def test_scores_are_those_of_the_positive_class(positive: int, two_logits: bool) -> None:
    logits, labels = samples(300, 2)
    given_logits = logits if two_logits else logits[:, 1] - logits[:, 0]
    details = gathered(given_logits, labels, positive=positive).details()
    assert details.scores is not None
    chances = probabilities(given_logits)[:, positive]
    assert torch.equal(details.scores.positives, chances[labels == positive].sort().values)
    assert torch.equal(details.scores.negatives, chances[labels != positive].sort().values)


@pytest.mark.parametrize("threshold_for", [0, 1])
def test_a_threshold_decides_what_is_a_mistake(threshold_for: int) -> None:
    logits, labels = samples(200, 2)
    options: dict[str, Any] = {"threshold": 0.8, "threshold_for": threshold_for}
    predicted = predicted_classes(logits, 0.8, positive=threshold_for)
    matrix = confusion_matrix(predicted, labels, 2)
    found = Report(matrix, ["a", "b"], details=gathered(logits, labels, **options).details())
    assert sorted(m.index for m in found.mistakes) == (predicted != labels).nonzero()[:, 0].tolist()
    assert found.mistakes_left_out == 0
    probability = probabilities(logits)
    for mistake in found.mistakes:
        label = found.classes.index(mistake.predicted)
        assert mistake.probability == probability[mistake.index, label].item()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 100))
def test_tallies_of_processes_add_up(c: int, processes: int, seed: int) -> None:
    logits, labels = samples(90, c, seed)
    whole = gathered(logits, labels, max_mistakes=20).details()
    parts = []
    for rank in range(processes):
        mine = torch.arange(rank, 90, processes)
        tally = DetailTally(c, max_mistakes=20)
        for batch in mine.split(8):
            tally.add(logits[batch], labels[batch])
        tally.place(mine)
        parts.append(pickle.loads(pickle.dumps(tally)))
    together = sum(parts, start=DetailTally(c, max_mistakes=20)).details()
    assert together.indices_into == "dataset"
    assert together.mistakes.to_dict() == whole.mistakes.to_dict()
    assert together.label_ranks.tolist() == whole.label_ranks.tolist()
    torch.testing.assert_close(together.own_probability, whole.own_probability, equal_nan=True)
    if c == 2:
        assert together.scores is not None
        assert whole.scores is not None
        assert torch.equal(together.scores.positives, whole.scores.positives)


def test_indices_without_an_order_count_what_came() -> None:
    logits, labels = samples(60, 3)
    first, second = DetailTally(3), DetailTally(3)
    first.add(logits[:25], labels[:25])
    second.add(logits[25:], labels[25:])
    first.place(None)
    second.place(torch.arange(7))  # another length: not the order of these
    both = (first + second).details()
    assert both.indices_into == "loader"
    expected = gathered(logits, labels).details()
    assert both.mistakes.index.tolist() == expected.mistakes.index.tolist()
    second.place(torch.arange(25, 60))
    with pytest.raises(ArgumentError, match="place both"):
        _ = first + second
    with pytest.raises(ArgumentError, match=r"'num_classes': 3.*'num_classes': 4"):
        _ = first + DetailTally(4)


def test_wrong_labels_are_suspected() -> None:
    """A good model, 5 % of the labels changed: those it is sure about are found, and few others."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (2000,), generator=generator)
    logits = torch.randn(2000, 5, generator=generator)
    logits[torch.arange(2000), truth] += 4
    labels = truth.clone()
    changed = torch.randperm(2000, generator=generator)[:100]
    labels[changed] = (truth[changed] + 1) % 5
    found = report(logits, labels, gathered(logits, labels).details())
    suspects = [mistake.index for mistake in found.suspect_labels]
    right = set(suspects) & set(changed.tolist())
    assert len(right) > 60
    assert len(right) > 0.9 * len(suspects)
    assert set(suspects[:20]) <= set(changed.tolist())
    margins = [m.probability - m.true_probability for m in found.suspect_labels]
    assert margins == sorted(margins, reverse=True)
    # The condition, taken literally.
    chances = probabilities(logits)
    usual = torch.stack([chances[labels == label, label].mean() for label in range(5)])
    literal = {
        i
        for i in (logits.argmax(1) != labels).nonzero()[:, 0].tolist()
        if chances[i].max() >= usual[chances[i].argmax()]
    }
    assert set(suspects) == literal


def test_a_class_without_samples_suspects_nothing() -> None:
    logits, labels = torch.tensor([[0.0, 9.0, 0.0]] * 3), torch.tensor([0, 0, 2])
    found = report(logits, labels, gathered(logits, labels).details())
    assert found.suspect_labels == ()
    assert len(found.mistakes) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("one_logit", [False, True])
def test_outputs_that_are_no_numbers_are_refused(value: float, one_logit: bool) -> None:
    logits = torch.zeros(30) if one_logit else torch.zeros(30, 2)
    logits[17] = value
    if one_logit and value == math.inf:
        gathered(logits, torch.zeros(30, dtype=torch.int64))  # a probability of 1 is a number
        return
    with pytest.raises(ModelError, match=r"1 of 30 samples are nan.*number 17.*learning rate"):
        gathered(logits, torch.zeros(30, dtype=torch.int64))


def test_the_number_of_the_bad_sample_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_LOGITS_AT_ONCE", 1)
    logits = torch.zeros(30, 3)
    logits[17] = math.nan
    with pytest.raises(ModelError, match="number 17"):
        gathered(logits, torch.zeros(30, dtype=torch.int64), batch=5)


@pytest.mark.parametrize("number", [-1, 1.5, True, "all"])
def test_max_mistakes_is_a_number(number: Any) -> None:
    with pytest.raises(ArgumentError, match=f"max_mistakes.*{number}"):
        DetailTally(3, max_mistakes=number)


def test_details_of_other_classes_are_refused() -> None:
    logits, labels = samples(40, 4)
    details = gathered(logits, labels).details()
    with pytest.raises(DataError, match=r"of 3 classes, received.*\(4,\)"):
        Report(torch.zeros(3, 3, dtype=torch.int64), ["a", "b", "c"], details=details)
