"""HTTP requests to a peer server as events of its engine (protocol 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

from ..engine.errors import RemoteProtocolError
from ..engine.ids import PeerId, TaskId
from ..engine.uploads import (
    CheckRequested,
    FinishReported,
    PieceRequested,
    PingRequested,
    RateRequested,
    ShareRequested,
    StatsRequested,
)

if TYPE_CHECKING:
    from ..engine.ids import ExchangeId, NodeAddress
    from ..engine.uploads import PeerServerRequest
    from .http import HttpRequest

PIECE: Final = "/peer/file/"
CHECK: Final = "/check/"
RATE: Final = "/rate/"
FINISH: Final = "/client/finish"
PING: Final = "/server/ping"
STATS: Final = "/server/stats"
_MAX_QUERY_FIELDS: Final = 32


def route(request: HttpRequest, exchange: ExchangeId) -> PeerServerRequest | None:
    """Return what a ``GET`` asks for; ``None`` for an unknown path.

    Raises ``RemoteProtocolError`` for a target that cannot be decoded.
    """
    raw_path, _, query = request.target.partition("?")
    try:
        path = unquote(raw_path, errors="strict")
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"path {raw_path[:80]}: expected UTF-8") from None
    if path.startswith(PIECE):
        return PieceRequested(
            exchange,
            path.removeprefix(PIECE),
            _header(request, "range"),
            _header(request, "piecenum"),
            _header(request, "piecesize"),
            _header(request, "cdnsource") == "source",
            request.client_host,
        )
    if path.startswith(CHECK):
        data_dir, limit = _header(request, "datadir"), _header(request, "totallimit")
        return CheckRequested(exchange, path.removeprefix(CHECK), data_dir, limit)
    if path.startswith(RATE):
        return _rate(exchange, path.removeprefix(RATE), request)
    if path == FINISH:
        return _finish(exchange, query)
    if path == PING:
        return PingRequested(exchange)
    return StatsRequested(exchange) if path == STATS else None


def node_text(node: NodeAddress | None) -> str:
    """Return a supernode's address as ``FINISH`` takes it, empty for none."""
    if node is None:
        return ""
    return f"[{node.host}]:{node.port}" if ":" in node.host else str(node)


def _rate(exchange: ExchangeId, name: str, request: HttpRequest) -> RateRequested | ShareRequested:
    rate = _header(request, "ratelimit")
    if (taken := request.header("ratetaken")) is None:
        return RateRequested(exchange, name, rate)
    return ShareRequested(exchange, name, rate, taken)


def _finish(exchange: ExchangeId, query: str) -> FinishReported:
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError as error:
        raise RemoteProtocolError(f"query of {FINISH}: {error}") from None
    name, task, peer, node = [
        fields.get(key, [""])[0] for key in ("taskFileName", "taskID", "cid", "superNode")
    ]
    return FinishReported(exchange, name, TaskId(task), PeerId(peer), node)


def _header(request: HttpRequest, name: str) -> str:
    """Return a header, empty if absent; v1 writes UTF-8 where HTTP has Latin-1."""
    value = request.header(name) or ""
    return value if value.isascii() else value.encode("latin-1").decode(errors="replace")
