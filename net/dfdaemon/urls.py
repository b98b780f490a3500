"""URLs as a proxy needs them: taken apart, and not a byte of path and query changed."""

from __future__ import annotations

import re
from typing import Final

from ...engine.errors import RemoteProtocolError
from ...engine.records import dataclass

_URL: Final = re.compile(
    r"(https?)://(?:[^/?#@]*@)?(\[[0-9a-f:.]+\]|[^/?#@:\[\]]+)(?::(\d{1,5})?)?([/?][^#]*)?(?:#.*)?",
    re.IGNORECASE | re.DOTALL,
)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^/?#@:\[\]\s]+)(?::(\d{1,5}))?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """Where a request goes.  ``host`` is in lower case, an IPv6 address without brackets.

    ``target`` is path and query, and begins with ``/``.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_and_port(self) -> str:
        """``host:port``, the port always."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def authority(self) -> str:
        """What belongs in a Host header: the port only where it is not the scheme's own."""
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return bracketed(self.host)
        return self.host_and_port

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Return the parts of an absolute URL; user and password are dropped.

    Raises ``RemoteProtocolError``.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise RemoteProtocolError(f"{text[:200]!r} is no http:// or https:// URL")
    scheme = found[1].lower()
    port = int(found[3]) if found[3] else _DEFAULT_PORTS[scheme]
    target = found[4] or "/"
    if target.startswith("?"):
        target = f"/{target}"
    return Url(scheme, found[2].lower().strip("[]"), _checked(port), target)


def parse_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return host and port of ``host:port``; without a default the port must be there.

    Raises ``RemoteProtocolError``.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found[2] is None and default_port is None):
        raise RemoteProtocolError(f"{text[:200]!r}: expected host:port")
    port = int(found[2]) if found[2] else default_port
    assert port is not None
    return found[1].lower().strip("[]"), _checked(port)


def default_port(scheme: str) -> int:
    """Return the port that a URL of ``scheme`` need not name."""
    return _DEFAULT_PORTS[scheme]


def bracketed(host: str) -> str:
    """Return ``host`` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _checked(port: int) -> int:
    if not 0 < port < 1 << 16:
        raise RemoteProtocolError(f"port {port}: expected 1 to 65535")
    return port
