"""Asks upstreams directly: head and body go through as they are, both ways, at the pace of both."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

import httpx
import trio

from ...engine.errors import DamselflyError
from ...engine.events import OriginFailure
from ..http import StreamedRequest
from ..origin import body_of
from ..origin_clients import OriginClients
from ..origin_failures import explain
from ..origin_head import OriginError
from .headers import for_upstream, merged, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..http import HttpRequest, RequestBody
    from .headers import Headers
    from .settings import Bounds
    from .trust import Trust
    from .urls import Url

_REPEATABLE: Final = frozenset({"GET", "HEAD"})


class UpstreamFailed(DamselflyError):
    """There is no answer, or not all of it; the message names upstream, cause and next step."""


class Upstream:
    """Connections to upstreams, kept between requests; an async context manager.

    Proxies that the environment names are used.  Redirects are answers like any other.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._clients = OriginClients(
            connect_timeout_s=bounds.upstream_connect_s, stall_timeout_s=bounds.upstream_stall_s
        )

    async def __aenter__(self) -> Self:
        async with self._clients.use(insecure=False, root_cas=()):
            return self  # so that no client waits for what the first use has to load

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()

    async def ask(self, request: HttpRequest, url: Url, trust: Trust, extra: Headers) -> Reply:
        """Put a client's request to ``url``, with ``extra`` headers; return the answer's head.

        Raises ``UpstreamFailed``.
        """

        def lost(error: httpx.HTTPError) -> UpstreamFailed:
            return self._failed(url, error, OriginFailure.SHORT)

        built = _built(request, url, extra)
        stack = AsyncExitStack()
        try:
            client = await stack.enter_async_context(
                self._clients.use(insecure=trust.insecure, root_cas=trust.root_cas)
            )
            response = await self._send(client, built)
            return Reply(response, await stack.enter_async_context(body_of(response)), stack, lost)
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await stack.aclose()
            if isinstance(error, (httpx.HTTPError, httpx.InvalidURL, OriginError, UnicodeError)):
                raise self._failed(url, error, OriginFailure.UNREACHABLE) from error
            raise

    def _failed(
        self,
        url: Url,
        error: httpx.HTTPError | httpx.InvalidURL | OriginError | UnicodeError,
        broken: OriginFailure,
    ) -> UpstreamFailed:
        if not isinstance(error, (OriginError, UnicodeError)):
            bounds = self._bounds
            error = explain(error, broken, bounds.upstream_connect_s, bounds.upstream_stall_s)
        return UpstreamFailed(f"{url.scheme}://{url.host_and_port} {error}")

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        try:
            return await client.send(request, stream=True, auth=None, follow_redirects=False)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # A kept connection may have been closed by the other side just now.
            if request.method not in _REPEATABLE or not isinstance(
                request.stream, httpx.ByteStream
            ):
                raise
            return await client.send(request, stream=True, auth=None, follow_redirects=False)


class Reply:
    """Head of an answer, and its body as it comes: the ``BodyStream`` of a response."""

    def __init__(
        self,
        response: httpx.Response,
        chunks: AsyncIterator[bytes],
        stack: AsyncExitStack,
        fail: Callable[[httpx.HTTPError], UpstreamFailed],
    ) -> None:
        self.status = response.status_code
        self.headers: Headers = tuple(
            [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in response.headers.raw
            ]
        )
        length = value_of(self.headers, "content-length")
        chunked = value_of(self.headers, "transfer-encoding") is not None
        self.length = int(length) if length is not None and not chunked else None
        self._chunks = chunks
        self._stack = stack
        self._fail = fail

    def __aiter__(self) -> Self:
        """Begin."""
        return self

    async def __anext__(self) -> bytes:
        """Return some more of the body; raises ``UpstreamFailed`` where it breaks off."""
        try:
            return await anext(self._chunks)
        except httpx.HTTPError as error:
            raise self._fail(error) from error

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        await self._stack.aclose()


class _Upload(httpx.AsyncByteStream):
    """The body of a client's request, as httpx takes one."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._body.receive():
            return data
        raise StopAsyncIteration


def _built(request: HttpRequest, url: Url, extra: Headers) -> httpx.Request:
    headers = [("Host", url.authority), *merged(for_upstream(request.headers), extra)]
    upload = None
    if isinstance(request, StreamedRequest):
        upload = _Upload(request.stream)
        if request.stream.length is None:
            headers.append(("Transfer-Encoding", "chunked"))
    return httpx.Request(
        request.method,
        f"{url.scheme}://{url.authority}/",
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        stream=upload or httpx.ByteStream(b""),
        # httpx would tidy up the path.
        extensions={"target": url.target.encode("latin-1")},
    )
