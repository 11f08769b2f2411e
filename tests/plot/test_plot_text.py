"""Names that are too long for their place."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from matplotlib.textpath import TextPath

from cnnkit.plot._text import fitted, flowed, room_for


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize(
    "text", ["golden retriever", "WWWW", "iiii", "n02085936-Maltese_dog", "Ärzte"]
)
def test_the_room_is_what_matplotlib_takes(text: str, bold: bool) -> None:
    path = TextPath((0, 0), text, size=9, prop={"weight": "bold" if bold else "normal"})  # type: ignore[arg-type]
    # Without the space before the first and behind the last letter, and with kerning.
    assert room_for(9, bold=bold)(text) == pytest.approx(path.get_extents().width, abs=2.5)


def test_letters_that_the_font_lacks_take_room_and_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert room_for(10)("猫犬") == pytest.approx(20)


@given(st.text(max_size=60), st.integers(1, 30), st.integers(1, 3))
def test_it_fits_and_keeps_both_ends(text: str, width: int, lines: int) -> None:
    rows = fitted(text, width, len, lines=lines).split("\n")
    assert len(rows) <= lines
    assert all(len(row) <= width for row in rows)
    words = " ".join(text.split())
    whole = "".join(rows)
    if "…" in whole and "…" not in text:
        head, tail = whole.replace(" ", "").split("…")
        packed = words.replace(" ", "")
        assert packed.startswith(head)
        assert packed.endswith(tail)
    elif "…" not in text:
        assert whole.replace(" ", "") == words.replace(" ", "")


def test_what_fits_is_left_alone() -> None:
    assert fitted("golden retriever", 200, room_for(9)) == "golden retriever"
    assert fitted("cat", 3, len, lines=1) == "cat"
    assert fitted("", 3, len) == ""


def test_lines_break_at_words() -> None:
    assert fitted("golden retriever", 12, len) == "golden\nretriever"
    assert fitted("n02085936-Maltese_dog", 12, len) == "n02085936-\nMaltese_dog"


def test_names_that_differ_at_the_end_differ_still() -> None:
    names = [f"a very long name indeed of terrier number {n}" for n in range(12)]
    assert len({fitted(name, 12, len) for name in names}) == 12


def test_a_very_long_name_takes_no_time() -> None:
    assert len(fitted("x" * 100_000, 60, room_for(9))) < 60


def test_entries_are_not_torn() -> None:
    assert flowed(["1 cat", "2 dog", "3 cat"], 14, len) == "1 cat   2 dog\n3 cat"
    assert flowed(["1 a very long name"], 5, len) == "1 a very long name"
    assert flowed([], 5, len) == ""
