"""fetch against a server that cuts off, lies and ignores ranges; twice at once; and killed."""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_server import Answer, Server

from cnnkit.data import _http
from cnnkit.data._disk import sha256_of
from cnnkit.data._fetch import fetch, is_url
from cnnkit.errors import ArgumentError, ChecksumError, DownloadError

BODY = random.Random(0).randbytes(50_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
OTHER = random.Random(1).randbytes(50_000)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_http, "_FIRST_DELAY", 0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# ---------------------------------------------------------------- the whole file, once


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: Server, tmp_path: Path) -> None:
    server.at["/pets.zip"] = [Answer(BODY)]
    path = fetch(f"{server.url}/pets.zip", tmp_path / "new" / "pets.zip", sha256=SHA256.upper())
    assert path == tmp_path / "new" / "pets.zip"
    assert path.read_bytes() == BODY
    assert left(tmp_path) == ["new", "pets.zip"]
    assert server.requests[0][1]["User-Agent"] == "cnnkit"


def test_a_second_call_asks_nobody(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(BODY)
    fetch(f"{server.url}/pets.zip", tmp_path / "pets.zip")
    fetch(f"{server.url}/pets.zip", str(tmp_path / "pets.zip"), sha256=SHA256)
    assert server.requests == []


def test_an_existing_file_with_another_checksum_is_an_error_and_kept(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "pets.zip").write_bytes(OTHER)
    with pytest.raises(ChecksumError, match=f"is there already.*{SHA256}; remove it"):
        fetch(f"{server.url}/pets.zip", tmp_path / "pets.zip", sha256=SHA256)
    assert server.requests == []
    assert (tmp_path / "pets.zip").read_bytes() == OTHER


def test_a_download_with_another_checksum_is_no_loop_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    server.at["/pets.zip"] = [Answer(b"<!DOCTYPE html><title>Please log in</title>")]
    with pytest.raises(ChecksumError, match=f"expected the sha256 {SHA256}.*an HTML page"):
        fetch(f"{server.url}/pets.zip", tmp_path / "new" / "pets.zip", sha256=SHA256)
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_addresses_may_hold_spaces_and_letters(server: Server, tmp_path: Path) -> None:
    server.at["/my%20pets%C3%A9.zip?a=1&b=%2F"] = [Answer(BODY)]
    fetch(f" {server.url}/my petsé.zip?a=1&b=%2F#top", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_chunked_answer_has_no_length(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, chunked=True, cut=20_000), Answer(BODY, chunked=True)]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert server.ranges() == [None, None]


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(b"")]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == b""


def test_no_bar_without_a_terminal_but_a_line_in_the_log(
    server: Server,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.at["/x"] = [Answer(BODY)]
    with caplog.at_level(logging.INFO, "cnnkit"):
        fetch(f"{server.url}/x", tmp_path / "x")
    assert [record.message.split(" in ")[0] for record in caplog.records] == [
        f"{server.url}/x: 50000 bytes"
    ]
    assert capfd.readouterr() == ("", "")


def test_a_file_that_does_not_fit_on_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.at["/x"] = [Answer(BODY)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=49_999))
    with pytest.raises(DownloadError, match=r"50,000 bytes are still to come.*49,999 free"):
        fetch(f"{server.url}/x", tmp_path / "x")
    assert left(tmp_path) == []


# ---------------------------------------------------------------- cut off


@pytest.mark.parametrize(
    ("etag", "modified", "strong"),
    [('"v1"', None, '"v1"'), (None, DATE, DATE), ('W/"v1"', DATE, DATE), ('"v1"', DATE, '"v1"')],
)
def test_what_was_cut_off_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, etag: str | None, modified: str | None, strong: str
) -> None:
    server.at["/x"] = [
        Answer(BODY, etag=etag, modified=modified, cut=20_000),
        Answer(BODY, etag=etag, modified=modified, cut=7),
        Answer(BODY, etag=etag, modified=modified),
    ]
    assert fetch(f"{server.url}/x", tmp_path / "x", retries=1).read_bytes() == BODY
    assert server.ranges() == [None, "bytes=20000-", "bytes=20007-"]
    assert server.requests[1][1]["If-Range"] == strong
    assert left(tmp_path) == ["x"]


def test_a_server_that_ignores_ranges_starts_afresh(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [
        Answer(BODY, etag='"v1"', cut=20_000),
        Answer(BODY, etag='"v1"', ranges=False),
    ]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert server.ranges() == [None, "bytes=20000-"]


def test_without_a_version_only_a_checksum_allows_to_go_on(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, cut=20_000), Answer(BODY)]
    fetch(f"{server.url}/x", tmp_path / "plain")
    server.at["/x"] = [Answer(BODY, cut=20_000), Answer(BODY)]
    fetch(f"{server.url}/x", tmp_path / "checked", sha256=SHA256)
    assert server.ranges() == [None, None, None, "bytes=20000-"]
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "checked").read_bytes() == BODY


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("new", [OTHER, OTHER + b"longer", OTHER[:30_000]])
def test_a_changed_file_is_never_glued_to_an_old_half(
    server: Server, tmp_path: Path, new: bytes, if_range: bool
) -> None:
    server.at["/x"] = [
        Answer(BODY, etag='"v1"', cut=20_000),
        Answer(new, etag='"v2"', if_range=if_range),
    ]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == new


def test_another_range_than_was_asked_for_is_not_used(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [
        Answer(BODY, etag='"v"', cut=20_000),
        Answer(BODY, etag='"v"', shift=1),
        Answer(BODY, etag='"v"'),
    ]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert server.ranges() == [None, "bytes=20000-", None]


def test_a_file_that_shrank_below_the_part_is_416(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [
        Answer(BODY, etag='"v1"', cut=20_000),
        Answer(OTHER[:9_000], etag='"v2"', if_range=False),
    ]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == OTHER[:9_000]
    assert server.ranges() == [None, "bytes=20000-", None]


def test_a_length_that_is_too_long_is_an_error_with_both_numbers(
    server: Server, tmp_path: Path
) -> None:
    server.at["/x"] = [Answer(BODY, announced=60_000)]
    with pytest.raises(
        DownloadError, match=r"announced 60,000 bytes and closed after 50,000.*failure 3.*are kept"
    ):
        fetch(f"{server.url}/x", tmp_path / "x", retries=2)
    # The first failure brought bytes; the two after it did not.
    assert len(server.requests) == 3
    assert not (tmp_path / "x").exists()


def test_a_length_that_is_too_short_shows_in_the_checksum(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, announced=40_000)]
    with pytest.raises(ChecksumError, match="got 40,000 bytes"):
        fetch(f"{server.url}/x", tmp_path / "x", sha256=SHA256)
    assert left(tmp_path) == []


def test_a_server_that_falls_silent_is_left_and_asked_again(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, etag='"v"', cut=20_000, stall=5), Answer(BODY, etag='"v"')]
    begun = time.monotonic()
    assert fetch(f"{server.url}/x", tmp_path / "x", timeout=0.2).read_bytes() == BODY
    assert time.monotonic() - begun < 3
    assert server.ranges() == [None, "bytes=20000-"]


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, etag='"v"', cut=20_000), Answer(status=500), Answer(BODY)]
    with pytest.raises(DownloadError, match="500"):
        fetch(f"{server.url}/x", tmp_path / "x", retries=1)
    assert left(tmp_path) == ["x.part", "x.part.json"]
    server.at["/x"] = [Answer(BODY, etag='"v"')]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert server.ranges()[-1] == "bytes=20000-"


def test_a_part_of_another_address_or_of_nobody_is_not_gone_on_with(
    server: Server, tmp_path: Path
) -> None:
    server.at["/a"] = [Answer(OTHER, etag='"v"', cut=20_000)]
    server.at["/b"] = [Answer(BODY, etag='"v"')]
    with pytest.raises(DownloadError, match="closed after 20,000"):
        fetch(f"{server.url}/a", tmp_path / "x", retries=0)
    assert fetch(f"{server.url}/b", tmp_path / "x").read_bytes() == BODY
    (tmp_path / "y.part").write_bytes(b"who knows")
    assert fetch(f"{server.url}/b", tmp_path / "y").read_bytes() == BODY
    assert server.ranges() == [None, None, None]


def test_a_part_that_lacks_only_its_name_needs_no_request(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, etag='"v"', cut=20_000)]
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/x", tmp_path / "x", retries=0)
    (tmp_path / "x.part").write_bytes(BODY)
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert len(server.requests) == 1


# ---------------------------------------------------------------- two at once, and killed


def test_of_two_at_once_one_downloads_and_both_have_it(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, pace=0.02)]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(f"{server.url}/x", tmp_path / "x")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == BODY for path in paths] == [True] * 4
    assert len(server.requests) == 1
    assert left(tmp_path) == ["x"]


def test_killed_in_the_middle_and_run_again(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(BODY, etag='"v"', pace=0.2), Answer(BODY, etag='"v"')]
    code = "import sys; from cnnkit.data._fetch import fetch; fetch(sys.argv[1], sys.argv[2])"
    child = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/x", tmp_path / "x"])
    part = tmp_path / "x.part"
    while not (part.exists() and part.stat().st_size >= 20_000):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert left(tmp_path) == [".x.lock", "x.part", "x.part.json"]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= 20_000
    assert left(tmp_path) == ["x"]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "http.*file:///etc/passwd.*needs no fetching"),
        ("ftp://a.example/x", "ftp://a.example/x"),
        ("pets.zip", "expected an http.*'pets.zip'"),
        ("http:///pets.zip", "expected an http"),
        ("http://a.example:port/x", "expected an http"),
        ("https://me:secret@a.example/x", "a.example holds a user name"),
        ("https://drive.google.com/drive/folders/1aB?usp=sharing", "not to a file"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        fetch(url, tmp_path / "x")
    assert "secret" not in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sha256": "abc"}, "64 hexadecimal digits.*'abc'"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
        ({"headers": {"range": "bytes=0-"}}, "must not ask for a range"),
        ({"headers": {"Cookie": "a\r\nHost: b"}}, "'Cookie' must be one line"),
    ],
)
def test_arguments_that_make_no_sense(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", **arguments)


def test_the_target_is_a_file_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"{tmp_path} is a folder"):
        fetch("http://127.0.0.1:9/x", tmp_path)


def test_is_url() -> None:
    assert is_url("http://a/b")
    assert is_url("s3://a/b")
    assert not is_url("a/b.zip")
    assert not is_url(r"C:\pets.zip")
    assert not is_url(Path("pets.zip"))


def test_sha256_of_equals_hashlib(tmp_path: Path) -> None:
    for size in (0, 1, 1 << 20, (1 << 20) + 1):
        data = random.Random(size).randbytes(size)
        (tmp_path / "x").write_bytes(data)
        assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()
