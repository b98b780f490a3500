"""Requests to a daemon as they stand on the wire, header by header."""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from .processes import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE: Final = "x-dragonfly-source"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; header names are in lower case.  ``whole``: the body came to its proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True


def blob_path(data: bytes, repository: str = "library/x") -> str:
    """Return where a registry has these bytes."""
    return f"/v2/{repository}/blobs/sha256:{hashlib.sha256(data).hexdigest()}"


def ask(
    url: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    method: str = "GET",
    host: str = "mirror.example",
) -> Reply:
    """Ask the daemon at ``url`` for ``target``: a path, or a URL as proxies are asked."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)) as connection:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", urlsplit(target).netloc or host)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return read_reply(connection, is_head=method == "HEAD")


def read_reply(connection: HTTPConnection, *, is_head: bool = False) -> Reply:
    """Read one answer from a connection on which a request was sent."""
    with connection.getresponse() as answer:
        found = {name.lower(): value for name, value in answer.getheaders()}
        body = bytearray()
        try:
            while block := answer.read(1 << 16):
                body += block
        except (HTTPException, OSError):
            return Reply(answer.status, found, bytes(body), whole=False)
    length = found.get("content-length", str(len(body)))
    return Reply(answer.status, found, bytes(body), is_head or int(length) == len(body))


def connect(url: str, target: str) -> tuple[socket.socket, bytes]:
    """Open a CONNECT to ``target``; return the connection and the head of the answer."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE_S)
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, bytes(head)
        head += byte
    return sock, bytes(head)
