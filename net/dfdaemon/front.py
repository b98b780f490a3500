"""The daemon's listener: tells the entries apart, has requests answered, guarded, counted."""

from __future__ import annotations

import ssl
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ...engine.errors import ConfigError, RemoteProtocolError
from ..http import (
    HttpRequest,
    HttpResponse,
    ServerLimits,
    open_listeners,
    serve_http,
    text_response,
)
from .access import Account
from .connect import Connects, intercepted_url
from .guard import PROXY_CHALLENGE, Guard, Refused
from .headers import appended
from .intercept import Interceptor
from .mirror import Mirrors
from .relay import Relay
from .served import Entry
from .trust import TrustTable
from .upstream import Upstream
from .urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Never

    from ..http import Response
    from .relay import ContentSource
    from .served import ServedWatcher
    from .settings import DaemonSettings

_HEAD_BYTES: Final = 64 << 10


class LocalPages(Protocol):
    """What the daemon answers about itself."""

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Return the answer to a request in origin form, ``None`` if it is for the registry."""
        ...


async def serve_daemon(
    settings: DaemonSettings,
    contents: ContentSource,
    watcher: ServedWatcher,
    pages: LocalPages | None = None,
    *,
    slots: trio.Semaphore | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled; starts with the address it listens at.

    ``contents`` must be running.  ``slots`` as in ``serve_http``.  Raises ``ConfigError`` for files
    that cannot be used, and ``OSError`` if it cannot listen.
    """
    trust = TrustTable(settings)
    interceptor = Interceptor(settings, trust)
    tls = _server_tls(settings)
    limits = ServerLimits(
        head_bytes=_HEAD_BYTES,
        body_timeout_s=settings.bounds.client_stall_s,
        send_timeout_s=settings.bounds.client_stall_s,
        connections=settings.bounds.connections,
    )
    async with Upstream(settings.bounds) as upstream:
        listeners = await open_listeners(settings.host, settings.port)
        addresses = [listener.socket.getsockname()[:2] for listener in listeners]
        guard = Guard(settings, addresses)
        relay = Relay(settings, trust, guard, upstream, contents)
        front = Front(settings, relay, guard, interceptor, watcher, pages)
        async with trio.open_nursery() as nursery:
            serve = partial(serve_http, tls=tls, stream_bodies=True, slots=slots)
            await nursery.start(serve, front.handle, listeners, limits)
            task_status.started(addresses[0])
    raise AssertionError("serving never ends")


class Front:
    """Tells how a request came in, and hands it on."""

    def __init__(
        self,
        settings: DaemonSettings,
        relay: Relay,
        guard: Guard,
        interceptor: Interceptor,
        watcher: ServedWatcher,
        pages: LocalPages | None,
    ) -> None:
        self._mirrors = Mirrors(settings)
        self._relay = relay
        self._guard = guard
        self._watcher = watcher
        self._pages = pages
        self._connects = Connects(guard, interceptor, settings.bounds, self._handle_inside)

    async def handle(self, request: HttpRequest) -> Response:
        """Answer a request as it came to the listener."""
        account = Account(self._watcher, request, Entry.PROXY)
        return await self._accounted(account, self._answer(request, account))

    async def _handle_inside(self, request: HttpRequest, host: str, port: int) -> Response:
        account = Account(self._watcher, request, Entry.INTERCEPTED)
        return await self._accounted(account, self._answer_inside(request, host, port, account))

    async def _accounted(self, account: Account, answer: Awaitable[Response]) -> Response:
        try:
            response = await answer
        except Refused as refused:
            account.reason = str(refused)
            response = text_response(refused.status, str(refused))
            if refused.status == 407:
                response = replace(response, headers=(PROXY_CHALLENGE,))
        except RemoteProtocolError as error:
            account.reason = str(error)
            response = text_response(error.status_hint, str(error))
        except BaseException:
            account.abandoned()
            raise
        return account.follow(response)

    async def _answer(self, request: HttpRequest, account: Account) -> Response:
        if request.method == "CONNECT":
            account.entry = Entry.TUNNEL
            self._guard.check_client(request)
            return await self._connects.respond(request, account)
        if request.target.startswith("/"):
            return await self._answer_mirror(request, account)
        self._guard.check_client(request)
        return await self._relay.respond(request, parse_url(request.target), account)

    async def _answer_mirror(self, request: HttpRequest, account: Account) -> Response:
        page = self._pages.answer(request) if self._pages is not None else None
        if page is not None:
            account.entry = Entry.LOCAL
            return page
        account.entry = Entry.MIRROR
        target = self._mirrors.target(request)
        forwarded = appended(request.headers, "X-Forwarded-For", request.client_host)
        return await self._relay.respond(
            request, target.url, account, direct=target.direct, extra=(forwarded,)
        )

    async def _answer_inside(
        self, request: HttpRequest, host: str, port: int, account: Account
    ) -> Response:
        url = intercepted_url(request, host, port)
        if isinstance(url, HttpResponse):
            return url
        return await self._relay.respond(request, url, account)


def _server_tls(settings: DaemonSettings) -> ssl.SSLContext | None:
    if settings.cert_pem is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.cert_pem, settings.key_pem)
    except OSError as error:
        names = f"certpem {settings.cert_pem}, keypem {settings.key_pem}"
        raise ConfigError(f"{names}: no certificate and its key: {error}") from error
    return context
