"""How long a swarm may take: until the calm after its storm, and from then on at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .scenario import Scenario

_TIMES_THE_BOUND: Final = 20.0
"""Where everybody is off to the origin or behind one slow link, it is far from the best case."""
_TIMEOUTS_S: Final = 120.0
"""What engines wait for before they turn elsewhere: 60 s without a piece, 15 s of silence,
exchanges of 5 s that are tried again, pauses between reads of an origin that failed."""
_MESSAGES: Final = 8
"""Sent one after the other for one piece at the worst."""
_EXCHANGE_S: Final = 5.0


def calm_s(scenario: Scenario) -> float:
    """Return when all misfortunes that end are over, and all peers have come."""
    returns = [
        crash.at_s + (crash.back_after_s or 0.0)
        for crash in (*scenario.deaths, *scenario.supernode_crashes)
    ]
    spans = (*scenario.slowdowns, *scenario.partitions, *scenario.origin_outages)
    ends = [span.at_s + (span.for_s or 0.0) for span in spans]
    starts = [scenario.arrival_s(peer) for peer in range(scenario.peers)]
    return max([*starts, *returns, *ends])


def limit_s(scenario: Scenario) -> float:
    """Return when the last download that can succeed has done so, whatever befell it before.

    Beside the bytes each piece takes messages, of which any may come late, or not at all.
    """
    control_s = scenario.control_latency_s
    message_s = (
        scenario.latency_s
        + (scenario.latency_s if control_s is None else control_s)
        + scenario.jitter_s
        + scenario.message_loss * _EXCHANGE_S
    )
    piece_s = _MESSAGES * message_s + scenario.dead_time_s + scenario.disk_latency_s
    pieces = scenario.layout.count * max(map(len, scenario.wants))
    calm = calm_s(scenario)
    return calm + _TIMES_THE_BOUND * scenario.bounds[1] + _TIMEOUTS_S + pieces * piece_s
