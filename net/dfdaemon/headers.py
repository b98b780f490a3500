"""Which headers a proxy passes on, and which are only between it and its neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

Headers: TypeAlias = tuple[tuple[str, str], ...]

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_REQUEST_ONLY_OURS: Final = frozenset({"expect", "host", "x-dragonfly-registry"})
_NOT_FOR_ORIGIN_READ: Final = frozenset({"content-length", "if-range", "range"})
_NOT_FOR_OTHERS: Final = frozenset(
    {"accept-ranges", "content-length", "content-range", "set-cookie"}
)
_CONDITIONS: Final = frozenset(
    {"if-match", "if-modified-since", "if-none-match", "if-unmodified-since"}
)


def value_of(headers: Headers, name: str) -> str | None:
    """Return the first value of the header ``name`` (lower case)."""
    return next((value for key, value in headers if key.lower() == name), None)


def is_conditional(headers: Headers) -> bool:
    """Tell whether only the origin knows what the answer is about."""
    return any(name in _CONDITIONS for name, _ in headers)


def for_upstream(headers: Headers) -> Headers:
    """Return a client's headers as an upstream shall see them, all but Host."""
    return _titled(_end_to_end(headers, _REQUEST_ONLY_OURS))


def for_origin_read(headers: Headers) -> Headers:
    """Return a client's headers as the origin shall see them when it is read for the swarm."""
    return for_upstream(tuple([field for field in headers if field[0] not in _NOT_FOR_ORIGIN_READ]))


def for_client(headers: Headers) -> Headers:
    """Return an upstream's headers as its client shall see them; the length is told apart."""
    return _end_to_end(headers, ("content-length",))


def for_any_client(headers: Headers) -> Headers:
    """Return what an origin said of its content, without what was meant for one client only."""
    return _end_to_end(headers, _NOT_FOR_OTHERS)


def appended(headers: Headers, name: str, value: str) -> tuple[str, str]:
    """Return the header ``name`` with ``value`` behind what ``headers`` have of it."""
    before = [given for key, given in headers if key.lower() == name.lower()]
    return name, ", ".join([*before, value])


def merged(headers: Headers, extra: Headers) -> Headers:
    """Return ``headers`` with those of ``extra`` in place of their own of that name."""
    replaced = {name.lower() for name, _ in extra}
    return (*[field for field in headers if field[0].lower() not in replaced], *extra)


def _end_to_end(headers: Headers, also: Container[str]) -> Headers:
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
    }
    return tuple(
        [
            field
            for field in headers
            if (name := field[0].lower()) not in _HOP_BY_HOP
            and name not in named
            and name not in also
        ]
    )


def _titled(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return names as most programs write them: the server gives them in lower case."""
    return tuple([(name.title(), value) for name, value in headers])
