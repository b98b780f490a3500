"""A supernode process: one engine between the control port, the download port and origins."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, assert_never

import trio

from ..engine.config import SupernodeConfig
from ..engine.effects import Answer, Ban, CancelFetch, ForgetTask, HashPiece, ReadOrigin
from ..engine.piece import PieceSizePolicy
from ..engine.supernode import SupernodeEngine
from ..engine.trace import TraceWriter
from .cdn import CdnStores
from .control import ControlPort
from .host import Host
from .http import open_listeners, serve_http
from .origin import OriginReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..engine.effects import SupernodeEffect
    from ..engine.events import SupernodeEvent
    from ..engine.ids import FetchId

_log = logging.getLogger(__name__)
_LOOPBACK: Final = "127.0.0.1"
_TRACE_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SupernodeSettings:
    """How to run a supernode.

    ``home`` holds the copies.  Ports 0: any free one.  ``advertise_ip`` empty: the address that
    this host uses towards others.  It listens there and on loopback, nowhere else.
    ``record_dir``: write a trace of the engine there.
    """

    home: Path
    port: int = 8002
    download_port: int = 8001
    advertise_ip: str = ""
    record_dir: Path | None = None
    paranoid: bool = False
    piece_size_policy: PieceSizePolicy = PieceSizePolicy.ADAPTIVE
    up_slots: int = 2
    down_slots: int = 2
    cdn_up_slots: int = 20


@dataclass(frozen=True, slots=True)
class SupernodeAddress:
    """Where a supernode listens."""

    host: str
    port: int
    download_port: int


async def serve_supernode(
    settings: SupernodeSettings,
    *,
    task_status: trio.TaskStatus[SupernodeAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until cancelled.  Raises ``OSError`` if a port or the home cannot be used."""
    host = settings.advertise_ip or outward_ip()
    settings.home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        control = await _listen(host, settings.port, closing)
        download = await _listen(host, settings.download_port, closing)
        address = SupernodeAddress(host, _port(control), _port(download))
        config = SupernodeConfig(
            ip=host,
            download_port=address.download_port,
            piece_size_policy=settings.piece_size_policy,
            up_slots=settings.up_slots,
            down_slots=settings.down_slots,
            cdn_up_slots=settings.cdn_up_slots,
        )
        async with OriginReader() as reader, trio.open_nursery() as nursery:
            node = _Supernode(settings, config, reader, nursery, closing)
            await nursery.start(node.host.run)
            await nursery.start(serve_http, node.control.serve, control)
            await nursery.start(serve_http, node.cdn.serve, download)
            task_status.started(address)


def outward_ip() -> str:
    """Return the address from which this host would reach others; loopback if it cannot."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # documentation range; a datagram socket sends nothing
        except OSError:
            return _LOOPBACK
        return str(probe.getsockname()[0])


class _Supernode:
    """The parts of one process and the effects that join them."""

    def __init__(
        self,
        settings: SupernodeSettings,
        config: SupernodeConfig,
        reader: OriginReader,
        nursery: trio.Nursery,
        closing: ExitStack,
    ) -> None:
        self._nursery = nursery
        self._reads: dict[FetchId, trio.CancelScope] = {}
        seed = int.from_bytes(os.urandom(8), "big")
        self._engine = SupernodeEngine(config, Random(seed))
        record = _recorder(settings.record_dir, config, seed, closing)
        self.host: Host[SupernodeEvent, SupernodeEffect] = Host(
            self._engine, self._perform, record=record, paranoid=settings.paranoid
        )
        self.cdn = CdnStores(settings.home / "repo", reader)
        closing.callback(self.cdn.close)
        self.control = ControlPort(self.host.post, self._stats)

    def _perform(self, effect: SupernodeEffect) -> None:
        match effect:
            case Answer():
                self.control.answer(effect)
            case ReadOrigin():
                self._reads[effect.fetch] = trio.CancelScope()
                self._nursery.start_soon(self._read, effect)
            case CancelFetch(fetch):
                if (scope := self._reads.get(fetch)) is not None:
                    scope.cancel()
            case HashPiece():
                self._nursery.start_soon(self.cdn.hash, effect, self.host.post)
            case ForgetTask(task):
                self.cdn.forget(task)
            case Ban(task, peer, why):
                _log.warning("task %s: peer %s is no parent any more: %s", task, peer, why)
            case _:
                assert_never(effect)

    async def _read(self, effect: ReadOrigin) -> None:
        try:
            with self._reads[effect.fetch]:
                await self.cdn.read(effect, self.host.post)
        finally:
            del self._reads[effect.fetch]

    def _stats(self) -> bytes:
        stats = {
            "tasks": len(self._engine.tasks),
            "peers": self._engine.peers,
            "origin_bytes": self.cdn.origin_bytes,
            "upload_bytes": self.cdn.upload_bytes,
            "requests": self.control.requests,
        }
        return json.dumps(stats).encode()


def _recorder(
    folder: Path | None, config: SupernodeConfig, seed: int, closing: ExitStack
) -> Callable[[float, object | None, Sequence[object]], None] | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    name = f"supernode-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.trace"
    out = closing.enter_context((folder / name).open("wb", buffering=_TRACE_BUFFER_BYTES))
    writer = TraceWriter(out.write, {"engine": "supernode", "config": config, "seed": seed})
    return writer.record


async def _listen(host: str, port: int, closing: ExitStack) -> list[trio.SocketListener]:
    listeners = await open_listeners(host, port)
    if host != _LOOPBACK:
        listeners += await open_listeners(_LOOPBACK, _port(listeners))
    for listener in listeners:
        closing.callback(listener.socket.close)
    return listeners


def _port(listeners: list[trio.SocketListener]) -> int:
    return int(listeners[0].socket.getsockname()[1])
