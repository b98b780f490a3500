"""What the flags of dfget and supernode take: text in, checked values out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..engine.errors import ConfigError
from ..engine.expressions import expression
from ..engine.ids import NodeAddress
from ..engine.records import dataclass
from ..net.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_NODE_PORT: Final = 8002
_NODE: Final = expression(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:=(?P<weight>[0-9]{1,4}))?"
)
_DURATION_PART: Final = expression(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")
_DURATION_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3} | {
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
PROTOCOLS: Final = ("native", "v1")
"""How dfget may talk to supernodes."""
_HEADER_NAME: Final = expression(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SWITCHES: Final = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_USER_INFO: Final = expression(r"://.*@")
_UNPRINTABLE: Final = expression(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class WeightedNode:
    """A supernode, and how often it should be the first to be asked compared with others."""

    address: NodeAddress
    weight: int = 1


def parse_nodes(text: str) -> tuple[WeightedNode, ...]:
    """Return the supernodes of a comma-separated list of ``host[:port][=weight]`` (protocol 8.1).

    Raises ``ConfigError``.
    """
    return tuple([_parse_node(part.strip()) for part in text.split(",")])


def parse_duration(text: str) -> float:
    """Return seconds: ``30`` as dfget 0.3 and 0.4 write it, ``30s`` or ``1h30m`` as 1.0.6 does.

    Raises ``ConfigError``.
    """
    if re.fullmatch(r"[0-9]+(?:\.[0-9]*)?", text, re.ASCII):
        return float(text)
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ConfigError(f"duration {text!r}: expected for example 30 (seconds), 30s, 5m or 1h30m")
    return sum(float(part[1]) * _DURATION_UNITS[part[2]] for part in parts)


def parse_lifetime(text: str) -> float:
    """Return seconds, 0 for ever: so also for what Dragonfly writes with a minus sign.

    Raises ``ConfigError``.
    """
    seconds = parse_duration(text.removeprefix("-"))
    return 0.0 if text.startswith("-") else seconds


def parse_header(text: str) -> str:
    """Return a ``name:value`` line that is safe to send.

    Raises ``ConfigError``, which does not show the value: it may be a secret.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError("a header has no colon: expected name:value")
    if not _HEADER_NAME.fullmatch(name.strip()):
        raise ConfigError(f"header name {name!r}: expected letters, digits and hyphens")
    if re.search(r"[\r\n\0]", value):
        raise ConfigError(f"the value of header {name!r} has a line break: expected one line")
    return text


def parse_digest(text: str) -> str:
    """Return the hex digits of ``sha256:HEX`` in lower case; raises ``ConfigError``."""
    if not re.fullmatch(r"sha256:[0-9A-Fa-f]{64}", text):
        step = "; --md5 takes an MD5" if text.startswith("md5:") else ""
        raise ConfigError(f"digest {text!r}: expected sha256: and 64 hex digits{step}")
    return text.partition(":")[2].lower()


def parse_protocol(text: str) -> str:
    """Return ``text`` if it is one of ``PROTOCOLS``; raises ``ConfigError``."""
    if text not in PROTOCOLS:
        raise ConfigError(f"protocol {text!r}: expected {' or '.join(PROTOCOLS)}")
    return text


def parse_version(text: str) -> str:
    """Return a version as it stands in answers and names; raises ``ConfigError``."""
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,39}", text):
        raise ConfigError(f"version {text!r}: expected for example 1.0.6")
    return text


def parse_switch(text: str) -> bool:
    """Return whether something is on, as Go's programs read it; raises ``ConfigError``."""
    if text not in _SWITCHES:
        raise ConfigError(f"{text!r}: expected true or false")
    return _SWITCHES[text]


def parse_count(text: str) -> int:
    """Return a whole number of at least 1; raises ``ConfigError``."""
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) < 1:
        raise ConfigError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def parse_amount(text: str) -> int:
    """Return a whole number of at least 0; raises ``ConfigError``."""
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ConfigError(f"{text!r}: expected a whole number")
    return int(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the parts of ``a,b``; raises ``ConfigError`` for an empty one."""
    names = tuple([name.strip() for name in text.split(",")])
    if not all(names):
        raise ConfigError(f"{text!r}: expected names separated by commas")
    return names


def parse_filter(text: str) -> tuple[str, ...]:
    """Return the names of query parameters in ``a&b&c``."""
    return tuple([name for name in text.split("&") if name])


def parse_port(text: str) -> int:
    """Return a port, 0 for any; raises ``ConfigError``."""
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ConfigError(f"port {text!r}: expected 0 to 65535")
    return int(text)


def parse_ip(text: str) -> str:
    """Return an IP address as it is usually written; raises ``ConfigError``."""
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError:
        raise ConfigError(f"ip {text!r}: expected an address of this host") from None


def parse_url(text: str) -> str:
    """Return an http or https URL with a host; raises ``ConfigError``."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, or brackets that do not match
        usable = False
    if not usable or _UNPRINTABLE.search(text):
        shown = _USER_INFO.sub("://redacted@", text)
        raise ConfigError(f"url {shown!r}: expected http://host/path or https://host/path")
    return text


def file_name_of(url: str) -> str:
    """Return the file name that a URL suggests: what follows its last slash (protocol 8.1).

    That is the host if there is no path.  Raises ``ConfigError`` if it is no name.
    """
    _, _, rest = url.partition("#")[0].partition("://")
    host, _, path = rest.partition("/")
    name = path.rstrip("/").rpartition("/")[2] or host.rpartition("@")[2]
    if name in ("", ".", ".."):
        raise ConfigError("the url suggests no file name: say with -o where to put the file")
    return name


def version() -> str:
    """Return the version of this installation."""
    return VERSION


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return how an error about an unknown ``word`` ends: with the nearest known one, or all."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else f": expected one of {', '.join(known)}"


def _parse_node(text: str) -> WeightedNode:
    found = _NODE.fullmatch(text)
    port = int(found["port"] or _DEFAULT_NODE_PORT) if found else 0
    weight = int(found["weight"] or 1) if found else 0
    if found is None or not 0 < port < 65536 or weight < 1:
        raise ConfigError(f"node {text!r}: expected host[:port][=weight], as in 10.0.0.1:8002=2")
    return WeightedNode(NodeAddress(found["ipv6"] or found["host"], port), weight)
