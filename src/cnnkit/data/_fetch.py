"""`fetch`: a file from the web, whole and once."""

from __future__ import annotations

import logging
import re
import string
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from cnnkit.data._disk import checked_sha256, new_parents, sha256_of
from cnnkit.data._gdrive import download_from_drive, google_drive_id
from cnnkit.data._http import discard, download
from cnnkit.data._lock import locked
from cnnkit.data._sniff import archive_kind, looks_like
from cnnkit.errors import ArgumentError, ChecksumError
from cnnkit.types import PathLike

__all__ = ["checked_url", "fetch", "is_url"]

_logger = logging.getLogger("cnnkit")


def is_url(source: object) -> bool:
    """Tell whether `source` is text that begins like a URL of any scheme.

    Example:
        >>> is_url("https://example.org/pets.zip"), is_url("pets.zip"), is_url("C:/pets.zip")
        (True, False, False)
    """
    return isinstance(source, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", source) is not None


def fetch(
    url: str,
    target: PathLike,
    *,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    progress: bool = True,
    timeout: float = 30,
    retries: int = 4,
) -> Path:
    """Download a file; when it is there already, do nothing.

    The bytes arrive in ``target.part`` and get their name when they are whole. A download that
    was cut off, or whose process was killed, goes on where it stopped, provided that the server
    can tell that the file is still the same. Of two processes that want the same file one
    downloads, and the other waits for it. A redirect from https to http is refused.

    Args:
        url: An http(s) address, or a Google Drive link, which needs the extra ``gdrive``; gdown
            then does its own waiting and retrying.
        target: The file to write; folders above it are made.
        sha256: Expected checksum in hexadecimal. A file that is there already is compared too,
            which takes about a second a GB.
        headers: Sent with the request, and after a redirect to another host only those that hold
            no secret. Some hosts refuse the default: ``{"User-Agent": "Mozilla/5.0"}``.
        progress: Show a bar, where tqdm is installed and there is somebody to see it.
        timeout: Seconds without a byte after which an attempt has failed.
        retries: Failures in a row, without one further byte, that are forgiven: dropped lines,
            time-outs and the answers 408, 429 and 5xx, with waits of 1, 2, 4, … seconds.

    Returns:
        `target`, as a path.

    Raises:
        ArgumentError: `url` is not of http(s), `target` is a folder, or another argument is off.
        DownloadError: The file could not be had; what did arrive is kept for the next call.
        ChecksumError: The bytes are not those of `sha256`. What was downloaded is removed, what
            was there before is kept.
        MissingExtraError: A Google Drive link, and gdown is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "pets.zip")
        ...     _ = file.write_bytes(b"...")
        ...     fetch("https://example.org/pets.zip", file) == file  # is there: not asked for
        True
    """
    path, sha256 = Path(target), checked_sha256(sha256)
    address, headers = checked_url(url), _checked_headers(headers or {})
    if timeout <= 0 or retries < 0:
        raise ArgumentError(
            f"expected timeout > 0 and retries >= 0, got timeout={timeout} and retries={retries}"
        )
    if path.is_dir():
        raise ArgumentError(
            f"target must be the file to write, but {path} is a folder; "
            f"name the file, such as {path / 'archive.zip'}"
        )
    if not path.exists():
        with new_parents(path), locked(path):
            if not path.exists():  # it may have come while this process waited
                _bring(address, path, sha256, headers, progress, timeout, retries)
                return path
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise ChecksumError(
            f"{path} is there already, but its sha256 is {found}, expected {sha256}; remove it to "
            "download it anew, or correct the checksum"
        )
    return path


def _bring(
    url: str,
    path: Path,
    sha256: str | None,
    headers: Mapping[str, str],
    progress: bool,
    timeout: float,
    retries: int,
) -> None:
    begun = time.monotonic()
    part = path.with_name(path.name + ".part")
    drive_id = google_drive_id(url)
    try:
        if drive_id is not None:
            agent = headers.get("User-Agent")
            download_from_drive(drive_id, part, user_agent=agent, progress=progress)
        else:
            download(
                url,
                part,
                headers={"User-Agent": "cnnkit", **headers},
                timeout=timeout,
                retries=retries,
                verified=sha256 is not None,
                progress=progress,
            )
    except BaseException:
        if not (part.exists() and part.stat().st_size):
            discard(part)  # there is nothing worth keeping
        raise
    size = part.stat().st_size
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        what = "" if archive_kind(part) else f" It looks like {looks_like(part)}."
        discard(part)
        raise ChecksumError(
            f"{url}: expected the sha256 {sha256}, got {size:,} bytes with {found}; nothing was "
            f"kept.{what} Either the file on the server is another one, or the checksum is wrong"
        )
    part.replace(path)
    _logger.info("%s: %d bytes in %.1f s, now %s", url, size, time.monotonic() - begun, path)


def checked_url(url: str) -> str:
    """Return `url` as it may be sent: spaces and other letters escaped, without its fragment."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port, scheme = parts.hostname or "", parts.port, parts.scheme
        netloc = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise ArgumentError(f"expected an http(s) address, got {url!r}: {error}") from error
    if scheme not in ("http", "https") or not host:
        local = "; a file that is here already needs no fetching" if scheme in ("", "file") else ""
        raise ArgumentError(f"expected an http(s) address, got {url!r}{local}")
    if parts.username is not None:
        raise ArgumentError(
            f"the address on {host} holds a user name; give it as a header instead: "
            'headers={"Authorization": "Basic …"}'
        )
    netloc = f"[{netloc}]" if ":" in netloc else netloc
    netloc = netloc if port is None else f"{netloc}:{port}"
    whole = urllib.parse.urlunsplit(parts._replace(netloc=netloc, fragment=""))
    return urllib.parse.quote(whole, safe=string.punctuation)


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if "\n" in f"{name}{value}" or "\r" in f"{name}{value}":
            raise ArgumentError(f"the header {name!r} must be one line, got {value!r}")
    titled = {name.title(): value for name, value in headers.items()}
    if not {"Range", "If-Range"}.isdisjoint(titled):
        raise ArgumentError("headers must not ask for a range; fetch asks for what is missing")
    return titled
