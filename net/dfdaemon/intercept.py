"""Interception: which CONNECTs are answered by this daemon itself, in the name of the host."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Final

import trio

from .certificates import Certificates
from .dial import DialFailed, dial
from .trust import TrustTable, client_context
from .urls import Url, bracketed

if TYPE_CHECKING:
    from .settings import DaemonSettings

_KNOWN_GOOD_S: Final = 60.0


class Interceptor:
    """Hosts of ``hijack_https``: what their clients are shown, and whether they can be asked."""

    def __init__(self, settings: DaemonSettings, trust: TrustTable) -> None:
        hijack = settings.hijack_https
        self._regxs = [re.compile(host.regx) for host in hijack.hosts] if hijack else []
        self._certificates = Certificates(hijack.cert, hijack.key) if hijack else None
        self._trust = trust
        self._bounds = settings.bounds
        self._good_until_s: dict[tuple[str, int], float] = {}

    def wants(self, host: str, port: int) -> bool:
        """Tell whether the TLS of ``host:port`` is intercepted."""
        name = f"{bracketed(host)}:{port}"
        return any(regx.search(name) for regx in self._regxs)

    async def context(self, host: str) -> ssl.SSLContext:
        """Return what to show to clients of ``host``; raises ``CaExpired``."""
        assert self._certificates is not None
        return await self._certificates.context(host)

    async def check(self, host: str, port: int, via: tuple[str, str]) -> None:
        """Raise ``DialFailed`` if ``host:port`` cannot be asked by TLS.

        One that could is taken to be good for a minute.
        """
        now = trio.current_time()
        self._good_until_s = {key: end for key, end in self._good_until_s.items() if end > now}
        if (host, port) in self._good_until_s:
            return
        stream, _ = await dial(host, port, via, self._bounds)
        context = client_context(self._trust.of(Url("https", host, port, "/")))
        tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        try:
            with trio.fail_after(self._bounds.upstream_connect_s):
                await tls.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError, OSError) as error:
            raise DialFailed(f"{bracketed(host)}:{port}: {_tls_cause(error)}") from error
        finally:
            stream.socket.close()
        self._good_until_s[host, port] = trio.current_time() + _KNOWN_GOOD_S


def _tls_cause(error: Exception) -> str:
    cause = error.__cause__ or error
    match cause:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted: {cause.verify_message}; put its issuer's into"
                " certs of hijack_https.hosts, or set insecure there"
            )
        case trio.TooSlowError():
            return "no TLS in time"
        case ssl.SSLError():
            return f"no TLS: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
        case _:
            return f"no TLS: {cause}"
