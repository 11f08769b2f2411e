"""The chosen threshold against trying every one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from cnnkit.errors import ArgumentError, DataError
from cnnkit.metrics import choose_threshold, predicted_classes, probabilities

reference: Any = sklearn_metrics

SAMPLES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32)),
        st.integers(0, 1),
    ),
    min_size=2,
    max_size=25,
)
SCORES: dict[str, Any] = {
    "f1": lambda y, p: reference.f1_score(y, p, zero_division=0),
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "precision": lambda y, p: reference.precision_score(y, p, zero_division=0),
    "recall": lambda y, p: reference.recall_score(y, p),
}


def columns(samples: list[tuple[float, int]]) -> tuple[Tensor, Tensor]:
    scores = torch.tensor([score for score, _ in samples], dtype=torch.float32)
    return scores, torch.tensor([label for _, label in samples])


@pytest.mark.parametrize("optimise", SCORES)
@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES)
def test_no_other_threshold_is_better(optimise: Any, samples: list[tuple[float, int]]) -> None:
    scores, labels = columns(samples)
    assume(0 < labels.sum() < len(labels))
    choice = choose_threshold(scores, labels, optimise)
    # In float32, as `predicted_classes` compares.
    chosen = (scores >= choice.threshold).long().numpy()
    assert choice.value == pytest.approx(SCORES[optimise](labels.numpy(), chosen), abs=1e-12)
    lines = [*scores.tolist(), *([1.0] if scores.max() < 1 else [])]
    every = [SCORES[optimise](labels.numpy(), (scores >= line).long().numpy()) for line in lines]
    assert choice.value == pytest.approx(max(every), abs=1e-12)
    for name in ("precision", "recall", "f1", "accuracy"):
        figure = getattr(choice, name)
        if not math.isnan(figure):
            assert figure == pytest.approx(SCORES[name](labels.numpy(), chosen), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(SAMPLES, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_most_recall_with_enough_precision(
    samples: list[tuple[float, int]], least: float
) -> None:
    scores, labels = columns(samples)
    assume(0 < labels.sum() < len(labels))
    possible = []
    for line in set(scores.tolist()):
        said = (scores >= line).long().numpy()
        if SCORES["precision"](labels.numpy(), said) >= least:
            possible.append(SCORES["recall"](labels.numpy(), said))
    if not possible:
        with pytest.raises(
            DataError, match=f"no threshold gives a precision of at least {least:g}"
        ):
            choose_threshold(scores, labels, "recall", min_precision=least)
        return
    choice = choose_threshold(scores, labels, "recall", min_precision=least)
    assert choice.recall == pytest.approx(max(possible), abs=1e-12)
    assert choice.precision >= least
    assert choice.optimised == f"recall with a precision of at least {least:g}"


def test_the_line_lies_between_the_scores() -> None:
    choice = choose_threshold([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1])
    assert choice.threshold == pytest.approx(0.4)
    assert choice[1:] == ("f1", 1.0, 1.0, 1.0, 1.0, 1.0)
    below_all = choose_threshold([0.3, 0.2, 0.6, 0.9], [0, 1, 1, 1], "recall")
    assert below_all.threshold == pytest.approx(0.1)
    assert below_all.recall == 1.0


@pytest.mark.parametrize("two_logits", [True, False])
def test_a_chosen_threshold_decides_as_it_promised(two_logits: bool) -> None:
    """Scores that are neighbours in float32 leave no room for a line between them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, generator=generator)
    logit = 8 + noise / 2000
    labels = (torch.rand(4000, generator=generator) < torch.sigmoid(2 * noise)).long()
    logits = torch.stack([torch.zeros_like(logit), logit], dim=1) if two_logits else logit
    scores = probabilities(logits)[:, 1]
    assert bool((scores.unique().diff() < 2e-7).any()), "next to each other"
    assert len(scores.unique()) > 10
    choice = choose_threshold(scores, labels, "accuracy")
    predicted = predicted_classes(logits, choice.threshold)
    assert (predicted == labels).double().mean().item() == pytest.approx(choice.accuracy, abs=1e-12)


@pytest.mark.parametrize("low", [0.0, 1e-30, 0.1, 0.3, 0.7, 1 - 2**-24])
def test_the_next_number_is_told_apart(low: float) -> None:
    first = torch.tensor(low, dtype=torch.float32)
    scores = torch.stack([first, torch.nextafter(first, torch.tensor(2.0))])
    choice = choose_threshold(scores, [0, 1])
    assert (scores >= choice.threshold).tolist() == [False, True]


def test_both_conditions_hold() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.15), 0, 1)
    choice = choose_threshold(
        torch.tensor(scores), torch.tensor(labels), "accuracy", min_precision=0.9, min_recall=0.6
    )
    assert choice.precision >= 0.9
    assert choice.recall >= 0.6
    assert (
        choice.optimised == "accuracy with a precision of at least 0.9 and recall of at least 0.6"
    )
    with pytest.raises(DataError, match=r"the largest precision with that recall is 0\.\d+; ask"):
        choose_threshold(
            torch.tensor(scores), torch.tensor(labels), min_precision=0.99, min_recall=0.95
        )


def test_nothing_may_be_taken_for_positive() -> None:
    """One positive among many, scored lowest: the most accurate line is above all scores."""
    choice = choose_threshold([0.1, 0.6, 0.7, 0.8], [1, 0, 0, 0], "accuracy")
    assert 0.8 < choice.threshold <= 1
    assert choice.accuracy == 0.75
    assert math.isnan(choice.precision)


@pytest.mark.parametrize(
    ("error", "words", "arguments", "options"),
    [
        (ArgumentError, r"\('f1', .*'recall'\), received 'auc'", ([0.1, 0.9], [0, 1], "auc"), {}),
        (ArgumentError, "min_recall.*received 90", ([0.1, 0.9], [0, 1]), {"min_recall": 90}),
        (DataError, "0 positives and 2 negatives", ([0.1, 0.9], [0, 0]), {}),
        (DataError, "from -1 to 2.*probabilities", ([-1.0, 2.0], [0, 1]), {}),
    ],
)
def test_nonsense_is_refused(error: Any, words: str, arguments: Any, options: Any) -> None:
    with pytest.raises(error, match=words):
        choose_threshold(*arguments, **options)
