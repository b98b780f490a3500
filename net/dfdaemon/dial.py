"""Connections for tunnels, by way of the proxy that the environment names, if it does."""

from __future__ import annotations

import base64
import os
import socket
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import h11
import trio

from ...engine.errors import DamselflyError
from .urls import bracketed

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from .settings import Bounds

_RECEIVE_BYTES: Final = 16 << 10


class DialFailed(DamselflyError):
    """There is no connection; the message names host, cause and next step."""


async def dial(
    host: str, port: int, via: tuple[str, str], bounds: Bounds
) -> tuple[trio.SocketStream, bytes]:
    """Connect to ``host:port``; return the connection and what came on it already.

    ``via`` is put into a request to a proxy.  Raises ``DialFailed``.
    """
    name = f"{bracketed(host)}:{port}"
    proxy = proxy_for(host, port)
    try:
        with trio.fail_after(bounds.upstream_connect_s):
            if proxy is None:
                return await trio.open_tcp_stream(host, port), b""
            return await _through(proxy, name, via)
    except trio.TooSlowError:
        raise DialFailed(
            f"{name}: no connection within {bounds.upstream_connect_s:g} s: is it up and reachable?"
        ) from None
    except (OSError, UnicodeError) as error:
        through = f" through the proxy {proxy.hostname}:{proxy.port}" if proxy else ""
        raise DialFailed(f"{name}: no connection{through}: {_cause(error)}") from error


def proxy_for(host: str, port: int) -> SplitResult | None:
    """Return the proxy that the environment names for ``https://host:port``."""
    proxies = getproxies_environment()
    url = proxies.get("https") or proxies.get("all")
    if not url or proxy_bypass(f"{host}:{port}", proxies):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


async def _through(
    proxy: SplitResult, name: str, via: tuple[str, str]
) -> tuple[trio.SocketStream, bytes]:
    if proxy.scheme != "http" or proxy.hostname is None:
        raise DialFailed(f"{name}: proxy {proxy.scheme}://{proxy.hostname}: expected http://")
    headers = [("Host", name), via]
    if proxy.username is not None:
        secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        basic = base64.b64encode(secret.encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {basic}"))
    parser = h11.Connection(h11.CLIENT)
    head = parser.send(h11.Request(method="CONNECT", target=name, headers=headers))
    assert head is not None
    stream = await trio.open_tcp_stream(proxy.hostname, proxy.port or 80)
    try:
        await stream.send_all(head + (parser.send(h11.EndOfMessage()) or b""))
        status = await _status(stream, parser)
        if not 200 <= status < 300:
            raise DialFailed(f"{name}: the proxy {proxy.hostname} answered {status}")
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, (h11.RemoteProtocolError, trio.BrokenResourceError)):
            raise DialFailed(f"{name}: the proxy {proxy.hostname} failed: {error}") from error
        raise
    return stream, parser.trailing_data[0]


async def _status(stream: trio.SocketStream, parser: h11.Connection) -> int:
    while not isinstance(event := parser.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            parser.receive_data(await stream.receive_some(_RECEIVE_BYTES))
    return event.status_code


def _cause(error: OSError | UnicodeError) -> str:
    """Say why; trio puts the reason of each address it tried behind a general one."""
    inner: BaseException | None = error.__cause__
    while isinstance(inner, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", inner).exceptions[0]
    if isinstance(inner, OSError) and inner.errno is not None and inner.errno > 0:
        return os.strerror(inner.errno)
    if isinstance(error, socket.gaierror):
        return f"no such name: {error.strerror}"
    return str(error)
