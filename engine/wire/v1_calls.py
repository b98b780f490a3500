"""What a v1 supernode receives: HTTP calls as requests, tolerant as protocol 9 advises.

The queries come by the thousand, so they are taken apart by hand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ..errors import RemoteProtocolError
from ..expressions import expression
from ..ids import PeerId, PieceIndex, TaskId
from ..messages import (
    LeaveTask,
    PullPieces,
    PullResult,
    PullStatus,
    ReportPiece,
    ReportPieceError,
    V1Request,
)
from ..piece import MAX_PIECE_SIZE, WRAP_BYTES, Digest
from .fields import MAX_NAME, checked_text, query_values
from .frame import decimal
from .v1_bodies import decode_metrics, decode_register
from .v1_paths import (
    METHODS,
    METRICS,
    PIECE_ERROR,
    PIECE_SUCCESS,
    PULL,
    REGISTRY,
    SERVICE_DOWN,
    WANTED,
    CallError,
    unversioned,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .v1_bodies import Headers

_STATUSES: Final = {str(status.value): status for status in PullStatus}
_START, _FINISHED = PullStatus.START, PullStatus.FINISHED
_RESULTS: Final = {str(result.value): result for result in PullResult}
_RANGE_DIGITS: Final = 40
"""Characters of the longest range that can be; longer ones are none."""
_DIGEST: Final = expression(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")


def decode_request(method: str, target: str, headers: Headers, body: bytes) -> V1Request:
    """Return what a peer asks.

    ``target`` is the raw request target; a prefix such as ``/v1.0`` is taken off.  Raises
    ``CallError`` for bad values, and ``RemoteProtocolError`` with status 404 for a path that is
    no legacy call and 405 for another method than the path's.
    """
    path, _, query = target.partition("?")
    if path not in METHODS:
        path = unversioned(path)
    wanted = METHODS.get(path)
    if wanted is None:
        raise RemoteProtocolError(f"no such call: {path[:MAX_NAME]!r}", status_hint=404)
    if method != wanted:
        raise RemoteProtocolError(f"{path}: {method} is not {wanted}", status_hint=405)
    if path == REGISTRY:
        return decode_register(headers, body)
    if path == METRICS:
        return decode_metrics(body)
    return _QUERIES[path](query_values(query))


def whole_piece(text: str) -> tuple[PieceIndex, int] | None:
    """Return number and wrapped size of the piece that a range ``first-last`` is, if it is one."""
    return _whole_piece(text) if len(text) <= _RANGE_DIGITS else None


@lru_cache(maxsize=4096)  # all peers of a task speak of the same pieces
def _whole_piece(text: str) -> tuple[PieceIndex, int] | None:
    first_text, _, last_text = text.partition("-")
    first, last = decimal(first_text), decimal(last_text)
    if first is not None and last is not None:
        size = last - first + 1
        if WRAP_BYTES < size <= MAX_PIECE_SIZE and first % size == 0:
            return PieceIndex(first // size), size
    return None


def _pull(values: Mapping[str, str]) -> PullPieces:
    status = _STATUSES.get(values.get("status", ""))
    result = _RESULTS.get(values.get("result") or "502")
    if status is None or result is None:
        raise CallError(
            f"{PULL}: status {values.get('status', '')[:40]!r} and result "
            f"{values.get('result', '')[:40]!r}: expected 700 to 702 and 500 to 503"
        )
    task = TaskId(_needed(values, "taskId", PULL))
    peer = PeerId(_needed(values, "srcCid", PULL))
    wanted = _wanted(values)
    if status is _START:  # after a migration the rest is about another supernode
        return PullPieces(task, peer, status, PullResult.INVALID, wanted=wanted)
    piece, piece_size = _range(values, "range", PULL)
    if piece is not None and status is not _FINISHED and result is PullResult.INVALID:
        raise CallError(f"{PULL}: result 502 (invalid) with a range: expected 500, 501 or 503")
    parent = PeerId(_name(values, "dstCid", PULL))
    return PullPieces(task, peer, status, result, parent, piece, piece_size, wanted)


def _piece_success(values: Mapping[str, str]) -> ReportPiece:
    task = TaskId(_needed(values, "taskId", PIECE_SUCCESS))
    peer = PeerId(_needed(values, "cid", PIECE_SUCCESS))
    parent = PeerId(_name(values, "dstCid", PIECE_SUCCESS))
    piece, piece_size = _range(values, "pieceRange", PIECE_SUCCESS)
    if piece is None:
        raise CallError(f"{PIECE_SUCCESS}: pieceRange is missing or empty")
    digest = values.get("digest")
    if not digest:
        return ReportPiece(task, peer, parent, piece, piece_size)
    if not _DIGEST.fullmatch(digest):
        raise CallError(
            f"{PIECE_SUCCESS}: digest {digest[:80]!r}: expected sha256: or md5: and hex"
        )
    return ReportPiece(task, peer, parent, piece, piece_size, Digest(digest))


def _piece_error(values: Mapping[str, str]) -> ReportPieceError:
    piece, piece_size = _range(values, "range", PIECE_ERROR)
    return ReportPieceError(
        task=TaskId(_needed(values, "taskId", PIECE_ERROR)),
        peer=PeerId(_needed(values, "srcCid", PIECE_ERROR)),
        parent=PeerId(_name(values, "dstCid", PIECE_ERROR)),
        kind=_name(values, "errorType", PIECE_ERROR),
        parent_ip=_name(values, "dstIp", PIECE_ERROR),
        piece=piece,
        piece_size=piece_size,
        real_md5=_name(values, "realMd5", PIECE_ERROR),
        expected_md5=_name(values, "expectedMd5", PIECE_ERROR),
    )


def _service_down(values: Mapping[str, str]) -> LeaveTask:
    task = TaskId(_needed(values, "taskId", SERVICE_DOWN))
    return LeaveTask(task, PeerId(_needed(values, "cid", SERVICE_DOWN)))


_QUERIES: Final[Mapping[str, Callable[[Mapping[str, str]], V1Request]]] = {
    PULL: _pull,
    PIECE_SUCCESS: _piece_success,
    PIECE_ERROR: _piece_error,
    SERVICE_DOWN: _service_down,
}


def _name(values: Mapping[str, str], name: str, where: str) -> str:
    value = values.get(name, "")
    if len(value) <= MAX_NAME and value.isprintable():
        return value
    return checked_text(value, name, where, MAX_NAME, CallError)


def _needed(values: Mapping[str, str], name: str, where: str) -> str:
    value = _name(values, name, where)
    if not value:
        raise CallError(f"{where}: {name} is missing or empty")
    return value


def _wanted(values: Mapping[str, str]) -> PieceIndex | None:
    if (text := values.get(WANTED)) is None:
        return None
    if (piece := decimal(text)) is None:
        raise CallError(f"{PULL}: {WANTED} {text[:60]!r}: expected the number of a piece")
    return PieceIndex(piece)


def _range(values: Mapping[str, str], name: str, where: str) -> tuple[PieceIndex | None, int]:
    text = values.get(name)
    if not text:
        return None, 0
    if (found := whole_piece(text)) is None:
        raise CallError(f"{where}: {name} {text[:60]!r}: expected first-last of one whole piece")
    return found
