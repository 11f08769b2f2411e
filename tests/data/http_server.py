"""A local web server that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import ssl
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


@dataclasses.dataclass
class Answer:
    """How one request is answered; by default as a decent server would."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True  # honour Range
    if_range: bool = True  # honour If-Range
    shift: int = 0  # send a range that begins so much later, and say so
    cut: int | None = None  # close the line after so many bytes
    announced: int | None = None  # what Content-Length says, where it lies
    chunked: bool = False
    stall: float = 0.0  # seconds of silence before `cut` closes the line
    pace: float = 0.0  # seconds after each 10 kB


class Server:
    """``with Server() as server: server.at["/x"] = [Answer(b"…")]``; the last answer repeats."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.at: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, Message]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}"

    def ranges(self) -> list[str | None]:
        """The Range header of every request, in order."""
        return [headers["Range"] for _, headers in self.requests]

    def next_answer(self, path: str, headers: Message) -> Answer:
        self.requests.append((path, headers))
        answers = self.at.get(path, [Answer(status=404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self) -> Server:
        # A short poll, for `shutdown` waits for the next one.
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = server.next_answer(self.path, self.headers)
            start = _start(answer, self.headers)
            body = answer.body[start or 0 :]
            if start is not None and not body:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(answer.body)}")
                self.end_headers()
                return
            self.send_response(answer.status if start is None else 206)
            if start is not None:
                total = len(answer.body)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            for name, value in (
                ("ETag", answer.etag),
                ("Last-Modified", answer.modified),
                *answer.headers.items(),
            ):
                if value is not None:
                    self.send_header(name, value)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                body = b"".join(
                    b"%x\r\n%b\r\n" % (len(piece), piece)
                    for piece in (body[i : i + 1000] for i in range(0, len(body), 1000))
                )
                body += b"0\r\n\r\n"
            else:
                length = len(body) if answer.announced is None else answer.announced
                self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client was killed, or has had enough
                self._send(body[: answer.cut], answer)

        def _send(self, body: bytes, answer: Answer) -> None:
            for i in range(0, len(body), 10_000):
                self.wfile.write(body[i : i + 10_000])
                time.sleep(answer.pace)
            time.sleep(answer.stall)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _start(answer: Answer, headers: Message) -> int | None:
    """Where the range begins that is asked for; None where the whole is to be sent."""
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
    if asked is None or not answer.ranges or answer.status != 200:
        return None
    valid = headers.get("If-Range") in (None, answer.etag, answer.modified)
    return int(asked[1]) + answer.shift if valid or not answer.if_range else None
