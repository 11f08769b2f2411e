"""The pure figures against scikit-learn, on random cases with absent classes and ties."""

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

from cnnkit import metrics
from cnnkit.errors import ArgumentError, DataError, ModelError

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes

#: Enough classes for the pairs of labels to leave some of them out.
LABELS = st.integers(2, 7).flatmap(
    lambda c: st.tuples(
        st.just(c),
        st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=40),
    )
)
#: Few distinct values, so that equal largest logits are common.
LOGITS = st.integers(2, 6).flatmap(
    lambda c: st.tuples(
        st.lists(
            st.tuples(st.lists(st.integers(-2, 2), min_size=c, max_size=c), st.integers(0, c - 1)),
            min_size=1,
            max_size=30,
        ),
        st.integers(1, c),
    )
)


def columns(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    predicted, true = torch.tensor(pairs).T
    return predicted.contiguous(), true.contiguous()


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_confusion_matrix_is_scikit_learns(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_classes, pairs = case
    predicted, true = columns(pairs)
    expected = reference.confusion_matrix(true, predicted, labels=list(range(num_classes)))
    counted = metrics.confusion_matrix(predicted, true, num_classes)
    assert counted.dtype == torch.int64
    np.testing.assert_array_equal(counted.numpy(), expected)


@pytest.mark.parametrize("zero_division", [0.0, 1.0, math.nan])
@settings(max_examples=100, deadline=None)
@given(case=LABELS)
def test_per_class_figures_are_scikit_learns(
    zero_division: float, case: tuple[int, list[tuple[int, int]]]
) -> None:
    num_classes, pairs = case
    predicted, true = columns(pairs)
    matrix = metrics.confusion_matrix(predicted, true, num_classes)
    expected = reference.precision_recall_fscore_support(
        true, predicted, labels=list(range(num_classes)), zero_division=zero_division
    )
    figures = metrics.precision_recall_f1(matrix, zero_division=zero_division)
    for ours, theirs in zip(figures, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-12)
    assert figures.support.dtype == torch.int64
    assert figures.precision.dtype == figures.f1.dtype == torch.float64


def test_undefined_figures_are_nan_unless_told_otherwise() -> None:
    matrix = torch.tensor([[2, 1, 0], [0, 3, 0], [0, 0, 0]])  # class 2 neither came nor was said
    figures = metrics.precision_recall_f1(matrix)
    assert [bool(f[2].isnan()) for f in (figures.precision, figures.recall, figures.f1)] == [
        True
    ] * 3
    assert not any(f[:2].isnan().any() for f in figures)
    assert metrics.precision_recall_f1(matrix, zero_division=0.25).recall[2] == 0.25


def test_f1_of_a_class_that_is_never_hit_is_zero_not_undefined() -> None:
    """Precision has no denominator here, F1 = 2 TP / (2 TP + FP + FN) has one."""
    figures = metrics.precision_recall_f1(torch.tensor([[4, 0], [3, 0]]))
    assert figures.precision[1].isnan()
    assert figures.f1[1] == 0


def test_figures_of_many_samples_are_exact() -> None:
    """2^24 is where float32 begins to lose counts."""
    matrix = torch.tensor([[2**24 + 1, 2], [1, 2**25 + 1]])
    figures = metrics.precision_recall_f1(matrix)
    assert figures.support.tolist() == [2**24 + 3, 2**25 + 2]
    assert figures.recall[0].item() == (2**24 + 1) / (2**24 + 3)


@settings(max_examples=150, deadline=None)
@given(LOGITS)
def test_accuracy_is_scikit_learns_with_the_first_of_equal_logits(
    case: tuple[list[tuple[list[int], int]], int],
) -> None:
    rows, _ = case
    logits = torch.tensor([values for values, _ in rows], dtype=torch.float32)
    labels = torch.tensor([label for _, label in rows])
    predicted = np.asarray([values for values, _ in rows]).argmax(axis=1)  # numpy: the first
    np.testing.assert_array_equal(metrics.predicted_classes(logits).numpy(), predicted)
    expected = reference.accuracy_score(labels.numpy(), predicted)
    assert metrics.accuracy(logits, labels).item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 7), st.integers(1, 30), st.integers(0, 10_000), st.data())
def test_top_k_accuracy_is_scikit_learns(c: int, n: int, seed: int, draw: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(n, c, generator=generator)
    labels = torch.randint(0, c, (n,), generator=generator)
    k = draw.draw(st.integers(1, c))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn finds k = C worth a warning
        expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=list(range(c)))
    assert metrics.top_k_accuracy(logits, labels, k).item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=300, deadline=None)
@given(LOGITS)
def test_top_k_among_equal_logits_is_scikit_learns(
    case: tuple[list[tuple[list[int], int]], int],
) -> None:
    rows, k = case
    logits = torch.tensor([values for values, _ in rows], dtype=torch.float32)
    labels = torch.tensor([label for _, label in rows])
    c = logits.shape[1]
    if c == 2:  # of two classes scikit-learn takes one column: the larger of (0, difference)
        logits = torch.cat([logits, torch.full((len(logits), 1), -9.0)], dim=1)
        c = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=list(range(c)))
    assert metrics.top_k_accuracy(logits, labels, k).item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-30, 30, width=32), st.integers(0, 1)), min_size=1, max_size=30),
    st.sampled_from([0.1, 0.25, 0.5, 0.9]),
)
def test_binary_logits_are_decided_by_their_probability(
    samples: list[tuple[float, int]], threshold: float
) -> None:
    logits = torch.tensor([logit for logit, _ in samples])
    predicted = metrics.predicted_classes(logits, threshold)
    assert predicted.dtype == torch.int64
    two = metrics.probabilities(logits)
    assert two.shape == (len(samples), 2)
    assert torch.equal(predicted.bool(), two[:, 1] >= threshold)
    # σ(x) in double, away from the rounding at the threshold itself.
    exact = 1 / (1 + np.exp(-logits.double().numpy()))
    clear = np.abs(exact - threshold) > 1e-6
    np.testing.assert_array_equal(predicted.numpy()[clear], (exact >= threshold)[clear])
    np.testing.assert_allclose(two[:, 1].numpy(), exact, rtol=2e-6)
    exact_zero = 1 / (1 + np.exp(logits.double().numpy()))
    np.testing.assert_allclose(two[:, 0].numpy(), exact_zero, rtol=2e-6)


def test_a_binary_logit_of_zero_is_class_one() -> None:
    assert metrics.predicted_classes(torch.tensor([0.0, -1e-3, 1e-3])).tolist() == [1, 0, 1]


def test_probabilities_are_softmax_in_at_least_float32() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [100.0, 0.0, -100.0]])
    expected = torch.exp(logits - logits.logsumexp(1, keepdim=True))
    assert torch.allclose(metrics.probabilities(logits), expected)
    assert metrics.probabilities(logits.to(torch.bfloat16)).dtype == torch.float32
    assert metrics.probabilities(logits.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(4, 1), (4, 0), (), (2, 3, 4)])
def test_other_shapes_than_logits_have_no_class(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"{str(shape)[:-1].rstrip(',')}".replace("(", r"\(")):
        metrics.predicted_classes(torch.zeros(shape))


def test_figures_of_nothing_are_nan() -> None:
    nothing, labels = torch.empty(0, 3), torch.empty(0, dtype=torch.int64)
    assert metrics.accuracy(nothing, labels).isnan()
    assert metrics.top_k_accuracy(nothing, labels, 2).isnan()
    assert metrics.confusion_matrix(labels, labels, 3).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize(
    ("predicted", "true", "values"),
    [
        ([0, 3], [0, 1], "predicted classes must be 0 to 2, received 0 to 3"),
        ([0, 1], [-1, 1], "true classes must be 0 to 2, received -1 to 1"),
    ],
)
def test_classes_outside_are_refused(predicted: list[int], true: list[int], values: str) -> None:
    with pytest.raises(DataError, match=values):
        metrics.confusion_matrix(torch.tensor(predicted), torch.tensor(true), 3)


def test_labels_and_rows_must_be_as_many() -> None:
    with pytest.raises(DataError, match=r"logits of shape \(3, 2\) and labels of shape \(4,\)"):
        metrics.accuracy(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match=r"predictions of shape \(3,\).*\(3, 1\)"):
        metrics.confusion_matrix(torch.zeros(3).long(), torch.zeros(3, 1).long(), 2)


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_balanced_accuracy_is_scikit_learns(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_classes, pairs = case
    predicted, true = columns(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes without samples
        expected = reference.balanced_accuracy_score(true, predicted)
    matrix = metrics.confusion_matrix(predicted, true, num_classes)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(metrics.balanced_accuracy(torch.zeros_like(matrix)))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("positive", [0, 1])
def test_the_threshold_is_for_the_positive_class(threshold: float, positive: int) -> None:
    logit = torch.cat([torch.randn(300) * 2, torch.zeros(3)])
    for logits in (logit, torch.stack([-logit / 2, logit / 2], dim=1)):
        reached = metrics.probabilities(logits)[:, positive] >= threshold
        expected = torch.where(reached, positive, 1 - positive)
        got = metrics.predicted_classes(logits, threshold, positive=positive)
        assert torch.equal(got, expected)
    with pytest.raises(ArgumentError, match="label 0 or 1, received 2"):
        metrics.predicted_classes(logit, threshold, positive=2)


def test_nan_is_no_answer() -> None:
    """argmax would take it for the largest."""
    logits, labels = torch.eye(4), torch.arange(4)
    logits[2, 1] = math.nan
    words = "for 1 of 4 samples are nan.*number 2.*smaller learning rate"
    with pytest.raises(ModelError, match=words):
        metrics.predicted_classes(logits)
    with pytest.raises(ModelError, match=words):
        metrics.accuracy(logits, labels)
    with pytest.raises(ModelError, match=words):
        metrics.top_k_accuracy(logits, labels, 2)
    with pytest.raises(ModelError, match="1 of 2 samples"):
        metrics.predicted_classes(torch.tensor([0.0, math.nan]))


def test_logits_are_no_classes() -> None:
    with pytest.raises(DataError, match=r"integers, received torch.float32; predicted_classes"):
        metrics.confusion_matrix(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]), 2)
    with pytest.raises(DataError, match="labels must be 0 to 2, received 0 to 3"):
        metrics.top_k_accuracy(torch.eye(3)[:2], torch.tensor([0, 3]), 1)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_k_must_be_a_number_of_classes(k: int) -> None:
    with pytest.raises(ArgumentError, match=rf"k={k}.*\(2, 3\)"):
        metrics.top_k_accuracy(torch.zeros(2, 3), torch.tensor([0, 1]), k)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2)])
def test_a_matrix_of_counts_is_square(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        metrics.precision_recall_f1(torch.zeros(shape, dtype=torch.int64))
