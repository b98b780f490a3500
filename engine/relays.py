"""Passing on what still arrives: pieces are to be had from a peer to which they are on their way.

A run that follows another, its *upstream*, brings the same pieces in the same order, from the peer
that these are coming to.  It goes no faster than they come, and says nothing of its parent's
uplink before that has them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .members import Flight, Member

_DEEPEST: Final = 4
"""So many hands may a piece go through before the first of them has it."""
_SLOW: Final = 2
"""Nobody waits for what comes over an uplink that is so many steps slower than usual."""


def arriving(parent: Member) -> Iterator[Flight]:
    """Yield runs on their way to ``parent`` that others may follow."""
    for flight in dict.fromkeys(parent.fetching.values()):
        if flight.is_late or flight.depth >= _DEEPEST:
            continue
        sender = flight.parent
        if sender is None or sender.steps < _SLOW:
            yield flight


def can_follow(member: Member, flight: Flight) -> bool:
    """Tell whether nothing of a run depends on what ``member`` itself is to get."""
    upstream: Flight | None = flight
    while upstream is not None:
        if upstream.parent is member or upstream.is_late:
            return False
        upstream = upstream.upstream
    return True


def is_waiting(flight: Flight) -> bool:
    """Tell whether the parent of a run does not have the next of its pieces, as far as is known."""
    parent = flight.parent
    return flight.upstream is not None and (
        parent is not None and not parent.has >> flight.next_piece & 1
    )


def begin(flight: Flight, upstream: Flight) -> None:
    """A run follows another."""
    flight.upstream, flight.depth = upstream, upstream.depth + 1
    upstream.child.relaying[flight] = None


def end(flight: Flight) -> None:
    """A run is over."""
    if flight.upstream is not None:
        flight.upstream.child.relaying.pop(flight, None)
        flight.upstream = None


def settle(parent: Member, now: float) -> None:
    """``parent`` got a piece: runs of which it has everything now follow nothing any more.

    They are measured from here on.
    """
    for flight in list(parent.relaying):
        if not any(not parent.has >> piece & 1 for piece in flight.offers):
            end(flight)
            flight.up_mark, flight.down_mark = parent.up.mark(now), flight.child.down.mark(now)
            flight.got_bytes, flight.was_measured = 0, True


def check(member: Member) -> None:
    """Assert what holds of the runs that a member sends and gets."""
    for flight in member.relaying:
        assert flight.parent is member
        assert flight.upstream is not None
        assert flight.offers
    for flight in member.fetching.values():
        if flight.upstream is not None:
            assert flight.parent is flight.upstream.child
            assert 0 < flight.depth <= _DEEPEST
            assert flight in flight.upstream.child.relaying
