"""What to ask an origin for, and what its answer's head means: the part of a read without I/O."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from ..engine.effects import ProbeOrigin, ReadOrigin
from ..engine.errors import ConfigError, DamselflyError
from ..engine.events import Freshness, OriginFailure
from ..engine.expressions import expression
from ..engine.ids import TaskId
from ..engine.piece import UNKNOWN_LENGTH, PieceSizePolicy
from ..engine.records import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..engine.effects import CheckOrigin

#: Headers of a user that would change how the connection or the bytes are framed.
_OURS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: Headers of a user that would make a request conditional on something else.
_CONDITIONS: Final = frozenset({"if-match", "if-modified-since", "if-none-match", "if-range"})
#: Answers that say nothing about the content.
_DENIED: Final = frozenset({401, 403, 407})
_BUSY: Final = frozenset({408, 429})
_MAX_VALIDATOR_CHARS: Final = 1024
_TOKEN: Final = expression(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CONTROL: Final = expression(r"[\x00-\x08\x0a-\x1f\x7f]")
_USER_RANGE: Final = expression(r"bytes=(\d{1,18})-(\d{1,18})?")
_CONTENT_RANGE: Final = expression(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_DATE: Final = expression(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_EMPTY_FILE: Final = expression(r"bytes \*/0+")


class OriginError(DamselflyError):
    """A read cannot go on: what ``OriginFailed`` will say."""

    def __init__(
        self, failure: OriginFailure, reason: str, status: int = 0, *, needed_bytes: int = 0
    ) -> None:
        super().__init__(reason)
        self.failure = failure
        self.status = status
        self.needed_bytes = needed_bytes


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range in the origin's file.  ``first`` is ``None`` if only the origin can tell."""

    first: int | None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class OriginQuery:
    """One GET, and the ``span`` of the origin's file that should come back.

    ``task`` is the part that the user's own Range header makes the task, ``None`` for the file.
    A query that is not ``partial`` wants the whole task.
    """

    headers: tuple[tuple[str, str], ...]
    partial: bool
    span: ByteRange
    task: ByteRange | None


@dataclass(frozen=True, slots=True)
class OriginHead:
    """A good answer: ``length`` of the task (-1 unknown), and ``body_bytes`` to come (or -1)."""

    length: int
    body_bytes: int
    ranged: bool
    validator: str


def parse_header_lines(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return names and values of ``name:value`` lines; those without a value are left out.

    Raises ``ConfigError`` naming the header but never its value, which may be a secret.
    """
    fields: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        name, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not colon or not _TOKEN.fullmatch(name):
            raise ConfigError(f"header line {number}: expected 'name:value' with a plain name")
        if _CONTROL.search(value):
            raise ConfigError(f"header {name}: its value has a line break or control character")
        if value:
            fields.append((name, value))
    return fields


def query_of(effect: ReadOrigin) -> OriginQuery:
    """Return what to ask for; ``OriginError`` if that cannot be said in a request."""
    try:  # dfget 0.3 and 0.4 cut a header at its commas; Dragonfly drops what has no colon then
        lines = parse_header_lines([line for line in effect.headers if ":" in line])
    except ConfigError as error:
        raise _bad(f"cannot be sent: {error}") from error
    fields: list[tuple[str, str]] = []
    task: ByteRange | None = None
    for name, value in lines:
        if name.lower() == "range":
            task = _parse_user_range(value)
        if name.lower() not in _OURS:
            fields.append((name, value))
    fields.append(("Accept-Encoding", "identity"))
    if effect.first_byte == 0 and effect.last_byte is None:
        return OriginQuery(tuple(fields), False, task or ByteRange(0), task)
    span = _part_of(task or ByteRange(0), effect)
    fields = [field for field in fields if field[0].lower() not in ("range", "if-range")]
    fields.append(("Range", _range_text(span)))
    if effect.validator:
        fields.append(("If-Range", effect.validator))
    return OriginQuery(tuple(fields), True, span, task)


def first_byte_of(effect: ProbeOrigin | CheckOrigin) -> ReadOrigin:
    """Return the shortest read that tells what an origin has: of one byte."""
    is_probe = isinstance(effect, ProbeOrigin)
    return ReadOrigin(
        fetch=effect.fetch,
        task=TaskId(""),
        url=effect.url,
        headers=effect.headers,
        piece_size=effect.piece_size if is_probe else PieceSizePolicy.ADAPTIVE,
        last_byte=0,
        insecure=effect.insecure,
        root_cas=effect.root_cas,
    )


def if_changed(query: OriginQuery, validator: str) -> OriginQuery:
    """Return ``query`` on the condition that the content is not the one with ``validator``."""
    headers = [field for field in query.headers if field[0].lower() not in _CONDITIONS]
    if validator:
        name = "If-None-Match" if validator.startswith('"') else "If-Modified-Since"
        headers.append((name, validator))
    return replace(query, headers=tuple(headers))


def freshness(
    effect: CheckOrigin, query: OriginQuery, status: int, headers: Mapping[str, str]
) -> Freshness:
    """Return what the answer to an ``if_changed`` query means (protocol 7.4).

    An origin in trouble (5xx) says nothing, as RFC 9111 has it in 4.3.3.
    """
    if status == 304:
        return Freshness.SAME
    if status in _DENIED:
        return Freshness.DENIED
    if status >= 500 or status in _BUSY:
        return Freshness.UNKNOWN
    if effect.validator:
        return Freshness.CHANGED
    try:
        length = judge(first_byte_of(effect), query, status, headers).length
    except OriginError:
        return Freshness.CHANGED
    return Freshness.SAME if length in (UNKNOWN_LENGTH, effect.length) else Freshness.CHANGED


def judge(
    effect: ReadOrigin, query: OriginQuery, status: int, headers: Mapping[str, str]
) -> OriginHead:
    """Return what the answer promises; ``OriginError`` if it is no download of what was asked.

    ``headers`` finds names in any case.  The reasons continue a sentence that begins with the URL.
    """
    if status not in (200, 206, 416) or (status == 416 and not query.partial):
        raise OriginError(OriginFailure.STATUS, f"answered {status_line(status)}", status)
    _check_validator(effect.validator, headers)
    if status == 416:
        return _judge_unsatisfiable(query, headers)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise _bad(f"sent {encoding}-encoded bytes although plain ones were asked for")
    if status == 206:
        return _judge_part(query, headers)
    return _judge_whole(effect, query, headers)


def status_line(status: int) -> str:
    """Return a status with its standard phrase: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def validator_of(headers: Mapping[str, str]) -> str:
    """Return what identifies these bytes: a strong ETag, else a Last-Modified date, else empty."""
    etag = headers.get("etag", "")
    if etag.startswith('"') and len(etag) <= _MAX_VALIDATOR_CHARS:
        return etag
    date = headers.get("last-modified", "")
    return date if _DATE.fullmatch(date) else ""


def _parse_user_range(value: str) -> ByteRange:
    found = _USER_RANGE.fullmatch(value)
    if found is None:
        return ByteRange(None)
    return ByteRange(int(found[1]), int(found[2]) if found[2] else None)


def _part_of(task: ByteRange, effect: ReadOrigin) -> ByteRange:
    if task.first is None:
        raise _bad("cannot be sent: a task with such a Range header cannot be read in parts")
    lasts = [task.last] if task.last is not None else []
    if effect.last_byte is not None:
        lasts.append(task.first + effect.last_byte)
    return ByteRange(task.first + effect.first_byte, min(lasts, default=None))


def _range_text(span: ByteRange) -> str:
    return f"bytes={span.first}-{'' if span.last is None else span.last}"


def _check_validator(expected: str, headers: Mapping[str, str]) -> None:
    if not expected:
        return
    real = headers.get("etag" if expected.startswith('"') else "last-modified", expected)
    if real != expected:
        raise _changed(f"now has other content: expected {expected}, found {real}")


def _judge_unsatisfiable(query: OriginQuery, headers: Mapping[str, str]) -> OriginHead:
    content_range = headers.get("content-range", "")
    if query.span.first == 0 and query.task is None and _EMPTY_FILE.fullmatch(content_range):
        return OriginHead(0, 0, ranged=True, validator=validator_of(headers))
    asked = _range_text(query.span)
    raise _changed(f"has no {asked} (416, Content-Range {content_range!r})", 416)


def _judge_whole(effect: ReadOrigin, query: OriginQuery, headers: Mapping[str, str]) -> OriginHead:
    if query.partial and (effect.validator or effect.first_byte or query.task):
        raise _changed(f"sent the whole file when asked for {_range_text(query.span)}", 200)
    length = _content_length(headers)
    takes_ranges = headers.get("accept-ranges", "").strip().lower() == "bytes"
    ignored_one = query.partial or query.task is not None
    return OriginHead(length, length, takes_ranges and not ignored_one, validator_of(headers))


def _judge_part(query: OriginQuery, headers: Mapping[str, str]) -> OriginHead:
    content_range, body_bytes = headers.get("content-range", ""), _content_length(headers)
    found = _CONTENT_RANGE.fullmatch(content_range)
    if found is None or (query.task is None and not query.partial):
        raise _bad(f"answered 206 with Content-Range {content_range!r}")
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if not _fits(query, first, last, total) or body_bytes not in (-1, last - first + 1):
        raise _bad(
            f"answered {_range_text(query.span)} with Content-Range {content_range!r}"
            f" and Content-Length {body_bytes}"
        )
    length = last - first + 1
    if query.partial and total is not None:
        length = _task_length(query.task, total)
    ranged = query.span.first is not None
    return OriginHead(length, last - first + 1, ranged, validator_of(headers))


def _fits(query: OriginQuery, first: int, last: int, total: int | None) -> bool:
    """Tell whether the part sent is all of what was asked for, as far as the file goes."""
    span = query.span
    if first > last or (query.partial and total is None):
        return False
    if span.first is None:
        return True
    ends = [end for end in (span.last, None if total is None else total - 1) if end is not None]
    return first == span.first and last == min(ends, default=last)


def _task_length(task: ByteRange | None, total: int) -> int:
    if task is None or task.first is None:
        return total
    return (total if task.last is None else min(total, task.last + 1)) - task.first


def _content_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        return UNKNOWN_LENGTH
    return int(headers.get("content-length", UNKNOWN_LENGTH))


def _changed(reason: str, status: int = 0) -> OriginError:
    return OriginError(OriginFailure.CHANGED, reason, status)


def _bad(reason: str) -> OriginError:
    return OriginError(OriginFailure.BAD_ANSWER, reason)
