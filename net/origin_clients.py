"""httpx clients for origins, one for each way of trusting them.

httpx is heavy to import, so that happens with the first client.
"""

from __future__ import annotations

import base64
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from ..engine.events import OriginFailure
from ..engine.records import dataclass
from .origin_head import OriginError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    import httpx

_READ_BYTES: Final = 1 << 20
_IDLE_CONNECTIONS: Final = 32
_IDLE_S: Final = 30.0
_KEPT: Final = 16
"""Clients kept with their connections; more only while all of them are in use."""

Trust: TypeAlias = tuple[bool, tuple[str, ...]]


@dataclass(slots=True)
class _Client:
    httpx: httpx.AsyncClient
    users: int = 0


class OriginClients:
    """Clients by what they trust, made when first wanted; for one trio loop."""

    def __init__(self, *, connect_timeout_s: float, stall_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._clients: dict[Trust, _Client] = {}  # the one used last is the last
        self._making = trio.Lock()

    def __len__(self) -> int:
        return len(self._clients)

    @asynccontextmanager
    async def use(
        self, *, insecure: bool, root_cas: tuple[str, ...]
    ) -> AsyncGenerator[httpx.AsyncClient]:
        """Give a client that trusts ``root_cas`` beside what this machine trusts, or everybody.

        ``root_cas`` are PEM certificates in base64.  Raises ``OriginError`` if they are not.
        """
        client = await self._find((insecure, () if insecure else root_cas))
        client.users += 1
        try:
            yield client.httpx
        finally:
            client.users -= 1
            await self._close_surplus()

    async def prepare(self) -> None:
        """Make the client that most will want."""
        with contextlib.suppress(OSError):  # whoever wants it will be told
            await self._find((False, ()))

    async def aclose(self) -> None:
        """Close all connections; no client may be in use."""
        for client in self._clients.values():
            await client.httpx.aclose()
        self._clients.clear()

    async def _find(self, trust: Trust) -> _Client:
        async with self._making:
            client = self._clients.pop(trust, None)
            if client is None:
                # The import and the certificates take a tenth of a second.
                client = _Client(await trio.to_thread.run_sync(self._make, trust))
            self._clients[trust] = client
            return client

    async def _close_surplus(self) -> None:
        surplus = len(self._clients) - _KEPT
        idle = [trust for trust, client in self._clients.items() if not client.users]
        with trio.CancelScope(shield=True):
            for trust in idle[: max(0, surplus)]:
                await self._clients.pop(trust).httpx.aclose()

    def _make(self, trust: Trust) -> httpx.AsyncClient:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import httpcore
        import httpx

        # With its 64 KiB a time, httpcore and h11 take half as long again for a body.
        http11 = httpcore.AsyncHTTP11Connection
        http11.READ_NUM_BYTES = _READ_BYTES  # pyright: ignore[reportAttributeAccessIssue]
        insecure, root_cas = trust
        tls = httpx.create_ssl_context(verify=not insecure)
        if not insecure:
            tls.load_default_certs()  # what this machine trusts, beside httpx's own list
        for number, root_ca in enumerate(root_cas, 1):
            _trust(tls, root_ca, number)
        return httpx.AsyncClient(
            verify=tls,
            timeout=httpx.Timeout(
                self._stall_timeout_s, connect=self._connect_timeout_s, pool=None
            ),
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
            ),
            # Tasks of different users share the client: what one is told must not reach another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"User-Agent": "damselfly"},
        )


def _trust(tls: ssl.SSLContext, root_ca: str, number: int) -> None:
    import ssl

    try:
        tls.load_verify_locations(cadata=base64.b64decode(root_ca, validate=True).decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        cause = error.reason if isinstance(error, ssl.SSLError) else error
        text = f"cannot be sent: root CA {number} is no PEM certificate in base64: {cause}"
        raise OriginError(OriginFailure.BAD_ANSWER, text) from error
