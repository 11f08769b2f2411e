"""What a file is by its first bytes: an archive to extract, or what to call it in an error."""

from __future__ import annotations

import codecs
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

__all__ = ["ArchiveKind", "archive_kind", "looks_like"]

ArchiveKind = Literal["zip", "tar", "gzip", "bzip2", "xz"]

_KINDS: tuple[tuple[bytes, ArchiveKind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty one
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_OTHERS = (
    (b"Rar!", "a RAR archive; unpack it and pack it again as a zip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and pack it again as a zip"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it and pack it again as a zip"),
    (b"version https://git-lfs", "a Git LFS pointer; the file itself comes with `git lfs pull`"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
    (b"MZ", "a Windows program"),
    (b"{", "JSON text, perhaps the error message of a service"),
    (b"<?xml", "XML text, perhaps the error message of a service"),
)
_HEAD = 4096


def archive_kind(path: Path) -> ArchiveKind | None:
    """Return how a file is packed, by its content; None when it is no archive."""
    head = _head(path)
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar" or (head and tarfile.is_tarfile(path)):
        return "tar"
    return "zip" if zipfile.is_zipfile(path) else None  # one behind a program that unpacks it


def looks_like(path: Path) -> str:
    """Say what a file that is no archive seems to be, to follow "looks like"."""
    head = _head(path).lstrip()
    if not path.stat().st_size:
        return "an empty file"
    if head[:200].lower().startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "an HTML page, perhaps a login, a warning or an error; open the link in a browser"
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    if b"\x00" not in head and _is_text(head):
        return f"text that begins with {head[:40].decode(errors='replace')!r}"
    return f"unknown data that begins with the bytes {head[:8].hex(' ')}"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # its last letter may be cut in two
    except UnicodeDecodeError:
        return False
    return True
