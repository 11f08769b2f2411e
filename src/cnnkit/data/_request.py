"""One http(s) request: which redirects are followed, and which failures another try may not meet.

References: RFC 9110, sections 15 (status codes) and 10.2.3 (Retry-After).
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any

from cnnkit.errors import DownloadError

__all__ = ["LONGEST_DELAY", "MayPassError", "NoSuchRangeError", "failure", "open_url"]

# Seconds; a server that asks for more patience than this gets an error instead.
LONGEST_DELAY = 60.0


_MAY_PASS = (408, 425, 429)  # and all of 5xx
# What another host may see of the user's headers after a redirect: no tokens, no cookies.
_HARMLESS = {"user-agent", "accept", "accept-encoding", "accept-language", "range", "if-range"}


class MayPassError(Exception):
    """A failure that another attempt may not meet, and how long the server asks to wait."""

    def __init__(self, reason: str, delay: float | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class NoSuchRangeError(Exception):
    """416: what the server has now is shorter than where it was asked to begin."""


def open_url(url: str, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
    """Ask for `url`; the answer has the status 200, or 206 when `headers` name a Range.

    Raises:
        MayPassError: Worth another attempt.
        NoSuchRangeError: The server answered 416.
        DownloadError: No other attempt would do better.
    """
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(url, headers=dict(headers))
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error, ranged="Range" in headers) from error
    except (OSError, http.client.HTTPException) as error:
        raise failure(url, error) from error
    if response.status == 200 or (response.status == 206 and "Range" in headers):
        return response
    response.close()
    raise DownloadError(f"{url}: expected the status 200, got {response.status} {response.reason}")


def failure(url: str, error: Exception) -> Exception:
    """Return the error for a line that broke: one that may pass, or the final one."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, DownloadError):
        return cause  # a redirect that was refused
    if isinstance(cause, ssl.SSLCertVerificationError):
        return DownloadError(f"{url}: the server's certificate is not to be trusted: {cause}")
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        host = urllib.parse.urlsplit(url).hostname
        return DownloadError(f"{url}: there is no host {host!r}; check the address and the network")
    return MayPassError(str(cause) or type(cause).__name__)


def _refusal(url: str, error: urllib.error.HTTPError, *, ranged: bool) -> Exception:
    """Return the error for an answer that is no success: one that may pass, or the final one."""
    answer = f"the server answered {error.code} {error.reason}".strip()
    if error.code == 416 and ranged:
        return NoSuchRangeError(answer)
    if error.code in _MAY_PASS or error.code >= 500:
        delay = _retry_after(error.headers)
        if delay is None or delay <= LONGEST_DELAY:
            return MayPassError(answer, delay)
        return DownloadError(f"{url}: {answer} and asks to wait {delay:.0f} s; call again later")
    if error.code in (401, 403):
        return DownloadError(
            f"{url}: {answer}. Some hosts refuse Python's user agent: try "
            'headers={"User-Agent": "Mozilla/5.0"}. Or the link has expired, or needs a login'
        )
    return DownloadError(f"{url}: {answer}; does the address open in a browser?")


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to http(s) only, never from https to http, and no secrets to another host."""

    # Python 3.10 does not know 308.
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Any,  # noqa: ARG002
        newurl: str,
    ) -> urllib.request.Request:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            fp.close()
            raise DownloadError(
                f"{req.full_url}: the server redirects to {newurl}, which is not safe and was not "
                "followed; if you trust it, fetch that address itself"
            )
        kept = req.headers
        if (old.hostname, old.port) != (new.hostname, new.port):
            kept = {name: kept[name] for name in kept if name.lower() in _HARMLESS}
        return urllib.request.Request(
            newurl, headers=kept, origin_req_host=req.origin_req_host, unverifiable=True
        )
