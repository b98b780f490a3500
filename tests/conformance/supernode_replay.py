"""Recorded requests to a supernode and to peer servers, put to ours (protocol 1 to 3).

Life cycles are whole: registrations, pulls, reports, pieces from the download port and from peer
servers, and the end.  Requests go out byte for byte, except for what ``_Here`` replaces.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import trio

from damselfly.engine.config import CdnPattern, SupernodeConfig
from damselfly.engine.piece import PieceSizePolicy
from damselfly.engine.uploads import UploadPolicy
from damselfly.net.peer_server import PeerServerConfig, serve_peer
from damselfly.net.supernode import SupernodeAddress, SupernodeSettings, serve_supernode

from .findings import Difference, Finding, compare
from .origin import LENGTH, Origin, content
from .recorded import Digested, Exchange, Request, Response, wire_log
from .web import talk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

LIVES: Final = {
    "01-full-dfget0.3.0-supernode0.4.0.txt": "0.3.0",
    "02-full-dfget0.4.0-supernode0.4.0.txt": "0.4.0",
    "03-full-dfget1.0.6-supernode1.0.6.txt": "1.0.6",
    "04-full-dfget1.0.6-supernode1.0.6-cdn-pattern-source.txt": "1.0.6",
    "12-port0-peer-offered-supernode1.0.6.txt": "1.0.6",
}
"""Wire logs of whole life cycles, and the version of dfget in each."""

_DATA_DIR: Final = "/root/.small-dragonfly/data"
ENGINE: Final = SupernodeConfig(
    piece_size_policy=PieceSizePolicy.DRAGONFLY,
    up_slots=5,
    down_slots=4,
    rare_copies=0,
    hold_s=0.1,
    register_hold_s=2.0,
    origin_retries=2,
    origin_backoff_s=0.05,
)
"""Limits and piece sizes as in 1.0.6; pulls are held for a moment only."""
_PIECES: Final = 3
"""Pieces of the file that all of them fetch."""
_POLL_S: Final = 0.02
_PATIENCE_S: Final = 20


@dataclass(frozen=True, slots=True)
class _Here:
    """Where our servers are instead of where the recorded ones were."""

    supernode: SupernodeAddress
    peer_port: int
    data_dir: str

    def port_of(self, exchange: Exchange) -> int:
        if exchange.to == "supernode":
            return self.supernode.port
        return self.supernode.download_port if exchange.to == "cdn" else self.peer_port

    def request(self, request: Request) -> Request:
        """Return a recorded request with the data directory of this test in it."""
        headers = [
            (name, self.data_dir if value == _DATA_DIR else value)
            for name, value in request.headers
        ]
        return replace(request, headers=tuple(headers))

    def response(self, response: Response) -> Response:
        """Return an answer of ours with the recorded download port in it."""
        port = f'"peerPort":{self.supernode.download_port},'.encode()
        body = cast("bytes", response.body).replace(port, b'"peerPort":8001,')
        return replace(response, body=body)


@cache
def replay_life(name: str) -> tuple[Finding, ...]:
    """Put the requests of a wire log to a supernode and a peer server of ours."""
    is_source = "cdn-pattern-source" in name
    pattern = CdnPattern.SOURCE if is_source else CdnPattern.LOCAL
    with Origin().running(), tempfile.TemporaryDirectory() as folder:
        return trio.run(_life, name, Path(folder), replace(ENGINE, cdn_pattern=pattern))


async def _life(name: str, folder: Path, engine: SupernodeConfig) -> tuple[Finding, ...]:
    exchanges = wire_log(name)
    data = folder / "data"
    data.mkdir()
    for exchange in exchanges:
        if exchange.request and exchange.request.path.startswith("/peer/file/"):
            served = exchange.request.path.rpartition("/")[2]
            (data / f"{served}.service").write_bytes(content(LENGTH))
    async with _serving(folder, engine, LIVES[name]) as here:
        life = _Life(name, exchanges, here)
        return tuple([finding async for finding in life.run()])


@asynccontextmanager
async def supernode_in(folder: Path, engine: SupernodeConfig) -> AsyncGenerator[SupernodeAddress]:
    """Run a supernode that keeps its copies in ``folder``."""
    settings = SupernodeSettings(
        folder / "home", 0, 0, advertise_ip="127.0.0.1", paranoid=True, engine=engine
    )
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_supernode, settings)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def peer_server_in(folder: Path, version: str) -> AsyncGenerator[int]:
    """Run a peer server that says it is ``version`` and serves ``folder/data``."""
    policy = UploadPolicy(str(folder / "data"), version)
    config = PeerServerConfig("127.0.0.1", folder / "meta" / "host.meta", policy)
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_peer, config)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _serving(folder: Path, engine: SupernodeConfig, version: str) -> AsyncGenerator[_Here]:
    async with supernode_in(folder, engine) as node, peer_server_in(folder, version) as port:
        yield _Here(node, port, str(folder / "data"))


class _Life:
    def __init__(self, name: str, exchanges: tuple[Exchange, ...], here: _Here) -> None:
        self._name, self._exchanges, self._here = name, exchanges, here
        self._offered = {
            _key(offer): offer for one in exchanges for offer in offers_of(one.response)
        }

    async def run(self) -> AsyncGenerator[Finding]:
        """Yield a finding for each question; what was asked again and again is one question."""
        number = 0
        for _, same in groupby(self._exchanges, key=lambda one: (one.to, one.request)):
            asked = list(same)
            for i, exchange in enumerate(asked):
                is_poll = exchange.request is not None and exchange.request.path == "/peer/task"
                if is_poll and i < len(asked) - 1:
                    continue
                number += 1
                yield await self._ask(exchange, number)

    async def _ask(self, exchange: Exchange, number: int) -> Finding:
        port = self._here.port_of(exchange)
        if exchange.request is None:
            await talk(port, None)
            return Finding(self._name, f"{number} {exchange.to} connection without a byte")
        request = self._here.request(exchange.request)
        label = f"{number} {exchange.to} {request.method} {request.path}"
        if (recorded := exchange.response) is None:
            recorded = Response(200, (), None)  # the recording ends before the answer came
        ours = self._here.response(await talk(port, request))
        if request.path == "/peer/task":
            with trio.fail_after(_PATIENCE_S):
                while "status=700" in request.target and len(offers_of(ours)) < _PIECES:
                    await trio.sleep(_POLL_S)  # until our copy is as complete as theirs was
                    ours = self._here.response(await talk(port, request))
            return Finding(self._name, label, tuple(self._compare_pulls(recorded, ours)))
        return Finding(self._name, label, tuple(compare_answers(recorded, ours)))

    def _compare_pulls(self, recorded: Response, ours: Response) -> Iterator[Difference]:
        """Compare what clients understand; which pieces come with which answer is free."""
        yield from compare("status", recorded.status, ours.status)
        yield from compare("code", _code(recorded), _code(ours))
        then = {cast("int", offer["pieceNum"]): offer for offer in offers_of(recorded)}
        now = {cast("int", offer["pieceNum"]): offer for offer in offers_of(ours)}
        for number, offer in now.items():
            known = then.get(number) or self._offered.get(_key(offer), {})
            yield from compare("offer", known, offer)
        for number in sorted({*then} - {*now}):
            yield Difference("offer", json.dumps(then[number]), "(none)")
        if not then and not now:
            yield from compare_answers(recorded, ours)


def compare_answers(recorded: Response, ours: Response) -> Iterator[Difference]:
    """Compare two responses: status, type, the range, and the body field by field."""
    yield from compare("status", recorded.status, ours.status)
    if recorded.header("content-range") or ours.header("content-range"):
        ranges = [one.header("content-range") for one in (recorded, ours)]
        yield from compare("content-range", *ranges)
    body = ours.body
    assert isinstance(body, bytes)
    if recorded.status == ours.status and recorded.body and body:
        types = [one.header("content-type") for one in (recorded, ours)]
        yield from compare("content-type", *types)
    if isinstance(recorded.body, Digested):
        if ours.status < 400:
            yield from compare("body", _facts(recorded.body), _facts_of(body, recorded.body))
    elif recorded.body is not None:
        yield from compare("body", *map(_decoded, (recorded.body, body)))


def _facts(body: Digested) -> dict[str, object]:
    return {"length": body.length, "head": body.head, "tail": body.tail, "md5": body.md5}


def _facts_of(body: bytes, like: Digested) -> dict[str, object]:
    return {
        "length": len(body),
        "head": body[: len(like.head) // 2].hex(),
        "tail": body[len(body) - len(like.tail) // 2 :].hex(),
        "md5": hashlib.md5(body, usedforsecurity=False).hexdigest() if like.md5 else "",
    }


def _decoded(body: bytes) -> object:
    """Return JSON as a value, without the texts in it that are for people."""
    text = body.decode(errors="surrogateescape")
    try:
        value: object = json.loads(text)
    except ValueError:
        return re.sub(r"[0-9]{17,19}", "<nanoseconds>", text)
    return _without_texts(value)


_TEXTS: Final = ("msg", "message", "errorMsg", "ErrorMsg")


def _without_texts(value: object) -> object:
    if isinstance(value, list):
        return [_without_texts(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: _without_texts(item) for key, item in items if key not in _TEXTS}
    return value


def _code(response: Response) -> object:
    found = json_of(response)
    return found.get("code") if found else None


def offers_of(response: Response | None) -> list[dict[str, object]]:
    found = json_of(response) if response is not None else {}
    data = found.get("data")
    return cast("list[dict[str, object]]", data) if isinstance(data, list) else []


def _key(offer: dict[str, object]) -> tuple[object, object]:
    return offer["pieceNum"], offer["cid"]


def json_of(response: Response) -> dict[str, object]:
    if not isinstance(response.body, bytes):
        return {}
    try:
        found: object = json.loads(response.body)
    except ValueError:
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}
