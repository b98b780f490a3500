"""Faults to plant into engines and simulator, so that checkers can show what they are good for.

Each takes pytest's ``MonkeyPatch`` and changes one thing, as a slip of the pen would.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from damselfly.engine import (
    copies,
    download,
    native_client,
    order_book,
    policies,
    swarm,
    swarm_client,
    task,
    uplinks,
)
from damselfly.engine.bits import each
from damselfly.engine.effects import Tell
from damselfly.engine.holdings import Holdings
from damselfly.engine.outcomes import BackSourceReason, Milestone
from damselfly.engine.piece import NO_DIGEST
from damselfly.engine.swarm_client import HostFailed
from damselfly.sim import links

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from damselfly.engine.events import PieceFetched

    Plant = Callable[[pytest.MonkeyPatch], None]


def lost_report(patch: pytest.MonkeyPatch) -> None:
    """Some reports of pieces never leave the peer, which believes that they did."""
    for kind in (swarm_client.SwarmClient, native_client.NativeClient):

        def careless(
            self: Any, piece: Any, parent: Any, digest: Any, tell: Any = kind._tell
        ) -> bool:
            return piece % 5 == 2 or tell(self, piece, parent, digest)

        patch.setattr(kind, "_tell", careless)


def unheard_report(patch: pytest.MonkeyPatch) -> None:
    """The supernode acknowledges some reports and forgets them."""
    took = task.Task._took

    def deaf(self: Any, member: Any, piece: Any, parent: Any, digest: Any, now: float) -> Any:
        return NO_DIGEST if piece % 5 == 2 else took(self, member, piece, parent, digest, now)

    patch.setattr(task.Task, "_took", deaf)


def forgotten_orders(patch: pytest.MonkeyPatch) -> None:
    """The supernode does not notice that a peer never heard of some pieces it was to fetch."""

    def nothing(_self: Any, _said: Any, _in_flight: Any) -> list[Any]:
        return []

    patch.setattr(order_book.OrderBook, "missed", nothing)


def one_slot_too_many(patch: pytest.MonkeyPatch) -> None:
    """The supernode's own uplink has a slot more than it should: ``<=`` for ``<``."""
    free = property(lambda self: self.cdn_uploads <= self.slots.cdn_up)
    patch.setattr(swarm.Swarm, "cdn_is_free", free)


def one_slot_too_many_at_peers(patch: pytest.MonkeyPatch) -> None:
    """Peers are taken to have one upload slot more than they have."""
    slots = policies._slots

    def generous(config: Any) -> Any:
        given = slots(config)
        return replace(given, up=given.up + 1)

    patch.setattr(policies, "_slots", generous)


def set_iteration(patch: pytest.MonkeyPatch) -> None:
    """The first of a set of peers is taken, and sets of strings have no order of their own."""

    def first(self: Any, among: int, rng: Any) -> int:
        names = {f"member {index}": index for index in each(among & self.free)}
        return names[next(iter(set(names)))]

    patch.setattr(uplinks.Uplinks, "best", first)


def skipped_verification(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes is taken for what was offered."""
    fetched = swarm_client.SwarmClient.fetched

    def trusting(self: Any, event: PieceFetched, now: float, out: list[Any]) -> Any:
        offer = self._fetches.get(event.fetch)
        believed = structs.replace(event, digest=offer.digest) if offer is not None else event
        return fetched(self, believed, now, out)

    patch.setattr(swarm_client.SwarmClient, "fetched", trusting)


def forgotten_release(patch: pytest.MonkeyPatch) -> None:
    """A piece that is given up stays on the account of its parent."""
    give_up = swarm.Swarm.give_up

    def forgetful(self: Any, member: Any, piece: Any, now: float) -> Any:
        flight = give_up(self, member, piece, now)
        if flight.parent is not None and piece % 3 == 1:
            flight.parent.up.begin(now)
        return flight

    patch.setattr(swarm.Swarm, "give_up", forgetful)


def banned_parent(patch: pytest.MonkeyPatch) -> None:
    """Who is banned, or has left, is offered on."""

    def nothing(_self: Any, _member: Any) -> None:
        pass

    patch.setattr(swarm.Swarm, "stop_serving", nothing)


def uninvited(patch: pytest.MonkeyPatch) -> None:
    """A peer asks the last parent for the next piece without having been sent there."""
    replied = swarm_client.SwarmClient.replied

    def bold(self: Any, exchange: Any, reply: Any, now: float, out: list[Any]) -> Any:
        offers = getattr(reply, "offers", ())
        if len(offers) > 1:
            bent = structs.replace(offers[1], parent=offers[0].parent, host=offers[0].host)
            reply = structs.replace(reply, offers=(offers[0], bent, *offers[2:]))
        return replied(self, exchange, reply, now, out)

    patch.setattr(swarm_client.SwarmClient, "replied", bold)


def greedy_for_the_origin(patch: pytest.MonkeyPatch) -> None:
    """Peers that have waited a moment turn to the origin."""
    until = property(lambda self: self._idle_since + 0.2)
    patch.setattr(swarm_client.SwarmClient, "_idle_until", until)


def origin_read_twice(patch: pytest.MonkeyPatch) -> None:
    """The supernode begins its read of the origin twice."""
    opened = copies.Copies.open

    def twice(self: Any, of: Any, now: float, out: list[Any]) -> None:
        opened(self, of, now, out)
        out.append(structs.replace(out[-1], fetch=self._new_fetch()))

    patch.setattr(copies.Copies, "open", twice)


def word_after_the_end(patch: pytest.MonkeyPatch) -> None:
    """A download that is over has something to say."""
    close = download.DownloadEngine._close

    def talkative(self: Any, out: list[Any]) -> None:
        close(self, out)
        out.append(Tell(Milestone.CONNECTED, "that was it"))

    patch.setattr(download.DownloadEngine, "_close", talkative)


def unanswered_pull(patch: pytest.MonkeyPatch) -> None:
    """A pull that was held in vain is forgotten instead of answered."""

    def forget(self: Any, member: Any, _now: float, _out: list[Any]) -> None:
        member.exchange = None
        self.swarm.requeue(member)

    patch.setattr(task.Task, "release", forget)


def impatience(patch: pytest.MonkeyPatch) -> None:
    """The supernode holds no pull, and peers ask again at once."""

    def at_once(self: Any, now: float, _sent_at: float, _began: bool) -> None:
        self._pull_at = now

    def released(self: Any, exchange: Any, asked: Any, member: Any, now: float, out: Any) -> None:
        pull(self, exchange, asked, member, now, out)
        if member.exchange == exchange:
            self.release(member, now, out)

    pull = task.Task.pull
    patch.setattr(swarm_client.SwarmClient, "_pace", at_once)
    patch.setattr(task.Task, "pull", released)


def early_end(patch: pytest.MonkeyPatch) -> None:
    """All but one piece is taken for all."""

    def nearly(self: Any) -> bool:
        layout = self.layout
        return (
            layout is not None and layout.length >= 0 and layout.count - len(self._held) in (0, 1)
        )

    patch.setattr(Holdings, "is_complete", property(nearly))


def no_end(patch: pytest.MonkeyPatch) -> None:
    """A download whose pieces are all reported does not notice that it is done."""

    def chatty(self: Any) -> bool:
        self._phase_until = float("inf")
        return True

    patch.setattr(download.DownloadEngine, "_has_to_say", property(chatty))


def unfounded_failure(patch: pytest.MonkeyPatch) -> None:
    """A download that has to wait for its first piece gives up."""
    tick = swarm_client.SwarmClient.tick

    def despairing(self: Any, now: float, out: list[Any]) -> Any:
        verdict = tick(self, now, out)
        if verdict is None and now - self._idle_since > 0.1:
            return HostFailed(BackSourceReason.WRITE_FAILED, "no piece came")
        return verdict

    patch.setattr(swarm_client.SwarmClient, "tick", despairing)


def free_bandwidth(patch: pytest.MonkeyPatch) -> None:
    """A link gives each flow all it has."""

    def undivided(self: Any, flow: Any) -> None:
        self.flows[flow] = None

    def whole(self: Any, flow: Any) -> None:
        del self.flows[flow]

    patch.setattr(links.Link, "join", undivided)
    patch.setattr(links.Link, "leave", whole)


def stuck_clock(patch: pytest.MonkeyPatch) -> None:
    """The simulator rings the same alarm for ever."""

    def again(self: Any, flow: Any) -> None:
        self._world.at(self._world.now, self._ring, flow)

    patch.setattr(links.Network, "_ring", again)
