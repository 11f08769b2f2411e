"""Google Drive: every form of link, and gdown behind it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cnnkit.data._fetch import fetch
from cnnkit.data._gdrive import google_drive_id
from cnnkit.errors import DownloadError, MissingExtraError

BODY = b"cats and dogs"
SHA256 = hashlib.sha256(BODY).hexdigest()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


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
    gdown = pytest.importorskip("gdown")
    assert {"id", "output", "quiet", "user_agent"} <= set(
        inspect.signature(gdown.download).parameters
    )
