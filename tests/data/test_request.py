"""What one request makes of refusals and redirects: which are final, followed, or tried again."""

from __future__ import annotations

import io
import random
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path

import pytest
from http_server import Answer, Server

from cnnkit.data import _http
from cnnkit.data._fetch import fetch
from cnnkit.data._request import _Redirects
from cnnkit.errors import DownloadError

BODY = random.Random(0).randbytes(50_000)
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


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
