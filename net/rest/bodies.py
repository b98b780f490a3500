"""The JSON bodies of the REST API: types, bounds, and the words in which 1.0.6 refuses them.

Keys are matched in any case, as Go does, and ``null`` counts as absent.
"""

from __future__ import annotations

import re
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec

from ...engine.errors import ConfigError
from ...engine.wire.fields import MAX_NAME, MAX_TEXT, checked_text, json_object
from ...engine.wire.v1_bodies import HIGHEST_PORT, LOWEST_PORT, MAX_HEADERS
from ..origin_head import parse_header_lines
from .replies import RestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ERRORS: Final = ("FILE_NOT_EXIST", "FILE_MD5_NOT_MATCH")
_STATUSES: Final = ("STARTED", "RUNNING", "FINISHED")
_RESULTS: Final = ("FAILED", "SUCCESS", "INVALID", "SEMISUC")
_TYPES: Final = ("image", "file")
_MIN_URL_CHARS: Final = 3

_refused = partial(RestError, 400)


def _lower(name: str) -> str:
    return name.replace("_", "")


class Body(msgspec.Struct, frozen=True, rename=_lower):
    """A body, its keys in lower case; what is absent is empty."""

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the values, a line each."""
        yield from ()


BodyT = TypeVar("BodyT", bound=Body)


class PeerCreate(Body, frozen=True):
    """``POST /peers``."""

    ip: str = ""
    host_name: str = ""
    port: int = 0
    version: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        if not _is_ipv4(self.ip):
            yield f'IP in body must be of type ipv4: "{self.ip}"'
        if not _HOST_NAME.fullmatch(self.host_name):
            yield f'hostName in body must be of type hostname: "{self.host_name}"'
        if self.port and self.port < LOWEST_PORT:
            yield f"port in body should be greater than or equal to {LOWEST_PORT}"
        if self.port > HIGHEST_PORT:
            yield f"port in body should be less than or equal to {HIGHEST_PORT}"


class TaskCreate(Body, frozen=True):
    """``POST /tasks``: a download of a peer that has a record."""

    cid: str = ""
    raw_url: str = ""
    task_url: str = ""
    md5: str = ""
    identifier: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    dfdaemon: bool = False
    call_system: str = ""
    filter: list[str] = []
    task_id: str = ""
    peer_id: str = ""
    supernode_ip: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _missing(cID=self.cid, peerID=self.peer_id)
        if not _is_http(self.raw_url):
            yield f'rawURL in body must begin with http:// or https://: "{self.raw_url[:80]}"'
        if not self.path.startswith("/"):
            yield f'path in body must begin with /: "{self.path[:80]}"'
        yield from _too_long(cID=self.cid, path=self.path, callSystem=self.call_system)
        yield from _bad_headers(self.headers)


class TaskUpdate(Body, frozen=True):
    """``PUT /tasks/{id}``: a peer has the whole task."""

    peer_id: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _missing(peerID=self.peer_id)


class PiecePull(Body, frozen=True):
    """``GET /tasks/{id}/pieces``: what became of the piece had before."""

    dst_pid: str = ""
    dfget_task_status: str = "STARTED"
    piece_result: str = "INVALID"
    piece_range: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _not_one_of("dfgetTaskStatus", self.dfget_task_status, _STATUSES)
        yield from _not_one_of("pieceResult", self.piece_result, _RESULTS)


class PieceUpdate(Body, frozen=True):
    """``PUT /tasks/{id}/pieces/{range}``: what became of a piece."""

    client_id: str = ""
    dst_pid: str = ""
    piece_status: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _missing(clientID=self.client_id)
        yield from _not_one_of("pieceStatus", self.piece_status, _RESULTS)


class PieceFault(Body, frozen=True):
    """``/tasks/{id}/pieces/{range}/error``: a parent gave something bad, or nothing."""

    src_cid: str = ""
    dst_pid: str = ""
    dst_ip: str = ""
    real_md5: str = ""
    expected_md5: str = ""
    error_type: str = ""

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _not_one_of("errorType", self.error_type, _ERRORS)


class PreheatCreate(Body, frozen=True):
    """``POST /preheats``."""

    type: str = ""
    url: str = ""
    filter: str = ""
    identifier: str = ""
    headers: dict[str, str] = {}

    def problems(self) -> Iterator[str]:
        """Say what is wrong."""
        yield from _missing(type=self.type, url=self.url)
        if self.type:
            yield from _not_one_of("type", self.type, _TYPES)
        if self.url and len(self.url) < _MIN_URL_CHARS:
            yield f"url in body should be at least {_MIN_URL_CHARS} chars long"
        elif self.url and not _is_http(self.url):
            yield f'url in body must begin with http:// or https://: "{self.url[:80]}"'
        yield from _bad_headers(self.headers)


def read_body(kind: type[BodyT], body: bytes) -> BodyT:
    """Return the body of a call; raises ``RestError`` 400 that names all that is wrong."""
    if not body.strip():
        raise _refused("empty request")
    found = json_object(body, "body", _refused)
    _check_texts(found)
    present = {name: value for name, value in found.items() if value is not None}
    try:
        read = msgspec.convert(present, kind)
    except msgspec.ValidationError as error:
        raise _refused(f"body: {error}") from None
    if problems := list(read.problems()):
        raise _refused("\n".join(["validation failure list:", *problems]))
    return read


def header_lines(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return headers as the ``k:v`` lines of a registration."""
    return tuple(f"{name}:{value}" for name, value in headers.items())


def _check_texts(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        is_secret = not isinstance(value, str)  # it is the headers, then
        for text in _texts(value):
            checked_text(text, name, "body", MAX_TEXT, _refused, is_secret=is_secret)


def _texts(value: object) -> Iterable[str]:
    match value:
        case str():
            return (value,)
        case list():
            found = cast("list[object]", value)
            return (text for text in found if isinstance(text, str))
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return (text for pair in pairs for text in pair if isinstance(text, str))
        case _:
            return ()


def _missing(**values: str) -> Iterator[str]:
    return (f"{name} in body is required" for name, value in values.items() if not value)


def _too_long(**values: str) -> Iterator[str]:
    return (
        f"{name} in body should be at most {MAX_NAME} chars long"
        for name, value in values.items()
        if len(value) > MAX_NAME
    )


def _not_one_of(name: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if value not in allowed:
        yield f"{name} in body should be one of [{' '.join(allowed)}]"


def _bad_headers(headers: Mapping[str, str]) -> Iterator[str]:
    if len(headers) > MAX_HEADERS:
        yield f"headers in body should have at most {MAX_HEADERS} items"
    try:
        parse_header_lines(header_lines(headers))
    except ConfigError as error:
        yield f"headers in body: {error}"


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))
