"""What a registry demands of those who ask for an image: ``WWW-Authenticate: Bearer …``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEARER: Final = re.compile(r"(?:^|,)\s*bearer\s+(.*)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Where to get a token, and for what."""

    realm: str
    service: str
    scope: str


def parse_challenge(values: Iterable[str]) -> Challenge | None:
    """Return the Bearer challenge among the values of ``WWW-Authenticate``, if there is one."""
    for value in values:
        if (bearer := _BEARER.search(value)) is None:
            continue
        found: dict[str, str] = {}
        for name, quoted, bare in _PARAMETER.findall(bearer[1]):
            found.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) or bare)
        if found.get("realm", "").lower().startswith(("http://", "https://")):
            return Challenge(found["realm"], found.get("service", ""), found.get("scope", ""))
    return None
