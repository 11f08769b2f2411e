"""The curves of two classes and the interval of a share, against scikit-learn and by hand."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError
from cnnkit.metrics import precision_recall_curve, roc_curve, wilson_interval

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes

#: Few distinct scores, so that ties are common, and any; labels that may all be alike.
SAMPLES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32)),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=40,
)


def columns(samples: list[tuple[float, int]]) -> tuple[Tensor, Tensor]:
    scores = torch.tensor([score for score, _ in samples], dtype=torch.float32)
    return scores, torch.tensor([label for _, label in samples])


@settings(max_examples=500, deadline=None)
@given(SAMPLES)
def test_the_roc_curve_is_scikit_learns(samples: list[tuple[float, int]]) -> None:
    scores, labels = columns(samples)
    curve = roc_curve(scores, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a rate is undefined, and gives nan as well
        theirs = reference.roc_curve(labels.numpy(), scores.numpy(), drop_intermediate=False)
    for ours, expected in zip(curve[:3], theirs, strict=True):
        assert ours.dtype == torch.float64
        np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-9)
    if len(set(labels.tolist())) < 2:
        assert math.isnan(curve.area)
    else:
        expected = reference.roc_auc_score(labels.numpy(), scores.numpy())
        assert curve.area == pytest.approx(expected, abs=1e-9)


@settings(max_examples=500, deadline=None)
@given(SAMPLES)
def test_the_precision_recall_curve_is_scikit_learns(samples: list[tuple[float, int]]) -> None:
    scores, labels = columns(samples)
    curve = precision_recall_curve(scores, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = reference.precision_recall_curve(labels.numpy(), scores.numpy())
    np.testing.assert_allclose(curve.precision.numpy(), theirs[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.thresholds.numpy(), theirs[2], rtol=0, atol=1e-9)
    if labels.any():
        np.testing.assert_allclose(curve.recall.numpy(), theirs[1], rtol=0, atol=1e-9)
        expected = reference.average_precision_score(labels.numpy(), scores.numpy())
        assert curve.area == pytest.approx(expected, abs=1e-9)
    else:  # scikit-learn says a recall of 1 and a precision of 0
        assert bool(curve.recall[:-1].isnan().all())
        assert math.isnan(curve.area)


def test_the_area_is_the_chance_that_a_positive_scores_higher() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 30, (300,), generator=generator) / 30
    labels = torch.randint(0, 2, (300,), generator=generator)
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    chance = ((pairs > 0).double() + (pairs == 0).double() / 2).mean().item()
    assert roc_curve(scores, labels).area == pytest.approx(chance, abs=1e-12)


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_infinite_scores_are_ties(curve: Any, sign: float) -> None:
    labels = [1, 0, 1, 0, 0, 1]
    infinite = torch.tensor([math.inf, math.inf, 0.5, -math.inf, -math.inf, -math.inf]) * sign
    finite = infinite.clamp(-9, 9)
    assert curve(infinite, labels).area == curve(finite, labels).area
    assert torch.equal(curve(infinite, labels)[1], curve(finite, labels)[1])


def test_lists_and_logits_will_do() -> None:
    scores, labels = [-3.0, 0.1, 0.1 + 1e-12, 7.5], [0, 1, 0, 1]
    assert roc_curve(scores, labels).area == reference.roc_auc_score(labels, scores) == 0.75


def test_a_perfect_area_is_one() -> None:
    for number in range(1, 60):
        scores, labels = list(range(2 * number)), [0] * number + [1] * number
        assert roc_curve(scores, labels).area == precision_recall_curve(scores, labels).area == 1


def test_no_samples_give_a_curve_of_nothing() -> None:
    curve = roc_curve([], [])
    assert curve.thresholds.tolist() == [math.inf]
    assert math.isnan(curve.area)
    assert precision_recall_curve([], []).precision.tolist() == [1.0]


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve])
def test_what_is_no_scores_and_labels_is_refused(curve: Any) -> None:
    with pytest.raises(DataError, match=r"scores of shape \(3,\) and labels of shape \(2,\)"):
        curve([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(DataError, match=r"\(2, 2\).*probabilities\(logits\)\[:, 1\]"):
        curve(torch.zeros(2, 2), [0, 1])
    with pytest.raises(DataError, match=r"1 of 2 scores are nan.*smaller learning rate"):
        curve([0.1, math.nan], [0, 1])
    with pytest.raises(DataError, match=r"received 2.*labels == positive"):
        curve([0.1, 0.2], [1, 2])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_where_the_score_test_does_not_reject(
    total: int, draw: st.DataObject, confidence: float
) -> None:
    """Wilson's interval solves |p̂ - p| = z √(p (1 - p) / n); the ends are put in."""
    correct = draw.draw(st.integers(0, total))
    low, high = wilson_interval(correct, total, confidence=confidence)
    assert 0 <= low <= correct / total <= high <= 1
    z = {0.8: 1.2815515655446004, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}[confidence]
    for end in (low, high):
        if 0 < end < 1:
            deviation = abs(correct / total - end)
            assert deviation == pytest.approx(z * math.sqrt(end * (1 - end) / total), abs=1e-9)
    assert (low == 0) == (correct == 0)
    assert (high == 1) == (correct == total)


def test_the_interval_of_nothing_is_nan_and_nonsense_is_refused() -> None:
    assert all(math.isnan(end) for end in wilson_interval(0, 0))
    with pytest.raises(ArgumentError, match="total=3, received 4"):
        wilson_interval(4, 3)
    with pytest.raises(ArgumentError, match=r"between 0 and 1, received 95"):
        wilson_interval(1, 3, confidence=95)
