"""Who has what, who sends to whom, and who waits: the facts of one task, told and asked.

Members and pieces are numbers, so that sets of them are integers (``bits``).  Vocabulary: a
member *has* a piece once it is verified on its disk, *holds* it once it may serve it to others;
a piece is *in flight* to a member from the moment it is assigned, in a *run* of pieces that come
one after the other from the same parent.  ``None`` as a parent is the supernode's own copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import relays
from .bits import each
from .ids import NO_PEER, PieceIndex
from .members import Flight, Member
from .picker import Picker
from .piece import DigestForm
from .recount import recount
from .rules import MOST_DOWN_SLOTS, NO_RULES, Rules, Slots
from .speeds import Speeds
from .uplinks import SHARED, Uplinks
from .watch import Watch, is_held_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ids import PeerId
    from .messages import PieceOffer
    from .piece import PieceLayout

_SHA256: Final = DigestForm.SHA256
_IF_LATE: Final = 0.5
"""A piece that is late has some way to go: its parent is slower than the time so far says."""
_LEAST: Final = 0.5
"""Of what brought less than such a part of a piece most of the time went by in waiting."""
_ENOUGH: Final = 6
"""A run that goes on is measured by so many pieces: where they begin is not known exactly."""
_PROBATION_S: Final = 30.0
_MOST_LEAD: Final = 12
_LEAD_PARTS: Final = 50
"""Of a file of many pieces each such part by which a member leads counts as a run in flight."""
_SPARE_COPIES: Final = 0.5
_SPARE_PIECES: Final = 16
"""What the supernode gives beyond one file of pieces that peers have, too: the larger of both."""


class Swarm:
    """The members of one task and the pieces among them.

    What comes of a run may be told as much as ``pace_s`` later, but for its end.
    """

    def __init__(self, slots: Slots, rules: Rules = NO_RULES, *, pace_s: float = 0.0) -> None:
        self.slots, self.rules, self._pace_s = slots, rules, pace_s
        self._measures = rules.rates or rules.late
        self.speeds = Speeds(slots.up, slots.down, rules)
        self.members: list[Member | None] = []
        self.by_peer: dict[PeerId, Member] = {}
        self.picker = Picker()
        self.uplinks = Uplinks()
        self.cdn_holds = 0
        self.cdn_uploads = 0
        self.cdn_gave = 0  # pieces that came of it, however often each
        self.md5_known = 0
        self.layout: PieceLayout | None = None  # None while the number of pieces is unknown
        self.all_pieces: int | None = None
        self.holders: list[int] = []  # piece -> members that hold it and serve
        self.servers = 0
        self.queued = 0  # all that wait
        self.natives = 0  # members that talk in updates
        self.relayers = 0  # members that pass on what arrives, and to whom something does
        self._most_down_slots = max(slots.down, MOST_DOWN_SLOTS)
        self.waiting = [0] * 2 * (self._most_down_slots + 1 + _MOST_LEAD)  # level -> members
        self._vacant: list[int] = []
        self._watch = Watch()
        self._content_size, self._last = 0, PieceIndex(0)
        self.growing = 0  # members that do not have everything
        self.gathered = 0  # pieces that these have, together

    # --- members ---

    def add(self, member: Member) -> None:
        """Take in a new member; its ``index`` is set here."""
        if self._vacant:
            member.index = self._vacant.pop()
            self.members[member.index] = member
        else:
            member.index = len(self.members)
            self.members.append(member)
        self.by_peer[member.peer] = member
        member.up_slots, member.most_down_slots = self.slots.up, self._most_down_slots
        member.serves = member.port > 0
        self.servers |= member.serves << member.index
        self.natives |= (member.orders is not None) << member.index
        member.relays = member.relays and member.orders is not None and self.rules.relays
        self.growing += 1

    def remove(self, member: Member, now: float) -> None:
        """Forget a member.  What others fetch from it must have been given up before."""
        self.stop_serving(member)
        for piece in list(member.fetching):
            self.give_up(member, piece, now)
        member.exchange = None
        self.requeue(member)
        assert not member.up.active
        if not self.is_complete(member):
            self.growing -= 1
            self.gathered -= member.count
        gone = ~(1 << member.index)
        self.natives &= gone
        for other in self.by_peer.values():
            other.shunned &= gone
            other.accusers &= gone
        self.members[member.index] = None
        self._vacant.append(member.index)
        del self.by_peer[member.peer]

    def stop_serving(self, member: Member) -> None:
        """Offer ``member`` as a parent no more; transfers under way may still end well."""
        self._set_serving(member, False)
        member.holds = 0
        member.banned = True

    def stop_relaying(self, member: Member) -> None:
        """Have nobody follow what is on its way to ``member`` any more."""
        member.relays = False
        self.relayers &= ~(1 << member.index)
        self._place(member)

    def find(self, index: int) -> Member:
        """Return the member with this number."""
        member = self.members[index]
        assert member is not None
        return member

    def held_by(self, among: int) -> int:
        """Return the pieces that any of these members holds."""
        held, members = 0, self.members
        while among:
            low = among & -among
            among ^= low
            if (member := members[low.bit_length() - 1]) is not None:
                held |= member.holds
        return held

    # --- pieces ---

    def know_all(self, layout: PieceLayout) -> None:
        """The file is cut so: how many pieces there are is known now."""
        self.all_pieces, self.layout = (1 << layout.count) - 1, layout
        self.speeds.pieces = layout.count
        self._content_size, self._last = layout.content_size, PieceIndex(layout.count - 1)
        growing = [member for member in self.by_peer.values() if not self.is_complete(member)]
        self.growing = len(growing)
        self.gathered = sum(member.count for member in growing)

    def cdn_got(self, piece: PieceIndex) -> None:
        """The supernode's own copy of ``piece`` can be given out."""
        self._reach(piece)
        self.cdn_holds |= 1 << piece

    def missing(self, member: Member) -> int:
        """Return the pieces that a member still needs and nobody is bringing in time."""
        known = self.cdn_holds if (everything := self.all_pieces) is None else everything
        if member.digest_form is not _SHA256:
            known &= self.md5_known
        return known & ~(member.has | member.in_flight)

    def is_complete(self, member: Member) -> bool:
        """Tell whether a member has the whole file."""
        return self.all_pieces is not None and not self.all_pieces & ~member.has

    def start(
        self,
        member: Member,
        parent: Member | None,
        sender: PeerId,
        now: float,
        upstream: Flight | None = None,
    ) -> Flight:
        """Begin a run from ``parent``, called ``sender``; ``bring`` says which pieces.

        ``upstream``: the run on its way to ``parent`` that it follows.
        """
        up_mark = parent.up.begin(now) if parent is not None else 0.0
        down_mark = member.down.begin(now)
        flight = Flight(member, parent, sender, up_mark, down_mark, now, now)
        if self.rules.late:
            self._watch.add(flight)
        if upstream is not None:
            relays.begin(flight, upstream)
        if parent is None:
            self.cdn_uploads += 1
        else:
            self._place(parent)
        return flight

    def bring(
        self, flight: Flight, piece: PieceIndex, offer: PieceOffer, now: float
    ) -> Flight | None:
        """``piece`` is in flight at the end of a run; return the late run that it is taken from."""
        member = flight.child
        if (replaced := member.fetching.get(piece)) is not None:
            if len(replaced.offers) == 1:
                self._learn_late(replaced, now)
            self.give_up(member, piece, now)
        if flight.offers:
            flight.quiet_until = now + self._pace_s
        flight.offers[piece] = offer
        is_first = not member.fetching
        member.fetching[piece] = flight
        if is_first and member.relays:
            self.relayers |= 1 << member.index
            self._place(member)
        member.in_flight |= 1 << piece
        if member.serves:
            self.picker.gained(piece)
        return replaced

    def look_at(self, flight: Flight, now: float) -> None:
        """See how fast a run is of which a piece came just now, if enough has come meanwhile."""
        parent, is_enough = flight.parent, flight.got_bytes >= _ENOUGH * self._content_size
        if not flight.got_bytes or not is_enough:  # none where nothing is measured
            return
        if parent is None or not flight.offers or not flight.is_measured:
            return
        up_mark, down_mark = parent.up.mark(now), flight.child.down.mark(now)
        sent_s, got_s = up_mark - flight.up_mark, down_mark - flight.down_mark
        self._learn(flight, parent, flight.got_bytes, sent_s, got_s, now)
        flight.up_mark, flight.down_mark = up_mark, down_mark
        flight.got_bytes, flight.was_measured = 0, True

    def arrived(
        self, member: Member, piece: PieceIndex, now: float, said: PeerId = NO_PEER
    ) -> Member | None:
        """``member`` has ``piece``; return the parent that was to bring it.

        ``said`` is who brought it, according to the member.
        """
        was_counted = member.in_flight >> piece & 1
        flight = self._came(member, piece, now, said)
        if member.serves and was_counted:
            self.picker.lost(piece)
        return flight.parent

    def delivered(
        self, member: Member, piece: PieceIndex, now: float, said: PeerId = NO_PEER
    ) -> Member | None:
        """As ``arrived`` and ``holds`` in one: what was in flight is a copy to be had now."""
        was_counted = member.in_flight >> piece & 1
        flight = self._came(member, piece, now, said)
        held = member.holds
        if member.port and not member.banned:
            member.holds = held | 1 << piece
        if member.serves:  # what was counted while it was in flight counts on
            self.holders[piece] |= 1 << member.index
            if not was_counted:
                self.picker.gained(piece)
            if not held:
                self._place(member)
        return flight.parent

    def give_up(self, member: Member, piece: PieceIndex, now: float) -> Flight:
        """``piece`` is in flight no more; return the run it was of."""
        flight, was_counted = member.fetching[piece], member.in_flight >> piece & 1
        self._land(flight, piece, now, 0)
        if member.serves and was_counted:
            self.picker.lost(piece)
        return flight

    def holds(self, member: Member, piece: PieceIndex) -> None:
        """``member`` can serve ``piece``."""
        self._reach(piece)
        bit = 1 << piece
        if not member.has & bit:
            self._gain(member, bit)
        if member.banned or not member.port or member.holds & bit:
            return
        member.holds |= bit
        if member.serves:
            self.holders[piece] |= 1 << member.index
            self.picker.gained(piece)
            self._place(member)

    def drops(self, member: Member, piece: PieceIndex) -> None:
        """``member`` turned out not to hold ``piece``, or not as it should be."""
        bit = 1 << piece
        if member.holds & bit:
            member.holds &= ~bit
            self._place(member)
            if member.serves:
                self.holders[piece] &= ~(1 << member.index)
                self.picker.lost(piece)

    # --- slots and waiting ---

    def requeue(self, member: Member) -> None:
        """Place a member in the queue by how deprived it is; out of it if it does not wait.

        First come those with nothing, then those with least in flight, where who ``leads`` has
        more; among equals those who have less than the average.
        """
        level = self._level(member) if member.exchange is not None else -1
        if level == member.level:
            return
        bit = 1 << member.index
        if member.level >= 0:
            self.waiting[member.level] &= ~bit
        else:
            self.queued |= bit
        if level >= 0:
            self.waiting[level] |= bit
        else:
            self.queued &= ~bit
        member.level = level

    def welcomes(self, member: Member, runs: int) -> None:
        """``member`` says that it would take so many runs more; nobody is given more than most."""
        member.most_down_slots = min(member.down.active + runs, self._most_down_slots)

    def leads(self, member: Member) -> int:
        """Return as how many runs in flight it counts that a member is not behind."""
        if not (self.rules.leads and self.speeds.is_mixed):
            return 0
        lead = member.count * self.growing - self.gathered
        if lead < 0 or not self.speeds.is_fine:
            return int(lead >= 0)
        part = self.growing * self.speeds.pieces // _LEAD_PARTS
        return min(1 + lead // part, _MOST_LEAD)

    @property
    def cdn_is_free(self) -> bool:
        """Tell whether the supernode may upload one more piece of this task."""
        return self.cdn_uploads < self.slots.cdn_up

    @property
    def cdn_has_given_enough(self) -> bool:
        """Tell whether the supernode should leave second copies to peers.

        While it reads the file itself they would be in the way of first ones.
        """
        if not self.rules.thrift:
            return False
        if self.layout is None or self.cdn_holds != self.all_pieces:
            return True
        count = self.layout.count
        spare = max(_SPARE_COPIES * count, _SPARE_PIECES)
        return self.cdn_gave + self.cdn_uploads >= count + spare

    def may_be_overdue(self, now: float) -> bool:
        """Tell, at no cost, whether it is worth asking for ``overdue``."""
        return self._watch.may_be_due(now)

    def overdue(self, now: float) -> Iterator[Member]:
        """Yield members for whom a piece has become late that others hold, too.

        It may be looked for elsewhere from then on, and takes no download slot.
        """
        for flight in self._watch.due(now):
            if is_held_up(self, flight, now):
                self._set_late(flight, now)
                yield flight.child
            else:
                self._watch.add(flight)

    def pardon(self, now: float) -> None:
        """Give a member whose uplink was hopeless another chance: one at a time, after a while."""
        for member in self.by_peer.values():
            if member.slow_since is not None and now - member.slow_since >= _PROBATION_S:
                member.up.forget()
                self._repace(member, now)
                return

    def check(self) -> None:
        """Recount everything from scratch."""
        recount(self)

    # --- inside ---

    def _level(self, member: Member) -> int:
        """Return the place in the queue of a member that has an open exchange."""
        active = member.down.active
        running = active - member.late
        if running >= self.speeds.down_slots or active >= member.most_down_slots:
            return -1
        everything = self.all_pieces
        if everything is not None and not everything & ~(member.has | member.in_flight):
            return -1
        level = 2 * (running + (member.has > 0) + self.leads(member))
        if self.rules.behind and member.count * self.growing > self.gathered:
            level += 1
        return level

    def _came(self, member: Member, piece: PieceIndex, now: float, said: PeerId) -> Flight:
        flight = member.fetching[piece]
        measured_bytes = 0
        if flight.upstream is not None:
            pass  # it came no faster than the parent got it
        elif said != flight.sender:
            flight.is_measured = False
        elif self._measures and self.layout is not None:
            is_last = piece == self._last
            flight.got_bytes += self.layout.size(piece) if is_last else self._content_size
            least = _ENOUGH if flight.was_measured else _LEAST
            if flight.is_measured and flight.got_bytes >= least * self._content_size:
                measured_bytes = flight.got_bytes
        if flight.parent is None:
            self.cdn_gave += 1
        self._land(flight, piece, now, measured_bytes)
        self._gain(member, 1 << piece)
        if member.relaying:
            relays.settle(member, now)
        return flight

    def _gain(self, member: Member, bit: int) -> None:
        member.has |= bit
        member.count += 1
        self.gathered += 1
        if self.all_pieces == member.has:
            self.growing -= 1
            self.gathered -= member.count

    def _land(self, flight: Flight, piece: PieceIndex, now: float, measured_bytes: int) -> None:
        """A piece is in flight no more; at the end of its run see how fast it was, if measured.

        What follows from that is done before the piece is forgotten, which counts as a copy yet.
        """
        child, offers = flight.child, flight.offers
        if len(offers) > 1:
            flight.quiet_until = now + self._pace_s
        else:
            got_s = child.down.end(now) - flight.down_mark
            if (parent := flight.parent) is None:
                self.cdn_uploads -= 1
            else:
                sent_s = parent.up.end(now) - flight.up_mark
                if measured_bytes:
                    self._learn(flight, parent, measured_bytes, sent_s, got_s, now)
                self._place(parent)
            child.late -= flight.is_late
            if flight.upstream is not None:
                relays.end(flight)
        del offers[piece], child.fetching[piece]
        child.in_flight &= ~(1 << piece)
        if child.relays and not child.fetching:
            self.relayers &= ~(1 << child.index)
            self._place(child)

    def _place(self, member: Member) -> None:
        """Put a member where it belongs among the free uplinks."""
        place = -1
        gives = member.holds or (member.relays and member.fetching)
        if member.serves and gives and (active := member.up.active) < member.up_slots:
            place = member.steps + SHARED[active]
        if place != member.rank:
            self.uplinks.move(member.index, member.rank, place)
            member.rank = place

    def _set_serving(self, member: Member, serves: bool) -> None:
        if serves == member.serves:
            return
        member.serves = serves
        bit = 1 << member.index
        self.servers ^= bit
        count = self.picker.gained if serves else self.picker.lost
        for piece in map(PieceIndex, each(member.holds)):
            self.holders[piece] ^= bit
            count(piece)
        for piece in map(PieceIndex, each(member.in_flight)):
            count(piece)
        self._place(member)

    def _learn_late(self, flight: Flight, now: float) -> None:
        parent = flight.parent
        if flight.upstream is not None:
            return
        if self._measures and self.layout is not None and parent is not None:
            size = flight.got_bytes + _IF_LATE * self._content_size
            sent_s = parent.up.shares_s(flight.up_mark, now)
            got_s = flight.child.down.shares_s(flight.down_mark, now)
            self._learn(flight, parent, size, sent_s, got_s, now)

    def _learn(
        self, flight: Flight, parent: Member, size: float, sent_s: float, got_s: float, now: float
    ) -> None:
        """Take in how long so much of a run has taken, and what follows for slots."""
        if self.speeds.learn(flight, parent, size, sent_s, got_s):
            self._survey(now)
        else:
            self._repace(parent, now)

    def _survey(self, now: float) -> None:
        members = self.by_peer.values()
        if self.speeds.survey(members):
            for member in members:
                self._repace(member, now)
        self.speeds.fit_down_slots(members, self._most_down_slots)
        self._watch.patience_s = self.speeds.patience_s(self._content_size)

    def _repace(self, member: Member, now: float) -> None:
        """Let a member send as much as its uplink was seen to carry."""
        if not self.rules.rates:
            return
        steps = self.speeds.steps(member)
        if steps == member.steps and member.is_mixed is self.speeds.is_mixed:
            return
        member.is_mixed = self.speeds.is_mixed
        slots = self.speeds.slots(steps)
        member.steps, member.up_slots = steps, slots
        if self.speeds.is_hopeless(steps) != (member.slow_since is not None):
            member.slow_since = now if member.slow_since is None else None
            able = member.port > 0 and not member.banned
            self._set_serving(member, able and member.slow_since is None)
            if member.slow_since is not None:
                self._watch.hurry(member)
        self._place(member)

    def _set_late(self, flight: Flight, now: float) -> None:
        flight.is_late = True
        flight.child.late += 1
        if flight.child.digest_form is _SHA256:
            # The others would not leave the parent that they were told of first.
            for piece in flight.offers:
                flight.child.in_flight &= ~(1 << piece)
                if flight.child.serves:
                    self.picker.lost(piece)
        self._learn_late(flight, now)

    def _reach(self, piece: PieceIndex) -> None:
        self.picker.add(piece)
        while len(self.holders) <= piece:
            self.holders.append(0)
