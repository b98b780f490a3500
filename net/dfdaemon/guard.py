"""What the daemon refuses: upstreams that are not allowed, loops, strangers at the proxy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
from typing import TYPE_CHECKING, Final

import trio

from ...engine.errors import DamselflyError
from .urls import bracketed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http import HttpRequest
    from .settings import AllowedUpstream, DaemonSettings

PROXY_CHALLENGE: Final = ("Proxy-Authenticate", 'Basic realm="dfdaemon", charset="UTF-8"')
_HOST_LOOKUP_S: Final = 5.0


class Refused(DamselflyError):
    """A request that this daemon does not pass on; ``status`` is for the client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """Checks requests before they go anywhere; made once the daemon listens at ``addresses``."""

    def __init__(self, settings: DaemonSettings, addresses: Sequence[tuple[str, int]]) -> None:
        self._allowed = settings.whitelist
        self._ports = frozenset([port for _, port in addresses])
        identity = f"{socket.gethostname()} {sorted(addresses)}"
        self._mark = f"damselfly-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        auth = settings.basic_auth
        self._credentials = (
            base64.b64encode(f"{auth.user}:{auth.password}".encode()) if auth else None
        )

    @property
    def via(self) -> tuple[str, str]:
        """The header by which this daemon knows its own requests again."""
        return "Via", f"1.1 {self._mark}"

    def check_client(self, request: HttpRequest) -> None:
        """Raise ``Refused`` if the proxy asks for a password and ``request`` does not give it."""
        if self._credentials is None:
            return
        scheme, _, given = (request.header("proxy-authorization") or "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._credentials)
        if scheme.lower() != "basic" or not right:
            raise Refused(407, "this proxy asks for a name and a password")

    async def check(self, request: HttpRequest, host: str, port: int) -> None:
        """Raise ``Refused`` if ``request`` must not go to ``host:port``."""
        name = f"{bracketed(host)}:{port}"
        if self._allowed and not any(_allows(rule, host, port) for rule in self._allowed):
            raise Refused(403, f"{name} is not among the upstreams allowed: see whitelist")
        came_by = [value for key, value in request.headers if key == "via"]
        if any(self._mark in value for value in came_by):
            raise Refused(508, f"{name}: this request went through this daemon before")
        if port in self._ports and await _is_here(host):
            raise Refused(508, f"{name} is this daemon itself: name the upstream instead")


def _allows(rule: AllowedUpstream, host: str, port: int) -> bool:
    named = host == rule.host.lower() or bool(rule.regx and re.search(rule.regx, host))
    return named and (not rule.ports or port in rule.ports)


async def _is_here(host: str) -> bool:
    """Tell whether one of the addresses of ``host`` is this machine's."""
    with trio.move_on_after(_HOST_LOOKUP_S):
        try:
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return False  # which asking it will explain
        return any(_is_local(family, str(address[0])) for family, _, _, _, address in found)
    return False


def _is_local(family: int, address: str) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
