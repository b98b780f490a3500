"""Reading an origin over HTTP into pieces: what ``ReadOrigin`` asks for.

httpx brings TLS, redirects and proxies from the environment (``origin_clients``).  Bytes are
gathered into blocks of at most 1 MiB, and a worker thread hashes and writes each block: as fast
as doing it inline when that was measured, and neither a slow hash nor a disk that makes its
writers wait holds up the loop that answers peers.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

import trio

from ..engine.events import (
    Freshness,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from ..engine.expressions import expression
from ..engine.ids import PieceIndex
from ..engine.piece import UNKNOWN_LENGTH, Digest, PieceLayout, PieceSizePolicy
from .origin_clients import OriginClients
from .origin_failures import explain
from .origin_head import OriginError, first_byte_of, freshness, if_changed, judge, query_of
from .publish import NO_SPACE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

    import httpx

    from ..engine.effects import CheckOrigin, ProbeOrigin, ReadOrigin
    from ..engine.events import OriginEvent
    from .http.messages import Pace

MAX_REDIRECTS: Final = 10
_BLOCK_BYTES: Final = 1 << 20
_WRITERS: Final = 16
_DRAIN_BYTES: Final = 64 << 10
_SHOWN_CHARS: Final = 300
_SECRETS: Final = expression(r"^([a-zA-Z][-+.a-zA-Z0-9]*://)[^/?#]*@|#.*$", re.DOTALL)
_CONTROL: Final = expression(r"[\x00-\x20\x7f]")


class Sink(Protocol):
    """Where the content goes; ``PieceStore`` is one."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of ``data`` at ``offset``; called in a worker thread, may raise ``OSError``."""
        ...


class _Flow(NamedTuple):
    received: Callable[[int], None]
    pace: Pace | None
    ready: Callable[[], Awaitable[None]] | None
    writers: trio.CapacityLimiter
    few_hosts: Callable[[], bool]


class OriginReader:
    """Reads origins over kept-alive connections; an async context manager that closes them.

    ``connect_timeout_s`` bounds name lookup, connection and TLS; ``stall_timeout_s`` any time in
    which no byte comes.  How many reads run at once is up to the caller; they write in threads of
    their own, so that names that cannot be looked up (in trio's threads) do not hold them up.
    """

    def __init__(self, *, connect_timeout_s: float = 10.0, stall_timeout_s: float = 30.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._clients = OriginClients(
            connect_timeout_s=connect_timeout_s, stall_timeout_s=stall_timeout_s
        )
        self._writers = trio.CapacityLimiter(_WRITERS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; no read may be under way."""
        await self._clients.aclose()

    async def read(
        self,
        effect: ReadOrigin,
        sink: Sink,
        post: Callable[[OriginEvent], None],
        count: Callable[[int], None] | None = None,
        *,
        pace: Pace | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
        few_hosts: Callable[[], bool] = bool,
    ) -> None:
        """Do what ``effect`` says and post its events; a cancelled read posts nothing more.

        ``count`` is told of body bytes as they come; ``pace`` too, and returns when more may come.
        ``ready`` is awaited between head and body; it may raise ``OriginError``.  When the head has
        come, ``few_hosts`` tells for whom the file is to be cut.
        """
        trail = [shown_url(effect.url)]
        try:
            flow = _Flow(count or _ignore, pace, ready, self._writers, few_hosts)
            await self._read(effect, sink, post, flow, trail)
        except OriginError as error:
            post(_failed(effect, error, trail))

    async def prepare(self) -> None:
        """Do beforehand what would delay the first read: import httpx, load certificates."""
        await self._clients.prepare()

    async def probe(self, effect: ProbeOrigin, post: Callable[[OriginEvent], None]) -> None:
        """Do what ``effect`` says and post its event."""
        asked, trail = first_byte_of(effect), [shown_url(effect.url)]
        try:
            query = query_of(asked)
            async with self._open(asked, query.headers, trail) as response:
                head = judge(asked, query, response.status_code, response.headers)
        except OriginError as error:
            post(_failed(asked, error, trail))
            return
        size = effect.piece_size.piece_size(head.length)
        post(OriginOpened(effect.fetch, head.length, size, head.ranged, head.validator))

    async def check(self, effect: CheckOrigin) -> Freshness:
        """Find out what ``effect`` asks; an origin that cannot be asked says nothing."""
        asked = first_byte_of(effect)
        try:
            query = if_changed(query_of(asked), effect.validator)
            async with self._open(asked, query.headers, []) as response:
                return freshness(effect, query, response.status_code, response.headers)
        except OriginError:
            return Freshness.UNKNOWN

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        *,
        insecure: bool = False,
        root_cas: tuple[str, ...] = (),
        trail: list[str] | None = None,
    ) -> AsyncGenerator[httpx.Response]:
        """Give the answer's head after redirects, whatever its status; the body is still to come.

        ``trail`` gets the URLs of the way.  Raises ``OriginError`` if there is no answer.
        """
        trail = [] if trail is None else trail
        trusted = self._clients.use(insecure=insecure, root_cas=root_cas)
        async with (
            trusted as client,
            aclosing(await self._follow(client, method, url, headers, trail)) as response,
        ):
            yield response

    async def _read(
        self,
        effect: ReadOrigin,
        sink: Sink,
        post: Callable[[OriginEvent], None],
        flow: _Flow,
        trail: list[str],
    ) -> None:
        query = query_of(effect)
        async with self._open(effect, query.headers, trail) as response:
            head = judge(effect, query, response.status_code, response.headers)
            size = effect.piece_size
            if isinstance(size, PieceSizePolicy):
                size = size.piece_size(head.length, few_hosts=flow.few_hosts())
            layout = PieceLayout(head.length, size, effect.plain)
            pieces = _PieceCutter(effect, layout, sink, post, flow.writers)
            post(OriginOpened(effect.fetch, head.length, size, head.ranged, head.validator))
            if flow.ready is not None:
                await flow.ready()
            if head.body_bytes != 0:
                await self._read_body(response, head.body_bytes, pieces, flow)
            await pieces.end()
            covered = effect.first_byte == 0 and head.length in (UNKNOWN_LENGTH, pieces.offset)
            length = pieces.offset if head.length == UNKNOWN_LENGTH else head.length
            post(OriginEnded(effect.fetch, length, pieces.md5() if covered else ""))

    @asynccontextmanager
    async def _open(
        self,
        effect: ReadOrigin,
        headers: Iterable[tuple[str, str]],
        trail: list[str],
    ) -> AsyncGenerator[httpx.Response]:
        async with self.ask(
            "GET",
            effect.url,
            headers,
            insecure=effect.insecure,
            root_cas=effect.root_cas,
            trail=trail,
        ) as response:
            yield response

    async def _follow(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        trail: list[str],
    ) -> httpx.Response:
        import httpx

        lines = [(name.encode(), value.encode()) for name, value in headers]
        try:
            request = client.build_request(method, url, headers=lines)
            for _ in range(MAX_REDIRECTS + 1):
                # A header goes before user and password of the URL, as in Go.
                own = "authorization" in request.headers
                auth = httpx.Auth() if own else httpx.USE_CLIENT_DEFAULT
                response = await client.send(
                    request, stream=True, follow_redirects=False, auth=auth
                )
                if response.next_request is None:
                    return response
                async with aclosing(response):
                    if int(response.headers.get("content-length", _DRAIN_BYTES)) < _DRAIN_BYTES:
                        await response.aread()
                request = _redirected(request, response.next_request)
                trail.append(shown_url(str(request.url)))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._explain(error, OriginFailure.UNREACHABLE) from error
        except UnicodeError as error:  # from looking up a host that cannot be a name
            raise OriginError(OriginFailure.BAD_ANSWER, f"cannot be sent: {error}") from error
        raise OriginError(OriginFailure.BAD_ANSWER, f"redirects more than {MAX_REDIRECTS} times")

    async def _read_body(
        self,
        response: httpx.Response,
        expected: int,
        pieces: _PieceCutter,
        flow: _Flow,
    ) -> None:
        import httpx

        received = 0
        try:
            async with body_of(response) as chunks:
                async for chunk in chunks:
                    flow.received(len(chunk))
                    received += len(chunk)
                    if UNKNOWN_LENGTH != expected < received:
                        text = f"sent more than the {expected} bytes promised"
                        raise OriginError(OriginFailure.BAD_ANSWER, text)
                    await pieces.feed(memoryview(chunk))
                    if flow.pace is not None:
                        await flow.pace(len(chunk))
        except httpx.HTTPError as error:
            raise self._explain(error, OriginFailure.SHORT) from error
        if received < expected:
            raise OriginError(
                OriginFailure.SHORT, f"sent {received} of the {expected} bytes promised"
            )

    def _explain(
        self, error: httpx.HTTPError | httpx.InvalidURL, broken: OriginFailure
    ) -> OriginError:
        return explain(error, broken, self._connect_timeout_s, self._stall_timeout_s)


class _PieceCutter:
    """Takes the bytes of one read in order; stores them, and posts each piece that is whole."""

    def __init__(
        self,
        effect: ReadOrigin,
        layout: PieceLayout,
        sink: Sink,
        post: Callable[[OriginEvent], None],
        writers: trio.CapacityLimiter,
    ) -> None:
        assert effect.first_byte % layout.content_size == 0, "a read begins where a piece does"
        self.offset = effect.first_byte
        self._piece_start = effect.first_byte
        self._effect = effect
        self._content_size = layout.content_size
        self._sink = sink
        self._post = post
        self._writers = writers
        self._blocks: list[tuple[int, memoryview]] = []
        self._gathered = 0
        self._sha256 = hashlib.sha256()
        wants_md5 = effect.wants_md5 and effect.first_byte == 0
        self._md5 = hashlib.md5(usedforsecurity=False) if wants_md5 else None

    async def feed(self, data: memoryview) -> None:
        while data:
            room = self._piece_start + self._content_size - self.offset
            block, data = data[:room], data[room:]
            self._blocks.append((self.offset, block))
            self._gathered += len(block)
            self.offset += len(block)
            if len(block) == room:
                await self._complete()
            elif self._gathered >= _BLOCK_BYTES:
                await self._store()

    async def end(self) -> None:
        """Complete the last piece; an empty file has an empty one."""
        if self.offset > self._piece_start or self.offset == 0:
            await self._complete()

    def md5(self) -> str:
        """Return the digest of all bytes so far, empty if nobody wants it."""
        return self._md5.hexdigest() if self._md5 else ""

    async def _complete(self) -> None:
        await self._store()
        piece = PieceIndex(self._piece_start // self._content_size)
        digest = Digest(f"sha256:{self._sha256.hexdigest()}")
        size = self.offset - self._piece_start
        self._piece_start, self._sha256 = self.offset, hashlib.sha256()
        self._post(OriginPieceStored(self._effect.fetch, piece, size, digest))

    async def _store(self) -> None:
        blocks, self._blocks, self._gathered = self._blocks, [], 0
        try:
            await trio.to_thread.run_sync(self._hash_and_write, blocks, limiter=self._writers)
        except OSError as error:
            full = error.errno in NO_SPACE
            raise OriginError(
                OriginFailure.STORE_FULL if full else OriginFailure.STORE_FAILED,
                f"cannot be stored here: {error.strerror or error}",
            ) from error

    def _hash_and_write(self, blocks: list[tuple[int, memoryview]]) -> None:
        for offset, block in blocks:
            self._sha256.update(block)
            if self._md5:
                self._md5.update(block)
            self._sink.write(offset, block)


def _failed(effect: ReadOrigin, error: OriginError, trail: list[str]) -> OriginFailed:
    where = trail[0] if len(trail) == 1 else f"{trail[0]} (redirected to {trail[-1]})"
    reason = f"GET {where} {error}"
    return OriginFailed(effect.fetch, error.failure, reason, error.status, error.needed_bytes)


def shown_url(url: str) -> str:
    """Return ``url`` as it may stand in messages and logs: without user, password and query."""
    bare = _SECRETS.sub(r"\1", url)
    path, mark, _ = bare.partition("?")
    return _CONTROL.sub("?", path)[:_SHOWN_CHARS] + ("?..." if mark else "")


@asynccontextmanager
async def body_of(response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Give the body's chunks; afterwards the response is closed, however far it was read.

    httpx reads through nested async generators, which trio wants to see ended.  With the
    connection closed under them, they end as soon as what they had buffered is gone.
    """
    import httpx

    chunks = response.aiter_raw()
    try:
        yield chunks
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()
            with suppress(httpx.HTTPError):
                async for _ in chunks:
                    pass


def _redirected(request: httpx.Request, following: httpx.Request) -> httpx.Request:
    """Return the request that follows a redirect.

    httpx drops Authorization where another host is asked, and Cookie always; the user's Cookie
    line stays as long as Authorization would.
    """
    here, there = request.url, following.url
    same = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    if same and "cookie" in request.headers:
        following.headers["Cookie"] = request.headers["Cookie"]
    return following


def _ignore(_: int) -> None:
    pass
