"""Asking the origin what it has and whether this client may have it; and remembering its word."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import field
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import trio

from ...engine.records import dataclass
from ..origin import body_of, shown_url
from ..origin_head import OriginError
from .content import OriginAnswered, Unreachable, Unsuitable
from .headers import Headers, for_any_client, for_client
from .settings import AuthCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    import httpx

    from ..origin import OriginReader
    from .content import ContentRequest

_log = logging.getLogger(__name__)
_MAX_ERROR_BODY: Final = 1 << 20
_PERMIT_S: Final = 300.0
_MAX_PERMITS: Final = 4096
#: What is true of one answer only.
_OF_ONE_ANSWER: Final = frozenset({"age", "alt-svc", "date", "www-authenticate"})
_BLOB: Final = re.compile(r"(/v2/.+)/blobs/[^/]+")
_TOTAL: Final = re.compile(r"bytes (?:0-0|\*)/(\d{1,18})")
_IDENTITY: Final = ("", "identity")

_Key: TypeAlias = tuple[str, Headers, bool, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Described:
    """What the origin says of a content; ``length`` -1: unknown."""

    length: int
    headers: Headers


@dataclass(slots=True)
class _Flight:
    """A question under way, for all who ask the same."""

    landed: trio.Event = field(default_factory=trio.Event)
    outcome: Described | OriginAnswered | Unsuitable | Unreachable = field(
        default_factory=lambda: Unreachable("the daemon is stopping")
    )


class OriginAsker:
    """Asks origins by HEAD; those who ask the same at the same time share the answer.

    What a HEAD is refused, a GET of one byte decides, whose answer is the origin's last word: some
    origins know no HEAD, or were given a URL that is signed for GET.
    """

    def __init__(self, reader: OriginReader, nursery: trio.Nursery) -> None:
        self._reader, self._nursery = reader, nursery
        self._flights: dict[_Key, _Flight] = {}

    async def describe(self, request: ContentRequest) -> Described:
        """Return what the origin says to this client.

        Raises ``OriginAnswered``, ``Unreachable``, and ``Unsuitable`` if its answer is no whole,
        plain content.
        """
        key = request.url, request.headers, request.insecure, request.root_cas
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._nursery.start_soon(self._fly, key, flight, request)
        await flight.landed.wait()
        match flight.outcome:
            case Described() as described:
                return described
            case OriginAnswered() as answer:
                raise OriginAnswered(answer.status, answer.reason, answer.headers, answer.body)
            case Unsuitable() | Unreachable() as error:
                raise type(error)(str(error))

    async def _fly(self, key: _Key, flight: _Flight, request: ContentRequest) -> None:
        try:
            flight.outcome = await self._head(request) or await self._first_byte(request)
        except (OriginAnswered, Unsuitable) as error:
            flight.outcome = error
        except OriginError as error:
            flight.outcome = Unreachable(f"{shown_url(request.url)} {error}")
        except Exception as error:
            # One strange origin must not end the daemon for all others.
            _log.exception("asking %s failed", shown_url(request.url))
            flight.outcome = Unreachable(f"{shown_url(request.url)}: {error!r}")
        finally:
            del self._flights[key]
            flight.landed.set()

    async def _head(self, request: ContentRequest) -> Described | None:
        """Return what a HEAD tells, or ``None`` if it is refused."""
        async with self._ask("HEAD", request, ()) as response:
            await response.aread()  # of nothing, so that the connection can be used again
            if response.status_code >= 400:
                return None
            if response.status_code != 200:
                raise Unsuitable(f"{shown_url(request.url)} answered {response.status_code}")
            return _described(request, response, response.headers.get("content-length", ""))

    async def _first_byte(self, request: ContentRequest) -> Described:
        async with self._ask("GET", request, (("Range", "bytes=0-0"),)) as response:
            status, total = response.status_code, ""
            if found := _TOTAL.fullmatch(response.headers.get("content-range", "")):
                total = found[1]
            if status == 206 or (status == 416 and total == "0"):
                await response.aread()  # of a byte, so that the connection can be used again
                return _described(request, response, total)
            if status == 200:
                return _described(request, response, response.headers.get("content-length", ""))
            if status < 400:
                raise Unsuitable(f"{shown_url(request.url)} answered {status}")
            async with body_of(response) as chunks:
                body = await _at_most(_MAX_ERROR_BODY, chunks)
            headers = for_client(_headers(response))
            raise OriginAnswered(status, response.reason_phrase, headers, body)

    def _ask(
        self, method: str, request: ContentRequest, extra: Headers
    ) -> AbstractAsyncContextManager[httpx.Response]:
        plain = () if request.header("accept-encoding") else (("Accept-Encoding", "identity"),)
        return self._reader.ask(
            method,
            request.url,
            (*request.headers, *plain, *extra),
            insecure=request.insecure,
            root_cas=request.root_cas,
        )


class Permits:
    """Who was let to what by the origin, for a while; credentials are kept as hashes only."""

    def __init__(self, mode: AuthCheck) -> None:
        self._mode = mode
        self._until: dict[bytes, float] = {}

    def note(self, request: ContentRequest, now: float) -> None:
        """The origin let this client have it."""
        key = _permit(request)
        self._until.pop(key, None)
        self._until[key] = now + _PERMIT_S
        while len(self._until) > _MAX_PERMITS:
            del self._until[next(iter(self._until))]

    def holds(self, request: ContentRequest, now: float) -> bool:
        """Tell whether this client may have what is here without the origin being asked."""
        match self._mode:
            case AuthCheck.OFF:
                return True
            case AuthCheck.CACHED:
                return self._until.get(_permit(request), 0.0) > now
            case AuthCheck.ORIGIN:
                return False


def has_credentials(request: ContentRequest) -> bool:
    """Tell whether the client shows the origin who it is."""
    return bool(request.header("authorization") or request.header("cookie"))


def _permit(request: ContentRequest) -> bytes:
    """Name a client's right: to a repository of a registry, elsewhere to one URL."""
    parts = urlsplit(request.url)
    what = request.url
    if found := _BLOB.fullmatch(parts.path):
        what = f"{parts.scheme}://{parts.netloc}{found[1]}"
    who = request.header("authorization"), request.header("cookie")
    return hashlib.sha256("\n".join((what, *who)).encode()).digest()


def _described(request: ContentRequest, response: httpx.Response, length: str) -> Described:
    headers = response.headers
    if headers.get("content-encoding", "").strip().lower() not in _IDENTITY:
        raise Unsuitable(f"{shown_url(request.url)} is encoded")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        length = "-1"
    kept = [
        field
        for field in for_any_client(_headers(response))
        if field[0].lower() not in _OF_ONE_ANSWER
    ]
    if request.digest and "docker-content-digest" not in headers and "/v2/" in request.url:
        kept.append(("Docker-Content-Digest", request.digest))
    return Described(int(length), tuple(kept))


def _headers(response: httpx.Response) -> Headers:
    raw = response.headers.raw
    return tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])


async def _at_most(limit: int, chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])
