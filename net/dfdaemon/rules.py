"""Decides, for every entry alike, where a request goes and whether through the swarm."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ...engine.records import dataclass
from .urls import Url, default_port, parse_authority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .settings import ProxyRule

_BLOB: Final = re.compile(r".+/blobs/([A-Za-z0-9][A-Za-z0-9+._-]*):([0-9a-fA-F]{32,})")
_DIGEST_CHARS: Final = {"sha256": 64, "sha512": 128}
_REWRITTEN: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes; ``strict`` forbids to ask the origin instead of the swarm."""

    url: Url
    swarm: bool = False
    strict: bool = False


class Rules:
    """The operator's rules in order, the first that matches counts; behind them, blobs."""

    def __init__(self, rules: Iterable[ProxyRule]) -> None:
        self._rules = [(re.compile(rule.regx), rule) for rule in rules]

    def route(self, method: str, url: Url) -> Route:
        """Return where a request goes.  Only a GET goes through the swarm.

        A HEAD is rewritten as the GET it asks about would be; other methods go where they say.
        """
        if method not in _REWRITTEN:
            return Route(url)
        text = str(url)
        rule = next((rule for regx, rule in self._rules if regx.search(text)), None)
        if rule is None:
            return Route(url, method == "GET" and _BLOB.fullmatch(unquote(url.path)) is not None)
        return Route(_rewritten(url, rule), method == "GET" and not rule.direct, rule.strict)


def blob_digest(url: Url) -> str:
    """Return the digest in the path of a blob, ``sha256:<hex>`` or ``sha512:<hex>``, else empty."""
    found = _BLOB.fullmatch(unquote(url.path))
    if found is None or len(found[2]) != _DIGEST_CHARS.get(found[1]):
        return ""
    return f"{found[1]}:{found[2].lower()}"


def _rewritten(url: Url, rule: ProxyRule) -> Url:
    if rule.use_https:
        port = 443 if url.scheme == "http" and url.port == 80 else url.port
        url = replace(url, scheme="https", port=port)
    if rule.redirect:
        host, port = parse_authority(rule.redirect, default_port(url.scheme))
        url = replace(url, host=host, port=port)
    return url
