"""The client of ``bench_rpc``: many keep-alive connections, one exchange at a time on each.

A connection is played by a script, a generator that yields requests as bytes and is sent the
bodies of their answers.  Run as a process of its own, on a core that the server does not use:
``python -m benchmarks.load JOB``, the ``Job`` in JSON; prints the ``Tally``.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias

from damselfly.engine.ids import PeerId, TaskId
from damselfly.engine.messages import (
    PullPieces,
    PullResult,
    PullStatus,
    ReportPiece,
    Request,
    Update,
)
from damselfly.engine.wire.calls import decode_answer, encode_call
from damselfly.engine.wire.v1 import encode_request

from .conversations import Conversation, native_peer, v1_peer

Script: TypeAlias = Generator[bytes, bytes, None]
_RECEIVE_BYTES: Final = 64 << 10
_STALL_S: Final = 10.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Job:
    """What to put to the server.

    ``kind`` ``ping`` and ``stranger`` (pulls by a peer that nobody knows) repeat one request for
    ``seconds``; ``v1`` and ``native`` play peers that take the file at ``url`` from each other in
    no time, once, and talk in Dragonfly's form or in our own.  One connection each.
    """

    host: str
    port: int
    kind: str
    connections: int
    seconds: float
    url: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How it went: exchanges made, time taken, and CPU time that this client used.

    ``pieces``: how many were assigned to peers.
    """

    exchanges: int
    pieces: int
    seconds: float
    cpu_s: float


def run(job: Job) -> Tally:
    """Open the connections, play every script to its end, and count."""
    until = time.perf_counter() + job.seconds
    assigned = Assigned()
    match job.kind:
        case "ping":
            scripts = [_repeat(http("GET", "/_ping"), until) for _ in range(job.connections)]
        case "stranger":
            asked = PullPieces(
                TaskId("0" * 64), PeerId("10.0.0.1-1-2.3"), PullStatus.START, PullResult.INVALID
            )
            target = encode_request(asked).target
            scripts = [_repeat(http("GET", target), until) for _ in range(job.connections)]
        case "v1" | "native":
            form = native_peer if job.kind == "native" else v1_peer
            names = [f"127.0.0.1-{job.kind}{n}-0.000" for n in range(job.connections)]
            scripts = [_spoken(form(job.url, name), assigned) for name in names]
        case _:
            raise ValueError(f"job kind {job.kind!r}: expected ping, stranger, v1 or native")
    began, cpu_began = time.perf_counter(), time.process_time()
    exchanges = _play(job, scripts)
    return Tally(
        exchanges, assigned.pieces, time.perf_counter() - began, time.process_time() - cpu_began
    )


# --- scripts --------------------------------------------------------------------------------------


def _repeat(request: bytes, until: float) -> Script:
    while time.perf_counter() < until:
        yield request


class Assigned:
    """Counts the pieces that peers say they have got."""

    def __init__(self) -> None:
        self.pieces = 0

    def hear(self, request: Request) -> None:
        """Take in what a peer says."""
        match request:
            case Update(held=held):
                self.pieces += len(held)
            case ReportPiece():
                self.pieces += 1
            case _:
                pass


def _spoken(conversation: Conversation, assigned: Assigned) -> Script:
    """Put a conversation into HTTP calls."""
    request = next(conversation)
    while True:
        call = encode_call(request)
        assigned.hear(request)
        body = yield http(call.method, call.target, call.headers, call.body)
        try:
            request = conversation.send(decode_answer(request, 200, body))
        except StopIteration:
            return


def http(
    method: str, target: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


# --- connections ----------------------------------------------------------------------------------


class _Connection:
    def __init__(self, job: Job, script: Script) -> None:
        self._script = script
        self.sock = socket.create_connection((job.host, job.port), timeout=_STALL_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.exchanges = 0
        self._buffer = b""

    def begin(self) -> None:
        self.sock.sendall(next(self._script))

    def readable(self) -> bool:
        """Take in what came; return false when the script is over."""
        data = self.sock.recv(_RECEIVE_BYTES)
        if not data:
            raise RuntimeError(f"the server hung up; it had said {self._buffer[:200]!r}")
        self._buffer += data
        body = self._body()
        if body is None:
            return True
        self.exchanges += 1
        try:
            request = self._script.send(body)
        except StopIteration:
            return False
        self.sock.sendall(request)
        return True

    def _body(self) -> bytes | None:
        """Return the body of the answer once that is complete."""
        head_end = self._buffer.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return None
        length = _LENGTH.search(self._buffer, 0, head_end)
        if length is None or not self._buffer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"not an answer to count: {self._buffer[:200]!r}")
        body = self._buffer[head_end:]
        if len(body) < int(length[1]):
            return None
        self._buffer = b""
        return body


def _play(job: Job, scripts: list[Script]) -> int:
    """Play all scripts side by side; return the number of exchanges."""
    connections = {made.sock.fileno(): made for made in (_Connection(job, s) for s in scripts)}
    exchanges = 0
    with select.epoll() as poller:
        for number, connection in connections.items():
            connection.begin()
            poller.register(number, select.EPOLLIN)
        while connections:
            ready = poller.poll(_STALL_S)
            if not ready:
                raise RuntimeError(f"no answer on {len(connections)} connections for {_STALL_S} s")
            for number, _ in ready:
                connection = connections[number]
                if not connection.readable():
                    exchanges += connection.exchanges
                    connection.sock.close()
                    del connections[number]
    return exchanges


if __name__ == "__main__":
    print(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))
