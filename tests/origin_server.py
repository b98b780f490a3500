"""A real HTTP/1.1 origin on loopback that can misbehave: what every test downloads from.

One thread per connection, in the test's own process::

    with OriginServer() as origin:
        origin.put("/file", data)
        origin.put("/slow", data, rate_bytes_per_s=1e6)
        ... origin.url("/file") ...
        assert origin.bytes_sent("/file") == len(data)
"""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypedDict, Unpack, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES: Final = 256 << 10
CERTIFICATE: Final = Path(__file__).with_suffix(".pem")
DATE: Final = "Thu, 01 Jan 2026 00:00:00 GMT"


class Behaviour(TypedDict, total=False):
    """How a path is served; everything left out is what a good origin does."""

    status: int
    """Answer this status with an error page instead of the data."""
    etag: str
    """The ETag header as it stands; made from the data if left out, none if empty."""
    last_modified: str
    """The Last-Modified header; none if empty."""
    ranges: bool
    """False: ignore Range and do not advertise it."""
    if_range: bool
    """False: ignore If-Range."""
    conditional: bool
    """False: ignore If-None-Match and If-Modified-Since."""
    chunked: bool
    """True: no Content-Length, chunked body."""
    until_close: bool
    """True: no Content-Length, the body ends with the connection."""
    cut_at: int
    """Close the connection after so many body bytes of an answer."""
    stall_at: int
    """Send nothing more after so many body bytes of an answer, until ``release`` or ``stop``."""
    silent: bool
    """True: accept the request and never answer, until ``release`` or ``stop``."""
    rate_bytes_per_s: float
    """Send the body at most this fast."""
    redirect: str
    """Answer 302 with this Location."""
    gzip: bool
    """True: send the data gzip-encoded, whatever the client accepts."""
    content_range: str
    """What to say in Content-Range of a 206 instead of the truth."""
    accept_ranges: str
    """The Accept-Ranges header instead of ``bytes``."""
    set_cookie: str
    """A Set-Cookie header."""
    head_status: int
    """Answer a HEAD with this status, whatever a GET is answered."""
    authorization: str
    """Answer 401 with a challenge to requests without this Authorization."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request as it came; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    client_port: int
    method: str = "GET"


@dataclass(slots=True)
class _Page:
    data: bytes
    behaviour: Behaviour
    etag: str


@dataclass(slots=True)
class _Record:
    lock: threading.Lock = field(default_factory=threading.Lock)
    pages: dict[str, _Page] = field(default_factory=dict[str, _Page])
    bytes_sent: dict[str, int] = field(default_factory=dict[str, int])
    requests: list[SeenRequest] = field(default_factory=list[SeenRequest])
    connections: list[socket.socket] = field(default_factory=list[socket.socket])
    released: threading.Event = field(default_factory=threading.Event)


class OriginServer:
    """An origin at ``http://127.0.0.1:<port>``; a context manager, or ``start`` and ``stop``.

    With ``tls`` it speaks https, with a certificate that nobody trusts.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self._record = _Record()
        self._tls = tls
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen on a free port of 127.0.0.1 and serve until ``stop``."""
        self._server = _Server(self._record)
        if self._tls:
            self._server.wrap(CERTIFICATE)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def stop(self) -> None:
        """Break every connection and free the port."""
        assert self._server is not None
        assert self._thread is not None
        self._record.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.break_connections()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.server_port

    def url(self, path: str) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}{path}"

    def put(self, path: str, data: bytes, **behaviour: Unpack[Behaviour]) -> None:
        """Serve ``data`` at ``path`` from the next request on; replaces what was there."""
        default = f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"'
        page = _Page(data, behaviour, behaviour.get("etag", default))
        with self._record.lock:
            self._record.pages[path] = page

    def bytes_sent(self, path: str) -> int:
        """Body bytes handed to the network for ``path``, error pages included."""
        with self._record.lock:
            return self._record.bytes_sent.get(path, 0)

    def requests(self, path: str) -> list[SeenRequest]:
        """All requests for ``path`` so far, in order."""
        with self._record.lock:
            return [seen for seen in self._record.requests if seen.path == path]

    def break_connections(self) -> None:
        """Cut every connection that is open now."""
        assert self._server is not None
        self._server.break_connections()

    def release(self) -> None:
        """Let every answer that stalls go on."""
        self._record.released.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, record: _Record) -> None:
        self.record = record
        super().__init__(("127.0.0.1", 0), _Handler)

    def wrap(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is left to the connection's own thread.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def process_request(self, request: object, client_address: object) -> None:
        with self.record.lock:
            self.record.connections.append(cast("socket.socket", request))
        super().process_request(cast("socket.socket", request), client_address)

    def shutdown_request(self, request: object) -> None:
        with self.record.lock:
            self.record.connections.remove(cast("socket.socket", request))
        super().shutdown_request(cast("socket.socket", request))

    def break_connections(self) -> None:
        with self.record.lock:
            for connection in self.record.connections:
                with suppress(OSError):  # its client was quicker
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        record = self.server.record
        headers = {name.lower(): value for name, value in self.headers.items()}
        path, wanted = self.path.partition("?")[0], headers.get("authorization", "")
        with record.lock:
            seen = SeenRequest(path, headers, self.client_address[1], self.command)
            record.requests.append(seen)
            page = record.pages.get(path)
        if page is None:
            self._answer(path, 404, b"no such page\n", {}, {})
        elif page.behaviour.get("silent"):
            record.released.wait()
            self.close_connection = True
        elif self.command == "HEAD" and "head_status" in page.behaviour:
            self._answer(path, page.behaviour["head_status"], b"", {}, {})
        elif page.behaviour.get("authorization", wanted) != wanted:
            challenge = {"WWW-Authenticate": 'Bearer realm="https://token.example/"'}
            self._answer(path, 401, b"who are you?\n", challenge, {})
        elif "status" in page.behaviour:
            self._answer(path, page.behaviour["status"], b"an error page\n", {}, {})
        elif "redirect" in page.behaviour:
            self._answer(path, 302, b"", {"Location": page.behaviour["redirect"]}, {})
        else:
            self._answer_page(path, page, headers)

    do_HEAD = do_GET

    def _answer_page(self, path: str, page: _Page, request: Mapping[str, str]) -> None:
        how = page.behaviour
        headers = {"ETag": page.etag, "Last-Modified": how.get("last_modified", DATE)}
        headers["Set-Cookie"] = how.get("set_cookie", "")
        data = page.data
        if how.get("conditional", True) and _is_current(page.etag, headers, request):
            self._answer(path, 304, b"", {"ETag": page.etag}, {})
            return
        if how.get("gzip"):
            headers["Content-Encoding"] = "gzip"
            data = gzip.compress(data)
        status, first, end = 200, 0, len(data)
        if how.get("ranges", True):
            headers["Accept-Ranges"] = how.get("accept_ranges", "bytes")
            current = ("", page.etag, headers["Last-Modified"])
            wanted = request.get("if-range", "") if how.get("if_range", True) else ""
            if "range" in request and wanted in current:
                status, first, end = _cut(request["range"], len(data))
        if status == 416:
            headers["Content-Range"] = f"bytes */{len(data)}"
        elif status == 206:
            truth = f"bytes {first}-{end - 1}/{len(data)}"
            headers["Content-Range"] = how.get("content_range", truth)
        self._answer(path, status, memoryview(data)[first:end], headers, how)

    def _answer(
        self,
        path: str,
        status: int,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        how: Behaviour,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        chunked = how.get("chunked", False)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif how.get("until_close"):
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = min(how.get("cut_at", len(body)), len(body))
        self._send(path, memoryview(body)[:end], how)
        if end < len(body):
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, path: str, body: memoryview, how: Behaviour) -> None:
        record, rate = self.server.record, how.get("rate_bytes_per_s")
        step = CHUNK_BYTES if rate is None else max(1, min(CHUNK_BYTES, int(rate / 50)))
        stall_at = how.get("stall_at")
        starts = set(range(0, len(body), step))
        if stall_at is not None and stall_at < len(body):
            starts.add(stall_at)
        for start, end in pairwise([*sorted(starts), len(body)]):
            if start == stall_at:
                self.wfile.flush()
                record.released.wait()
            with record.lock:
                record.bytes_sent[path] = record.bytes_sent.get(path, 0) + end - start
            chunk = body[start:end]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if how.get("chunked") else chunk)
            if rate is not None:
                time.sleep((end - start) / rate)

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at ``requests`` instead."""


def _is_current(etag: str, headers: Mapping[str, str], request: Mapping[str, str]) -> bool:
    """Tell whether what the client has is what we have, as far as it said what it has."""
    if "if-none-match" in request:
        return bool(etag) and request["if-none-match"] == etag
    since = request.get("if-modified-since", "")
    return bool(since) and since == headers["Last-Modified"]


def _cut(header: str, length: int) -> tuple[int, int, int]:
    """Return status, first byte and end of the answer to a Range header."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if found is None or found[0] == "bytes=-":
        return 200, 0, length
    if not found[1]:
        return 206, max(0, length - int(found[2])), length
    first, end = int(found[1]), min(length, int(found[2] or length) + 1)
    return (206, first, end) if first < end else (416, 0, 0)
