"""``/tasks/{id}/pieces``: work for a peer, what became of it, and what was wrong with it.

Documented by Dragonfly and never made, but for the error call.  A pull is answered with the
pieces that the peer is to fetch; what its v1 code would be stands in a header.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ...engine.ids import PeerId, TaskId
from ...engine.messages import (
    Code,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    ReportPiece,
    ReportPieceError,
    SettlePiece,
    TaskCompleted,
)
from ...engine.wire.fields import MAX_NAME, checked_text
from ...engine.wire.frame import decimal
from ...engine.wire.v1_calls import whole_piece
from ...engine.wire.v1_requests import piece_range
from .bodies import PieceFault, PiecePull, PieceUpdate, read_body
from .replies import RestError, empty_reply, list_reply
from .routes import Route
from .tasks import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...engine.ids import PieceIndex
    from ...engine.messages import PieceOffer
    from ..http import HttpResponse
    from .node import Node
    from .routes import Call

_DEFAULT_PIECES: Final = 4
_CODE_HEADER: Final = "X-Damselfly-Code"
_STATUSES: Final[Mapping[str, PullStatus]] = {
    "STARTED": PullStatus.START,
    "RUNNING": PullStatus.RUNNING,
    "FINISHED": PullStatus.FINISHED,
}
_RESULTS: Final[Mapping[str, PullResult]] = {
    "FAILED": PullResult.FAILED,
    "SUCCESS": PullResult.SUCCESS,
    "INVALID": PullResult.INVALID,
    "SEMISUC": PullResult.SEMI_SUCCESS,
}


class PieceCalls:
    """The calls about pieces."""

    def __init__(self, node: Node) -> None:
        self._node = node
        error = "/tasks/{id}/pieces/{pieceRange}/error"
        self.recorded = (Route("GET", error, self._fault),)
        self.routes = (
            Route("GET", "/tasks/{id}/pieces", self._pull),
            Route("PUT", "/tasks/{id}/pieces/{pieceRange}", self._update),
            Route("POST", error, self._fault),
        )

    async def _pull(self, call: Call) -> HttpResponse:
        """Say what the peer is to fetch; nothing while it should wait, or when it has all."""
        asked = read_body(PiecePull, call.request.body.strip() or b"{}")
        query = call.query
        most = decimal(query.get("num") or str(_DEFAULT_PIECES))
        peer = query.get("clientID")
        if not most or not peer:
            raise RestError(400, "expected clientID, and num above 0, in the query")
        checked_text(peer, "clientID", "query", MAX_NAME, partial(RestError, 400))
        task = self._node.task(TaskId(call.names["id"])).task
        running = asked.dfget_task_status == "RUNNING"
        piece, size = self._piece(task, asked.piece_range) if asked.piece_range else (None, 0)
        result = _RESULTS[asked.piece_result] if running else PullResult.INVALID
        if running and (piece is None) != (result is PullResult.INVALID):
            raise RestError(400, "a pieceRange and a pieceResult other than INVALID go together")
        parent = self._node.parent(task, asked.dst_pid)
        status = _STATUSES[asked.dfget_task_status]
        pull = PullPieces(task, PeerId(peer), status, result, parent, piece, size)
        match reply := await self._node.ask(pull):
            case PiecesOffered(offers):
                shown = [self._shown(task, offer) for offer in offers[:most]]
                return _listed(shown, Code.PEER_CONTINUE)
            case TaskCompleted():
                return _listed([], Code.PEER_FINISH)
            case Refused(Code.PEER_WAIT):
                return _listed([], Code.PEER_WAIT)
            case _:
                raise refusal(reply)

    async def _update(self, call: Call) -> HttpResponse:
        """Take in what became of a piece."""
        asked = read_body(PieceUpdate, call.request.body)
        task = self._node.task(TaskId(call.names["id"])).task
        piece, size = self._piece(task, call.names["pieceRange"])
        peer, parent = PeerId(asked.client_id), self._node.parent(task, asked.dst_pid)
        result = _RESULTS[asked.piece_status]
        if result is PullResult.INVALID:
            raise RestError(400, "pieceStatus INVALID says nothing about the piece")
        if result is PullResult.SUCCESS:
            reply = await self._node.ask(ReportPiece(task, peer, parent, piece, size))
        else:
            reply = await self._node.ask(SettlePiece(task, peer, parent, piece, size, result))
        if isinstance(reply, Refused):
            raise refusal(reply)
        return empty_reply()

    async def _fault(self, call: Call) -> HttpResponse:
        """Take in that a parent gave something bad or nothing; whoever it was, it is no error."""
        asked = read_body(PieceFault, call.request.body)
        task = self._node.task(TaskId(call.names["id"])).task
        piece, size = self._piece(task, call.names["pieceRange"])
        said = ReportPieceError(
            task,
            PeerId(asked.src_cid),
            self._node.parent(task, asked.dst_pid),
            asked.error_type,
            asked.dst_ip,
            piece,
            size,
            asked.real_md5,
            asked.expected_md5,
        )
        await self._node.ask(said)
        return empty_reply()

    def _piece(self, task: TaskId, text: str) -> tuple[PieceIndex, int]:
        """Return the piece of ``task`` that a range is; ``RestError`` 400 if it is none."""
        piece_size = self._node.task(task).piece_size
        found = whole_piece(text)
        if found is None or found[1] != piece_size:
            expected = f"expected first-last of one whole piece of {piece_size} bytes"
            raise RestError(400, f"piece range {text[:60]!r}: {expected}")
        return found

    def _shown(self, task: TaskId, offer: PieceOffer) -> dict[str, object]:
        return {
            "pID": self._node.record_of(task, offer.parent),
            "pieceRange": piece_range(offer.piece, offer.piece_size),
            "pieceSize": offer.piece_size,
            "pieceMD5": offer.md5,
            "peerIP": offer.host,
            "peerPort": offer.port,
            "path": offer.path,
        }


def _listed(shown: list[dict[str, object]], code: Code) -> HttpResponse:
    return list_reply(shown, ((_CODE_HEADER, str(code.value)),))
