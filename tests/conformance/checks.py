"""All comparisons of the suite, one for each row of the table in README.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from . import (
    battery_replay,
    cache_replay,
    cli_replay,
    codec_replay,
    config_replay,
    dfget_replay,
    peer_replay,
    supernode_replay,
)
from .changes import CHANGES
from .findings import Finding, Verdict, judge
from .recorded import scenario_names

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Check:
    """Recordings and what is done with them."""

    source: str
    what: str
    findings: Callable[[], tuple[Finding, ...]]

    @property
    def name(self) -> str:
        return f"{self.source}: {self.what}"


_SERVERS: Final = "put to our supernode and peer server"
_CODEC: Final = "calls read and written by our codec"
_VERSIONS: Final = ("030", "040", "106")
_OWN_CALLS: Final = "03-full-dfget1.0.6-supernode1.0.6.txt"


def _scenario_calls(version: str) -> tuple[Finding, ...]:
    names = scenario_names(version)
    return tuple([one for name in names for one in codec_replay.replay_calls(name, version)])


def _scenario_runs() -> tuple[Finding, ...]:
    return tuple(map(dfget_replay.replay_scenario, scenario_names("106")))


CHECKS: Final = (
    *[
        Check(name, _SERVERS, partial(supernode_replay.replay_life, name))
        for name in supernode_replay.LIVES
    ],
    *[
        Check(name, _CODEC, partial(codec_replay.replay_wire, name))
        for name in supernode_replay.LIVES
    ],
    Check(
        _OWN_CALLS,
        "our dfget's calls to its peer server",
        partial(dfget_replay.replay_peer_calls, _OWN_CALLS),
    ),
    *[
        Check(name, "put to our supernode", partial(battery_replay.replay_battery, name))
        for name in battery_replay.BATTERIES
    ],
    *[
        Check(name, "put to our peer server", partial(peer_replay.replay_battery, name))
        for name in peer_replay.BATTERIES
    ],
    Check(cli_replay.BATTERY, "given to our dfget", cli_replay.replay_commands),
    Check(config_replay.BATTERY, "read by our dfget", config_replay.replay_config),
    *[
        Check(name, "done to our supernode's copy", partial(cache_replay.replay_cache, name))
        for name in cache_replay.CACHES
    ],
    *[
        Check(name, "life of our peer server", partial(peer_replay.replay_lifetime, name))
        for name in peer_replay.LIFETIMES
    ],
    *[
        Check(f"scenarios/*.{version}.txt", _CODEC, partial(_scenario_calls, version))
        for version in _VERSIONS
    ],
    Check("scenarios/*.106.txt", "played to our dfget", _scenario_runs),
)


@cache
def verdicts(check: Check) -> tuple[Verdict, ...]:
    """Make a comparison and judge what it found."""
    return tuple([judge(finding, CHANGES) for finding in check.findings()])
