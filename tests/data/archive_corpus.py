"""Archives that mean harm, are broken, or are none: each made from scratch, with what must be said.

A maker returns the bytes of one archive; `HOSTILE` maps a name to (suffix, maker, pattern).
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable

Maker = Callable[[], bytes]

_CENTRAL = b"PK\x01\x02"


def zip_of(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A zip that zipfile itself would refuse to read keeps its names: they are set afterwards."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore")  # duplicate names
        for name, data in entries:
            if isinstance(name, zipfile.ZipInfo):
                file.writestr(name, data)
            else:
                info = zipfile.ZipInfo("x")
                info.filename = name
                info.compress_type = method
                file.writestr(info, data)
    return buffer.getvalue()


def tar_of(*entries: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in entries:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = member.size or len(data)
            file.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def zip_special(mode: int) -> bytes:
    info = zipfile.ZipInfo("cats/link")
    info.create_system = 3
    info.external_attr = mode << 16
    return zip_of((info, b"/etc/passwd"))


def tar_special(kind: bytes) -> bytes:
    member = tarfile.TarInfo("cats/link")
    member.type = kind
    member.linkname = "/etc/passwd"
    return tar_of(("cats/1.jpg", b"1"), (member, b""))


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def encrypted() -> bytes:
    data = zip_of(("cats/1.jpg", b"secret"))
    data = patched(data, 6, b"\x01\x00")  # the flags of the local header
    return patched(data, data.index(_CENTRAL) + 8, b"\x01\x00")


def overlapping() -> bytes:
    """Two names for the same bytes, as in the bombs of Fifield."""
    data = zip_of(("a", b"0" * 100_000), ("b", b"0" * 100_000))
    second = data.rindex(_CENTRAL)
    return patched(data, second + 42, struct.pack("<L", 0))


def over_the_table() -> bytes:
    data = zip_of(("a", b"0123456789"), method=zipfile.ZIP_STORED)
    return patched(data, data.index(_CENTRAL) + 20, struct.pack("<LL", 10_000, 10_000))


def announcing(size: int) -> bytes:
    """A file of a million bytes that says it has `size`."""
    data = zip_of(("a", random.Random(0).randbytes(10_000) * 100))  # no bomb
    data = patched(data, 22, struct.pack("<L", size))
    return patched(data, data.index(_CENTRAL) + 24, struct.pack("<L", size))


def flipped(data: bytes, what: bytes) -> bytes:
    """`data` with one bit of `what` turned."""
    at = data.index(what)
    return patched(data, at, bytes([data[at] ^ 1]))


def method_9() -> bytes:
    data = zip_of(("a", b"0123456789"))
    data = patched(data, 8, b"\x09\x00")
    return patched(data, data.index(_CENTRAL) + 10, b"\x09\x00")


def sparse() -> bytes:
    """A tar of 1 kB that holds 8 GB of nothing."""
    member = tarfile.TarInfo("cats/1.bmp")
    member.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(8 << 30),
        "GNU.sparse.map": "0,0",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(member)
    return buffer.getvalue()


def huge_header() -> bytes:
    """A tar.gz whose header alone has 64 MB."""
    member = tarfile.TarInfo("cats/1.jpg")
    member.pax_headers = {"comment": "0" * (64 << 20)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(member)
    return gzip.compress(buffer.getvalue(), 1)


def backwards() -> bytes:
    """A tar whose header has a negative size, which leads a naive reader in a circle."""
    data = tar_of(("cats/1.jpg", b"1"))
    header = bytearray(data[:512])
    header[124:136] = (-1024 & (1 << 96) - 1).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


PLAIN = tar_of(("cats/1.jpg", b"cat" * 1000), ("dogs/2.jpg", b"dog" * 1000))
_CATS = zip_of(("cats/1.jpg", b"cat" * 1000), method=zipfile.ZIP_STORED)


def _names(*names: str) -> Iterable[tuple[str, Maker, str]]:
    """The same names in a zip and in a tar."""
    entries = [(name, b"evil") for name in names]
    yield "zip", lambda: zip_of(*entries), ""
    yield "tar", lambda: tar_of(*entries), ""


_BAD_NAMES = {
    "upwards": (["../evil.txt"], "leads upwards"),
    "upwards inside": (["cats/../../evil.txt"], "leads upwards"),
    "upwards by backslash": (["..\\evil.txt"], "leads upwards"),
    "upwards on Windows": ([".. /evil.txt"], "leads upwards"),
    "absolute": (["/tmp/evil.txt"], "an absolute path"),
    "absolute by backslash": (["\\evil.txt"], "an absolute path"),
    "share": (["\\\\host\\evil.txt"], "an absolute path"),
    "drive": (["C:/evil.txt"], "drive letter"),
    "drive without slash": (["c:evil.txt"], "drive letter"),
    "line break": (["a\nb"], "control characters"),
    "twice": (["a/1.jpg", "a/1.jpg"], "'a/1.jpg' is refused: .*an earlier entry has already"),
    "twice by dots": (["a/1.jpg", "./a//1.jpg"], "an earlier entry has already"),
    "case of a file": (["a/1.jpg", "a/1.JPG"], "'a/1.JPG' is refused: .*take for 'a/1.jpg'"),
    "case of a folder": (["Cats/1.jpg", "cats/2.jpg"], "take for 'Cats'"),
    "accents": (["caf\u00e9/1.jpg", "cafe\u0301/2.jpg"], "take for"),
    "order of accents": (["\u03b1\u0345\u0301/1.jpg", "\u1fb4/2.jpg"], "take for"),
    "trailing dot": (["a/1.jpg", "a./2.jpg"], "take for 'a'"),
    "file as folder": (["a", "a/b"], "an earlier entry has already"),
    "folder as file": (["a/b", "a"], "an earlier entry has already"),
    "deep": (["a/" * 200 + "b"], "200 levels deep"),
    "no name": (["."], "a file without a name"),
}

HOSTILE: dict[str, tuple[str, Maker, str]] = {
    f"{kind} {name}": (kind, maker, pattern)
    for name, (names, pattern) in _BAD_NAMES.items()
    for kind, maker, _ in _names(*names)
} | {
    "zip NUL": ("zip", lambda: zip_of(("cats/1.jpg\0.exe", b"evil")), "control characters"),
    "zip nameless": ("zip", lambda: zip_of(("", b"evil")), "a file without a name"),
    "zip symlink": ("zip", lambda: zip_special(0o120777), "'cats/link' is a symbolic link"),
    "zip device": ("zip", lambda: zip_special(0o020666), "'cats/link' is a device"),
    "zip encrypted": ("zip", encrypted, "'cats/1.jpg' is encrypted"),
    "zip overlapping": ("zip", overlapping, "'b' overlaps"),
    "zip over its table": ("zip", over_the_table, "overlaps the table"),
    "zip cut in half": ("zip", lambda: _CATS[: len(_CATS) // 2], "truncated"),
    "zip cut at the end": ("zip", lambda: _CATS[:-5], "truncated"),
    "zip without its beginning": ("zip", lambda: _CATS[1000:], "broken|overlaps|looks like"),
    "zip CRC": ("zip", lambda: flipped(_CATS, b"catcat"), "'cats/1.jpg' is broken.*CRC"),
    "zip says less": ("zip", lambda: announcing(10), "'a' is broken"),
    "zip says more": ("zip", lambda: announcing(1_000_001), "'a' (is broken|has 1,000,000 bytes)"),
    "zip method": ("zip", method_9, "'a' is packed by method 9"),
    "zip empty": ("zip", lambda: zip_of(), "holds no files"),
    "zip of litter": ("zip", lambda: zip_of(("__MACOSX/._a", b"x")), "holds no files"),
    "zip bomb": ("zip", lambda: zip_of(("a", bytes(20_000_000))), r"max_ratio=500 times"),
    "zip bomb by LZMA": (
        "zip",
        lambda: zip_of(("a", bytes(20_000_000)), method=zipfile.ZIP_LZMA),
        r"max_ratio=500 times",
    ),
    "tar symlink": (
        "tar",
        lambda: tar_special(tarfile.SYMTYPE),
        "a symbolic link to '/etc/passwd'",
    ),
    "tar hard link": ("tar", lambda: tar_special(tarfile.LNKTYPE), "a hard link to '/etc/passwd'"),
    "tar device": ("tar", lambda: tar_special(tarfile.CHRTYPE), "'cats/link' is a device"),
    "tar block device": ("tar", lambda: tar_special(tarfile.BLKTYPE), "'cats/link' is a device"),
    "tar pipe": ("tar", lambda: tar_special(tarfile.FIFOTYPE), "'cats/link' is a device, a pipe"),
    "tar unknown type": ("tar", lambda: tar_special(b"Z"), "'cats/link' is a .*unknown type"),
    "tar sparse": ("tar", sparse, "'cats/1.bmp' is a sparse file"),
    "tar huge header": ("tar.gz", huge_header, r"a header of 67,\d+,\d+ bytes"),
    "tar backwards": ("tar", backwards, "broken|backwards|tar inside"),
    "tar cut in a file": ("tar", lambda: PLAIN[:1000], "ends 2,512 bytes before .*'cats/1.jpg'"),
    "tar cut between files": ("tar", lambda: PLAIN[:3584], "without its end mark"),
    "tar cut in a header": ("tar", lambda: PLAIN[:3800], "without its end mark"),
    "tar garbled header": ("tar", lambda: flipped(PLAIN, b"dogs/2.jpg"), "without its end mark"),
    "tar garbled first header": ("tar", lambda: flipped(PLAIN, b"cats"), "tar inside"),
    "tar.gz cut": ("tar.gz", lambda: gzip.compress(PLAIN)[:-20], "broken|truncated"),
    "tar.gz CRC": (
        "tar.gz",
        lambda: (lambda data: patched(data, len(data) - 8, b"\0\0\0\0"))(gzip.compress(PLAIN)),
        "broken.*CRC",
    ),
    "tar.gz bomb": ("tar.gz", lambda: gzip.compress(tar_of(("a", bytes(20_000_000)))), "max_ratio"),
    "tar.gz bomb in litter": (
        "tar.gz",
        lambda: gzip.compress(tar_of(("__MACOSX/._a", bytes(20_000_000)), ("b", b"b"))),
        "max_ratio",
    ),
    "tar.gz bomb behind the end": (
        "tar.gz",
        lambda: gzip.compress(PLAIN + bytes(20_000_000)),
        "max_ratio",
    ),
    "gzip of text": ("csv.gz", lambda: gzip.compress(b"a,b\n" * 1000), "tar inside"),
    "HTML": (
        "zip",
        lambda: b"\n<!DOCTYPE html><html>log in</html>",
        "an HTML page, perhaps a login",
    ),
    "JSON": ("zip", lambda: b'{"error": "quota"}', "JSON text"),
    "PNG": ("zip", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
    "RAR": ("zip", lambda: b"Rar!\x1a\x07\x00" + bytes(100), "a RAR archive; unpack it"),
    "LFS": ("zip", lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": ("zip", lambda: "grüße".encode() * 10, "text that begins with 'grüße"),
    "nothing": ("zip", lambda: b"", "an empty file"),
    "noise": ("zip", lambda: bytes(range(255, 55, -1)), "unknown data.*ff fe fd"),
}
