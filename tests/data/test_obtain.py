"""obtain: from anywhere to a folder, once; another archive is never taken for the same."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from archive_corpus import zip_of
from http_server import Answer, Server

from cnnkit.data import _http, _obtain, _origin
from cnnkit.data._disk import sha256_of
from cnnkit.data._limits import Limits
from cnnkit.data._marker import read_marker
from cnnkit.data._obtain import cache_folder, obtain
from cnnkit.errors import ArchiveError, ArgumentError, ChecksumError, DataError, NotFoundError

CATS = zip_of(("cats/1.jpg", b"cat"))
DOGS = zip_of(("dogs/1.jpg", b"dog"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CNNKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_http, "_FIRST_DELAY", 0.001)
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the archives that were read to know their checksum."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(_origin, "sha256_of", counted)
    return names


def test_the_folder_that_one_works_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets, here = archive(tmp_path / "pets.zip", CATS), tmp_path / "here"
    (here / "below").mkdir(parents=True)
    monkeypatch.chdir(here / "below")
    with pytest.raises(DataError, match=r"below is the folder that this program works in"):
        obtain(str(pets), ".")
    assert Path.cwd() == here / "below"
    monkeypatch.chdir(obtain(str(pets)))  # in the cache, where a changed archive replaces the old
    archive(pets, DOGS)
    with pytest.raises(DataError, match=r"the folder that this program works in.*or work in anoth"):
        obtain(str(pets))
    assert Path("cats/1.jpg").read_bytes() == b"cat"
    monkeypatch.chdir(tmp_path)
    assert (obtain(str(pets)) / "dogs/1.jpg").read_bytes() == b"dog"


def archive(path: Path, data: bytes, *, age: float = 100) -> Path:
    """A file that was last changed `age` seconds ago."""
    path.write_bytes(data)
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return path


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- a local archive


def test_a_local_archive_is_extracted_once(tmp_path: Path, hashed: list[str]) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    root = obtain(pets, tmp_path / "new" / "root")
    assert root == tmp_path / "new" / "root"
    (root / "cats" / "1.jpg").write_bytes(b"touched")
    for source in (pets, str(pets), os.path.relpath(pets)):
        assert obtain(source, root, sha256=sha256(CATS)) == root
    assert (root / "cats" / "1.jpg").read_bytes() == b"touched"
    assert hashed == ["pets.zip"]
    assert beside(tmp_path / "new") == ["root"]
    marker = read_marker(root)
    assert marker is not None
    assert (marker.sha256, marker.source) == (sha256(CATS), str(pets))


def test_a_touched_archive_is_read_again_and_recognised(tmp_path: Path, hashed: list[str]) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    obtain(pets, tmp_path / "root")
    os.utime(pets, (1e9, 1e9))
    obtain(pets, tmp_path / "root")
    obtain(pets, tmp_path / "root")
    copy = archive(tmp_path / "copy.zip", CATS)
    obtain(copy, tmp_path / "root")
    assert hashed == ["pets.zip", "pets.zip", "copy.zip"]


def test_a_file_that_changed_just_now_may_change_unseen(tmp_path: Path, hashed: list[str]) -> None:
    pets = archive(tmp_path / "pets.zip", CATS, age=0)
    obtain(pets, tmp_path / "root")
    stat = pets.stat()
    assert len(DOGS) == len(CATS)
    pets.write_bytes(DOGS)
    os.utime(pets, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="not that archive"):
        obtain(pets, tmp_path / "root")


def test_another_archive_is_refused_in_a_folder_of_the_users(tmp_path: Path) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    root = obtain(pets, tmp_path / "root")
    archive(pets, DOGS, age=50)
    with pytest.raises(
        DataError, match=f"extracted from {pets} with the sha256 {sha256(CATS)}.*another root"
    ):
        obtain(pets, root)
    assert files(root) == ["cats/1.jpg"]


def test_a_changed_archive_is_extracted_anew_in_the_cache(tmp_path: Path, cache: Path) -> None:
    pets = archive(tmp_path / "my pets.tar.zip", CATS)
    root = obtain(pets)
    assert root.parent == cache
    assert root.name.startswith("my_pets-")
    archive(pets, DOGS, age=50)
    assert obtain(pets) == root
    assert files(root) == ["dogs/1.jpg"]
    assert beside(cache) == [root.name]


def test_archives_of_one_name_do_not_meet_in_the_cache(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = obtain(archive(tmp_path / "a" / "pets.zip", CATS))
    second = obtain(archive(tmp_path / "b" / "pets.zip", CATS))
    assert first != second
    assert len(beside(cache)) == 2


def test_a_failed_replacement_keeps_what_was_there(tmp_path: Path, cache: Path) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    root = obtain(pets)
    archive(pets, DOGS[:50], age=50)
    with pytest.raises(ArchiveError, match="truncated"):
        obtain(pets)
    assert files(root) == ["cats/1.jpg"]
    assert beside(cache) == [root.name]


def test_a_root_with_something_else_is_refused_and_named(tmp_path: Path) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"root holds 'thesis.tex'"):
        obtain(pets, tmp_path / "root")
    (tmp_path / "root" / ".cnnkit-source.json").write_text('{"half a ma')
    with pytest.raises(DataError, match=r"root holds '.cnnkit-source.json', 'thesis.tex'"):
        obtain(pets, tmp_path / "root")


def test_an_archive_that_was_removed_after_extracting_is_not_missed(tmp_path: Path) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    root = obtain(pets, tmp_path / "root")
    pets.unlink()
    assert obtain(pets, root, sha256=sha256(CATS)) == root
    with pytest.raises(NotFoundError, match=r"nothing at .*pets.zip"):
        obtain(pets, root, sha256=sha256(DOGS))
    with pytest.raises(NotFoundError, match=r"nothing at .*other.zip"):
        obtain(tmp_path / "other.zip", root)


def test_a_checksum_is_compared_with_the_archive(tmp_path: Path) -> None:
    pets = archive(tmp_path / "pets.zip", CATS)
    with pytest.raises(ChecksumError, match=f"expected the sha256 {'0' * 64}, got {sha256(CATS)}"):
        obtain(pets, tmp_path / "root", sha256="0" * 64)
    assert beside(tmp_path) == ["pets.zip"]
    obtain(pets, tmp_path / "root")
    with pytest.raises(ChecksumError, match=f"got {sha256(CATS)}"):
        obtain(pets, tmp_path / "root", sha256="0" * 64)


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"{tmp_path} is a folder; open it with ImageFolder"):
        obtain(tmp_path, tmp_path / "root")


def test_a_read_only_root_is_a_no_op_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets = archive(tmp_path / "pets.zip", CATS, age=0)
    root = obtain(pets, tmp_path / "root")

    def read_only(*args: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(_obtain, "write_marker", read_only)
    monkeypatch.setattr(_obtain, "locked", read_only)
    assert obtain(pets, root) == root


# ---------------------------------------------------------------- an archive on the web


def test_an_address_is_asked_once(server: Server, tmp_path: Path) -> None:
    server.at["/pets.zip?token=secret"] = [Answer(CATS)]
    url = f"{server.url}/pets.zip?token=secret"
    root = obtain(url, tmp_path / "root", headers={"X-Me": "1"})
    assert obtain(url, root) == root
    assert obtain(url, root, sha256=sha256(CATS)) == root
    assert files(root) == ["cats/1.jpg"]
    assert [headers["X-Me"] for _, headers in server.requests] == ["1"]
    assert beside(tmp_path) == ["root"]
    assert "secret" not in (root / ".cnnkit-source.json").read_text()


def test_a_mirror_with_the_same_checksum_is_the_same(server: Server, tmp_path: Path) -> None:
    server.at["/a.zip"] = [Answer(CATS)]
    root = obtain(f"{server.url}/a.zip", tmp_path / "root")
    assert obtain(f"{server.url}/b.zip", root, sha256=sha256(CATS)) == root
    with pytest.raises(DataError, match=r"extracted from .*/a.zip .*/b.zip is not that archive"):
        obtain(f"{server.url}/b.zip", root)
    assert len(server.requests) == 1


def test_a_new_checksum_brings_the_new_file_to_the_cache(server: Server, cache: Path) -> None:
    server.at["/pets.zip"] = [Answer(CATS), Answer(DOGS)]
    url = f"{server.url}/pets.zip"
    root = obtain(url, sha256=sha256(CATS))
    assert obtain(url, sha256=sha256(DOGS)) == root
    assert files(root) == ["dogs/1.jpg"]
    with pytest.raises(ChecksumError, match=sha256(CATS)):
        obtain(url, sha256=sha256(CATS))
    assert files(root) == ["dogs/1.jpg"]
    assert beside(cache) == [root.name]


def test_a_page_instead_of_an_archive_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.at["/pets.zip"] = [Answer(b"<html>log in</html>"), Answer(CATS)]
    url = f"{server.url}/pets.zip"
    with pytest.raises(ArchiveError, match=f"{url}: .*an HTML page"):
        obtain(url, tmp_path / "new" / "root")
    assert beside(tmp_path) == []
    assert files(obtain(url, tmp_path / "new" / "root")) == ["cats/1.jpg"]


def test_a_limit_does_not_cost_the_download(server: Server, tmp_path: Path) -> None:
    server.at["/pets.zip"] = [Answer(CATS)]
    url = f"{server.url}/pets.zip"
    with pytest.raises(ArchiveError, match=r"max_bytes=1.*The download is kept in .*/.root\."):
        obtain(url, tmp_path / "root", limits=Limits(max_bytes=1))
    obtain(url, tmp_path / "root")
    assert len(server.requests) == 1
    assert beside(tmp_path) == ["root"]


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'s3://bucket/pets\.zip'"):
        obtain("s3://bucket/pets.zip", tmp_path / "root")


def test_all_forms_of_a_share_link_are_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    def download(**arguments: Any) -> None:
        ids.append(arguments["id"])
        Path(arguments["output"]).write_bytes(CATS)

    module = ModuleType("gdown")
    module.download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdown", module)
    first = obtain("https://drive.google.com/file/d/1aB/view?usp=sharing")
    assert obtain("https://drive.google.com/open?id=1aB") == first
    assert ids == ["1aB"]
    assert first.name.startswith("gdrive-")


def test_the_cache_follows_the_system(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("CNNKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    for platform, expected in (
        ("linux", Path("/xdg/cnnkit")),
        ("win32", Path("/local/cnnkit")),
        ("darwin", Path.home() / "Library/Caches/cnnkit"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == expected
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/cnnkit"


# ---------------------------------------------------------------- killed


def test_killed_while_extracting_a_download_and_run_again(server: Server, tmp_path: Path) -> None:
    """Neither the download is repeated nor the half folder taken for the whole."""
    many = {f"cats/{i}.jpg": b"%d" % i for i in range(2000)}
    server.at["/pets.zip"] = [Answer(zip_of(*many.items()))]
    url = f"{server.url}/pets.zip"
    code = """if True:
        import os, sys, time
        from cnnkit.data._obtain import obtain
        close = os.close
        os.close = lambda descriptor: (close(descriptor), time.sleep(0.005))
        obtain(sys.argv[1], sys.argv[2])
    """
    child = subprocess.Popen([sys.executable, "-c", code, url, tmp_path / "root"])
    room = tmp_path / "..root.cnnkit-new.cnnkit-extracting" / "cats"
    while not (room.exists() and len(list(room.iterdir())) > 20):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "root").exists()
    assert len(files(obtain(url, tmp_path / "root"))) == 2000
    assert len(server.requests) == 1
    assert beside(tmp_path) == ["root"]


@pytest.mark.parametrize("step", range(8))
def test_killed_at_any_rename_and_run_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As by a kill: nothing is cleaned up after the rename number `step`."""

    class Killed(BaseException):
        pass

    pets = archive(tmp_path / "pets.zip", CATS)
    root = obtain(pets)
    archive(pets, DOGS, age=50)
    replace, count = Path.replace, 0

    def counted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > step:
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        for module in (_obtain, sys.modules["cnnkit.data._extract"]):
            patch.setattr(module, "remove_tree", lambda _: None)
        try:
            obtain(pets)
        except Killed:
            assert not root.exists() or files(root) == ["cats/1.jpg"]
        else:
            assert step >= 4
    assert files(obtain(pets)) == ["dogs/1.jpg"]
    assert beside(cache) == [root.name]


def test_the_archive_may_be_large(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3_000_000)
    pets = archive(tmp_path / "pets.zip", zip_of(("cats/1.jpg", data)))
    assert (obtain(pets, tmp_path / "root") / "cats" / "1.jpg").read_bytes() == data
