"""What a dfdaemon is told: where it listens, whom it asks, what it fetches through the swarm."""

from __future__ import annotations

import re
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from ...engine.records import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from ...engine.ids import NodeAddress

DEFAULT_PORT: Final = 65001
DEFAULT_REMOTE: Final = "https://index.docker.io"


class AuthCheck(Enum):
    """Who is let to content that is already here."""

    ORIGIN = "origin"
    """Whom the origin lets, asked each time."""
    CACHED = "cached"
    """As ``ORIGIN``, but an answer is good for a while."""
    OFF = "off"
    """Everybody, as in Dragonfly v1."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """An upstream registry of the mirror entry.

    ``remote`` is its URL; its path, if any, is put before those asked for.  ``certs`` are PEM
    files that its TLS is verified with, ``insecure`` turns that off.  ``direct``: nothing from
    there goes through the swarm.
    """

    remote: str = DEFAULT_REMOTE
    certs: tuple[Path, ...] = ()
    insecure: bool = False
    direct: bool = False

    def __post_init__(self) -> None:
        _check_url("registry_mirror.remote", self.remote)


@dataclass(frozen=True, slots=True)
class NamedMirror:
    """An upstream registry beside the default one, chosen by what a request to the mirror says.

    Chosen if ``regx`` is found in the name that the request gives (``?ns=``, else ``Host``; with
    and without its port), or if its path begins with ``path`` (``/v2/ghcr.io/``), which becomes
    ``/v2/``.  An empty one is never found.
    """

    mirror: Mirror
    regx: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if not self.regx and not self.path:
            raise ConfigError(f"mirrors: {self.mirror.remote} has neither regx nor path: set one")
        if self.path and not re.fullmatch(r"/v2/\S+/", self.path):
            raise ConfigError(f"mirrors.path {self.path!r}: expected /v2/<prefix>/")
        _check_regx("mirrors.regx", self.regx)


@dataclass(frozen=True, slots=True)
class ProxyRule:
    """What to do with a GET or HEAD in whose full URL ``regx`` is found; the first rule counts.

    ``use_https``: ask by https.  ``redirect``: ask ``host[:port]`` instead.  ``direct``: not
    through the swarm.  ``strict``: only through the swarm, never the origin directly.
    """

    regx: str
    use_https: bool = False
    direct: bool = False
    redirect: str = ""
    strict: bool = False

    def __post_init__(self) -> None:
        _check_regx("proxies.regx", self.regx)
        if self.redirect and not re.fullmatch(r"[^/@?#\s]+", self.redirect):
            raise ConfigError(f"proxies.redirect {self.redirect!r}: expected host[:port]")
        if self.direct and self.strict:
            raise ConfigError(f"proxies: rule {self.regx!r} is both direct and strict: choose one")


@dataclass(frozen=True, slots=True)
class HijackHost:
    """Hosts whose TLS is intercepted: ``regx`` is found in the ``host:port`` of a CONNECT.

    ``certs`` and ``insecure``: as in ``Mirror``, for asking that host.
    """

    regx: str
    certs: tuple[Path, ...] = ()
    insecure: bool = False

    def __post_init__(self) -> None:
        _check_regx("hijack_https.hosts.regx", self.regx)


@dataclass(frozen=True, slots=True)
class Hijack:
    """What intercepted clients are shown.

    ``cert`` is a PEM file: of a CA, which then signs a leaf for each host, or of a server, which
    is shown as it is.
    """

    cert: Path
    key: Path
    hosts: tuple[HijackHost, ...] = ()


@dataclass(frozen=True, slots=True)
class AllowedUpstream:
    """Upstreams that may be asked: of that ``host`` or a match of ``regx``, on those ``ports``.

    An empty ``ports`` means all of them.
    """

    host: str = ""
    regx: str = ""
    ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.host and not self.regx:
            raise ConfigError("whitelist: an entry has neither host nor regx: set one")
        _check_regx("whitelist.regx", self.regx)


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Name and password that clients of the proxy must give; they do not show in a repr."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all clients together, and each of them, can take.  Times in seconds.

    A client must take a byte every ``client_stall_s``, an upstream bring one every
    ``upstream_stall_s``; a tunnel may be silent for ``tunnel_idle_s``.  A request holds at most a
    few chunks of 256 KiB in memory, so ``connections`` bounds that, too.  ``downloads`` is the
    number of blobs fetched at once; ``store_bytes`` what they may take on disk, 0: a quarter of
    it, at most 100 GiB, and those not asked for in ``store_age_s`` go; left-overs of a crash after
    ``leftover_s``.
    """

    connections: int = 1000
    client_stall_s: float = 60.0
    upstream_connect_s: float = 10.0
    upstream_stall_s: float = 60.0
    tunnel_idle_s: float = 3600.0
    downloads: int = 64
    store_bytes: int = 0
    store_age_s: float = 3600.0
    leftover_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("connections", "downloads"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {value}: expected at least 1")


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Everything a dfdaemon is told; what is left out is what a node without a file does.

    ``work_home`` is where logs and copies go, ``local_repo`` the directory of content in
    delivery.  ``cert_pem`` and ``key_pem`` make the listener speak TLS.  ``mirrors`` are asked in
    order, ``registry_mirror`` if none is meant.  A ``?ns=`` that nothing lists names its registry
    itself (``https://<ns>``) if ``ns_upstreams``; ``docker.io`` is ``registry_mirror``.
    ``dynamic`` takes the upstream from ``X-Dragonfly-Registry``.  ``whitelist`` and ``basic_auth``
    do nothing while empty.  ``supernodes`` are named as often as their weight says;
    ``rate_bytes_per_s`` 0: no limit.  ``dropped`` names query parameters that are no part of a
    content's identity.
    ``dfpath`` is a dfget to run, with ``dfget_flags``, instead of downloading in this process.
    """

    work_home: Path
    local_repo: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    cert_pem: Path | None = None
    key_pem: Path | None = None
    registry_mirror: Mirror = field(default_factory=Mirror)
    mirrors: tuple[NamedMirror, ...] = ()
    ns_upstreams: bool = True
    dynamic: bool = False
    proxies: tuple[ProxyRule, ...] = ()
    hijack_https: Hijack | None = None
    whitelist: tuple[AllowedUpstream, ...] = ()
    basic_auth: BasicAuth | None = None
    auth_check: AuthCheck = AuthCheck.ORIGIN
    supernodes: tuple[NodeAddress, ...] = ()
    local_ip: str = ""
    peer_port: int = 0
    rate_bytes_per_s: int = 0
    dropped: tuple[str, ...] = ()
    dfpath: Path | None = None
    dfget_flags: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        if (self.cert_pem is None) != (self.key_pem is None):
            raise ConfigError("certpem and keypem go together: give both or neither")
        if not 0 <= self.port < 1 << 16:
            raise ConfigError(f"port {self.port}: expected 1 to 65535, or 0 for any")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{name} {url!r}: expected http://host[:port] or https://host[:port]")


def _check_regx(name: str, regx: str) -> None:
    try:
        re.compile(regx)
    except re.error as error:
        raise ConfigError(f"{name} {regx!r} is no regular expression: {error}") from error
