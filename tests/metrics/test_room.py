"""Logits and labels kept together, against a plain list of copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cnnkit.metrics import _room
from cnnkit.metrics._room import Room

Seen = list[tuple[Tensor, Tensor]]


def batches(sizes: list[int], dtype: torch.dtype, columns: tuple[int, ...]) -> Seen:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, *columns, generator=generator).to(dtype).requires_grad_(),
            torch.randint(0, 3, (size,), generator=generator),
        )
        for size in sizes
    ]


def looked_at(room: Room, given: Seen) -> Seen:
    seen: Seen = []

    def look(logits: Tensor, labels: Tensor) -> None:
        assert not logits.requires_grad
        seen.append((logits.clone(), labels.clone()))

    for logits, labels in given:
        room.add(logits, labels, look)
    room.empty(look)
    room.empty(look)  # of nothing
    return seen


@pytest.mark.parametrize("columns", [(3,), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sizes", [[4, 4, 4], [10], [11], [35, 1], [3, 0, 9, 10, 1, 1]])
def test_every_row_is_seen_once_and_in_order(
    sizes: list[int], dtype: torch.dtype, columns: tuple[int, ...]
) -> None:
    given = batches(sizes, dtype, columns)
    seen = looked_at(Room(10), given)
    assert all(0 < len(labels) <= 10 for _, labels in seen)
    for part in range(2):
        expected = torch.cat([batch[part].detach() for batch in given])
        found = torch.cat([batch[part] for batch in seen])
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_few_places_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_room, "_PLACES", 3)
    given = batches([2, 2, 1, 2, 3] * 40, torch.float32, (3,))
    room = Room(20)
    seen = looked_at(room, given)
    assert len(room._places) == 3
    assert torch.equal(torch.cat([labels for _, labels in seen]), torch.cat([y for _, y in given]))
    assert torch.equal(
        torch.cat([logits for logits, _ in seen]), torch.cat([x.detach() for x, _ in given])
    )


def test_logits_of_another_kind_are_looked_at_apart() -> None:
    given = [
        *batches([2, 3], torch.float32, (3,)),
        *batches([2], torch.bfloat16, (3,)),
        *batches([4], torch.bfloat16, ()),
    ]
    seen = looked_at(Room(100), given)
    assert [(len(labels), logits.dtype, logits.ndim) for logits, labels in seen] == [
        (5, torch.float32, 2),
        (2, torch.bfloat16, 2),
        (4, torch.bfloat16, 1),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_over_a_batch_afterwards_is_not_seen(dtype: torch.dtype) -> None:
    (logits, labels), before = batches([4], dtype, (3,))[0], batches([4], dtype, (3,))[0]
    room, seen = Room(10), []
    room.add(logits, labels, lambda *_: None)
    with torch.no_grad():
        logits.zero_()
    labels.zero_()
    room.empty(lambda *both: seen.append(both))
    for found, expected in zip(seen[0], before, strict=True):
        assert torch.equal(found, expected)


def test_the_last_batch_is_at_hand_until_the_next() -> None:
    assert Room(10).last is None
    room = Room(10)
    for logits, labels in batches([4, 5, 3, 25], torch.float32, (3,)):
        room.add(logits, labels, lambda *_: None)
        assert room.last is not None
        rows = min(25 % 10, len(labels)) if len(labels) > 10 else len(labels)  # parts of what is
        assert torch.equal(room.last[0], logits.detach()[-rows:])  # larger than the room
        assert torch.equal(room.last[1], labels[-rows:])
