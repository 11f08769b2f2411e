"""fetch against a server that cuts off, lies, ignores ranges, refuses and redirects."""

from __future__ import annotations

import hashlib
import io
import logging
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from http_server import Answer, Server

from cnnkit.data import _http
from cnnkit.data._disk import sha256_of
from cnnkit.data._fetch import fetch, is_url
from cnnkit.data._gdrive import google_drive_id
from cnnkit.data._request import _Redirects
from cnnkit.errors import ArgumentError, ChecksumError, DownloadError, MissingExtraError

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


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("status", [400, 404, 410, 416, 204])
def test_what_will_not_pass_is_asked_once(server: Server, tmp_path: Path, status: int) -> None:
    server.at["/x"] = [Answer(status=status)]
    with pytest.raises(DownloadError, match=f"{server.url}/x.*{status}"):
        fetch(f"{server.url}/x", tmp_path / "new" / "x")
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_403_suggests_another_user_agent_and_headers_are_sent(
    server: Server, tmp_path: Path
) -> None:
    server.at["/x"] = [Answer(status=403), Answer(BODY)]
    with pytest.raises(DownloadError, match=r'403.*headers=\{"User-Agent": "Mozilla/5.0"\}'):
        fetch(f"{server.url}/x", tmp_path / "x")
    # As copied from a browser: a compressed answer would not be the file.
    fetch(
        f"{server.url}/x",
        tmp_path / "x",
        headers={"user-agent": "Mozilla/5.0", "accept-encoding": "gzip, br"},
    )
    sent = server.requests[-1][1]
    assert sent.get_all("User-Agent") == ["Mozilla/5.0"]
    assert sent.get_all("Accept-Encoding") == ["identity"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.at["/x"] = [Answer(status=status), Answer(status=status), Answer(BODY)]
    assert fetch(f"{server.url}/x", tmp_path / "x", retries=2).read_bytes() == BODY
    server.at["/y"] = [Answer(status=status)]
    with pytest.raises(DownloadError, match=f"{status}.*gave up at failure 3"):
        fetch(f"{server.url}/y", tmp_path / "y", retries=2)
    assert len(server.requests) == 3 + 3
    assert left(tmp_path) == ["x"]


def test_delays_double_and_the_server_may_name_its_own(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(_http, "_FIRST_DELAY", 1.0)
    monkeypatch.setattr(time, "sleep", waited.append)
    server.at["/x"] = [
        Answer(status=503),
        Answer(status=503),
        Answer(status=429, headers={"Retry-After": "7"}),
        Answer(status=429, headers={"Retry-After": DATE}),
        Answer(BODY),
    ]
    fetch(f"{server.url}/x", tmp_path / "x")
    assert [wait for wait in waited if wait] == [1.0, 2.0, 7.0]


def test_a_server_that_asks_for_an_hour_gets_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server.at["/x"] = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match=r"429.*wait 3600 s"):
        fetch(f"{server.url}/x", tmp_path / "x")
    assert len(server.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(DownloadError, match="refused; gave up at failure 2"):
        fetch(url, tmp_path / "x", retries=1)


def test_no_such_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"there is no host 'pets\.example'"):
        fetch("http://pets.example/x", tmp_path / "x")


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, tmp_path: Path, status: int) -> None:
    server.at["/x"] = [Answer(status=status, headers={"Location": "/y"})]
    server.at["/y"] = [Answer(BODY, etag='"v"', cut=20_000), Answer(BODY, etag='"v"')]
    assert fetch(f"{server.url}/x", tmp_path / "x").read_bytes() == BODY
    assert server.ranges() == [None, None, "bytes=20000-", "bytes=20000-"]


def test_a_circle_ends(server: Server, tmp_path: Path) -> None:
    server.at["/x"] = [Answer(status=302, headers={"Location": "/x"})]
    with pytest.raises(DownloadError, match="infinite loop"):
        fetch(f"{server.url}/x", tmp_path / "x")
    assert len(server.requests) < 20


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_stay_on_the_web(server: Server, tmp_path: Path, place: str) -> None:
    server.at["/x"] = [Answer(status=302, headers={"Location": place})]
    with pytest.raises(DownloadError, match=r"/x.*(not allowed|not safe)"):
        fetch(f"{server.url}/x", tmp_path / "x")
    assert left(tmp_path) == []


def test_another_host_gets_no_secrets(server: Server, tmp_path: Path) -> None:
    with Server() as other:
        server.at["/x"] = [Answer(status=302, headers={"Location": f"{server.url}/y"})]
        server.at["/y"] = [Answer(status=302, headers={"Location": f"{other.url}/z"})]
        other.at["/z"] = [Answer(BODY)]
        secrets = {"Authorization": "Bearer s", "Cookie": "s=1", "X-Api-Key": "s"}
        fetch(f"{server.url}/x", tmp_path / "x", headers={"User-Agent": "me", **secrets})
    same, foreign = server.requests[1][1], other.requests[0][1]
    assert [same[name] for name in secrets] == list(secrets.values())
    assert [foreign[name] for name in secrets] == [None, None, None]
    assert same["User-Agent"] == foreign["User-Agent"] == "me"


def test_https_is_never_left_for_http() -> None:
    request = urllib.request.Request("https://a.example/x")
    with pytest.raises(DownloadError, match=r"redirects to http://a\.example/x"):
        _Redirects().redirect_request(
            request, io.BytesIO(), 302, "", HTTPMessage(), "http://a.example/x"
        )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_https_is_never_left_for_http_on_the_wire(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", pem, "-out", tmp_path / "cert"],
        check=True,
        capture_output=True,
    )
    pem.write_bytes(pem.read_bytes() + (tmp_path / "cert").read_bytes())
    server.at["/x"] = [Answer(BODY)]
    with Server(pem) as secure:
        secure.at["/x"] = [Answer(BODY)]
        with pytest.raises(DownloadError, match="certificate is not to be trusted"):
            fetch(f"{secure.url}/x", tmp_path / "x")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        assert fetch(f"{secure.url}/x", tmp_path / "x").read_bytes() == BODY
        secure.at["/x"] = [Answer(status=302, headers={"Location": f"{server.url}/x"})]
        with pytest.raises(DownloadError, match=f"redirects to {server.url}/x"):
            fetch(f"{secure.url}/x", tmp_path / "y")
    assert server.requests == []


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


# ---------------------------------------------------------------- Google Drive


@pytest.mark.parametrize(
    "url",
    [
        "https://drive.google.com/file/d/1aB-c_D/view?usp=sharing",
        "https://drive.google.com/file/d/1aB-c_D/edit",
        "https://drive.google.com/file/d/1aB-c_D",
        "https://drive.google.com/file/u/0/d/1aB-c_D/view",
        "https://drive.google.com/a/example.org/file/d/1aB-c_D/view?usp=drive_link",
        "https://drive.google.com/open?id=1aB-c_D",
        "https://drive.google.com/open?usp=sharing&id=1aB-c_D",
        "https://drive.google.com/uc?id=1aB-c_D",
        "https://drive.google.com/uc?export=download&id=1aB-c_D&confirm=t",
        "https://drive.google.com/u/1/uc?id=1aB-c_D&export=download",
        "https://docs.google.com/uc?export=download&id=1aB-c_D",
        "https://drive.usercontent.google.com/download?id=1aB-c_D&export=download&authuser=0",
        "https://drive.usercontent.google.com/u/0/uc?id=1aB-c_D&export=download",
    ],
)
def test_share_links_in_all_their_forms(url: str) -> None:
    assert google_drive_id(url) == "1aB-c_D"


def test_other_hosts_are_not_google_drive() -> None:
    assert google_drive_id("https://drive.google.com.evil.example/file/d/1/view") is None
    assert google_drive_id("https://example.org/file/d/1/view?id=2") is None


def gdown_that(download: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("gdown")
    module.download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", module)


def test_google_drive_goes_through_gdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def download(**arguments: Any) -> str:
        asked.update(arguments)
        Path(arguments["output"]).write_bytes(BODY)
        return str(arguments["output"])

    gdown_that(download, monkeypatch)
    url = "https://drive.google.com/file/d/1aB/view"
    path = fetch(url, tmp_path / "x", sha256=SHA256, headers={"user-agent": "me"})
    assert path.read_bytes() == BODY
    assert left(tmp_path) == ["x"]
    assert (asked["id"], asked["user_agent"], asked["quiet"]) == ("1aB", "me", True)


def test_google_drive_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(**arguments: Any) -> None:
        Path(arguments["output"] + "tmp").write_bytes(BODY)
        raise RuntimeError("quota exceeded")

    gdown_that(download, monkeypatch)
    with pytest.raises(DownloadError, match=r"1aB could not be fetched: quota exceeded.*anyone"):
        fetch("https://drive.google.com/file/d/1aB/view", tmp_path / "x")
    assert left(tmp_path) == []


def test_google_drive_without_gdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(MissingExtraError, match=r"Google Drive.*cnnkit\[gdrive\]"):
        fetch("https://drive.google.com/file/d/1aB/view", tmp_path / "x")
    assert left(tmp_path) == []


def test_the_real_gdown_takes_what_it_is_given() -> None:
    import inspect

    gdown = pytest.importorskip("gdown")
    assert {"id", "output", "quiet", "user_agent"} <= set(
        inspect.signature(gdown.download).parameters
    )
