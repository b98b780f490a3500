"""The recorded configuration files, told by what dfget made of them (protocol 8.2)."""

from __future__ import annotations

import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from damselfly.cli.config_file import dfget_choice
from damselfly.cli.options import DFGET
from damselfly.cli.settings import fetch_request
from damselfly.cli.units import parse_v1_rate
from damselfly.engine.errors import ConfigError

from .findings import Difference, Finding, compare
from .recorded import sections

if TYPE_CHECKING:
    from collections.abc import Iterator

BATTERY: Final = "09-config-file-battery.txt"

_YML: Final = "nodes:\n  - 127.0.0.7\n  - 127.0.0.8:8002=1\nlocalLimit: 5M\ntotalLimit: 10M\n"
_CONF: Final = "[node]\naddress=127.0.0.9,127.0.0.10\n"


class _Given(NamedTuple):
    yml: str = ""
    conf: str = ""
    flags: tuple[str, ...] = ()


_GIVEN: Final = {
    "yml": _Given(_YML, _CONF),
    "yml + flags": _Given(_YML, _CONF, ("-n", "127.0.0.3", "-s", "1M")),
    "conf only": _Given("", _CONF),
    "conf weights": _Given("", "[node]\naddress=127.0.0.9=2,127.0.0.10:8003\n"),
    "none": _Given(),
    "bad yml": _Given("nodes: [\n"),
    "old yml keys (node/localLimit int)": _Given("node:\n  - 127.0.0.9\nlocalLimit: 5242880\n"),
}
"""The files of each section; only what dfget made of them was written down."""


@cache
def replay_config() -> tuple[Finding, ...]:
    """Have our dfget read the same files."""
    findings: list[Finding] = []
    for title, told in sections(BATTERY).items():
        version, _, name = title.partition(": ")
        label = f"dfget {version} with {name}"
        differences = tuple(_compare(version, "\n".join(told), _GIVEN[name]))
        findings.append(Finding(BATTERY, label, differences))
    return tuple(findings)


def _compare(version: str, told: str, given: _Given) -> Iterator[Difference]:
    listed = cast("re.Match[str]", re.search(r"do register to one of [\w:]*\[(.*?)\]", told))[1]
    nodes = sorted({_with_port(node) for node in listed.split()})
    try:
        ours, local_limit, total_limit = _ours(given)
    except ConfigError:
        yield Difference("nodes", json.dumps(nodes), '"an error that names the key"')
        return
    yield from compare("nodes", nodes, ours)
    if version == "106":  # the older ones have no limits from files
        found = cast("re.Match[str]", re.search(r"get init config:(\{.*\})", told))[1]
        config = cast("dict[str, str]", json.loads(found))
        for key, limit in (("localLimit", local_limit), ("totalLimit", total_limit)):
            yield from compare(key, parse_v1_rate(config.get(key, "0")), limit)


def _ours(given: _Given) -> tuple[list[str], int, int]:
    flags = DFGET.parse(("-u", "http://127.0.0.1:9000/f/100", "-o", "/tmp/o8", *given.flags))
    with tempfile.TemporaryDirectory() as folder:
        yml, conf = Path(folder) / "dfget.yml", Path(folder) / "dragonfly.conf"
        for path, text in ((yml, given.yml), (conf, given.conf)):
            if text:
                path.write_text(text)
        chosen = dfget_choice(flags, {}, (yml, conf))
    request = fetch_request(flags, chosen, is_there=lambda _: True)
    nodes = sorted({str(node) for node in request.nodes})
    return nodes, request.local_limit_bytes_per_s, request.total_limit_bytes_per_s


def _with_port(node: str) -> str:
    """Return an address with its port; what 1.0.6 adds behind = counts repetitions."""
    name = re.sub(r"=1$", "", node)
    return name if ":" in name else f"{name}:8002"
