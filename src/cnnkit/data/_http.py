"""One file over http(s) into a part file, resumed where that is safe, retried where it may help.

What the server said of the file (ETag, date, length) lies beside the part in a small JSON file, so
that the second half of a file that changed meanwhile is never glued to the first half of the old.
References: RFC 9110, sections 13.1.5 (If-Range) and 14 (Range).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import json
import logging
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from cnnkit._files import atomic_path
from cnnkit._progress import progress_bar
from cnnkit.data._request import LONGEST_DELAY, MayPassError, NoSuchRangeError, failure, open_url
from cnnkit.errors import DownloadError

__all__ = ["discard", "download"]

_logger = logging.getLogger("cnnkit")

_CHUNK = 1 << 20
_FIRST_DELAY = 1.0  # seconds; doubled by every further failure


@dataclasses.dataclass(frozen=True)
class _Remote:
    """What the server said of the file; `url` is hashed, for it may hold a token."""

    url: str
    etag: str | None
    modified: str | None
    length: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag (a weak one promises no equal bytes) or a date."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


def download(
    url: str,
    part: Path,
    *,
    headers: Mapping[str, str],
    timeout: float,
    retries: int,
    verified: bool,
    progress: bool,
) -> None:
    """Bring the whole of `url` to `part`, going on from what an earlier call left there.

    Args:
        url: An http(s) address.
        part: The file to write; its folder must exist and nobody else may write to it.
        headers: Sent with every request.
        timeout: Seconds without a byte after which an attempt has failed.
        retries: Failures in a row, without one further byte, that are forgiven.
        verified: The caller compares a checksum afterwards, so a part may also be continued when
            the server gives neither ETag nor date to tell its versions apart.
        progress: Show a bar.

    Raises:
        DownloadError: It could not be had. What did arrive stays in `part`.
    """
    furthest, failures = _size(part), 0
    while True:
        try:
            _attempt(url, part, headers, timeout, verified, progress)
        except MayPassError as error:
            size = _size(part)
            failures = 1 if size > furthest else failures + 1
            furthest = max(size, furthest)
            if failures > retries:
                kept = f". {size:,} bytes are kept in {part}; call again to go on" if size else ""
                raise DownloadError(
                    f"{url}: {error}; gave up at failure {failures}{kept}"
                ) from error
            delay = error.delay
            if delay is None:
                delay = min(_FIRST_DELAY * 2 ** (failures - 1), LONGEST_DELAY)
            _logger.info("%s: %s; trying again in %.0f s", url, error, delay)
            time.sleep(delay)
        else:
            _notes_path(part).unlink(missing_ok=True)
            return


def discard(part: Path) -> None:
    """Remove a part file and the notes on it."""
    part.unlink(missing_ok=True)
    _notes_path(part).unlink(missing_ok=True)


def _attempt(
    url: str,
    part: Path,
    headers: Mapping[str, str],
    timeout: float,
    verified: bool,
    progress: bool,
) -> None:
    # A compressed transfer would change the bytes that are counted, resumed and checked.
    headers = {**headers, "Accept-Encoding": "identity"}
    offset, known = _size(part), _resumable(url, part, verified)
    if known and offset == known.length:
        return  # an earlier run was killed between the last byte and the rename
    response = _ask_for_rest(url, headers, timeout, offset, known) if known else None
    if response is None:
        response = open_url(url, headers, timeout)
    with response:
        if known is None or response.status == 200:
            offset, known = 0, _begin(url, response, part)
        length = known.length
        free = shutil.disk_usage(part.parent).free
        if length is not None and length - offset > free:
            raise DownloadError(
                f"{url}: {length - offset:,} bytes are still to come, and the disk of "
                f"{part.parent} has {free:,} free; make room or choose another folder"
            )
        _receive(url, response, part, offset, length, progress)


def _ask_for_rest(
    url: str, headers: Mapping[str, str], timeout: float, offset: int, known: _Remote
) -> http.client.HTTPResponse | None:
    """The rest from `offset` on (206) or the whole (200); None when the part is of another file."""
    ranged = {**headers, "Range": f"bytes={offset}-"}
    if known.validator:
        ranged["If-Range"] = known.validator
    with contextlib.suppress(NoSuchRangeError):
        response = open_url(url, ranged, timeout)
        # Some servers do not know If-Range and send the rest of whatever they have now.
        if response.status == 200 or _same_file(response, offset, known):
            return response
        response.close()
    _logger.info("%s: the file has changed on the server; starting afresh", url)
    return None


def _same_file(response: http.client.HTTPResponse, offset: int, known: _Remote) -> bool:
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    now = _remote("", response)
    return (
        span is not None
        and int(span[1]) == offset
        and span[2] in ("*", str(known.length))
        and now.etag in (None, known.etag)
        and now.modified in (None, known.modified)
    )


def _begin(url: str, response: http.client.HTTPResponse, part: Path) -> _Remote:
    """Take down what the server says of the file. The old part goes first.

    A kill between the two must not leave the new notes beside the old bytes.
    """
    discard(part)
    remote = _remote(url, response)
    with atomic_path(_notes_path(part)) as file:
        file.write_text(json.dumps(dataclasses.asdict(remote)), encoding="utf-8")
    return remote


def _receive(
    url: str,
    response: http.client.HTTPResponse,
    part: Path,
    offset: int,
    length: int | None,
    progress: bool,
) -> None:
    """Append the body to the part; one that ends before `length` is a failure that may pass."""
    name = part.name.removesuffix(".part")
    with part.open("ab") as file, progress_bar(length, name, progress, unit="B") as bar:
        bar.update(offset)
        while length is None or offset < length:
            wanted = _CHUNK if length is None else min(_CHUNK, length - offset)
            try:
                chunk = response.read1(wanted)  # what is there: no byte is lost when the line drops
            except (OSError, http.client.HTTPException) as error:
                raise failure(url, error) from error
            if not chunk:
                break
            file.write(chunk)
            bar.update(len(chunk))
            offset += len(chunk)
    if length is not None and offset < length:
        raise MayPassError(f"the server announced {length:,} bytes and closed after {offset:,}")


def _resumable(url: str, part: Path, verified: bool) -> _Remote | None:
    """What is known of the file that `part` is the beginning of; None where that cannot be told."""
    try:
        notes = _Remote(**json.loads(_notes_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    tellable = notes.validator is not None or verified
    fits = 0 < _size(part) <= (notes.length or 0)
    return notes if tellable and fits and notes.url == _hashed(url) else None


def _remote(url: str, response: http.client.HTTPResponse) -> _Remote:
    length = response.headers.get("Content-Length", "")
    return _Remote(
        url=_hashed(url),
        etag=response.headers.get("ETag"),
        modified=response.headers.get("Last-Modified"),
        length=int(length) if length.isdecimal() and not response.chunked else None,
    )


def _hashed(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _notes_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
