"""Which certificates an upstream is verified with: one table for every entry and the swarm."""

from __future__ import annotations

import base64
import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

from ...engine.errors import ConfigError
from .urls import parse_url

if TYPE_CHECKING:
    from pathlib import Path

    from .settings import DaemonSettings
    from .urls import Url


class Trust(NamedTuple):
    """``root_cas`` (PEM in base64) are trusted beside what this machine trusts."""

    insecure: bool = False
    root_cas: tuple[str, ...] = ()


class TrustTable:
    """Trust by upstream: that of a mirror with this address, of ``hijack_https.hosts``, or none.

    Reads the certificates' files when made; raises ``ConfigError``.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        mirrors = [settings.registry_mirror, *[named.mirror for named in settings.mirrors]]
        self._by_address = {
            (url.host, url.port): _trust(mirror.certs, insecure=mirror.insecure)
            for mirror in reversed(mirrors)
            if (url := parse_url(mirror.remote))
        }
        hosts = settings.hijack_https.hosts if settings.hijack_https else ()
        self._by_regx = [
            (re.compile(host.regx), _trust(host.certs, insecure=host.insecure)) for host in hosts
        ]

    def of(self, url: Url) -> Trust:
        """Return how ``url``'s host is to be verified."""
        found = self._by_address.get((url.host, url.port))
        if found is not None and found != Trust():
            return found
        name = url.host_and_port
        return next((trust for regx, trust in self._by_regx if regx.search(name)), Trust())


def client_context(trust: Trust) -> ssl.SSLContext:
    """Return how to speak TLS to an upstream that is verified so."""
    context = ssl.create_default_context()
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for root_ca in trust.root_cas:
        context.load_verify_locations(cadata=base64.b64decode(root_ca).decode("ascii"))
    return context


def _trust(certs: tuple[Path, ...], *, insecure: bool) -> Trust:
    return Trust(insecure, tuple([_root_ca(path) for path in certs]))


def _root_ca(path: Path) -> str:
    try:
        pem = path.read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise ConfigError(f"certs: {path} is no PEM file of certificates: {error}") from error
    return base64.b64encode(pem.encode()).decode()
