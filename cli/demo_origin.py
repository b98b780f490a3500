"""The demo's origin: an ordinary HTTP/1.1 server of one file that counts the bytes it sends.

Run as a process of its own: ``python -m damselfly.cli.demo_origin FILE``.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Final

READY: Final = "origin ready:"
COUNT_PATH: Final = "/bytes-sent"
_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)")


class OriginServer(ThreadingHTTPServer):
    """Serves ``file`` under every path but ``COUNT_PATH``, which tells the body bytes sent."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.file = file
        status = os.fstat(file.fileno())
        self.length = status.st_size
        self.etag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        self._sent = 0
        self._lock = threading.Lock()

    @property
    def sent(self) -> int:
        """Body bytes handed to the network so far."""
        with self._lock:
            return self._sent

    def count(self, sent: int) -> None:
        """Add to ``sent``."""
        with self._lock:
            self._sent += sent


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OriginServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self._answer_file()

    def do_GET(self) -> None:
        if self.path == COUNT_PATH:
            body = str(self.server.sent).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self._send(*self._answer_file())

    def _answer_file(self) -> tuple[int, int]:
        """Send the head of an answer with the file; return first byte and end of the body."""
        first, end = 0, self.server.length
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range", self.server.etag) == self.server.etag:
            first = int(asked[1])
            end = min(end, int(asked[2] or end) + 1)
        if asked and first >= end:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{self.server.length}")
            first = end = 0
        elif (first, end) == (0, self.server.length):
            self.send_response(200)
        else:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{self.server.length}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        return first, end

    def _send(self, offset: int, end: int) -> None:
        while offset < end:
            sent = os.sendfile(
                self.connection.fileno(), self.server.file.fileno(), offset, end - offset
            )
            self.server.count(sent)
            offset += sent

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's screen belongs to its peers."""


def main(argv: list[str]) -> None:
    """Serve the file named on the command line until killed; prints the URL first."""
    with Path(argv[0]).open("rb") as file, OriginServer(file) as server:
        print(f"{READY} http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
