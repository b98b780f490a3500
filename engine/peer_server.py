"""What a host serves to other peers, and for how long (protocol 3.2 and 3.3).

A download is served under its name from the moment a dfget announces it, while its pieces still
arrive.  When it is finished and nobody has asked for it for a while, its supernode is told and
the file goes.  A server that nobody needs for a while ends by itself.

The life of the server is ``LIFE``; the drawing in this folder's README is made from it.
"""

from __future__ import annotations

import json
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final, assert_never

from .errors import LocalProtocolError, RemoteProtocolError
from .expressions import expression
from .ids import NodeAddress, PieceIndex
from .lines import Lines
from .piece import MAX_PIECE_SIZE, WRAP_BYTES
from .served import Served, ServedPhase, ServedTrigger
from .shares import Shares
from .uploads import (
    TEXT,
    CheckRequested,
    CloseServer,
    DataSurveyed,
    DeleteDownload,
    DownloadWithdrawn,
    FinishReported,
    LeaveSwarm,
    LimitUploads,
    PieceRequested,
    PingRequested,
    RateRequested,
    RequestDropped,
    Respond,
    RetireServer,
    ServePiece,
    ShareRequested,
    StatsRequested,
    StopRequested,
    SurveyData,
    UploadEnded,
)
from .wire.frame import parse_number, parse_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ids import ExchangeId
    from .uploads import (
        FoundFile,
        PeerServerEffect,
        PeerServerEvent,
        PeerServerRequest,
        UploadPolicy,
    )

_MAX_NAME_BYTES: Final = 240
"""What file systems allow (255) less the suffixes that a store appends."""
_ANNOUNCED_KEEP_S: Final = 60.0
"""A dfget announces a download before it can make its file: so long is given to it at least."""
_NODE: Final = expression(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class ServerPhase(Enum):
    """Where the server stands."""

    SERVING = auto()
    LEAVING = auto()
    """New requests are refused; uploads under way may end."""
    CLOSED = auto()


class ServerTrigger(Enum):
    """What moves the server from phase to phase."""

    STOPPED = auto()
    IDLED = auto()
    DRAINED = auto()
    OVERDUE = auto()


LIFE: Final[Mapping[ServerPhase, Mapping[ServerTrigger, ServerPhase]]] = {
    ServerPhase.SERVING: {
        ServerTrigger.STOPPED: ServerPhase.LEAVING,
        ServerTrigger.IDLED: ServerPhase.LEAVING,
    },
    ServerPhase.LEAVING: {
        ServerTrigger.DRAINED: ServerPhase.CLOSED,
        ServerTrigger.OVERDUE: ServerPhase.CLOSED,
    },
    ServerPhase.CLOSED: {},
}


class PeerServerEngine:
    """One host's peer server; see ``engine.Engine`` for the contract.

    Events are ``PeerServerEvent``, effects ``PeerServerEffect``.  Requests may come from any
    host, so only the server's own data directory is ever served: a ``/check`` that names another
    one is refused (a dfget of the same home names the same), and so is a task file name that is
    not a plain file name.
    """

    def __init__(self, policy: UploadPolicy) -> None:
        self._policy = policy
        self._now = -inf
        self._phase = ServerPhase.SERVING
        self._served: dict[str, Served] = {}
        self._uploads: dict[ExchangeId, Served] = {}
        self._lines = Lines(policy.host_slots, policy.line_s)
        self._shares = Shares()
        self._pieces_sent = 0
        self._bytes_sent = 0
        self._active_at = -inf
        self._survey_at = -inf
        self._is_surveying = False
        self._close_at = inf

    @property
    def phase(self) -> ServerPhase:
        """Where the server stands."""
        return self._phase

    @property
    def served(self) -> tuple[str, ...]:
        """The names of the downloads on offer."""
        return tuple(self._served)

    def handle(self, event: PeerServerEvent, now: float) -> list[PeerServerEffect]:
        """Take in one event."""
        self._advance(now)
        out: list[PeerServerEffect] = []
        match event:
            case UploadEnded():
                self._upload_ended(event)
            case RequestDropped(exchange):
                self._active_at = self._now
                self._shares.drop(exchange)
                if self._lines.is_waiting(exchange):
                    self._upload_ended(UploadEnded(exchange, 0, complete=False))
            case DataSurveyed():
                self._surveyed(event, out)
            case DownloadWithdrawn(name):
                if name in self._served:
                    self._forget(name, ServedTrigger.WITHDRAWN, out)
            case StopRequested():
                if self._phase is ServerPhase.SERVING:
                    self._leave(ServerTrigger.STOPPED, out)
            case _:
                if self._phase is ServerPhase.SERVING:
                    self._answer(event, out)
                else:
                    out.append(_refusal(event.exchange, 503, "this peer server is stopping"))
        return out + self.tick(now)

    def tick(self, now: float) -> list[PeerServerEffect]:
        """Do what is due: pieces, answers about shares, a survey of the directory, the end."""
        self._advance(now)
        out: list[PeerServerEffect] = [*self._lines.due(self._now)]
        match self._phase:
            case ServerPhase.SERVING:
                return out + self._serve()
            case ServerPhase.LEAVING:
                return out + self._drain()
            case ServerPhase.CLOSED:
                return []
            case _:
                assert_never(self._phase)

    def deadline(self) -> float:
        """Return when a piece, shares, a survey, or the end is due."""
        match self._phase:
            case ServerPhase.SERVING:
                others = min(self._survey_due(), self._shares.deadline())
                return min(others, self._lines.deadline())
            case ServerPhase.LEAVING:
                return min(self._close_at, self._lines.deadline())
            case ServerPhase.CLOSED:
                return inf
            case _:
                assert_never(self._phase)

    def check(self) -> None:
        """Recount uploads and slots; assert that no forgotten download is still served."""
        uploads = {e: served for served in self._served.values() for e in served.uploads}
        if self._phase is ServerPhase.SERVING:
            for exchange, owner in self._uploads.items():
                assert uploads.get(exchange) is owner or owner.phase is ServedPhase.FORGOTTEN
            assert uploads.items() <= self._uploads.items()
        else:
            assert not self._served
        self._shares.check()
        self._lines.check()
        for name in self._shares.names:
            assert self._served[name].phase is ServedPhase.GROWING
        assert self._close_at == inf or self._phase is not ServerPhase.SERVING
        assert len(self._uploads) <= self._policy.up_slots
        assert len(self._served) <= self._policy.max_downloads
        assert sum(served.bytes_sent for served in self._served.values()) <= self._bytes_sent
        for name, served in self._served.items():
            assert _is_file_name(name)
            assert served.phase is not ServedPhase.FORGOTTEN
            assert served.used_at <= self._now
            assert served.phase is ServedPhase.GROWING or (served.task and served.peer)

    # --- requests ---

    def _answer(self, request: PeerServerRequest, out: list[PeerServerEffect]) -> None:
        exchange = request.exchange
        try:
            match request:
                case PieceRequested():
                    self._piece(request)
                case CheckRequested():
                    self._check_in(request, out)
                    out.append(Respond(exchange, 200, f"{request.name}@{self._policy.version}"))
                case RateRequested():
                    out.append(Respond(exchange, 200, self._rate(request, out)))
                case ShareRequested():
                    self._share(request, out)
                case FinishReported():
                    out.append(self._finish(request, out))
                case PingRequested():
                    out.append(Respond(exchange, 200, "success"))
                case StatsRequested():
                    out.append(Respond(exchange, 200, self._stats(), "application/json"))
                case _:
                    assert_never(request)
        except RemoteProtocolError as error:
            out.append(_refusal(exchange, error.status_hint, str(error)))

    def _piece(self, request: PieceRequested) -> None:
        self._active_at = self._now
        piece = parse_number("pieceNum", request.piece)
        piece_size = parse_number("pieceSize", request.piece_size)
        if not WRAP_BYTES < piece_size <= MAX_PIECE_SIZE:
            expected = f"expected {WRAP_BYTES + 1} to {MAX_PIECE_SIZE}"
            raise RemoteProtocolError(f"pieceSize {piece_size}: {expected}")
        first, last = parse_range(request.byte_range)
        if (served := self._served.get(request.name)) is None:
            raise RemoteProtocolError(f"failed to get taskPath: {request.name}", status_hint=500)
        if len(self._uploads) >= self._policy.up_slots:
            busy = f"all {self._policy.up_slots} upload slots are taken, try another peer"
            raise RemoteProtocolError(busy, status_hint=503)
        if request.exchange in self._uploads:
            raise LocalProtocolError(f"exchange {request.exchange} is already an upload")
        self._uploads[request.exchange] = served
        served.uploads[request.exchange] = None
        served.used_at = self._now
        wanted = ServePiece(
            request.exchange,
            request.name,
            first,
            last,
            PieceIndex(piece),
            piece_size,
            request.plain,
        )
        self._lines.join(request.host or str(request.exchange), wanted, self._now)

    def _check_in(self, request: CheckRequested, out: list[PeerServerEffect]) -> None:
        self._active_at = self._now
        if request.data_dir.rstrip("/") not in ("", self._policy.data_dir.rstrip("/")):
            what = f"dataDir {request.data_dir!r}: not the one that this peer server serves"
            raise RemoteProtocolError(what)
        served = self._enter(request.name)
        served.move(ServedTrigger.CHECKED)
        self._part(request.name, out)
        try:
            limit = parse_number("totalLimit", request.total_limit)
        except RemoteProtocolError:
            return  # as in v1: only a positive number says anything
        if limit not in (0, self._shares.total_bytes_per_s):
            self._shares.total_bytes_per_s = limit
            out.append(LimitUploads(limit))

    def _rate(self, request: RateRequested, out: list[PeerServerEffect]) -> str:
        self._active_at = self._now
        wanted = parse_number("rateLimit", request.rate)
        served = self._served.get(request.name)
        if served is not None:
            served.used_at = self._now
        if served is not None and served.phase is ServedPhase.GROWING:
            self._part(request.name, out)
            share = self._shares.poll(request.name, wanted, self._now)
        else:
            share = self._shares.quote(wanted)
        return str(share) if self._shares.total_bytes_per_s else request.rate

    def _share(self, request: ShareRequested, out: list[PeerServerEffect]) -> None:
        self._active_at = self._now
        wanted = parse_number("rateLimit", request.rate)
        taken = parse_number("rateTaken", request.taken)
        served = self._served.get(request.name)
        if served is None or served.phase is not ServedPhase.GROWING:
            what = f"{request.name}: no download under way, so it has no share"
            raise RemoteProtocolError(what, status_hint=404)
        served.used_at = self._now
        self._part(request.name, out)
        self._shares.ask(request.name, request.exchange, wanted, taken, self._now)

    def _part(self, name: str, out: list[PeerServerEffect]) -> None:
        """Let ``name`` have no share, and no question about one."""
        if (exchange := self._shares.leave(name)) is not None:
            out.append(_refusal(exchange, 409, f"{name}: this question is overtaken"))

    def _finish(self, request: FinishReported, out: list[PeerServerEffect]) -> Respond:
        if not (request.name and request.task and request.peer):
            return Respond(request.exchange, 400, "invalid params")
        served = self._enter(request.name)
        served.move(ServedTrigger.REPORTED)
        self._part(request.name, out)
        served.task, served.peer, served.node = request.task, request.peer, _node(request.node)
        return Respond(request.exchange, 200, "success")

    def _enter(self, name: str) -> Served:
        if not _is_file_name(name):
            raise RemoteProtocolError(f"task file name {name[:80]!r}: expected a plain file name")
        if (served := self._served.get(name)) is None:
            if len(self._served) >= self._policy.max_downloads:
                full = f"this peer server serves {len(self._served)} downloads already"
                raise RemoteProtocolError(full, status_hint=503)
            served = self._served[name] = Served(self._now)
            self._survey_at = min(self._survey_at, self._now + self._policy.survey_s)
        served.used_at = self._now
        return served

    def _stats(self) -> str:
        return json.dumps(
            {
                "uploads": self._pieces_sent,
                "bytes": self._bytes_sent,
                "active": len(self._uploads),
                "downloads": {name: served.bytes_sent for name, served in self._served.items()},
            }
        )

    # --- the passing of time ---

    def _advance(self, now: float) -> None:
        if self._now == -inf:
            self._active_at = now
            self._survey_at = now + self._policy.survey_s
        self._now = max(self._now, now)

    def _upload_ended(self, event: UploadEnded) -> None:
        served = self._uploads.pop(event.exchange, None)
        if served is None:
            return
        self._lines.leave(event.exchange)
        del served.uploads[event.exchange]
        served.bytes_sent += event.bytes_sent
        served.used_at = self._active_at = self._now
        self._bytes_sent += event.bytes_sent
        self._pieces_sent += event.complete

    def _surveyed(self, event: DataSurveyed, out: list[PeerServerEffect]) -> None:
        if self._phase is not ServerPhase.SERVING or not self._is_surveying:
            return
        self._is_surveying = False
        in_use = {found.name: None for found in event.files if found.in_use}
        for found in event.files:
            self._found(found, out)
        for name, served in list(self._served.items()):
            unused_s = self._now - served.used_at
            if not served.uploads and name not in in_use and unused_s >= self._kept_s(served):
                self._forget(name, ServedTrigger.EXPIRED, out)
        is_empty = not event.files and not self._served
        self._survey_at = inf if is_empty else self._now + self._policy.survey_s
        if self._idle_at() <= self._now:
            self._leave(ServerTrigger.IDLED, out)

    def _found(self, found: FoundFile, out: list[PeerServerEffect]) -> None:
        if (served := self._served.get(found.name)) is None:
            kept_s = self._policy.expire_s if found.delivered else self._policy.partial_keep_s
            if not found.in_use and found.age_s >= kept_s:
                out.append(DeleteDownload(found.name))
        elif found.in_use:
            served.used_at = self._active_at = self._now
        else:
            served.used_at = max(served.used_at, self._now - max(0.0, found.age_s))

    def _kept_s(self, served: Served) -> float:
        if served.phase is ServedPhase.GROWING:
            return max(self._policy.expire_s, _ANNOUNCED_KEEP_S)
        return self._policy.expire_s

    def _survey_due(self) -> float:
        return inf if self._is_surveying else min(self._survey_at, self._idle_at())

    def _idle_at(self) -> float:
        if self._uploads or self._shares.has_questions or self._policy.alive_s <= 0:
            return inf
        return self._active_at + self._policy.alive_s

    def _serve(self) -> list[PeerServerEffect]:
        answers = self._shares.settle(self._now)
        if answers:
            self._active_at = self._now
        out: list[PeerServerEffect] = [
            Respond(exchange, 200, str(share)) for exchange, share in answers
        ]
        if self._survey_due() <= self._now:
            self._is_surveying = True
            out.append(SurveyData())
        return out

    def _drain(self) -> list[PeerServerEffect]:
        if not self._uploads:
            return self._close(ServerTrigger.DRAINED)
        return self._close(ServerTrigger.OVERDUE) if self._close_at <= self._now else []

    def _leave(self, trigger: ServerTrigger, out: list[PeerServerEffect]) -> None:
        self._phase = LIFE[self._phase][trigger]
        self._close_at = self._now + self._policy.drain_s
        out.append(RetireServer())
        for name in list(self._served):
            self._forget(name, ServedTrigger.WITHDRAWN, out)

    def _close(self, trigger: ServerTrigger) -> list[PeerServerEffect]:
        self._phase = LIFE[self._phase][trigger]
        return [CloseServer()]

    def _forget(self, name: str, trigger: ServedTrigger, out: list[PeerServerEffect]) -> None:
        """Serve ``name`` no longer.  The file of an unfinished download stays, to be resumed."""
        served = self._served.pop(name)
        self._part(name, out)
        if served.node is not None:
            out.append(LeaveSwarm(served.node, served.task, served.peer))
        if served.phase is ServedPhase.FINISHED:
            out.append(DeleteDownload(name))
        served.move(trigger)


def _refusal(exchange: ExchangeId, status: int, text: str) -> Respond:
    return Respond(exchange, status, f"{text}\n", TEXT)


def _is_file_name(name: str) -> bool:
    if "/" in name or "\0" in name or name in (".", ".."):
        return False
    return len(name.encode(errors="surrogatepass")) <= _MAX_NAME_BYTES


def _node(text: str) -> NodeAddress | None:
    found = _NODE.fullmatch(text)
    if found is None:
        return None
    host, port = found[1].strip("[]"), int(found[2] or 8002)
    return NodeAddress(host, port) if 0 < port < 65536 else None
