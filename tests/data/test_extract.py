"""extract: real archives come out whole, hostile ones leave no trace."""

from __future__ import annotations

import io
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from archive_corpus import HOSTILE, PLAIN, announcing, patched, tar_of, zip_of
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnkit.data import _safe_names
from cnnkit.data._extract import Limits, extract
from cnnkit.data._limits import Budget
from cnnkit.data._safe_names import UnsafeNameError, is_litter, safe_path
from cnnkit.errors import ArchiveError, ArgumentError, DataError, NotFoundError

FILES = {
    "pets/cats/1.jpg": b"\xff\xd8\xff cat",
    "pets/cats/2.jpg": b"",
    "pets/dogs/1.jpg": random.Random(0).randbytes(1_500_000),  # more than one chunk
    "pets/labels.csv": b"name,label\n" * 1000,
}


def written(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# ---------------------------------------------------------------- whole


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_comes_out_as_zipfile_has_it(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "pets.zip"
    archive.write_bytes(zip_of(*FILES.items(), method=method))
    with zipfile.ZipFile(archive) as reference:
        reference.extractall(tmp_path / "reference")
    root = extract(str(archive), tmp_path / "new" / "pets")
    assert root == tmp_path / "new" / "pets"
    assert written(root) == written(tmp_path / "reference") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "pets.zip", "reference"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pets"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_comes_out_whatever_its_name_says(tmp_path: Path, mode: str, form: int) -> None:
    long = {f"pets/{'long' * 20}/{'name' * 20}.jpg": b"long"} if form != 0 else {}
    files = FILES | long
    with tarfile.open(tmp_path / "pets.zip", mode, format=form) as file:  # type: ignore[call-overload]
        file.addfile(_folder("./"))
        file.addfile(_folder("pets"))
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    assert written(extract(tmp_path / "pets.zip", tmp_path / "pets")) == files


def _folder(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def test_an_old_tar_without_a_magic_number(tmp_path: Path) -> None:
    header = bytearray(PLAIN[:512])
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a").write_bytes(bytes(header) + PLAIN[512:])
    assert sorted(written(extract(tmp_path / "a", tmp_path / "b"))) == ["cats/1.jpg", "dogs/2.jpg"]


def test_a_zip_behind_a_program_that_unpacks_it(tmp_path: Path) -> None:
    (tmp_path / "a.exe").write_bytes(b"MZ" + bytes(1000) + zip_of(*FILES.items()))
    assert written(extract(tmp_path / "a.exe", tmp_path / "b")) == FILES


def test_litter_is_left_out_and_empty_folders_are_not(tmp_path: Path) -> None:
    litter = ["__MACOSX/pets/._1.jpg", "pets/.DS_Store", "pets/Thumbs.db", "pets/Desktop.ini"]
    litter += ["__MACOSX/", "pets/._1.jpg", "__macosx\\pets\\x"]
    names = [*litter, "pets/empty/", "pets/1.jpg", "pets/.hidden"]
    (tmp_path / "a").write_bytes(zip_of(*((name, b"") for name in names)))
    extract(tmp_path / "a", tmp_path / "b")
    assert left(tmp_path / "b") == [".hidden", "1.jpg", "empty", "pets"]


def test_names_keep_their_letters(tmp_path: Path) -> None:
    flagged = zip_of(("größe/日本.jpg", b"1"))
    # As a Mac writes it: UTF-8, and no word about it.
    bare = patched(flagged, 6, bytes(2))
    bare = patched(bare, bare.index(b"PK\x01\x02") + 8, bytes(2))
    for data in (flagged, bare):
        (tmp_path / "a").write_bytes(data)
        target = tmp_path / str(data is bare)
        assert list(written(extract(tmp_path / "a", target))) == ["größe/日本.jpg"]


def test_a_name_in_the_code_page_of_dos(tmp_path: Path) -> None:
    data = zip_of(("gr__e/1.jpg", b"1")).replace(b"gr__e", "größe".encode("cp437"))
    (tmp_path / "a").write_bytes(data)
    assert list(written(extract(tmp_path / "a", tmp_path / "b"))) == ["größe/1.jpg"]


def test_a_tar_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    member = tarfile.TarInfo("gr\udcf6\udcdfe/1.jpg")
    (tmp_path / "a").write_bytes(tar_of((member, b"1")))
    assert list(written(extract(tmp_path / "a", tmp_path / "b"))) == ["größe/1.jpg"]


def test_backslashes_separate_as_some_programs_write_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of(("pets\\cats\\1.jpg", b"1"), ("pets\\none\\", b"")))
    extract(tmp_path / "a", tmp_path / "b")
    assert left(tmp_path / "b") == ["1.jpg", "cats", "none", "pets"]


def test_only_content_is_taken_over(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("run.sh")
    info.external_attr = 0o104777 << 16  # setuid, and executable for everybody
    (tmp_path / "a").write_bytes(zip_of((info, b"#!")))
    mode = (extract(tmp_path / "a", tmp_path / "b") / "run.sh").stat().st_mode
    assert stat.S_IMODE(mode) & 0o7111 == 0


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_named_and_leaves_no_trace(tmp_path: Path, name: str) -> None:
    suffix, maker, pattern = HOSTILE[name]
    archive = tmp_path / f"evil.{suffix}"
    archive.write_bytes(maker())
    with pytest.raises(ArchiveError, match=f"(?s){pattern}") as caught:
        extract(archive, tmp_path / "a" / "b" / "target")
    assert str(archive) in str(caught.value)
    assert left(tmp_path) == [archive.name]


@pytest.mark.parametrize("believed", [True, False])
def test_bombs_are_refused_by_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, believed: bool
) -> None:
    """What a zip announces may spare the work, but it is the count that stops a bomb."""
    if not believed:
        monkeypatch.setattr(Budget, "foresee", lambda *_: None)
    entries = [(f"{i}.bin", random.Random(i).randbytes(1_000) * 100) for i in range(20)]
    for make, limits in (
        (tar_of, Limits(max_bytes=1_000_000)),
        (zip_of, Limits(max_bytes=1_000_000)),
        (tar_of, Limits(max_files=10)),
        (zip_of, Limits(max_files=10)),
        (zip_of, Limits(max_ratio=10)),
    ):
        (tmp_path / "a").write_bytes(make(*entries))
        field = next(key for key, value in vars(limits).items() if vars(Limits())[key] != value)
        with pytest.raises(ArchiveError, match=rf"more than {field}=.*Limits\({field}=…\)"):
            extract(tmp_path / "a", tmp_path / "b", limits=limits)
        assert left(tmp_path) == ["a"]


def test_a_zip_that_announces_too_little_writes_no_more_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    write = os.write

    def counted(descriptor: int, data: bytes) -> int:
        nonlocal count
        count += len(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    (tmp_path / "a").write_bytes(announcing(10))
    with pytest.raises(ArchiveError, match="'a' is broken"):
        extract(tmp_path / "a", tmp_path / "b")
    assert count <= 10


def test_limits_count_folders_and_are_inclusive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of(("x/y/1", b"12"), ("x/y/2", b"34"), ("x/z/", b"")))
    extract(tmp_path / "a", tmp_path / "b", limits=Limits(max_files=5, max_bytes=4))
    with pytest.raises(ArchiveError, match="max_files=4 "):
        extract(tmp_path / "a", tmp_path / "c", limits=Limits(max_files=4))
    with pytest.raises(ArchiveError, match="max_bytes=3;"):
        extract(tmp_path / "a", tmp_path / "c", limits=Limits(max_bytes=3))


def test_the_defaults_let_real_data_through(tmp_path: Path) -> None:
    """Line drawings as BMP and one-hot CSV shrink to a hundredth."""
    rows = [",".join("1" if i == k % 97 else "0" for i in range(97)) for k in range(5000)]
    bmp = bytearray(b"\xff" * 200_000)
    for k in range(0, 200_000, 997):
        bmp[k] = 0
    data = zip_of(("labels.csv", "\n".join(rows).encode()), ("a.bmp", bytes(bmp)))
    assert (200_000 + 970_000) / len(data) > 90
    (tmp_path / "a").write_bytes(data)
    extract(tmp_path / "a", tmp_path / "b")
    default = Limits()
    assert default.max_files > 1_400_000
    assert default.max_bytes > 200_000_000_000


def test_a_limit_may_be_lifted(tmp_path: Path) -> None:
    _, maker, _ = HOSTILE["zip bomb"]
    (tmp_path / "a").write_bytes(maker())
    root = extract(tmp_path / "a", tmp_path / "b", limits=Limits(max_ratio=float("inf")))
    assert (root / "a").stat().st_size == 20_000_000


@pytest.mark.parametrize("field", ["max_bytes", "max_files", "max_ratio"])
def test_limits_are_above_zero(field: str) -> None:
    with pytest.raises(ArgumentError, match=f"{field} must be above 0, got 0"):
        Limits(**{field: 0})


@settings(max_examples=100, deadline=None)
@given(
    data=st.sampled_from([zip_of(*list(FILES.items())[:2], ("a/b", b"c" * 999)), PLAIN]),
    draw=st.data(),
)
def test_whatever_is_damaged_it_is_an_archive_error_or_a_folder(
    data: bytes, draw: st.DataObject
) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(data)) | st.just(len(data)))
    with tempfile.TemporaryDirectory() as folder:
        archive, target = Path(folder, "a"), Path(folder, "x", "target")
        archive.write_bytes(damaged[:cut])
        try:
            extract(archive, target)
        except ArchiveError:
            assert left(Path(folder)) == ["a"]
        else:
            assert [path.name for path in target.parent.iterdir()] == ["target"]


# ---------------------------------------------------------------- names


def test_windows_refuses_what_it_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/con.png", "aux/1.png", "a/12:30.png", "a?", "COM1", "a/nul"):
        assert safe_path(name) == name
    monkeypatch.setattr(_safe_names, "_ON_WINDOWS", True)
    for name in ("a/con.png", "aux/1.png", "a/12:30.png", "a?", "COM1", "a/nul"):
        with pytest.raises(UnsafeNameError, match="Windows cannot write"):
            safe_path(name)
    for name in ("a/icon.png", "auxiliary/1.png", "command/com10.png"):
        assert safe_path(name) == name


def test_what_only_looks_like_litter_stays() -> None:
    for name in ("a/_1.jpg", "MACOSX/1.jpg", "a/thumbs.db.jpg", "a/.hidden", "my__MACOSX/1.jpg"):
        assert not is_litter(name)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other limits")
def test_a_name_that_the_disk_does_not_take_is_named(tmp_path: Path) -> None:
    name = "n" * 300
    (tmp_path / "a").write_bytes(zip_of((name, b"1")))
    with pytest.raises(ArchiveError, match=f"'{name}' cannot be written here: File name too long"):
        extract(tmp_path / "a", tmp_path / "b")
    assert left(tmp_path) == ["a"]


# ---------------------------------------------------------------- the target


def test_the_target_may_be_an_empty_folder_or_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of(*FILES.items()))
    (tmp_path / "empty").mkdir()
    (tmp_path / "disk" / "far").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "far")
    assert written(extract(tmp_path / "a", tmp_path / "empty")) == FILES
    assert written(extract(tmp_path / "a", tmp_path / "link")) == FILES
    assert (tmp_path / "link").is_symlink()


def test_the_target_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of(*FILES.items()))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"full holds 'mine.txt'"):
        extract(tmp_path / "a", tmp_path / "full")
    with pytest.raises(DataError, match=r"a is a file"):
        extract(tmp_path / "a", tmp_path / "a")
    assert left(tmp_path) == ["a", "full", "mine.txt"]


def test_the_archive_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing at .*none\.zip"):
        extract(tmp_path / "none.zip", tmp_path / "b")
    with pytest.raises(ArgumentError, match=f"{tmp_path} is a folder"):
        extract(tmp_path, tmp_path / "b")


def test_killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    files = {f"cats/{i}.jpg": b"%d" % i for i in range(2000)}
    (tmp_path / "pets.zip").write_bytes(zip_of(*files.items()))
    code = """if True:
        import os, sys, time
        from cnnkit.data._extract import extract
        close = os.close
        os.close = lambda descriptor: (close(descriptor), time.sleep(0.005))
        extract(sys.argv[1], sys.argv[2])
    """
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "pets.zip", tmp_path / "pets"])
    room = tmp_path / ".pets.cnnkit-extracting" / "cats"
    while not (room.exists() and len(list(room.iterdir())) > 20):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".pets.cnnkit-extracting",
        ".pets.lock",
        "pets.zip",
    ]
    assert written(extract(tmp_path / "pets.zip", tmp_path / "pets")) == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets", "pets.zip"]
