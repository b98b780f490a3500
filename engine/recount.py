"""Counts everything that a swarm keeps count of anew, and asserts that it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import relays
from .bits import each
from .ids import PieceIndex
from .uplinks import SHARED

if TYPE_CHECKING:
    from .members import Member
    from .swarm import Swarm


def recount(swarm: Swarm) -> None:
    """Assert all invariants of ``swarm``; costs time for each member and each piece."""
    swarm.picker.check()
    natives = relayers = 0
    active = dict.fromkeys(swarm.by_peer.values(), 0)
    copies = [0] * len(swarm.holders)
    holders = [0] * len(swarm.holders)
    cdn_uploads = 0
    for member in swarm.by_peer.values():
        assert swarm.members[member.index] is member
        _recount_member(member)
        natives |= (member.orders is not None) << member.index
        relayers |= (member.relays and bool(member.fetching)) << member.index
        for piece in each(member.in_flight):
            copies[piece] += member.serves
        for flight in set(member.fetching.values()):
            if flight.parent is None:
                cdn_uploads += 1
            else:
                assert flight.parent is not member
                active[flight.parent] += 1
        for piece in each(member.holds) if member.serves else ():
            holders[piece] |= 1 << member.index
    assert (natives, relayers) == (swarm.natives, swarm.relayers)
    assert cdn_uploads == swarm.cdn_uploads
    assert holders == swarm.holders
    for piece, held in enumerate(holders):
        assert swarm.picker.copies(PieceIndex(piece)) == copies[piece] + held.bit_count()
    for member, uploads in active.items():
        assert member.up.active == uploads
    _recount_queues(swarm)


def _recount_member(member: Member) -> None:
    relays.check(member)
    flights = set(member.fetching.values())
    assert not any(flight.child is not member for flight in flights)
    assert sum(len(flight.offers) for flight in flights) == len(member.fetching)
    assert all(piece in flight.offers for piece, flight in member.fetching.items())
    assert member.late == sum(flight.is_late for flight in flights)
    in_time = sum(1 << p for p, flight in member.fetching.items() if not flight.is_late)
    assert member.in_flight & in_time == in_time
    assert not member.in_flight & member.has
    assert member.holds & ~member.has == 0
    assert member.count == member.has.bit_count()
    assert member.down.active == len(flights)
    assert member.exchange is not None or member.level < 0
    assert member.serves == (member.port > 0 and not member.banned and member.slow_since is None)


def _recount_queues(swarm: Swarm) -> None:
    waiting = [0] * len(swarm.waiting)
    ranks: dict[int, int] = {}
    servers = growing = gathered = 0
    for member in swarm.by_peer.values():
        bit = 1 << member.index
        servers |= bit * member.serves
        if member.level >= 0:
            waiting[member.level] |= bit
        gives = member.holds or (member.relays and member.fetching)
        if member.serves and gives and member.up.active < member.up_slots:
            place = member.steps + SHARED[member.up.active]
            ranks[place] = ranks.get(place, 0) | bit
        if not swarm.is_complete(member):
            growing, gathered = growing + 1, gathered + member.count
    assert waiting == swarm.waiting
    assert sum(waiting) == swarm.queued
    assert ranks == swarm.uplinks.ranks()
    assert sum(ranks.values()) == swarm.uplinks.free
    assert servers == swarm.servers
    assert (growing, gathered) == (swarm.growing, swarm.gathered)
