"""CONNECT: a blind tunnel, or TLS that this daemon answers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http import HttpRequest, HttpResponse, SwitchToTls, TakeOver, text_response
from .certificates import CaExpired
from .dial import DialFailed, dial
from .tunnel import Tunnel
from .urls import Url, bracketed, parse_authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..http import Response
    from .access import Account
    from .guard import Guard
    from .intercept import Interceptor
    from .settings import Bounds

    Inside = Callable[[HttpRequest, str, int], Awaitable[Response]]


class Connects:
    """Answers CONNECTs; ``inside`` answers what comes in an intercepted connection."""

    def __init__(
        self, guard: Guard, interceptor: Interceptor, bounds: Bounds, inside: Inside
    ) -> None:
        self._guard = guard
        self._interceptor = interceptor
        self._bounds = bounds
        self._inside = inside

    async def respond(self, request: HttpRequest, account: Account) -> Response:
        """Answer with 200 only once the upstream is there.

        Raises ``Refused``, ``RemoteProtocolError``.
        """
        host, port = parse_authority(request.target)
        account.url = f"{bracketed(host)}:{port}"
        await self._guard.check(request, host, port)
        try:
            if self._interceptor.wants(host, port):
                return await self._intercept(host, port)
            return await self._tunnel(host, port, account)
        except (DialFailed, CaExpired) as error:
            account.reason = str(error)
            return text_response(502, str(error))

    async def _intercept(self, host: str, port: int) -> Response:
        async def handler(request: HttpRequest) -> Response:
            return await self._inside(request, host, port)

        await self._interceptor.check(host, port, self._guard.via)
        return SwitchToTls(await self._interceptor.context(host), handler)

    async def _tunnel(self, host: str, port: int, account: Account) -> Response:
        stream, ahead = await dial(host, port, self._guard.via, self._bounds)
        tunnel = Tunnel(stream, ahead, self._bounds.tunnel_idle_s)
        account.sent_bytes = lambda: tunnel.sent_bytes
        return TakeOver(tunnel.run, tunnel.close)


def intercepted_url(request: HttpRequest, host: str, port: int) -> Url | HttpResponse:
    """Return what a request inside an intercepted connection is about, or why it is refused."""
    if not request.target.startswith("/"):
        return text_response(400, f"request target {request.target[:200]!r}: expected a path")
    url = Url("https", host, port, request.target)
    asked = parse_authority(request.header("host") or "", 443)
    if asked != (host, port):
        text = f"this connection is to {url.host_and_port}, the request for another host"
        return text_response(421, text)
    return url
