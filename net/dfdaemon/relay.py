"""Answers one request that has a URL: through the swarm where the rules say so, else directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

from ..http import HttpResponse, StreamedResponse, text_response
from .content import (
    FROM_ORIGIN,
    ContentFailed,
    ContentRequest,
    OriginAnswered,
    Unreachable,
    Unsuitable,
)
from .headers import appended, for_any_client, for_client, for_origin_read, is_conditional, merged
from .ranges import Span, plan
from .rules import Rules, blob_digest
from .upstream import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ..http import HttpRequest, Part
    from .access import Account
    from .guard import Guard
    from .headers import Headers
    from .ranges import Segment
    from .rules import Route
    from .settings import DaemonSettings
    from .trust import TrustTable
    from .upstream import Upstream
    from .urls import Url

SOURCE_HEADER: Final = "X-Dragonfly-Source"
TASK_HEADER: Final = "X-Dragonfly-Task"


class OpenContent(Protocol):
    """What the relay needs of a ``Content``."""

    @property
    def length(self) -> int | None:
        """Bytes in all, ``None`` while nobody knows."""
        ...

    @property
    def headers(self) -> Headers:
        """What the origin said of it."""
        ...

    @property
    def task(self) -> str:
        """The task's id in the swarm."""
        ...

    @property
    def source(self) -> str:
        """Where it comes from; final once the body has ended."""
        ...

    def read(self, first: int = 0, last: int | None = None) -> AsyncIterator[Part]:
        """Iterate over bytes ``first`` to ``last``, in order, as they come."""
        ...

    async def aclose(self) -> None:
        """Let go of it."""
        ...


class ContentSource(Protocol):
    """What the relay needs of ``Contents``."""

    async def open(self, request: ContentRequest) -> OpenContent:
        """Return a content; raises as ``Contents.open``."""
        ...


class Relay:
    """One rule engine for all entries, with the two ways that a request can take."""

    def __init__(
        self,
        settings: DaemonSettings,
        trust: TrustTable,
        guard: Guard,
        upstream: Upstream,
        contents: ContentSource,
    ) -> None:
        self._rules = Rules(settings.proxies)
        self._trust = trust
        self._guard = guard
        self._upstream = upstream
        self._contents = contents

    async def respond(
        self,
        request: HttpRequest,
        url: Url,
        account: Account,
        *,
        direct: bool = False,
        extra: Headers = (),
    ) -> HttpResponse | StreamedResponse:
        """Answer ``request``, which is about ``url``.

        ``direct`` keeps it from the swarm; ``extra`` headers are for the upstream.  Raises
        ``Refused``.
        """
        route = self._rules.route(request.method, url)
        account.url = str(route.url)
        await self._guard.check(request, route.url.host, route.url.port)
        if route.swarm and not direct and not is_conditional(request.headers):
            try:
                return await self._from_swarm(request, route, account)
            except Unsuitable as unsuitable:
                account.reason = str(unsuitable)
        return await self._directly(request, route.url, account, extra)

    async def _from_swarm(
        self, request: HttpRequest, route: Route, account: Account
    ) -> HttpResponse | StreamedResponse:
        trust = self._trust.of(route.url)
        wanted = ContentRequest(
            str(route.url),
            merged(for_origin_read(request.headers), (self._via(request),)),
            blob_digest(route.url),
            trust.insecure,
            trust.root_cas,
            route.strict,
        )
        try:
            content = await self._contents.open(wanted)
        except OriginAnswered as answer:
            account.source = lambda: FROM_ORIGIN
            headers = (*for_client(answer.headers), (SOURCE_HEADER, FROM_ORIGIN))
            return StreamedResponse(answer.status, headers, _Given(answer.body), len(answer.body))
        except (Unreachable, ContentFailed) as error:
            account.reason = str(error)
            return text_response(502, str(error))
        account.task = content.task
        account.source = lambda: content.source
        answer = plan(request.headers, for_any_client(content.headers), content.length)
        ours = ((TASK_HEADER, content.task), (SOURCE_HEADER, content.source))
        body = _ContentBody(content, answer.segments)
        return StreamedResponse(answer.status, (*answer.headers, *ours), body, answer.length)

    async def _directly(
        self, request: HttpRequest, url: Url, account: Account, extra: Headers
    ) -> HttpResponse | StreamedResponse:
        account.source = lambda: FROM_ORIGIN
        try:
            reply = await self._upstream.ask(
                request, url, self._trust.of(url), (*extra, self._via(request))
            )
        except UpstreamFailed as error:
            account.reason = str(error)
            return text_response(502, str(error))
        headers = (*for_client(reply.headers), (SOURCE_HEADER, FROM_ORIGIN))
        return StreamedResponse(reply.status, headers, reply, reply.length)

    def _via(self, request: HttpRequest) -> tuple[str, str]:
        return appended(request.headers, *self._guard.via)


class _ContentBody:
    """The body of an answer from a content, which is let go of at the end."""

    def __init__(self, content: OpenContent, segments: Iterable[Segment]) -> None:
        self._content = content
        self._segments = iter(segments)
        self._reading: AsyncIterator[Part] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        while True:
            if self._reading is not None:
                try:
                    return await anext(self._reading)
                except StopAsyncIteration:
                    self._reading = None
            segment = next(self._segments, None)
            if segment is None:
                raise StopAsyncIteration
            if not isinstance(segment, Span):
                return segment
            self._reading = self._content.read(segment.first, segment.last)

    async def aclose(self) -> None:
        await self._content.aclose()


class _Given:
    """A body that is all here."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data, self._rest = self._rest, b""
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        pass
