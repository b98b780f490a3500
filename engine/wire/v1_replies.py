"""What a v1 supernode answers, written as 1.0.6 writes it and read tolerantly (protocol 1.0, 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from ..errors import RemoteProtocolError
from ..ids import PeerId, PieceIndex, TaskId
from ..messages import (
    Acknowledged,
    Code,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    Refused,
    Register,
    Registered,
    ReportMetrics,
    ReportPieceError,
    TaskCompleted,
)
from ..piece import MAX_PIECE_SIZE, UNKNOWN_LENGTH, WRAP_BYTES, DigestForm
from .fields import CONTROLS, MAX_INT, MAX_TEXT, Fields, go_json, json_object
from .native import VERSION
from .v1_requests import piece_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..messages import V1Reply, V1Request

MAX_OFFERS: Final = 1024
JSON_TYPE: Final = "application/json"
_EMPTY_TYPE: Final = "text/plain"
_SHOWN: Final = 120
_CODES: Final[Mapping[int, Code]] = {code.value: code for code in Code}
_TAKEN: Final = (Code.SUCCESS, Code.REPORT_OK, Code.LEAVE_OK)
_CONTINUE: Final = Code.PEER_CONTINUE.value
_ACKNOWLEDGED: Final = {code: b'{"code":%d}\n' % code.value for code in Code}
_BLANKS: Final = dict.fromkeys(CONTROLS, " ")
_HEX: Final = frozenset("0123456789abcdef")
_SHA256_DIGITS: Final = 64


def encode_reply(request: V1Request | None, reply: V1Reply) -> tuple[int, str, bytes]:
    """Return status, content type and body that answer ``request`` with ``reply``.

    ``request`` is ``None`` if the call could not be decoded.  Our own keys are written only for a
    peer that asked for SHA-256 when it registered, and on offers that have one.
    """
    if isinstance(reply, Acknowledged):
        if isinstance(request, ReportMetrics):
            return 200, JSON_TYPE, b"null\n"
        if isinstance(request, ReportPieceError):
            return 200, _EMPTY_TYPE, b""
        return 200, JSON_TYPE, _ACKNOWLEDGED[reply.code]
    return 200, JSON_TYPE, go_json(_envelope(request, reply), escapes_html=False) + b"\n"


def decode_reply(request: V1Request, status: int, body: bytes) -> V1Reply:
    """Return what a supernode answered to ``request``.

    An empty or ``null`` body is an acknowledgement to reports.  A code of no known meaning comes
    back as ``Refused`` with ``UNKNOWN_ERROR``.  Raises ``RemoteProtocolError`` for another status
    than 200, and for a body that is no envelope or lacks what its code promises.
    """
    where = f"answer to {type(request).__name__}"
    if status != 200:
        raise RemoteProtocolError(f"{where}: HTTP status {status}: {body[:_SHOWN]!r}")
    if not isinstance(request, Register | PullPieces) and body.strip() in (b"", b"null"):
        return Acknowledged()
    fields = Fields(where, json_object(body, where, RemoteProtocolError), RemoteProtocolError)
    number = fields.number("code", -MAX_INT, MAX_INT)
    message = _message(fields)
    code = _CODES.get(number)
    if code is None:
        return Refused(Code.UNKNOWN_ERROR, f"code {number} {message}".rstrip())
    match request, code:
        case Register(), Code.SUCCESS:
            return _registered(fields.nested("data", fields.values.get("data")))
        case PullPieces(), Code.PEER_CONTINUE:
            return PiecesOffered(tuple(map(_offer, _offer_fields(fields))))
        case PullPieces(), Code.PEER_FINISH:
            return _completed(fields)
        case Register(), _:
            return Refused(code, message)
        case _:
            return Acknowledged(code) if code in _TAKEN else Refused(code, message)


# --- writing --------------------------------------------------------------------------------------


def _envelope(
    request: V1Request | None, reply: Registered | PiecesOffered | TaskCompleted | Refused
) -> dict[str, object]:
    match reply:
        case PiecesOffered(offers):
            return {"code": _CONTINUE, "data": [_offer_keys(o) for o in offers]}
        case Refused(code, message):
            return {"code": code.value, "msg": message} if message else {"code": code.value}
        case TaskCompleted(md5, wrapped_length):
            data = {"fileLength": wrapped_length, "md5": md5}
            return {"code": Code.PEER_FINISH.value, "data": data}
        case Registered():
            extended = isinstance(request, Register) and request.digest_form is DigestForm.SHA256
            data = _registered_keys(reply, extended=extended)
            return {"code": Code.SUCCESS.value, "data": data, "msg": "success"}
        case _:
            assert_never(reply)


def _registered_keys(reply: Registered, *, extended: bool) -> dict[str, object]:
    data: dict[str, object] = {
        "taskId": reply.task,
        "fileLength": reply.length,
        "pieceSize": reply.piece_size,
        "cdnSource": reply.cdn_source,
        "asSeed": False,
        "seedTaskID": "",
    }
    if extended and reply.digest_form is DigestForm.SHA256:
        data["digestForm"] = "sha256"
    if extended and reply.native:
        data["native"] = VERSION
    if extended and reply.validator:
        data["validator"] = reply.validator
    return data


def _offer_keys(offer: PieceOffer) -> dict[str, object]:
    data: dict[str, object] = {
        "range": piece_range(offer.piece, offer.piece_size),
        "pieceNum": offer.piece,
        "pieceSize": offer.piece_size,
        "pieceMd5": offer.md5,
        "cid": offer.parent,
        "peerIp": offer.host,
        "peerPort": offer.port,
        "path": offer.path,
        "downLink": offer.down_link_kb_per_s,
    }
    if offer.sha256:
        data["pieceSha256"] = offer.sha256
    return data


# --- reading --------------------------------------------------------------------------------------


def _message(fields: Fields) -> str:
    # Go's validation errors have several lines; a message is for people and never worth a failure.
    value = fields.values.get("msg")
    return value[:MAX_TEXT].translate(_BLANKS) if isinstance(value, str) else ""


def _registered(data: Fields) -> Registered:
    wants_sha256 = data.text("digestform") == "sha256"
    return Registered(
        task=TaskId(data.needed_text("taskid")),
        length=data.number("filelength", UNKNOWN_LENGTH, MAX_INT),
        piece_size=data.number("piecesize", WRAP_BYTES + 1, MAX_PIECE_SIZE),
        cdn_source=data.text("cdnsource") or "supernode",
        digest_form=DigestForm.SHA256 if wants_sha256 else DigestForm.MD5_WRAPPED,
        validator=data.text("validator", limit=MAX_TEXT),
        native=data.text("native") == VERSION,
    )


def _completed(fields: Fields) -> TaskCompleted:
    data = fields.nested("data", fields.values.get("data") or {})
    return TaskCompleted(data.text("md5"), data.number("filelength", -1, MAX_INT, default=0))


def _offer_fields(fields: Fields) -> list[Fields]:
    return [fields.nested("data", item) for item in fields.items("data", most=MAX_OFFERS)]


def _offer(data: Fields) -> PieceOffer:
    piece_size = data.number("piecesize", WRAP_BYTES + 1, MAX_PIECE_SIZE)
    piece = PieceIndex(data.number("piecenum", 0, MAX_INT // piece_size))
    stated = data.text("range")
    if stated and stated != piece_range(piece, piece_size):
        raise data.fail(f"{data.where}: range {stated!r} is not that of piece {piece}")
    path = data.needed_text("path", limit=MAX_TEXT)
    if not path.startswith("/") and "://" not in path:
        raise data.fail(f"{data.where}: path {path[:80]!r}: expected a leading / or a URL")
    sha256 = data.text("piecesha256")
    if sha256 and (len(sha256) != _SHA256_DIGITS or not _HEX.issuperset(sha256)):
        raise data.fail(f"{data.where}: pieceSha256 {sha256[:80]!r}: expected 64 hex digits")
    return PieceOffer(
        piece=piece,
        parent=PeerId(data.text("cid")),
        host=data.needed_text("peerip"),
        port=data.number("peerport", 0, 65535, default=0),
        path=path,
        piece_size=piece_size,
        md5=data.text("piecemd5"),
        sha256=sha256,
        down_link_kb_per_s=data.number("downlink", 0, MAX_INT, default=0),
    )
