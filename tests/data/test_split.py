"""Splits: every sample exactly once, sizes exact, no class lost; by brute force and sklearn."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from torch import Tensor
from torch.utils.data import Subset, random_split
from torchvision.datasets import ImageFolder as TorchvisionFolder

from cnnkit.data._arrays import ArrayDataset
from cnnkit.data._assign import proportional_table
from cnnkit.data._groups import GroupSides
from cnnkit.data._split import Split, k_fold, train_val_split
from cnnkit.data._view import DatasetView, as_labelled
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    CnnkitWarning,
    DataError,
    NotFoundError,
    SavedFileError,
)
from cnnkit.types import LabelledDataset

quick = settings(deadline=None, max_examples=80)


class Labels:
    """The smallest data set that can be split: sample i is (index in the whole, label)."""

    def __init__(
        self,
        targets: Sequence[int] | Tensor,
        classes: Sequence[str] | None = None,
        indices: Tensor | None = None,
    ) -> None:
        self.targets = torch.as_tensor(targets, dtype=torch.int64)
        number = int(self.targets.max()) + 1 if len(self.targets) else 0
        self.classes = tuple(classes or (f"class {label}" for label in range(number)))
        self.indices = torch.arange(len(self.targets)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return int(self.indices[index]), int(self.targets[index])

    def subset(self, positions: Sequence[int] | Tensor) -> Labels:
        rows = torch.as_tensor(positions)
        return Labels(self.targets[rows], self.classes, self.indices[rows])


def parts_of(split: Split) -> list[Any]:
    return [part for part in (split.train, split.val, split.test) if part is not None]


def indices_of(split: Split) -> list[list[int]]:
    return [part.indices.tolist() for part in parts_of(split)]


def assert_partition(split: Split, number: int) -> None:
    indices = indices_of(split)
    assert sorted(itertools.chain(*indices)) == list(range(number))
    assert all(part == sorted(part) for part in indices)
    assert split.total == number


def counts_of(part: LabelledDataset, classes: int) -> np.ndarray[Any, Any]:
    return np.bincount(part.targets.numpy(), minlength=classes)


# A class may have no samples at all.
class_counts = st.lists(st.integers(0, 40), min_size=1, max_size=7)
seeds = st.integers(0, 2**64)


def shuffled_labels(counts: list[int], seed: int) -> list[int]:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.Random(seed).shuffle(labels)
    return labels


# train_val_split without groups


@quick
@given(st.integers(2, 80), st.data(), seeds)
def test_plain_split(number: int, data: st.DataObject, seed: int) -> None:
    val = data.draw(st.integers(0, number - 1))
    test = data.draw(st.integers(val == 0, number - 1))
    assume(0 < val + test < number)
    split = train_val_split(Labels([0] * number), val, test=test, stratify=False, seed=seed)
    assert_partition(split, number)
    assert [len(part) for part in parts_of(split)] == [
        size for size in (number - val - test, val, test) if size
    ]
    assert (split.val is None, split.test is None) == (val == 0, test == 0)


@quick
@given(st.integers(2, 300), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_fractions_are_of_the_whole(number: int, val: float, test: float) -> None:
    sizes = round(val * number), round(test * number)
    assume(0 < sum(sizes) < number)
    assume(all(size > 0 or share == 0 for size, share in zip(sizes, (val, test), strict=True)))
    split = train_val_split(Labels([0] * number), val, test=test, stratify=False)
    assert [0 if part is None else len(part) for part in (split.val, split.test)] == list(sizes)


@quick
@given(class_counts, st.data(), seeds)
@example([1, 40, 0, 3], None, 0)
def test_stratified_split(counts: list[int], data: st.DataObject | None, seed: int) -> None:
    present = [count for count in counts if count]
    if data is None:
        counts, val, test = [2, 40, 0, 3], 3, 0
    else:
        assume(sum(counts) >= 2)
        val = data.draw(st.integers(0, sum(counts) - 1))
        test = data.draw(st.integers(val == 0, sum(counts) - 1))
    present = [count for count in counts if count]
    sizes = [size for size in (sum(counts) - val - test, val, test) if size > 0]
    assume(val + test < sum(counts))
    ds = Labels(shuffled_labels(counts, seed), [str(label) for label in range(len(counts))])
    if min(present) < len(sizes) or min(sizes) < len(present):
        with pytest.raises(DataError):
            train_val_split(ds, val, test=test, seed=seed)
        return
    split = train_val_split(ds, val, test=test, seed=seed)
    assert_partition(split, len(ds))
    assert [len(part) for part in parts_of(split)] == sizes
    table = np.stack([counts_of(part, len(counts)) for part in parts_of(split)], 1)
    assert (table[np.array(counts) > 0] >= 1).all()
    exact = np.outer(counts, sizes) / len(ds)
    if (exact[np.array(counts) > 0] >= 1).all():
        assert (np.abs(table - exact) < 1).all()


@quick
@given(
    st.lists(st.integers(3, 7), min_size=1, max_size=3),
    st.lists(st.integers(3, 12), min_size=1, max_size=2),
)
@example([3, 8, 5], [3, 5])  # a sample moves by way of a third side
@example([19, 8, 4], [15, 13])  # the nearest table in squares is off by a whole sample somewhere
def test_the_table_is_the_best_one(counts: list[int], sizes: list[int]) -> None:
    assume(sum(counts) - sum(sizes) >= len(counts))
    sizes = [sum(counts) - sum(sizes), *sizes]
    table = proportional_table(np.array(counts), np.array(sizes))
    assert table.sum(1).tolist() == counts
    assert table.sum(0).tolist() == sizes
    assert table.min() >= 1
    exact = np.outer(counts, sizes) / sum(counts)

    def distance(candidate: Any) -> tuple[int, float]:
        candidate = np.array(candidate)
        outside = np.maximum(np.floor(exact) - candidate, candidate - np.ceil(exact)).clip(0)
        return int(outside.sum()), round(float(((candidate - exact) ** 2).sum()), 6)

    rows = [
        [
            row
            for row in itertools.product(range(1, count + 1), repeat=len(sizes))
            if sum(row) == count
        ]
        for count in counts
    ]
    tables = (rows for rows in itertools.product(*rows) if np.sum(rows, 0).tolist() == sizes)
    assert distance(table) == min(map(distance, tables))


@pytest.mark.parametrize("classes", [3, 60])
def test_stratification_is_no_worse_than_sklearns(classes: int) -> None:
    labels = np.random.default_rng(0).choice(
        classes, 2000, p=np.linspace(1, 3, classes) / np.linspace(1, 3, classes).sum()
    )
    exact = np.bincount(labels) * 0.25
    split = train_val_split(Labels(labels.tolist()), 0.25)
    assert split.val is not None
    chosen = next(
        iter(StratifiedShuffleSplit(1, test_size=500, random_state=0).split(labels, labels))
    )
    theirs = np.abs(np.bincount(labels[chosen[1]]) - exact).sum()
    assert np.abs(counts_of(split.val, classes) - exact).sum() <= theirs + 1e-9


def test_many_classes_at_once_stay_fast_and_exact() -> None:
    counts = np.random.default_rng(0).integers(3, 300, 5000)
    sizes = np.array([counts.sum() - 2 * 50_000, 50_000, 50_000])
    table = proportional_table(counts, sizes)
    assert (table.sum(1) == counts).all()
    assert (table.sum(0) == sizes).all()


def test_samples_of_a_class_are_drawn_at_random() -> None:
    # 2000 seeds: each of ten equal samples is in val two times out of ten.
    ds = Labels([0] * 10 + [1] * 10)
    times = np.zeros(20)
    for seed in range(2000):
        times[indices_of(train_val_split(ds, 4, seed=seed))[1]] += 1
    assert np.abs(times - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@quick
@given(seeds, st.booleans(), st.booleans())
def test_seed_and_labels_alone_decide(seed: int, stratify: bool, grouped: bool) -> None:
    labels = [0, 1, 1, 2] * 15
    groups = [index // 3 for index in range(60)] if grouped else None
    state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]

    def split(seed: int) -> list[list[int]]:
        return indices_of(
            train_val_split(Labels(labels), 0.2, stratify=stratify, groups=groups, seed=seed)
        )

    assert split(seed) == split(seed)
    assert split(seed) != split(seed + 1)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # type: ignore[index]
    assert random.getstate() == state[2]


def test_a_seed_gives_this_split_for_ever() -> None:
    ds = Labels([0, 1, 1, 2] * 6)
    groups = [index // 2 for index in range(24)]
    assert indices_of(train_val_split(ds, 5, test=4, seed=7))[1:] == GOLDEN["stratified"]
    assert indices_of(train_val_split(ds, 5, test=4, stratify=False, seed=7))[1:] == GOLDEN["plain"]
    assert indices_of(train_val_split(ds, 6, groups=groups, seed=7))[1:] == GOLDEN["groups"]
    assert [indices_of(s)[1] for s in k_fold(ds, 4, seed=7)] == GOLDEN["folds"]


GOLDEN: dict[str, list[list[int]]] = {
    "stratified": [[4, 5, 14, 19, 22], [2, 13, 15, 16]],
    "plain": [[0, 2, 7, 8, 17], [1, 5, 16, 19]],
    "groups": [[0, 1, 10, 11, 22, 23]],
    "folds": [
        [5, 8, 10, 11, 20, 22],
        [1, 12, 13, 15, 16, 18],
        [2, 4, 6, 7, 9, 23],
        [0, 3, 14, 17, 19, 21],
    ],
}


# k_fold


@quick
@given(class_counts, st.integers(2, 8), seeds, st.booleans())
def test_folds(counts: list[int], k: int, seed: int, stratify: bool) -> None:
    assume(sum(counts) >= k)
    ds = Labels(shuffled_labels(counts, seed), [str(label) for label in range(len(counts))])
    if stratify and min(count for count in counts if count) < k:
        with pytest.raises(DataError, match=f"at least {k} samples"):
            k_fold(ds, k, seed=seed)
        return
    splits = list(k_fold(ds, k, stratify=stratify, seed=seed))
    assert len(splits) == k
    for split in splits:
        assert_partition(split, len(ds))
        assert split.test is None
    vals = [split.val for split in splits if split.val is not None]
    assert sorted(itertools.chain(*(v.indices.tolist() for v in vals))) == list(range(len(ds)))
    sizes = [len(val) for val in vals]
    assert max(sizes) - min(sizes) <= 1
    if stratify:
        assert (np.ptp([counts_of(val, len(counts)) for val in vals], axis=0) <= 1).all()


def test_folds_are_those_of_sklearn_in_size() -> None:
    labels = shuffled_labels([17, 8, 31, 5], 0)
    theirs = StratifiedKFold(5).split(labels, labels)
    tables = (
        [np.bincount(np.array(labels)[val]) for _, val in theirs],
        [counts_of(s.val, 4) for s in k_fold(Labels(labels), 5) if s.val is not None],
    )
    for column in range(4):
        theirs_sorted, ours_sorted = (sorted(row[column] for row in table) for table in tables)
        assert theirs_sorted == ours_sorted


# Groups

grouped = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=12)


def flattened(members: list[list[int]], seed: int) -> tuple[list[int], list[str]]:
    """Labels and group names of samples in a random order."""
    pairs = [(label, f"video {g}") for g, labels in enumerate(members) for label in labels]
    random.Random(seed).shuffle(pairs)
    return [label for label, _ in pairs], [group for _, group in pairs]


@quick
@given(grouped, st.floats(0.1, 0.5), st.sampled_from([0.0, 0.2]), st.booleans(), seeds)
def test_groups_stay_together(
    members: list[list[int]], val: float, test: float, stratify: bool, seed: int
) -> None:
    labels, groups = flattened(members, seed)
    sides = 3 if test else 2
    assume(round(val * len(labels)) > 0 and (not test or round(test * len(labels)) > 0))
    assume(round(val * len(labels)) + round(test * len(labels)) < len(labels))
    rarest = min(sum(label in own for own in members) for label in set(labels))
    ds = Labels(labels, "abcd")
    if len(members) < sides or (stratify and rarest < sides):
        with pytest.raises(DataError, match="groups"):
            train_val_split(ds, val, test=test, stratify=stratify, groups=groups, seed=seed)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)  # of sizes that whole groups do not meet
        split = train_val_split(ds, val, test=test, stratify=stratify, groups=groups, seed=seed)
    assert_partition(split, len(ds))
    parts = parts_of(split)
    assert len(parts) == sides
    owners = [{groups[index] for index in part.indices.tolist()} for part in parts]
    assert sum(map(len, owners)) == len(members)
    assert all(owners)
    if stratify:
        assert all(set(part.targets.tolist()) == set(labels) for part in parts)


def can_be_covered(members: list[list[int]], sides: int) -> bool:
    """Whether some choice of whole groups brings each class to each side: all choices are made."""
    reached = {(frozenset[int](),) * sides}
    for own in members:
        reached = {
            (*held[:side], held[side] | set(own), *held[side + 1 :])
            for held in reached
            for side in range(sides)
        }
    return (frozenset(label for own in members for label in own),) * sides in reached


def some_groups(number: int, classes: int, most: int, seed: int) -> list[list[int]]:
    """The classes of each group's samples, some of them several times."""
    chance = random.Random(seed)
    return [
        [chance.randrange(classes) for _ in range(chance.randint(1, most))] for _ in range(number)
    ]


@pytest.mark.parametrize(
    ("number", "classes", "most", "val", "test"),
    [(7, 4, 4, 0.3, 0.0), (8, 5, 6, 0.2, 0.2), (9, 4, 5, 0.4, 0.1)],
)
def test_no_class_is_lost_from_a_part_where_groups_allow_it(
    number: int, classes: int, most: int, val: float, test: float
) -> None:
    possible = impossible = 0
    for seed in range(150):
        members = some_groups(number, classes, most, seed)
        labels, groups = flattened(members, seed)
        ds, sides = Labels(labels, "abcde"), 3 if test else 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CnnkitWarning)
            if not can_be_covered(members, sides):
                impossible += 1
                with pytest.raises(DataError, match="groups"):
                    train_val_split(ds, val, test=test, groups=groups, seed=seed)
                continue
            possible += 1
            split = train_val_split(ds, val, test=test, groups=groups, seed=seed)
        assert all(set(part.targets.tolist()) == set(labels) for part in parts_of(split)), seed
    assert min(possible, impossible) > 20


def test_folds_of_groups_lose_no_class_either() -> None:
    for seed in range(50):
        members = some_groups(11, 4, 4, seed)
        if not can_be_covered(members, 4):
            continue
        labels, groups = flattened(members, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CnnkitWarning)
            for split in k_fold(Labels(labels, "abcd"), 4, groups=groups, seed=seed):
                assert split.val is not None
                assert set(split.val.targets.tolist()) == set(labels)


def test_bringing_a_class_back_costs_no_other_one() -> None:
    members = [[0, 1], [0, 0, 0, 0, 0], [2, 2]]
    labels = np.array([label for own in members for label in own])
    parts = GroupSides(np.repeat([0, 1, 2], [2, 5, 2]), labels, [5, 4])
    for group, side in enumerate([0, 0, 1]):
        parts.put(group, side)
    assert parts.gain(0, 1) - parts.loss(0) > parts.gain(1, 1) - parts.loss(1)
    parts.bring_back_classes([0, 2, 1])
    assert parts.side_of == [0, 1, 1]  # the first group alone has class 1: it stays


def test_groups_that_share_out_no_class_to_all_are_an_error_that_names_them() -> None:
    # Each class is in two groups, but no choice of whole groups brings all three to both parts.
    members = [[0, 1], [0, 2], [1, 2]]
    labels, groups = flattened(members, 0)
    ds = Labels(labels, "abc")
    with pytest.raises(DataError, match=r"to each of train and val; of the 3 groups, 'a' is in 2"):
        train_val_split(ds, 0.4, groups=groups)
    assert len(train_val_split(ds, 0.4, groups=groups, stratify=False).train) == 4


def test_a_search_that_takes_too_long_is_given_up_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cnnkit.data._groups._MOST_STEPS", 2)
    labels, groups = flattened([[0, 1], [0, 2], [1, 2]], 0)
    with pytest.warns(CnnkitWarning, match=r"(train|val) has no sample of \['[abc]'"):
        train_val_split(Labels(labels, "abc"), 0.4, groups=groups)


def test_sizes_of_groups_come_close() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), generator.integers(5, 40, 60))
    labels = generator.integers(0, 3, len(groups))
    for stratify in (True, False):
        split = train_val_split(
            Labels(labels.tolist()), 0.2, test=0.1, stratify=stratify, groups=groups
        )
        for part, share in zip(parts_of(split), (0.7, 0.2, 0.1), strict=True):
            assert abs(len(part) - share * len(labels)) < 20


def test_a_side_far_from_its_size_is_a_warning() -> None:
    groups = ["long film"] * 60 + [f"clip {i}" for i in range(2)] * 5
    with pytest.warns(CnnkitWarning, match="train has 10 samples where 30 .* largest has 60"):
        train_val_split(Labels([0] * 70), 40, stratify=False, groups=groups)


def test_folds_of_groups_are_about_as_good_as_sklearns() -> None:
    ours, theirs = [], []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), generator.integers(5, 60, 40))
        likes = generator.dirichlet(np.ones(4), 40)
        labels = np.array([generator.choice(4, p=likes[group]) for group in groups])
        exact = np.bincount(labels) / 5

        def distance(vals: list[Any], labels: Any = labels, exact: Any = exact) -> float:
            return float(
                np.mean([np.abs(np.bincount(labels[v], minlength=4) / exact - 1) for v in vals])
            )

        vals = [s.val for s in k_fold(Labels(labels.tolist()), 5, groups=groups, seed=seed)]
        positions = [val.indices.numpy() for val in vals if val is not None]
        for a, b in itertools.combinations(positions, 2):
            assert not set(groups[a]) & set(groups[b])
        assert np.sort(np.concatenate(positions)).tolist() == list(range(len(labels)))
        ours.append(distance(positions))
        sklearns = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        theirs.append(distance([v for _, v in sklearns.split(labels, labels, groups)]))
    assert np.mean(ours) < 1.25 * np.mean(theirs)


@pytest.mark.parametrize(
    "groups",
    [
        torch.arange(20) // 2,
        np.arange(20) // 2,
        [("camera", i // 2) for i in range(20)],
        (i // 2 for i in range(20)),
    ],
    ids=["tensor", "array", "tuples", "generator"],
)
def test_groups_of_any_kind(groups: Any) -> None:
    split = train_val_split(Labels([0, 1] * 10), 0.2, groups=groups)
    assert all(
        len(i) % 2 == 0 and set(i[1::2]) == {x + 1 for x in i[::2]} for i in indices_of(split)
    )


# Refusals


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"val": 1.0}, "val must be a fraction .* received 1.0"),
        ({"val": -0.1}, "received -0.1"),
        ({"val": -3}, "received -3"),
        ({"val": True}, "received True"),
        ({"val": "0.2"}, "received '0.2'"),
        ({"val": float("nan")}, "received nan"),
        ({"val": 0}, "val and test are both 0"),
        ({"val": 0.01}, "val=0.01 of 20 samples is less than one"),
        ({"val": 12, "test": 0.4}, "val=12 and test=0.4 take 20 of 20 samples"),
        ({"seed": -1}, "seed must be .* received -1"),
        ({"seed": 1.5}, "received 1.5"),
        ({"stratify": [0] * 20}, "stratify must be True or False, received list"),
        ({"groups": [1, 2]}, "20 of them; received 2"),
        ({"groups": [[1]] * 20}, "hashable"),
        ({"groups": [1.0] * 5 + [float("nan")] * 15}, "sample 5 is missing: nan"),
    ],
)
def test_arguments_that_make_no_sense(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        train_val_split(Labels([0, 1] * 10), **kwargs)


def test_numpys_numbers_are_numbers() -> None:
    ds = Labels([0, 1] * 10)
    quarter, five, three, four = np.float32(0.25), np.int64(5), np.uint8(3), np.int32(4)
    split: Any = train_val_split
    fold: Any = k_fold
    assert len(parts_of(split(ds, quarter))[1]) == 5
    assert len(parts_of(split(ds, five, seed=three))[1]) == 5
    assert len(list(fold(ds, four))) == 4


@pytest.mark.parametrize("k", [1, 0, -2, 21, True, 2.0, "5"])
def test_k_must_be_a_number_of_folds(k: Any) -> None:
    with pytest.raises(ArgumentError, match=f"from 2 to the number of samples, 20; received {k!r}"):
        k_fold(Labels([0, 1] * 10), k)


def test_a_class_with_too_few_samples_is_named() -> None:
    ds = Labels([0] * 9 + [1] + [2] * 2, ["cat", "dog", "owl"])
    with pytest.raises(DataError, match=r"at least 2 samples .* train and val, but 'dog' has 1:"):
        train_val_split(ds, 4)
    with pytest.raises(DataError, match="of train, val and test, but 'dog' has 1, 'owl' has 2:"):
        train_val_split(ds, 3, test=3)
    with pytest.raises(DataError, match="4 folds, but 'dog' has 1, 'owl' has 2:"):
        k_fold(ds, 4)
    assert len(parts_of(train_val_split(ds, 4, stratify=False))[1]) == 4
    many = Labels([0] * 20 + list(range(1, 9)))
    with pytest.raises(DataError, match="'class 5' has 1 and 3 more: add images"):
        train_val_split(many, 9)


def test_a_side_without_room_for_all_classes_is_named() -> None:
    ds = Labels([0] * 40 + [1] * 5 + [2] * 3, ["cat", "dog", "owl"])
    with pytest.raises(
        DataError, match=r"test has room for 2 of 48 .* 3 classes .* rarest is 'owl'"
    ):
        train_val_split(ds, 10, test=2)


def test_classes_without_samples_are_left_out() -> None:
    ds = Labels([1] * 6 + [3] * 4, ["a", "b", "c", "d", "e"])
    split = train_val_split(ds, 5)
    assert counts_of(split.train, 5).tolist() == [0, 3, 0, 2, 0]
    assert split.train.classes == ("a", "b", "c", "d", "e")


def test_groups_that_cannot_be_shared_out() -> None:
    ds = Labels([0, 0, 0, 1, 1, 1], ["cat", "dog"])
    with pytest.raises(DataError, match=r"1 groups for 2 parts \(train and val\)"):
        train_val_split(ds, 2, groups=["x"] * 6)
    with pytest.raises(DataError, match=r"at least 2 groups .* 'dog' has 1:"):
        train_val_split(ds, 2, groups=["x", "y", "y", "z", "z", "z"])
    with pytest.raises(DataError, match=r"3 groups for 4 parts \(4 folds\)"):
        k_fold(ds, 4, groups=["x", "y", "y", "z", "z", "z"])


def test_data_sets_that_cannot_be_split() -> None:
    ds = Labels([0, 1] * 5)
    with pytest.raises(DataError, match="holds sample 3 of the whole 2 times"):
        train_val_split(ds.subset([1, 3, 5, 3, 2, 4]))
    with pytest.raises(DataError, match="labels go from 0 to 2, but there are 2 classes"):
        train_val_split(Labels([0, 1, 2] * 5, ["a", "b"]))
    with pytest.raises(DataError, match=r"length and labels in `.targets`, received list"):
        train_val_split([1, 2, 3])  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="of 0 samples"):
        train_val_split(Labels([]))


# Data sets of other kinds


def test_a_part_of_a_part_points_to_the_whole() -> None:
    images = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1)
    ds = ArrayDataset(images, [0, 1, 2] * 20)
    outer = train_val_split(ds, 0.5, seed=1)
    inner = train_val_split(outer.train, 0.5, seed=2)
    assert isinstance(inner.val, ArrayDataset)
    assert inner.total == 30
    assert set(inner.val.indices.tolist()) < set(outer.train.indices.tolist())
    assert [int(inner.val[i][0]) for i in range(len(inner.val))] == inner.val.indices.tolist()
    fold = next(k_fold(inner.train, 3))
    assert [int(fold.train[i][0]) for i in range(len(fold.train))] == fold.train.indices.tolist()


@pytest.fixture
def folder(tmp_path: Path) -> TorchvisionFolder:
    for index in range(12):
        path = tmp_path / "images" / ("cat" if index < 4 else "dog") / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), index).save(path)
    return TorchvisionFolder(str(tmp_path / "images"))


def grey(sample: Any) -> int:
    return int(sample[0].getpixel((0, 0))[0])


def test_torchvisions_data_sets_are_viewed(folder: TorchvisionFolder) -> None:
    split = train_val_split(folder, 0.5)
    assert_partition(split, 12)
    assert split.val is not None
    assert split.val.classes == ("cat", "dog")
    assert counts_of(split.val, 2).tolist() == [2, 4]
    assert [grey(split.val[i]) for i in range(6)] == split.val.indices.tolist()
    assert [split.val[i][1] for i in range(6)] == split.val.targets.tolist()
    inner = train_val_split(split.train, 2).train
    assert isinstance(inner, DatasetView)
    assert inner.dataset is folder
    assert grey(inner[-1]) == int(inner.indices[-1])
    assert repr(inner) == "DatasetView(ImageFolder, 4 images, 2 classes)"
    for beyond in (4, -5):
        with pytest.raises(IndexError, match=rf"{beyond}|outside"):
            inner[beyond]


def test_subsets_are_parts_of_what_they_are_subsets_of(folder: TorchvisionFolder) -> None:
    half = Subset(folder, [1, 3, 5, 7, 9, 11])
    split = train_val_split(half, 2)
    assert sorted(itertools.chain(*indices_of(split))) == [1, 3, 5, 7, 9, 11]
    assert [grey(split.train[i]) for i in range(4)] == split.train.indices.tolist()
    left, _ = random_split(folder, [8, 4], torch.Generator().manual_seed(0))
    assert as_labelled(Subset(left, [2, 0])).indices.tolist() == [left.indices[2], left.indices[0]]


def test_labels_are_those_that_the_samples_come_with(folder: TorchvisionFolder) -> None:
    folder.target_transform = lambda label: 3 if label == 0 else 0
    view = DatasetView(folder)
    assert view.targets.tolist() == [folder[i][1] for i in range(12)]
    assert view.classes == ("0", "1", "2", "3")
    assert DatasetView(folder, classes=list("abcd")).classes == ("a", "b", "c", "d")


def test_labels_can_be_given() -> None:
    view = DatasetView(["x", "y", "z"], targets=[1, 0, 1], classes=["no", "yes"])
    assert [view[i] for i in range(3)] == ["x", "y", "z"]
    assert view.class_counts() == {"no": 1, "yes": 2}
    assert isinstance(view, LabelledDataset)
    assert view.preprocess is None
    with pytest.raises(DataError, match=r"\(3,\), received shape \(2,\)"):
        DatasetView(["x", "y", "z"], targets=[1, 0])
    with pytest.raises(DataError, match="labels of list are not one integer a sample"):
        DatasetView(["x", "y", "z"], targets=["a", "b", "c"])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"label 1 .* outside the 1 classes"):
        DatasetView(["x", "y"], targets=[0, 1], classes=["no"])


# JSON


@quick
@given(st.integers(0, 5), st.integers(1, 5), seeds, st.booleans())
def test_json_gives_the_split_back(val: int, test: int, seed: int, stratify: bool) -> None:
    ds = Labels([0, 1, 1] * 7, ["ä", '"b"\udcff'])
    assume((not stratify or val >= 2 or val == 0) and (not stratify or test >= 2))
    split = train_val_split(ds, val, test=test, seed=seed, stratify=stratify)
    again = Split.from_json(ds, split.to_json())
    assert indices_of(again) == indices_of(split)
    assert (again.val is None, again.total) == (val == 0, 21)
    assert again.to_json() == split.to_json()


def test_json_in_a_file(tmp_path: Path) -> None:
    ds = Labels([0, 1] * 10, ["cat", "dog"])
    split = train_val_split(ds, 0.3)
    path = tmp_path / "new" / "split.json"
    text = split.to_json(path)
    assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in path.parent.iterdir()] == ["split.json"]
    assert indices_of(Split.from_json(ds, path)) == indices_of(split)
    assert indices_of(Split.from_json(ds, str(path))) == indices_of(split)
    saved = json.loads(text)
    assert saved["format"] == 1
    assert (saved["total"], saved["classes"], saved["test"]) == (20, ["cat", "dog"], None)
    with pytest.raises(NotFoundError, match=r"other\.json"):
        Split.from_json(ds, tmp_path / "other.json")


def test_json_of_a_part_is_read_with_this_part() -> None:
    part = Labels([0, 1] * 10).subset(list(range(3, 19)))
    split = train_val_split(part, 4)
    assert indices_of(Split.from_json(part, split.to_json())) == indices_of(split)
    moved = Labels([0, 1] * 10).subset(list(range(4, 20)))
    with pytest.raises(SavedFileError, match="sample 3 of train is not in the data set"):
        Split.from_json(moved, Split(part, total=16).to_json())


def test_json_of_another_data_set() -> None:
    text = train_val_split(Labels([0, 1] * 10, ["cat", "dog"])).to_json()
    with pytest.raises(DataError, match="splits 20 samples, but the data set has 22"):
        Split.from_json(Labels([0, 1] * 11, ["cat", "dog"]), text)
    with pytest.raises(ClassMismatchError, match=r"\['cat', 'dog'\].*\['dog', 'cat'\]"):
        Split.from_json(Labels([0, 1] * 10, ["dog", "cat"]), text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "cnnkit.Report"}, "not written by Split.to_json"),
        ({"format": 2}, "format 2, this cnnkit reads 1"),
        ({"train": [2], "val": [0, 1, 0]}, "sample 0 is in val and again in val"),
        ({"test": [4, 5]}, "sample 4 is in (train|val) and again in test"),
        ({"val": [20], "train": [1]}, "sample 20 of val is not in the data set of 20"),
        ({"val": [-1], "train": [1]}, "sample -1 of val"),
        ({"train": None}, "train is no list of whole numbers"),
        ({"val": 3}, "val is no list of whole numbers"),
        ({"val": [[1]]}, "val is no list of whole numbers"),
        ({"val": [True]}, "val is no list of whole numbers"),
    ],
)
def test_json_that_was_changed(changes: dict[str, Any], message: str) -> None:
    ds = Labels([0, 1] * 10)
    saved = json.loads(train_val_split(ds, 4).to_json()) | changes
    with pytest.raises(SavedFileError, match=message):
        Split.from_json(ds, json.dumps(saved))


def test_json_that_is_none(tmp_path: Path) -> None:
    ds = Labels([0, 1] * 10)
    with pytest.raises(SavedFileError, match="the text is no JSON"):
        Split.from_json(ds, '{"kind": ')
    for text in ("[]", "3", "{}"):
        (tmp_path / "list.json").write_text(text)
        with pytest.raises(SavedFileError, match=r"list\.json was not written"):
            Split.from_json(ds, tmp_path / "list.json")
    saved = json.loads(train_val_split(ds, 4).to_json())
    del saved["test"]
    with pytest.raises(SavedFileError, match="lacks 'test'"):
        Split.from_json(ds, json.dumps(saved))


def test_a_split_put_together_by_hand() -> None:
    split = Split(Labels([0, 1]), Labels([1]))
    assert repr(split) == "Split(train=2, val=1, test=None)"
    with pytest.raises(DataError, match="separate data sets"):
        split.to_json()
    with pytest.raises(AttributeError):
        split.train = Labels([0])  # type: ignore[misc]
