"""Reading archives: every format becomes one stream of entries, all plain files or folders.

Whatever else an archive holds is refused. Nothing is written here.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from cnnkit.data._limits import Budget
from cnnkit.data._sniff import ArchiveKind, archive_kind, looks_like
from cnnkit.errors import ArchiveError

__all__ = ["Entry", "read_entries"]

_CHUNK = 1 << 20
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # flag bits: classic, strong, hidden table of contents
_UTF8 = 0x800
_LOCAL_HEADER = 30  # bytes before the data of each entry, at the least
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ONLY_FILES = "only plain files and folders are extracted"


class Entry(NamedTuple):
    """A file or folder of an archive; the chunks are read, and counted, when they are asked for."""

    name: str
    is_folder: bool
    chunks: Iterator[bytes]


def read_entries(archive: Path, budget: Budget) -> Generator[Entry, None, None]:
    """Yield what an archive holds, in its order; take the chunks of one before the next.

    Raises:
        ArchiveError: It is no archive, is broken, or holds something that is no file or folder.
    """
    kind = archive_kind(archive)
    if kind is None:
        raise ArchiveError(
            f"expected a zip, tar or tar.gz, but {archive} looks like {looks_like(archive)}"
        )
    try:
        if kind == "zip":
            yield from _zip_entries(archive, budget)
        else:
            yield from _tar_entries(archive, kind, budget)
    except ArchiveError:
        raise
    except Exception as error:  # hostile bytes make the standard library raise a dozen kinds
        raise ArchiveError(f"{archive} is broken or truncated: {error}; get it again") from error


def _zip_entries(archive: Path, budget: Budget) -> Iterator[Entry]:
    if not zipfile.is_zipfile(archive):
        raise ArchiveError(
            f"{archive} begins as a zip, but its end with the table of contents is missing: "
            "it is truncated; get it again"
        )
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        _refuse_overlaps(archive, opened)
        budget.foresee(sum(info.file_size for info in infos))
        for info in infos:
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & _ENCRYPTED:
                raise ArchiveError(
                    f"{archive}: entry {name!r} is encrypted; extract it with its password yourself"
                )
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a symbolic link" if kind == stat.S_IFLNK else "a device, pipe or socket"
                raise ArchiveError(f"{archive}: entry {name!r} is {what}; {_ONLY_FILES}")
            if info.compress_type not in _METHODS:
                raise ArchiveError(
                    f"{archive}: entry {name!r} is packed by method {info.compress_type} (9 is "
                    "Deflate64, by Windows), which Python cannot unpack; pack it again as a zip"
                )
            is_folder = name.endswith(("/", "\\")) or kind == stat.S_IFDIR
            yield Entry(name, is_folder, _zip_chunks(archive, opened, info, budget))


def _zip_chunks(
    archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget
) -> Iterator[bytes]:
    size = 0
    try:
        with opened.open(info) as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                budget.spend_bytes(len(chunk))
                yield chunk
    except ArchiveError:
        raise
    except Exception as error:  # as in read_entries
        raise ArchiveError(
            f"{archive}: entry {info.filename!r} is broken or truncated: {error}; get it again"
        ) from error
    if size != info.file_size:
        raise ArchiveError(
            f"{archive}: entry {info.filename!r} has {size:,} bytes, announced were "
            f"{info.file_size:,}: it is broken; get it again"
        )


def _zip_name(info: zipfile.ZipInfo) -> str:
    if "\0" in info.orig_filename:
        return info.orig_filename  # zipfile cuts the name there; it is to be refused instead
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    # Macs write UTF-8 without saying so; the zip format's own default is code page 437. Text in
    # the latter is next to never valid UTF-8.
    with contextlib.suppress(UnicodeError):
        return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _refuse_overlaps(archive: Path, opened: zipfile.ZipFile) -> None:
    """Refuse files that share bytes, by which a bomb of 10 MB holds 281 TB.

    Source: David Fifield, A better zip bomb, WOOT 2019.
    """
    end = 0
    for info in sorted(opened.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArchiveError(f"{archive}: entry {info.filename!r} overlaps the one before")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size
    if end > opened.start_dir:
        raise ArchiveError(f"{archive}: its last entry overlaps the table of contents")


def _tar_entries(archive: Path, kind: ArchiveKind, budget: Budget) -> Iterator[Entry]:
    with _decompressed(archive, kind) as raw:
        stream = _Forward(raw)
        try:
            opened = tarfile.TarFile(fileobj=cast("IO[bytes]", stream), encoding="utf-8")
        except tarfile.ReadError as error:
            raise ArchiveError(f"{archive} ({kind}): expected a tar inside, {error}") from error
        while (member := opened.next()) is not None:
            opened.members.clear()  # type: ignore[attr-defined]  # a million would fill a GB
            name = _tar_name(member)
            if not (member.isdir() or (member.isreg() and not member.issparse())):
                raise ArchiveError(
                    f"{archive}: entry {name!r} is {_tar_kind(member)}; {_ONLY_FILES}"
                )
            chunks = _tar_chunks(archive, stream, member, budget)
            yield Entry(name, member.isdir(), chunks)
            for _ in chunks:  # what was left unread has to be read past, and counts as well
                pass
        # tarfile takes a header that is cut off or garbled for the end.
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise ArchiveError(
                f"{archive} stops without its end mark: it is truncated or broken; get it again"
            )
        while rest := stream.read(_CHUNK):  # up to the checksum behind the compressed data
            budget.spend_bytes(len(rest))


def _tar_chunks(
    archive: Path, stream: _Forward, member: tarfile.TarInfo, budget: Budget
) -> Iterator[bytes]:
    missing = member.size if member.isreg() else 0
    while missing > 0:
        try:
            chunk = stream.read(min(missing, _CHUNK))
        except Exception as error:  # as in read_entries
            raise ArchiveError(
                f"{archive}: entry {member.name!r} is broken or truncated: {error}; get it again"
            ) from error
        if not chunk:
            raise ArchiveError(
                f"{archive} is truncated: it ends {missing:,} bytes before the end of entry "
                f"{member.name!r}; get it again"
            )
        missing -= len(chunk)
        budget.spend_bytes(len(chunk))
        yield chunk


def _tar_name(member: tarfile.TarInfo) -> str:
    raw = member.name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # an old tar; any letter is better than none


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return f"a symbolic link to {member.linkname!r}"
    if member.islnk():
        return f"a hard link to {member.linkname!r}"
    return "a sparse file" if member.issparse() else "a device, a pipe or of an unknown type"


def _decompressed(archive: Path, kind: ArchiveKind) -> io.BufferedIOBase:
    if kind == "gzip":
        return gzip.open(archive)
    if kind == "bzip2":
        return bz2.open(archive)
    return lzma.open(archive) if kind == "xz" else archive.open("rb")


class _Forward:
    """A stream that tarfile can only read forwards, and in small pieces.

    Going back would mean to decompress everything again, and a header that announces a GB of
    itself, or leads tarfile in a circle, comes only from somebody who means harm.
    """

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw = raw
        self._position = 0
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise ValueError(f"a header of {size:,} bytes")
        self.last = self._raw.read(size)
        self._position += len(self.last)
        return self.last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, /) -> int:
        if position < self._position:
            raise ValueError("a header that leads backwards")
        while position > self._position and self.read(min(position - self._position, _CHUNK)):
            pass
        return self._position

    def close(self) -> None:
        self._raw.close()
