"""Which parts of a content a client asks for, and how they are framed."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final, TypeAlias

from ...engine.records import dataclass
from .headers import value_of

if TYPE_CHECKING:
    from .headers import Headers

_SPEC: Final = re.compile(r"(\d{0,18})-(\d{0,18})")
_MAX_RANGES: Final = 1024
"""As many as clients of partly fetched layers put into one request."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``first`` to ``last`` of a content; ``last`` ``None``: to its end."""

    first: int
    last: int | None


WHOLE: Final = Span(0, None)
Segment: TypeAlias = bytes | Span
"""A bit of a body: given here, or to be read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to answer: the body is ``segments`` end to end, ``length`` bytes if that is known."""

    status: int
    headers: Headers
    segments: tuple[Segment, ...]
    length: int | None


def plan(request: Headers, content: Headers, length: int | None) -> Plan:
    """Return the answer to a GET with the headers ``request`` for a content of ``length`` bytes.

    ``content`` are the origin's headers.  What cannot be understood, or would cost more than the
    whole, is answered with the whole, as HTTP allows.
    """
    whole = Plan(200, content, (WHOLE,), length)
    if length is None:
        return whole
    whole = Plan(200, (*content, ("Accept-Ranges", "bytes")), (WHOLE,), length)
    wanted = value_of(request, "range")
    if wanted is None or not _is_current(value_of(request, "if-range"), content):
        return whole
    spans = _spans(wanted, length)
    if spans is None or sum([last - first + 1 for first, last in spans]) > length:
        return whole
    if not spans:
        unsatisfiable = ("Content-Range", f"bytes */{length}")
        return Plan(416, (*_without_type(content), unsatisfiable), (), 0)
    if len(spans) == 1:
        ((first, last),) = spans
        extra = (("Accept-Ranges", "bytes"), ("Content-Range", f"bytes {first}-{last}/{length}"))
        return Plan(206, (*content, *extra), (Span(first, last),), last - first + 1)
    return _multipart(spans, content, length)


def _spans(wanted: str, length: int) -> list[tuple[int, int]] | None:
    """Return the ranges that can be satisfied; ``None`` if the header is to be ignored."""
    unit, _, specs = wanted.partition("=")
    if unit.strip().lower() != "bytes" or specs.count(",") >= _MAX_RANGES:
        return None
    spans: list[tuple[int, int]] = []
    for spec in specs.split(","):
        found = _SPEC.fullmatch(spec.strip())
        if found is None or found[0] == "-":
            return None
        if not found[1]:
            first, last = max(0, length - int(found[2])), length - 1
        else:
            first, last = int(found[1]), length - 1
            if found[2]:
                if int(found[2]) < first:
                    return None
                last = min(last, int(found[2]))
        if first <= last:
            spans.append((first, last))
    return spans


def _is_current(condition: str | None, content: Headers) -> bool:
    """Tell whether an If-Range is about this very content."""
    if condition is None:
        return True
    if condition.startswith('"'):
        return condition == value_of(content, "etag")
    return condition == value_of(content, "last-modified")


def _multipart(spans: list[tuple[int, int]], content: Headers, length: int) -> Plan:
    boundary = secrets.token_hex(16)
    kind = value_of(content, "content-type") or "application/octet-stream"
    segments: list[Segment] = []
    total = 0
    for first, last in spans:
        before = "\r\n" if segments else ""
        head = (
            f"{before}--{boundary}\r\nContent-Type: {kind}\r\n"
            f"Content-Range: bytes {first}-{last}/{length}\r\n\r\n"
        ).encode("latin-1")
        segments += [head, Span(first, last)]
        total += len(head) + last - first + 1
    end = f"\r\n--{boundary}--\r\n".encode()
    headers = (
        *_without_type(content),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
    )
    return Plan(206, headers, (*segments, end), total + len(end))


def _without_type(headers: Headers) -> Headers:
    return tuple([field for field in headers if field[0].lower() != "content-type"])
