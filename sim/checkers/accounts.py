"""What a supernode believes of each uplink, against what is really under way."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from ...engine.effects import Answer, ForgetTask
from ...engine.events import Dropped, Requested
from ...engine.ids import PeerId
from ...engine.messages import DropTask, Register, WarmTask
from .checker import Checker, Violation

if TYPE_CHECKING:
    from ...engine.ids import ExchangeId, PieceIndex
    from ..scenario import Scenario
    from .checker import Call
    from .fetches import Fetch, Fetches
    from .limits import Beliefs
    from .trouble import Trouble

_SAMPLE_S: Final = 0.05
_AT_ONCE_S: Final = 0.5
"""What it takes to say something, beside the way."""
_WAYS: Final = 10
_REPORTS_AT_ONCE: Final = 8
"""A report may have to wait until all before it are acknowledged."""
_SWEEP_S: Final = 1.0
_EXCHANGE_S: Final = 5.5
"""By then the sender of a message that was lost knows that it was."""
_LOST_S: Final = 25.0
"""How much longer than the silence that a supernode allows a lost peer may be believed in: messages
that are tried again, three times 5 s, come before it."""


class Accounts(Checker):
    """Beliefs and facts agree, but for what messages on their way and lost peers explain."""

    def __init__(
        self, scenario: Scenario, fetches: Fetches, trouble: Trouble, beliefs: Beliefs
    ) -> None:
        self._fetches, self._trouble, self._beliefs = fetches, trouble, beliefs
        self._on_its_way_s = _on_its_way_s(scenario)
        self._silence_s = scenario.supernode_config.peer_silence_s
        self._next = 0.0
        self._ghosts: dict[tuple[str, PieceIndex, str], float] = {}
        """What is believed but not so, and since when."""
        self._strays: dict[Fetch, float] = {}
        """What is so but not believed, and since when."""
        self._askers: dict[tuple[str, ExchangeId], str] = {}
        self._given_up: dict[str, None] = {}
        """Peers that a supernode has taken for dead at some time."""

    def see(self, call: Call) -> None:
        """Excuse what is lost; compare now and then."""
        if call.is_supernode:
            self._follow(call)
        elif self._is_silent(call.node, call.now):
            self._lose(call.node)
        for began in self._fetches.began:
            self._ghosts.pop((began.child, began.piece, began.parent), None)
        if call.now >= self._next:
            self._next = call.now + _SAMPLE_S
            self._compare(call.now)

    def crashed(self, node: str) -> None:
        """A supernode that died knows nothing; peers that died are found out in time."""
        if node.startswith("supernode"):
            for fetch in self._fetches:
                fetch.excused = True

    def ended(self, now: float) -> None:
        """Now that all is said, nothing may be believed of peers that had no trouble."""
        for child, piece, parent in chain.from_iterable(self._beliefs()):
            if not self._is_lost(child):
                raise Violation(
                    f"the supernode believes at the end that {child} fetches piece {piece} from "
                    f"{parent}"
                )

    def _follow(self, call: Call) -> None:
        event = call.event
        if isinstance(event, Requested) and not isinstance(event.request, WarmTask | DropTask):
            peer = event.request.peer
            self._askers[call.node, event.exchange] = peer
            if isinstance(event.request, Register):
                self._excuse(peer)
        elif isinstance(event, Dropped):
            self._lose(self._askers.pop((call.node, event.exchange), ""))
        for effect in call.effects:
            if isinstance(effect, Answer):
                self._askers.pop((call.node, effect.exchange), None)
            elif isinstance(effect, ForgetTask):
                self.crashed(call.node)

    def _lose(self, peer: str) -> None:
        """The supernode takes ``peer`` for dead, for the time being."""
        self._given_up[peer] = None
        self._excuse(peer)

    def _excuse(self, peer: str) -> None:
        """The supernode begins anew with ``peer``, both as a parent and as a child."""
        for fetch in (*self._fetches.to(peer), *self._fetches.of(PeerId(peer))):
            fetch.excused = True

    def _compare(self, now: float) -> None:
        facts = {(fetch.child, fetch.piece, fetch.parent): fetch for fetch in self._fetches}
        busy = {(fetch.child, fetch.parent) for fetch in self._fetches}  # with others of a run
        beliefs = dict.fromkeys(chain.from_iterable(self._beliefs()))
        ghosts = {belief: None for belief in beliefs if (belief[0], belief[2]) not in busy}
        for gone in [ghost for ghost in self._ghosts if ghost not in ghosts]:
            del self._ghosts[gone]
        for ghost in ghosts:
            self._check_ghost(ghost, now)
        strays = {f: None for fact, f in facts.items() if fact not in beliefs and not f.excused}
        for known in [known for known in self._strays if known not in strays]:
            del self._strays[known]
        for stray in strays:
            self._check_stray(stray, now)

    def _check_ghost(self, ghost: tuple[str, PieceIndex, str], now: float) -> None:
        child, piece, parent = ghost
        since = self._ghosts.setdefault(ghost, now)
        lost_s = self._silence_s + _LOST_S
        limit_s = lost_s if self._is_lost(child) else self._on_its_way_s
        if now - since > limit_s:
            raise Violation(
                f"the supernode believes that {child} fetches piece {piece} from {parent}, which "
                f"it has not done since {since:.3f} s"
            )

    def _check_stray(self, fetch: Fetch, now: float) -> None:
        if self._is_silent(fetch.child, now):
            self._lose(fetch.child)
        if self._is_lost(fetch.child):
            fetch.excused = True
            return
        since = self._strays.setdefault(fetch, now)
        if now - since > self._on_its_way_s:
            raise Violation(
                f"no supernode has known since {since:.3f} s that {fetch.child} fetches piece "
                f"{fetch.piece} from {fetch.parent}"
            )

    def _is_lost(self, child: str) -> bool:
        """Tell whether supernode and child may have lost sight of each other."""
        kinds = self._trouble.kinds(child)
        is_heard = child not in self._trouble.dead and child not in self._given_up
        return not is_heard or "exchange" in kinds or "refusal" in kinds

    def _is_silent(self, child: str, now: float) -> bool:
        return now - self._trouble.said_at(child) >= self._silence_s - _SWEEP_S


def _on_its_way_s(scenario: Scenario) -> float:
    """Return how long a supernode and a peer that hear each other may believe different things."""
    way_s = scenario.latency_s + (scenario.control_latency_s or 0.0) + scenario.jitter_s
    if scenario.topology is not None:
        rows = scenario.topology.latencies_s
        way_s += max((latency_s for row in rows for latency_s in row), default=0.0)
    pieces = scenario.layout.count
    reports_s = (_WAYS + pieces / _REPORTS_AT_ONCE) * 2 * (way_s + scenario.message_cpu_s)
    if scenario.supernode_messages_per_s:
        reports_s += scenario.peers * pieces / scenario.supernode_messages_per_s
    is_lossy = scenario.message_loss or scenario.partitions or scenario.supernode_crashes
    pace_s = scenario.supernode_config.native_pace_s
    return _AT_ONCE_S + pace_s + reports_s + (_EXCHANGE_S if is_lossy else 0.0)
