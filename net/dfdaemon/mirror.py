"""The mirror entry: which registry a request in origin form is meant for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ...engine.errors import RemoteProtocolError
from ...engine.records import dataclass
from .settings import Mirror
from .urls import Url, parse_authority, parse_url

if TYPE_CHECKING:
    from ..http import HttpRequest
    from .settings import DaemonSettings

_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class MirrorTarget:
    """Where a request leads; ``direct``: in any case not through the swarm."""

    url: Url
    direct: bool


class Mirrors:
    """The registries behind the mirror entry: table first, then what the request names itself."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._named = [(re.compile(named.regx), named) for named in settings.mirrors]
        self._default = settings.registry_mirror
        self._ns_upstreams = settings.ns_upstreams
        self._dynamic = settings.dynamic

    def target(self, request: HttpRequest) -> MirrorTarget:
        """Return where ``request`` leads; ``ns`` is taken out of its query.

        Raises ``RemoteProtocolError`` if the request names an upstream that cannot be one.
        """
        target, ns = _without_ns(request.target)
        for regx, named in self._named:
            names = _spellings(ns or request.header("host") or "")
            if named.regx and any(regx.search(name) for name in names):
                return _joined(named.mirror, target)
            if named.path and target.startswith(named.path):
                return _joined(named.mirror, "/v2/" + target[len(named.path) :])
        if self._dynamic and (registry := request.header("x-dragonfly-registry")):
            return _joined(_mirror_at(registry, self._default), target)
        if ns and self._ns_upstreams and ns.lower() not in _DOCKER_HUB:
            parse_authority(ns, 443)
            return _joined(_mirror_at(f"https://{ns}", self._default), target)
        return _joined(self._default, target)


def _mirror_at(remote: str, default: Mirror) -> Mirror:
    """Return the default if ``remote`` is its address, else one that is verified as usual."""
    url, known = parse_url(remote), parse_url(default.remote)
    if (url.host, url.port) == (known.host, known.port):
        return default
    return Mirror(str(url))


def _joined(mirror: Mirror, target: str) -> MirrorTarget:
    if not target.startswith("/"):
        raise RemoteProtocolError(f"request target {target[:200]!r}: expected a path")
    remote = parse_url(mirror.remote)
    path, mark, query = target.partition("?")
    prefix, _, own_query = remote.target.partition("?")
    if own_query:
        mark, query = "?", f"{own_query}&{query}" if query else own_query
    joined = f"{prefix.removesuffix('/')}{path}{mark}{query}"
    return MirrorTarget(Url(remote.scheme, remote.host, remote.port, joined), mirror.direct)


def _without_ns(target: str) -> tuple[str, str]:
    path, _, query = target.partition("?")
    fields = query.split("&") if query else []
    kept = [field for field in fields if not field.startswith("ns=")]
    if len(kept) == len(fields):
        return target, ""
    ns = next(field for field in fields if field.startswith("ns=")).removeprefix("ns=")
    return "?".join([path, "&".join(kept)] if kept else [path]), unquote(ns)


def _spellings(name: str) -> tuple[str, str]:
    return name, re.sub(r":\d+$", "", name)
