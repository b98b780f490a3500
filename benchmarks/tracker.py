"""What BitTorrent needs beside its programs: torrent files, and a tracker."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

_Value: TypeAlias = "bytes | int | Mapping[bytes, _Value]"

_INTERVAL_S: Final = 600


def write_torrent(torrent: Path, file: Path, piece_bytes: int, announce: str = "") -> None:
    """Describe ``file`` in the way of BEP 3; ``announce`` is the tracker's URL, if there is one."""
    hashes = bytearray()
    with file.open("rb") as content:
        while piece := content.read(piece_bytes):
            hashes += hashlib.sha1(piece, usedforsecurity=False).digest()
    info: dict[bytes, _Value] = {
        b"length": file.stat().st_size,
        b"name": file.name.encode(),
        b"piece length": piece_bytes,
        b"pieces": bytes(hashes),
    }
    tracked: dict[bytes, _Value] = {b"announce": announce.encode()} if announce else {}
    torrent.write_bytes(_bencoded(tracked | {b"info": info}))


class Tracker:
    """Who takes part in one torrent, and what they say they sent.

    Peers are known by the addresses that they ask from.
    """

    def __init__(self) -> None:
        self.url = ""
        self._changed = threading.Condition()
        self._ports: dict[str, int] = {}
        self._uploaded: dict[str, int] = {}

    def announced(self, ip: str, query: Mapping[str, list[str]]) -> bytes:
        """Take note of one announcement; return the answer, with everybody else in it."""
        with self._changed:
            others = [pair for pair in self._ports.items() if pair[0] != ip]
            self._uploaded[ip] = int(query["uploaded"][0])
            if query.get("event") == ["stopped"]:
                self._ports.pop(ip, None)
            else:
                self._ports[ip] = int(query["port"][0])
            self._changed.notify_all()
        peers = b"".join(socket.inet_aton(host) + struct.pack("!H", port) for host, port in others)
        return _bencoded({b"interval": _INTERVAL_S, b"peers": peers})

    def await_start(self, ip: str, timeout_s: float) -> None:
        """Wait until a peer takes part; raises ``RuntimeError`` if it does not come in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: ip in self._ports, timeout_s):
                raise RuntimeError(f"{ip} did not come to the tracker within {timeout_s:g} s")

    def uploaded(self, ip: str) -> int:
        """Return how many bytes of content a peer said last that it had sent."""
        return self._uploaded[ip]


@contextmanager
def tracker(ip: str) -> Generator[Tracker]:
    """Run a tracker on a free port of ``ip``."""
    found = Tracker()

    class Announce(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
            answer = found.announced(self.client_address[0], query)
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((ip, 0), Announce) as server:
        found.url = f"http://{ip}:{server.server_port}/announce"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def _bencoded(value: _Value) -> bytes:
    match value:
        case bytes():
            return b"%d:%b" % (len(value), value)
        case int():
            return b"i%de" % value
        case _:
            pairs = (_bencoded(key) + _bencoded(value[key]) for key in sorted(value))
            return b"d%be" % b"".join(pairs)
