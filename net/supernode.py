"""A supernode process: one engine between the control port, the download port and origins."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import ExitStack
from dataclasses import field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final, assert_never

import trio

from ..engine.config import SupernodeConfig
from ..engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    CheckOrigin,
    DeleteCopy,
    ExpectMany,
    ForgetPeer,
    ForgetTask,
    HashCopy,
    HashPiece,
    ProbeOrigin,
    ReadOrigin,
    SurveyDisk,
    VerifyPiece,
)
from ..engine.events import OriginChecked, OriginFailed, OriginFailure
from ..engine.records import dataclass
from ..engine.supernode import SupernodeEngine
from .cdn import CdnStores
from .cdn_port import DownloadPort
from .front import Front, Traffic
from .host import Host
from .http import open_listeners, serve_http
from .origin import OriginReader
from .pacing import Bandwidth
from .recorder import Recorder, TraceLimits
from .rest.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ..engine.effects import SupernodeEffect
    from ..engine.events import OriginEvent, SupernodeEvent
    from ..engine.ids import FetchId

_log = logging.getLogger(__name__)
_LOOPBACK: Final = "127.0.0.1"
_LOOKUPS: Final = 512
"""Names looked up at once: each takes a thread, and dead ones keep it for long."""


@dataclass(frozen=True, slots=True)
class SupernodeSettings:
    """How to run a supernode.

    ``home`` holds the copies.  Ports 0: any free one.  ``advertise_ip`` empty: the address that
    this host uses towards others.  It listens there and on loopback, nowhere else.
    ``record_dir``: write a trace of the engine there, so much of it as ``trace`` allows.
    ``engine`` is how it decides; its own address and port are filled in.  ``bandwidth`` is what it
    takes of the network.  ``profiles``: whoever reaches the control port may see what the process
    is doing (``rest.profiles``).
    """

    home: Path
    port: int = 8002
    download_port: int = 8001
    advertise_ip: str = ""
    record_dir: Path | None = None
    trace: TraceLimits = field(default_factory=TraceLimits)
    paranoid: bool = False
    engine: SupernodeConfig = field(default_factory=SupernodeConfig)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    profiles: bool = False


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
    trio.to_thread.current_default_thread_limiter().total_tokens = _LOOKUPS
    host = settings.advertise_ip or outward_ip()
    settings.home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        control = await _listen(host, settings.port, closing)
        download = await _listen(host, settings.download_port, closing)
        address = SupernodeAddress(host, _port(control), _port(download))
        config = replace(settings.engine, ip=host, download_port=address.download_port)
        async with (
            OriginReader() as reader,
            RegistryClient() as registries,
            trio.open_nursery() as nursery,
        ):
            node = _Supernode(settings, config, reader, registries, nursery, closing)
            if node.recorder is not None:
                await nursery.start(node.recorder.run)
            await nursery.start(node.host.run)
            serve = partial(serve_http, prompt=node.control.prompt)
            await nursery.start(serve, node.control.serve, control)
            await nursery.start(serve_http, node.port.serve, download)
            await reader.prepare()
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
        registries: RegistryClient,
        nursery: trio.Nursery,
        closing: ExitStack,
    ) -> None:
        self._nursery, self._reader = nursery, reader
        self._asked: dict[FetchId, trio.CancelScope] = {}
        self._for_many: set[FetchId] = set()
        seed = int.from_bytes(os.urandom(8), "big")
        engine = SupernodeEngine(config, Random(seed))
        self.recorder: Recorder | None = None
        if settings.record_dir is not None:
            header = {"config": config, "seed": seed}
            self.recorder = Recorder(settings.record_dir, settings.trace, "supernode", header)
        self.cdn = CdnStores(settings.home / "repo", reader, settings.bandwidth)
        self.port = DownloadPort(self.cdn, settings.bandwidth)
        closing.callback(self.cdn.close)
        traffic = Traffic(
            origin_bytes=lambda: self.cdn.origin_bytes,
            uploaded_bytes=lambda: self.port.upload_bytes,
            cache_hits=lambda: self.cdn.cache_hits,
        )
        self._front = Front(
            *(engine, config, self._tell, nursery, registries, traffic), profiles=settings.profiles
        )
        self.control = self._front.control
        self.host: Host[SupernodeEvent, SupernodeEffect] = Host(
            self._front.timed,
            self._perform,
            record=self.recorder.record if self.recorder is not None else None,
            paranoid=settings.paranoid,
        )

    def _tell(self, event: SupernodeEvent) -> None:
        self.host.tell(event)

    def _perform(self, effect: SupernodeEffect) -> None:
        self._front.performed(effect)
        match effect:
            case ReadOrigin():
                few_hosts = partial(self._has_few_hosts, effect)
                work = partial(self.cdn.read, effect, self._read_said, few_hosts)
                self._ask_origin(effect.fetch, work)
            case ExpectMany(read):
                if read in self._asked:
                    self._for_many.add(read)
            case ProbeOrigin():
                self._ask_origin(effect.fetch, partial(self._reader.probe, effect, self.host.post))
            case CheckOrigin():
                self._ask_origin(effect.fetch, partial(self._check, effect))
            case CancelFetch(fetch):
                if (scope := self._asked.get(fetch)) is not None:
                    scope.cancel()
            case HashPiece():
                self._nursery.start_soon(self.cdn.hash, effect, self.host.post)
            case HashCopy():
                self._nursery.start_soon(self.cdn.hash_whole, effect, self.host.post)
            case VerifyPiece():
                self._nursery.start_soon(self.cdn.verify, effect, self.host.post)
            case DeleteCopy(task):
                self._nursery.start_soon(self.cdn.delete, self.cdn.doom(task), self.host.post)
            case SurveyDisk():
                self._nursery.start_soon(self.cdn.survey, effect, self.host.post)
            case ForgetTask(task):
                self.cdn.forget(task)
            case Ban(task, peer, why):
                _log.warning("task %s: peer %s is no parent any more: %s", task, peer, why)
            case Answer() | ForgetPeer():
                pass  # the front has seen them
            case _:
                assert_never(effect)

    def _ask_origin(self, fetch: FetchId, work: Callable[[], Awaitable[None]]) -> None:
        scope = self._asked[fetch] = trio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    await work()
            except Exception as error:
                # One strange origin must not end the supernode for all others.
                _log.exception("origin read %d failed", fetch)
                self._read_said(OriginFailed(fetch, OriginFailure.BAD_ANSWER, repr(error)))
            finally:
                del self._asked[fetch]
                self._for_many.discard(fetch)

        self._nursery.start_soon(run)

    def _has_few_hosts(self, effect: ReadOrigin) -> bool:
        return effect.few_hosts and effect.fetch not in self._for_many

    async def _check(self, effect: CheckOrigin) -> None:
        self.host.post(OriginChecked(effect.fetch, await self._reader.check(effect)))

    def _read_said(self, event: OriginEvent) -> None:
        self._front.read_said(event)
        self.host.post(event)


async def _listen(host: str, port: int, closing: ExitStack) -> list[trio.SocketListener]:
    listeners = await open_listeners(host, port)
    if host != _LOOPBACK:
        listeners += await open_listeners(_LOOPBACK, _port(listeners))
    for listener in listeners:
        closing.callback(listener.socket.close)
    return listeners


def _port(listeners: list[trio.SocketListener]) -> int:
    return int(listeners[0].socket.getsockname()[1])
