"""A supernode that answers as a scenario tells it to, its copy of the file, and a peer server.

The rules are those of the recorded scenarios: a list of answers per kind of call, the last one
again and again; ``auto`` is what a Java supernode says: all pieces that are not done, again.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import parse_qsl

from .origin import content
from .web import Reply, ScriptedServer, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECE_SIZE: Final = 4194304
TASK: Final = "f" * 64
_CONTENT: Final = PIECE_SIZE - 5
_LENGTH: Final = 100000
_JSON: Final = (("Content-Type", "application/json"),)

Step = dict[str, object]


class ScriptedSwarm:
    """The servers of one scenario; ``seen`` is all that came to any of them, in order."""

    def __init__(self, script: Mapping[str, object], version: str) -> None:
        self._steps = {
            kind: list(cast("list[Step]", script.get(kind) or [default]))
            for kind, default in (
                ("reg", Step(code=200)),
                ("pull", Step(auto=1)),
                ("cdn", Step()),
                ("suc", Step(code=200, msg="success")),
            )
        }
        self._data = content(cast("int", script.get("size", _LENGTH)))
        self._version = version
        self._done: set[int] = set()
        self.seen: list[tuple[str, Seen]] = []
        self._node = ScriptedServer(self._control, "127.0.0.1", "127.0.0.2")
        self._cdn = ScriptedServer(self._piece)
        self._peer = ScriptedServer(self._peer_server)
        self.port, self.cdn_port, self.peer_port = (
            server.port for server in (self._node, self._cdn, self._peer)
        )

    def __enter__(self) -> Self:
        for server in (self._node, self._cdn, self._peer):
            server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for server in (self._node, self._cdn, self._peer):
            server.__exit__(*error)

    # --- the supernode ---

    def _control(self, seen: Seen) -> Reply:
        self.seen.append(("8002", seen))
        path, _, query = seen.request.target.partition("?")
        values = dict(parse_qsl(query, keep_blank_values=True))
        match path:
            case "/peer/registry":
                return self._registered(self._next("reg"))
            case "/peer/task":
                return self._pulled(self._next("pull"), values)
            case "/peer/piece/suc":
                self._done.add(int(values["pieceRange"].partition("-")[0]) // PIECE_SIZE)
                return _said(self._next("suc"))
            case _:
                return _said(Step(code=200))

    def _registered(self, step: Step) -> Reply:
        if step.get("code") != 200:
            return _said(step)
        size = step.get("pieceSize", PIECE_SIZE)
        data = {"taskId": TASK, "fileLength": len(self._data), "pieceSize": size}
        return _said(Step(code=200, data=data))

    def _pulled(self, step: Step, values: Mapping[str, str]) -> Reply:
        if values["result"] == "503":
            self._done.add(int(values["range"].partition("-")[0]) // PIECE_SIZE)
        if "pieces" in step:
            return _said(
                Step(code=601, data=[self._offer(n) for n in cast("list[int]", step["pieces"])])
            )
        if "auto" not in step:
            return _said(step)
        missing = [n for n in range(self._count) if n not in self._done]
        if missing:
            return _said(Step(code=601, data=[self._offer(n) for n in missing]))
        md5 = step.get("md5") or _md5(self._data)
        data = {"md5": md5, "fileLength": len(self._data) + 5 * self._count}
        return _said(Step(code=600, data=data))

    def _offer(self, number: int) -> Step:
        piece = self._wrapped(number)
        first = number * PIECE_SIZE
        return Step(
            range=f"{first}-{first + PIECE_SIZE - 1}",
            pieceNum=number,
            pieceSize=PIECE_SIZE,
            pieceMd5=f"{_md5(piece)}:{len(piece)}",
            cid=f"cdnnode:127.0.0.1~{TASK}",
            peerIp="127.0.0.1",
            peerPort=self._cdn.port,
            path=f"/qtdown/{TASK[:3]}/{TASK}",
            downLink=20480,
        )

    # --- its copy ---

    def _piece(self, seen: Seen) -> Reply:
        self.seen.append(("8001", seen))
        step = self._next("cdn")
        if "http" in step:
            return _said(step)
        headers = {name.lower(): value for name, value in seen.request.headers}
        number = int(headers["range"].removeprefix("bytes=").partition("-")[0]) // PIECE_SIZE
        piece = self._wrapped(number)
        if "corrupt" in step:
            middle = len(piece) // 2
            piece = piece[:middle] + bytes([piece[middle] ^ 0xFF]) + piece[middle + 1 :]
        return Reply(206, piece, cut_at=len(piece) // 2 if "short" in step else None)

    def _wrapped(self, number: int) -> bytes:
        data = self._data[number * _CONTENT : (number + 1) * _CONTENT]
        return (len(data) | PIECE_SIZE << 4).to_bytes(4, "big") + data + b"\x7f"

    @property
    def _count(self) -> int:
        return -(-len(self._data) // _CONTENT)

    # --- the peer server of this host ---

    def _peer_server(self, seen: Seen) -> Reply:
        self.seen.append(("peer", seen))
        path = seen.request.path
        headers = {name.lower(): value for name, value in seen.request.headers}
        if path.startswith("/check/"):
            return Reply(200, f"{path.removeprefix('/check/')}@{self._version}".encode())
        if path.startswith("/rate/"):
            return Reply(200, headers["ratelimit"].encode())
        return Reply(200, b"success")

    def _next(self, kind: str) -> Step:
        steps = self._steps[kind]
        return steps.pop(0) if len(steps) > 1 else steps[0]


def _said(step: Step) -> Reply:
    if "http" in step:
        return Reply(cast("int", step["http"]), cast("str", step.get("raw", "x")).encode())
    return Reply(200, json.dumps(step).encode(), _JSON)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
