"""Files that are the old whole or the new whole, whatever they are called and whoever writes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cnnkit._files import atomic_path
from cnnkit.data._report import DataReport, Finding, Sample


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("猫" * 82 + ".png")  # 250 of 255 bytes
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_threads_may_write_the_same_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"

    def write(number: int) -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(bytes([number]) * 50_000)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(64)))
    assert len(target.read_bytes()) == 50_000
    assert len(set(target.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [target]


def half_written(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError("full")


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("old")
    with pytest.raises(OSError, match="full"):
        half_written(target)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_names_that_are_no_text_are_written_to_json(tmp_path: Path) -> None:
    name = b"cats/caf\xe9.jpg".decode("utf-8", "surrogateescape")  # Latin-1, on Linux
    sample = Sample("train", 0, "cat", name)
    report = DataReport([], [Finding("error", "unreadable", "one", ((sample,),))], [])
    report.to_json(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text) == report.to_dict()
    assert report.to_dict()["findings"][0]["groups"][0][0]["path"] == name
