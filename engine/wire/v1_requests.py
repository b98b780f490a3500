"""What a peer sends to a v1 supernode: requests as HTTP calls (protocol 1.1 to 1.6)."""

from __future__ import annotations

import re
from typing import Final, assert_never
from urllib.parse import quote

from ..expressions import expression
from ..messages import (
    LeaveTask,
    PullPieces,
    Register,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    V1Request,
)
from ..piece import DigestForm
from ..records import dataclass
from .fields import go_json
from .native import VERSION
from .v1_paths import (
    DIGEST_HEADER,
    METRICS,
    NATIVE_HEADER,
    PIECE_ERROR,
    PIECE_SUCCESS,
    PULL,
    REGISTRY,
    RELAYS_HEADER,
    SERVICE_DOWN,
    WANTED,
)

_JSON_HEADER: Final = ("Content-Type", "application/json;charset=utf-8")

# Dragonfly writes values as they are.  What would break a request line or a query is escaped all
# the same: a cid comes from whoever we talk to.
_UNESCAPED: Final = ":~@/!$'()*,;=?-._"
_PLAIN: Final = expression(rf"[A-Za-z0-9{re.escape(_UNESCAPED)}]*")


@dataclass(frozen=True, slots=True)
class V1Call:
    """One HTTP request to a supernode.  ``headers`` leave Host, length and agent to the client."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def encode_request(request: V1Request) -> V1Call:
    """Return the call that asks ``request``; raises ``LocalProtocolError`` for unsendable text."""
    match request:
        case PullPieces():
            return V1Call("GET", _pull_target(request))
        case ReportPiece():
            return V1Call("GET", _report_target(request))
        case Register():
            return _registry_call(request)
        case LeaveTask(task, peer):
            return V1Call("GET", f"{SERVICE_DOWN}?taskId={_safe(task)}&cid={_safe(peer)}")
        case ReportPieceError():
            return V1Call("GET", _error_target(request))
        case ReportMetrics():
            return V1Call("POST", METRICS, (_JSON_HEADER,), go_json(_metrics_fields(request)))
        case _:
            assert_never(request)


def piece_range(piece: int | None, piece_size: int) -> str:
    """Return ``first-last`` of a whole wrapped piece, empty for no piece."""
    if piece is None:
        return ""
    return f"{piece * piece_size}-{(piece + 1) * piece_size - 1}"


def _pull_target(pull: PullPieces) -> str:
    wanted = "" if pull.wanted is None else f"&{WANTED}={pull.wanted}"
    return (
        f"{PULL}?srcCid={_safe(pull.peer)}&dstCid={_safe(pull.parent)}"
        f"&range={piece_range(pull.piece, pull.piece_size)}"
        f"&result={pull.result:d}&status={pull.status:d}&taskId={_safe(pull.task)}{wanted}"
    )


def _report_target(report: ReportPiece) -> str:
    digest = f"&digest={_safe(report.digest)}" if report.digest else ""
    return (
        f"{PIECE_SUCCESS}?taskId={_safe(report.task)}&cid={_safe(report.peer)}"
        f"&dstCid={_safe(report.parent)}"
        f"&pieceRange={piece_range(report.piece, report.piece_size)}{digest}"
    )


def _error_target(report: ReportPieceError) -> str:
    return (
        f"{PIECE_ERROR}?errorType={_safe(report.kind)}&srcCid={_safe(report.peer)}"
        f"&dstCid={_safe(report.parent)}&dstIp={_safe(report.parent_ip)}"
        f"&taskId={_safe(report.task)}&range={piece_range(report.piece, report.piece_size)}"
        f"&realMd5={_safe(report.real_md5)}&expectedMd5={_safe(report.expected_md5)}"
    )


def _registry_call(register: Register) -> V1Call:
    fields: dict[str, object] = {
        "superNodeIp": register.node_host,
        "rawUrl": register.raw_url,
        "taskUrl": register.task_url,
        "cid": register.peer,
        "ip": register.ip,
        "hostName": register.host_name,
        "port": register.port,
        "path": register.path,
    }
    optional: dict[str, object] = {
        "version": register.version,
        "md5": register.md5,
        "identifier": "" if register.md5 else register.identifier,
        "callSystem": register.call_system,
        "headers": register.headers,
        "dfdaemon": register.dfdaemon,
        "insecure": register.insecure,
        "rootCAs": register.root_cas,
    }
    fields |= {name: value for name, value in optional.items() if value}
    wants_sha256 = register.digest_form is DigestForm.SHA256
    extra = ((DIGEST_HEADER, "sha256"),) if wants_sha256 else ()
    extra += ((NATIVE_HEADER, VERSION),) if register.native else ()
    extra += ((RELAYS_HEADER, "1"),) if register.native and register.relays else ()
    return V1Call("POST", REGISTRY, (_JSON_HEADER, *extra), go_json(fields))


def _metrics_fields(metrics: ReportMetrics) -> dict[str, object]:
    # The order of Go's generated code; what is empty, 0 or false there is left out, or not.
    duration = metrics.duration_s
    return {
        "IP": metrics.ip,
        "backsourceReason": metrics.back_source_reason,
        "cID": metrics.peer,
        **({"callSystem": metrics.call_system} if metrics.call_system else {}),
        "duration": int(duration) if duration.is_integer() else duration,
        "fileLength": metrics.length,
        **({"port": metrics.port} if metrics.port else {}),
        **({"success": True} if metrics.success else {}),
        "taskId": metrics.task,
    }


def _safe(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_UNESCAPED, errors="replace")
