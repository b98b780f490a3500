"""The calls with a body as a v1 supernode reads them: registration, metrics (protocol 1.1, 1.6).

Checks are those of 1.0.6, but for what real clients were seen to send all the same; see README.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from ..expressions import expression
from ..ids import PeerId, TaskId
from ..messages import Register, ReportMetrics
from ..piece import DigestForm
from .fields import MAX_INT, MAX_TEXT, Fields, form_values, json_object
from .native import VERSION
from .v1_paths import (
    DIGEST_HEADER,
    METRICS,
    NATIVE_HEADER,
    REGISTRY,
    RELAYS_HEADER,
    CallError,
)

if TYPE_CHECKING:
    import re

Headers: TypeAlias = Sequence[tuple[str, str]]

MAX_HEADERS: Final = 128
MAX_ROOT_CAS: Final = 64
LOWEST_PORT: Final = 15000
HIGHEST_PORT: Final = 65000

_HOST: Final = expression(r"[A-Za-z0-9._-]{1,255}")
_NODE: Final = expression(r"[A-Za-z0-9._:\[\]-]{0,262}")
_WITH_PORT: Final = expression(r"(?:\[([^\]]*)\]|([^:]*)):[0-9]{1,5}")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FORM_LISTS: Final = ("headers", "rootcas")
_FORM_NAMES: Final = frozenset(
    (
        *("supernodeip", "rawurl", "taskurl", "cid", "ip", "hostname", "port", "path", "version"),
        *("md5", "identifier", "callsystem", "headers", "dfdaemon", "insecure", "rootcas"),
        *("taskid", "filelength", "asseed"),
    )
)


def decode_register(headers: Headers, body: bytes) -> Register:
    """Return the registration in a JSON or form body; raises ``CallError`` (protocol 1.1)."""
    fields = _registry_fields(headers, body)
    raw_url = fields.needed_text("rawUrl", limit=MAX_TEXT)
    if not raw_url.lower().startswith(("http://", "https://")):
        raise CallError(f"{REGISTRY}: rawUrl {raw_url[:80]!r}: expected http:// or https://")
    path = fields.needed_text("path")
    if not path.startswith("/"):
        raise CallError(f"{REGISTRY}: path {path[:80]!r}: expected a leading /")
    md5 = fields.text("md5")
    asked = _header(headers, DIGEST_HEADER).lower()
    is_native = asked == "sha256" and _header(headers, NATIVE_HEADER) == VERSION
    return Register(
        raw_url=raw_url,
        task_url=fields.text("taskUrl", limit=MAX_TEXT) or raw_url,
        peer=PeerId(fields.needed_text("cid")),
        ip=_ip(fields),
        host_name=_matching(fields, "hostName", _HOST, "a host name"),
        port=_port(fields),
        path=path,
        version=fields.text("version"),
        node_host=_without_port(_matching(fields, "superNodeIp", _NODE, "an address")),
        md5=md5,
        identifier="" if md5 else fields.text("identifier", limit=MAX_TEXT),
        call_system=fields.text("callSystem"),
        headers=fields.texts("headers", most=MAX_HEADERS),
        dfdaemon=fields.flag("dfdaemon"),
        insecure=fields.flag("insecure"),
        root_cas=fields.texts("rootCAs", most=MAX_ROOT_CAS),
        digest_form=DigestForm.SHA256 if asked == "sha256" else DigestForm.MD5_WRAPPED,
        native=is_native,
        relays=is_native and _header(headers, RELAYS_HEADER) == "1",
    )


def decode_metrics(body: bytes) -> ReportMetrics:
    """Return the report on a finished download in a JSON body; raises ``CallError``."""
    fields = Fields(METRICS, json_object(body, METRICS, CallError), CallError)
    return ReportMetrics(
        task=TaskId(fields.text("taskId")),
        peer=PeerId(fields.text("cid")),
        ip=fields.text("ip"),
        port=_port(fields),
        success=fields.flag("success"),
        duration_s=fields.real("duration"),
        length=fields.number("fileLength", -1, MAX_INT, default=0),
        back_source_reason=fields.text("backsourceReason", default="0"),
        call_system=fields.text("callSystem"),
    )


def _registry_fields(headers: Headers, body: bytes) -> Fields:
    # curl -d sends JSON under the form's type; no form begins with a brace.
    is_form = _header(headers, "content-type").partition(";")[0].strip().lower() == _FORM_TYPE
    if not is_form or body.lstrip()[:1] == b"{":
        return Fields(REGISTRY, json_object(body, REGISTRY, CallError), CallError)
    values = form_values(body.decode("utf-8", "replace"))
    for name in values:
        if name not in _FORM_NAMES:
            raise CallError(f"{REGISTRY}: unknown form key {name[:60]!r}")
    found = {
        name: texts if name in _FORM_LISTS else texts[0] or None for name, texts in values.items()
    }
    return Fields(REGISTRY, found, CallError)


def _port(fields: Fields) -> int:
    port = fields.number("port", 0, HIGHEST_PORT, default=0)
    if 0 < port < LOWEST_PORT:
        raise CallError(
            f"{fields.where}: port {port}: expected 0 or {LOWEST_PORT} to {HIGHEST_PORT}"
        )
    return port


def _ip(fields: Fields) -> str:
    text = fields.text("ip")
    try:
        if "%" not in text:
            return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    raise CallError(f"{fields.where}: ip {text[:60]!r}: expected an IP address")


def _matching(fields: Fields, name: str, pattern: re.Pattern[str], expected: str) -> str:
    text = fields.text(name)
    if not pattern.fullmatch(text):
        raise CallError(f"{fields.where}: {name} {text[:60]!r}: expected {expected}")
    return text


def _without_port(node: str) -> str:
    """Return the host of ``host:port``: that is how 0.3.0 was told of a node, port or not."""
    if (found := _WITH_PORT.fullmatch(node)) is None:
        return node
    return found[1] or found[2]


def _header(headers: Headers, name: str) -> str:
    name = name.lower()
    return next((value for key, value in headers if key.lower() == name), "")
