"""One download from beginning to end: what ``dfget`` does, for any trio program.

``fetch`` finds its own address, makes sure that a peer server runs, picks up what an earlier run
left, and lets a ``DownloadEngine`` do the rest through ``Performer``.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import trio

from ..engine.config import DownloadConfig
from ..engine.events import Started
from ..engine.ids import TaskId, peer_id, task_file_name, task_url
from ..engine.records import replace
from ..engine.ring import in_order_for
from .drive import drive
from .http import HttpError, HttpPool
from .origin import OriginReader
from .peer_launch import PeerServerHandle, PeerServerRefused, ensure_peer_server
from .peer_meta import WorkHome
from .peer_spawn import launch_for
from .performer import Means
from .publish import PublishError, check_target, publish
from .request import Outcome, Pattern, PrepareError, Progress
from .share import DownloadLimit
from .store import StoreDirectory
from .version import VERSION

if TYPE_CHECKING:
    from ..engine.effects import Publish
    from ..engine.events import HeldPiece
    from ..engine.ids import NodeAddress, PeerId
    from .peer_spawn import ServerStart
    from .performer import Performer
    from .request import FetchRequest, Watcher
    from .store import PieceStore

_log = logging.getLogger(__name__)
_PROBE_S: Final = 1.0
_MAX_NAME_BYTES: Final = 180


async def fetch(
    request: FetchRequest, watcher: Watcher, early: ServerStart | None = None
) -> Outcome:
    """Fetch one file; nothing stands under ``request.target`` unless it is complete and verified.

    ``early`` is a peer server that ``start_early`` has started for this request.
    Raises ``PrepareError``.  Cancelling keeps what came for the next run.
    """
    began = trio.current_time()
    stores = await _prepare(request)
    nodes = () if request.pattern is Pattern.SOURCE else request.nodes
    ip = early.launch.ip if early is not None else request.ip or await _own_ip(nodes)
    name = task_file_name(_short(request.target.name), request.sign)
    async with HttpPool() as pool:
        server = None
        if nodes and request.pattern is Pattern.P2P:
            server = await _peer_server(request, ip, name, pool, early)
        config = _config(request, nodes, ip, server, name)
        task = config.task
        _log.info("do register to one of [%s]", " ".join(map(str, config.nodes)))
        store, held = await _open_store(stores, f"{name}.service", _key(request, task))
        try:
            limit = DownloadLimit(_rate(request), server.share_rate if server else None)
            performer = await _run(request, config, store, held, pool, watcher, limit)
            if server is not None and performer.is_published:
                await _hand_over(server, performer.task or task, config.peer, performer.node)
        finally:
            _leave_behind(store)
    finish = performer.finish
    assert finish is not None
    return Outcome(
        code=finish.code,
        reason=finish.reason,
        message=finish.message,
        length=finish.length,
        seconds=trio.current_time() - began,
        progress=performer.progress,
        task=task,
        peer=config.peer,
    )


def _config(
    request: FetchRequest,
    nodes: tuple[NodeAddress, ...],
    ip: str,
    server: PeerServerHandle | None,
    name: str,
) -> DownloadConfig:
    config = DownloadConfig(
        url=request.url,
        task_url=task_url(request.url, request.dropped),
        peer=peer_id(ip, request.sign),
        nodes=nodes,
        ip=ip,
        port=server.port if server is not None else 0,
        path=server.path if server is not None else f"/peer/file/{quote(name)}",
        host_name=socket.gethostname() or "localhost",
        version=request.version or VERSION,
        md5=request.md5,
        identifier=request.identifier,
        call_system=request.call_system,
        headers=request.headers,
        dfdaemon=request.dfdaemon,
        insecure=request.insecure,
        root_cas=request.root_cas,
        back_to_source=request.back_to_source,
        source_only=request.pattern is Pattern.SOURCE,
        native=request.native,
        timeout_s=request.timeout_s,
        min_rate_bytes_per_s=request.min_rate_bytes_per_s,
    )
    return replace(config, nodes=in_order_for(config.task, nodes))


async def _run(
    request: FetchRequest,
    config: DownloadConfig,
    store: PieceStore,
    held: tuple[HeldPiece, ...],
    pool: HttpPool,
    watcher: Watcher,
    limit: DownloadLimit,
) -> Performer:
    started, progress = Started(), Progress(from_disk=sum(piece.size for piece in held))
    if held and (layout := store.layout) is not None:
        started = Started(held, layout.length, layout.piece_size, store.validator, layout.plain)
    delivery = partial(_deliver, request, store, limit, serves=config.port > 0)
    async with OriginReader() as reader, trio.open_nursery() as nursery:
        means = Means(store, reader, pool, watcher, delivery, limit.pace, request.pieces_at_once)
        nursery.start_soon(limit.run)
        performer = await drive(config, means, started, progress)
        nursery.cancel_scope.cancel()
    return performer


async def _deliver(
    request: FetchRequest,
    store: PieceStore,
    limit: DownloadLimit,
    effect: Publish,
    *,
    serves: bool,
) -> None:
    """Put the finished file under the user's name."""
    limit.leave()
    work = partial(
        publish,
        store,
        request.target,
        effect.length,
        effect.md5,
        sha256=request.sha256,
        keep_store=serves,
    )
    try:
        await trio.to_thread.run_sync(work)
    except PublishError as error:
        if error.mismatch:
            store.delete()  # or the next run would end the same way
        raise


async def _prepare(request: FetchRequest) -> StoreDirectory:
    home = WorkHome(request.home)
    try:
        stores = await trio.to_thread.run_sync(StoreDirectory, home.data_dir)
        if not os.access(home.data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home.data_dir))
    except OSError as error:
        text = f"cannot use the work home {home.path}: {error.filename}: {error.strerror}"
        raise PrepareError(f"{text}; name another with --home") from error
    try:
        await trio.to_thread.run_sync(check_target, request.target)
    except PublishError as error:
        raise PrepareError(str(error)) from error
    return stores


async def _open_store(
    stores: StoreDirectory, name: str, key: str
) -> tuple[PieceStore, tuple[HeldPiece, ...]]:
    """Return a store for this run, with the pieces of an earlier one that are still right."""

    def work() -> tuple[PieceStore, tuple[HeldPiece, ...]]:
        store = stores.find_partial(key)
        if store is None:
            return stores.new(name, key), ()
        stores.adopt(store, name)
        return store, store.rehash()

    try:
        return await trio.to_thread.run_sync(work)
    except OSError as error:
        raise PrepareError(f"cannot keep pieces: {error}") from error


def _leave_behind(store: PieceStore) -> None:
    """Close a store; without a single piece it is of no use to the next run."""
    if store.held or store.finished_length is not None:
        store.close()
    else:
        store.delete()


def _short(name: str) -> str:
    """Return as much of a file's name as leaves room for what is added to it."""
    return os.fsencode(name)[:_MAX_NAME_BYTES].decode(errors="ignore")


def _key(request: FetchRequest, task: str) -> str:
    """Name the content, so that a later run of the same command finds its pieces."""
    wishes = "\n".join((task, *sorted(request.headers)))
    return hashlib.sha256(wishes.encode()).hexdigest()


def _rate(request: FetchRequest) -> int:
    limits = (request.local_limit_bytes_per_s, request.total_limit_bytes_per_s)
    return min((limit for limit in limits if limit > 0), default=0)


async def _own_ip(nodes: tuple[NodeAddress, ...]) -> str:
    """Return the address from which the first supernode that answers is reached, or nothing."""
    for node in dict.fromkeys(nodes):
        with trio.move_on_after(_PROBE_S):
            try:
                stream = await trio.open_tcp_stream(node.host, node.port)
            except OSError:
                continue
            async with stream:
                return str(stream.socket.getsockname()[0])
    return ""


async def _peer_server(
    request: FetchRequest, ip: str, name: str, pool: HttpPool, early: ServerStart | None
) -> PeerServerHandle | None:
    server = await ensure_peer_server(launch_for(request, ip), name, pool, early)
    if isinstance(server, PeerServerHandle):
        return server
    _log.warning("no peer server, so this host serves nobody: %s", server.reason)
    return None


async def _hand_over(
    server: PeerServerHandle, task: TaskId, peer: PeerId, node: NodeAddress | None
) -> None:
    try:
        await server.finish(task, peer, node)
    except (HttpError, PeerServerRefused) as error:
        _log.warning("the peer server did not take over %s: %s", server.name, error)
