"""Where an archive comes from: a file here, or an address; and whether a marker speaks of it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from cnnkit.data._disk import sha256_of
from cnnkit.data._fetch import checked_url, fetch
from cnnkit.data._gdrive import google_drive_id
from cnnkit.data._limits import LimitError
from cnnkit.data._marker import Marker
from cnnkit.errors import ArchiveError, ArgumentError, ChecksumError, NotFoundError

__all__ = ["LocalArchive", "RemoteArchive", "download_path"]

_SUFFIXES = re.compile(r"(\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz))+$", re.IGNORECASE)
# A file that changed this recently may change again without its time of change moving on.
_SETTLED_NS = 2_000_000_000


class LocalArchive:
    """An archive that is a file here.

    Args:
        path: Where it lies.
        sha256: Its expected checksum.
    """

    def __init__(self, path: Path, sha256: str | None) -> None:
        self._path = path.resolve()
        self._sha256 = sha256
        self._marker: Marker | None = None
        self.name = str(self._path)
        self.key = _hashed(self.name)
        self.label = _label(path.name, self.key)

    def is_that_of(self, marker: Marker | None) -> bool:
        """Tell whether a folder with this marker, or with none, holds this archive."""
        if self._path.is_dir():
            raise ArgumentError(
                f"expected an archive, but {self._path} is a folder; open it with ImageFolder"
            )
        if not self._path.exists():
            # Who removes an archive after it was extracted means to go on with the files.
            if marker and marker.key == self.key and self._sha256 in (None, marker.sha256):
                return True
            raise NotFoundError(f"expected an archive, but there is nothing at {self._path}")
        stat = self._path.stat()
        seen = (self.key, stat.st_size, stat.st_mtime_ns)
        if marker is not None and (marker.key, marker.size, marker.mtime_ns) == seen:
            found = marker.sha256
        else:
            found = self._read().sha256
        if self._sha256 not in (None, found):
            raise ChecksumError(
                f"{self._path}: expected the sha256 {self._sha256}, got {found}; it is another "
                "file, or was not copied whole, or the checksum is wrong"
            )
        return marker is not None and marker.sha256 == found

    def newer_marker(self) -> Marker | None:
        """Return what is known since the archive was read, so that the next call can spare that."""
        return self._marker

    @contextlib.contextmanager
    def at_hand(self, goal: Path) -> Iterator[tuple[Path, Marker]]:  # noqa: ARG002
        """Yield the archive, to be extracted to `goal`, and the marker for it."""
        yield self._path, self._read()

    def _read(self) -> Marker:
        if self._marker is None:
            stat = self._path.stat()  # before the rest: what changes meanwhile shows the next time
            settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_NS
            self._marker = Marker(
                sha256=sha256_of(self._path),
                source=self.name,
                key=self.key,
                size=stat.st_size,
                mtime_ns=stat.st_mtime_ns if settled else None,
            )
        return self._marker


class RemoteArchive:
    """An archive on the web.

    Args:
        url: An http(s) address or a Google Drive link.
        sha256: Its expected checksum.
        headers: As for `fetch`.
        progress: As for `fetch`.
    """

    def __init__(
        self, url: str, sha256: str | None, headers: Mapping[str, str] | None, progress: bool
    ) -> None:
        self._url, self._sha256 = checked_url(url), sha256
        self._headers, self._progress = headers, progress
        parts, drive_id = urllib.parse.urlsplit(self._url), google_drive_id(self._url)
        self.key = _hashed(drive_id or self._url)  # all the forms of a share link are one source
        self.name = f"{parts.scheme}://{parts.hostname}{parts.path}"  # the query may hold a token
        file_name = urllib.parse.unquote(parts.path).rpartition("/")[2]
        self.label = _label("gdrive" if drive_id else file_name, self.key)

    def is_that_of(self, marker: Marker | None) -> bool:
        """Tell whether a folder with this marker, or with none, holds this archive."""
        if marker is None:
            return False
        return marker.sha256 == self._sha256 if self._sha256 else marker.key == self.key

    def newer_marker(self) -> Marker | None:
        """Return None: a marker of an address does not get old."""
        return None

    @contextlib.contextmanager
    def at_hand(self, goal: Path) -> Iterator[tuple[Path, Marker]]:
        """Download the archive, to be extracted to `goal`; yield it and the marker for it.

        When the work in the block is done the download is removed, and also when it turned out to
        be broken. It stays when the block fails otherwise: to be killed does not cost a download.
        """
        file = download_path(goal, self.key)
        if self._sha256 is not None and file.exists() and sha256_of(file) != self._sha256:
            file.unlink()  # of a killed run that expected another
        fetch(self._url, file, sha256=self._sha256, headers=self._headers, progress=self._progress)
        digest = self._sha256 or sha256_of(file)
        try:
            yield file, Marker(sha256=digest, source=self.name, key=self.key)
        except LimitError as error:
            raise LimitError(f"{self._url}: {error}. The download is kept in {file}") from error
        except ArchiveError as error:
            file.unlink()
            raise ArchiveError(f"{self._url}: {error}") from error
        file.unlink()


def download_path(goal: Path, key: str) -> Path:
    """Return where the download with this key lies until it is extracted to `goal`."""
    return goal.with_name(f".{goal.name}.{key[:8]}.cnnkit-download")


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _label(file_name: str, key: str) -> str:
    """Name a folder in the cache, telling for people and different for each source."""
    stem = re.sub(r"[^\w.-]+", "_", _SUFFIXES.sub("", file_name)).strip("._")[:40]
    return f"{stem or 'archive'}-{key[:10]}"
