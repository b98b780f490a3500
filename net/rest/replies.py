"""What the REST API answers with: JSON as 1.0.6 writes it, its error body, its times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from ...engine.errors import RemoteProtocolError
from ..http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


class RestError(RemoteProtocolError):
    """A call that cannot be done: ``status`` and the message of its error body."""

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, status_hint=status)
        self.status = status
        self.headers = headers


def json_reply(
    value: Mapping[str, object], status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """Return an object as the body."""
    return HttpResponse(status, (to_json(value), b"\n"), JSON_TYPE, headers)


def list_reply(
    values: Iterable[Mapping[str, object]], headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """Return an array of objects as the body."""
    return HttpResponse(200, (to_json(list(values)), b"\n"), JSON_TYPE, headers)


def to_json(value: object) -> bytes:
    """Return JSON without blanks; ``&``, ``<`` and ``>`` stand as they are."""
    return msgspec.json.encode(value)


def error_reply(error: RestError) -> HttpResponse:
    """Return ``{"code", "message"}`` with the status of an error."""
    found = {"code": error.status, "message": str(error)}
    return json_reply(found, error.status, error.headers)


def empty_reply(status: int = 200) -> HttpResponse:
    """Return no body at all."""
    return HttpResponse(status, (), TEXT_TYPE)


def text_reply(
    text: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    """Return a text as it stands."""
    return HttpResponse(status, (text.encode(),), TEXT_TYPE, headers)


def present(**values: object) -> dict[str, object]:
    """Return those values that Go would not leave out as empty."""
    return {key: value for key, value in values.items() if value not in (None, "", 0, False, {})}


def rfc3339_ms(time_ms: int) -> str:
    """Return milliseconds since 1970 as Go's swagger writes them: ``2026-11-23T16:27:42.164Z``."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
