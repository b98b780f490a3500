"""What earlier dfdaemons were told, in the words of this one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ...net.dfdaemon.settings import Mirror, NamedMirror, ProxyRule
from ..settings import absolute
from ..status import ExitStatus
from .values import CodedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .options import DaemonFlags

_NOTES: Final = {
    "node": "node is now called supernodes",
    "urlfilter": "urlfilter is now dfget_flags: [-f, 'a&b']",
    "callsystem": "callsystem has no effect any more",
    "notbs": "notbs has no effect any more: set strict: true in rules of proxies that must not"
    " fall back to the origin",
    "maxprocs": "maxprocs has no effect: one processor does it",
    "stream_mode": "streamMode has no effect: bodies are always streamed",
    "registries": "registries is now mirrors, with remote: schema://host; TLS is verified",
}
_PLAIN_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]+)?")


def older_notes(flags: DaemonFlags, older: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each thing that is said in another way now."""
    for name, note in _NOTES.items():
        if name in older:
            yield f"deprecated: {note}"
    if flags.rule:
        yield "deprecated: --rule is now proxies: [{regx: …}] in dfdaemon.yml"
    if flags.trust_hosts:
        yield "deprecated: --trust-hosts is now mirrors in dfdaemon.yml"


def older_rules(flags: DaemonFlags) -> Iterator[ProxyRule]:
    """Yield the rules of ``--rule`` (0.3.0)."""
    for regx in flags.rule:
        yield ProxyRule(regx)


def older_mirrors(flags: DaemonFlags, older: Mapping[str, Any]) -> Iterator[NamedMirror]:
    """Yield the upstreams of ``--trust-hosts`` and ``registries`` (0.3.0), in its order.

    Raises ``ConfigError`` for an entry that names no host and whose ``regx`` is none either.
    """
    for host in flags.trust_hosts:
        yield NamedMirror(Mirror(f"http://{host}"), f"^{re.escape(host)}$")
    for entry in older.get("registries", ()):
        host = entry.get("host") or _only_match(entry.get("regx", ""))
        certs = tuple([absolute(name) for name in entry.get("certs", ())])
        yield NamedMirror(
            Mirror(f"{entry.get('schema') or 'http'}://{host}", certs), entry.get("regx", "")
        )


def _only_match(regx: str) -> str:
    """Return the one host that an expression is for: ``^reg\\.example\\.com$``."""
    host = regx.removeprefix("^").removesuffix("$").replace("\\.", ".").replace("\\-", "-")
    if not _PLAIN_HOST.fullmatch(host):
        text = f"registries: the entry with regx {regx!r} has no host: name the one to ask"
        raise CodedError(text, ExitStatus.BAD_CONFIG)
    return host
