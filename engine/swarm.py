"""Who has what, who sends to whom, and who waits: the facts of one task, told and asked.

Members and pieces are numbers, so that sets of them are integers (``bits``).  Vocabulary: a
member *has* a piece once it is verified on its disk, *holds* it once it may serve it to others;
a piece is *in flight* to a member from the moment it is assigned.  ``None`` as a parent is the
supernode's own copy, the CDN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .bits import each
from .ids import PieceIndex
from .messages import DigestForm
from .picker import Picker

if TYPE_CHECKING:
    from .ids import ExchangeId, PeerId
    from .messages import PieceOffer


@dataclass(slots=True)
class Run:
    """Pieces that come one after the other from ``parent``, over one of its slots."""

    parent: Member | None
    left: int = 0


@dataclass(slots=True, eq=False)
class Native:
    """Where the conversation with a peer in the native protocol stands."""

    newest: int = 0
    """The number of its newest update."""
    told: int = 0
    """The number of the newest update that was answered with orders."""
    untold: dict[PieceIndex, None] = field(default_factory=dict["PieceIndex", None])
    """Pieces assigned to it that no answer has named yet."""
    rejected: tuple[PieceIndex, ...] = ()
    """Pieces it reported that are not what they should be, and no answer has said so yet."""


@dataclass(slots=True, eq=False)
class Member:
    """One peer in the swarm of one task."""

    index: int
    peer: PeerId
    host: str
    port: int
    path: str
    node_host: str
    digest_form: DigestForm
    seen_at: float
    down_slots: int
    """Pieces it may have under way at once."""
    url: str = ""
    """Where this peer would read the origin itself."""
    call_system: str = ""
    has: int = 0
    holds: int = 0
    in_flight: int = 0
    runs: dict[PieceIndex, Run] = field(default_factory=dict["PieceIndex", "Run"])
    """The run that each piece in flight belongs to."""
    busy_slots: int = 0
    """Runs under way: what was assigned at once from one parent, and comes piece by piece."""
    fetching: dict[PieceIndex, tuple[Member | None, PieceOffer]] = field(
        default_factory=dict["PieceIndex", "tuple[Member | None, PieceOffer]"]
    )
    uploads: int = 0
    shunned: int = 0
    """Members it will not take from: they failed it."""
    accusers: int = 0
    """Members that failed to get a piece from it since it last delivered one."""
    banned: bool = False
    exchange: ExchangeId | None = None
    """A pull that is held for it."""
    native: Native | None = None
    level: int = -1
    """Place in the queue of those who wait, 0 the most deprived; -1: does not wait."""

    @property
    def serves(self) -> bool:
        """Tell whether others may be sent to it; port 0 means it has no peer server."""
        return self.port > 0 and not self.banned


class Swarm:
    """The members of one task and the pieces among them."""

    def __init__(self, up_slots: int, down_slots: int, cdn_up_slots: int) -> None:
        self.up_slots, self.down_slots, self.cdn_up_slots = up_slots, down_slots, cdn_up_slots
        self.members: list[Member | None] = []
        self.by_peer: dict[PeerId, Member] = {}
        self.picker = Picker()
        self.cdn_holds = 0
        self.cdn_uploads = 0
        self.md5_known = 0
        self.all_pieces: int | None = None  # None while the number of pieces is unknown
        self.holders: list[int] = []  # piece -> members that hold it and serve
        self.waiting = [0] * (down_slots + 1)  # level -> members
        self.by_uploads = [0] * up_slots  # uploads under way -> members with a free slot
        self._vacant: list[int] = []

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

    def remove(self, member: Member) -> None:
        """Forget a member.  What others fetch from it must have been given up before."""
        self.stop_serving(member)
        for piece in list(member.fetching):
            self.give_up(member, piece)
        member.exchange = None
        self.requeue(member)
        assert not member.uploads
        gone = ~(1 << member.index)
        for other in self.by_peer.values():
            other.shunned &= gone
            other.accusers &= gone
        self.members[member.index] = None
        self._vacant.append(member.index)
        del self.by_peer[member.peer]

    def stop_serving(self, member: Member) -> None:
        """Offer ``member`` as a parent no more; transfers under way may still end well."""
        self._leave_uplinks(member)
        bit = 1 << member.index
        for piece, holders in enumerate(self.holders):
            if holders & bit:
                self.holders[piece] = holders & ~bit
                self.picker.lost(PieceIndex(piece))
        if member.serves:
            for piece in member.fetching:
                self.picker.lost(piece)
        member.holds = 0
        member.banned = True

    def find(self, index: int) -> Member:
        """Return the member with this number."""
        member = self.members[index]
        assert member is not None
        return member

    # --- pieces ---

    def cdn_got(self, piece: PieceIndex) -> None:
        """The supernode's own copy of ``piece`` can be given out."""
        self._reach(piece)
        self.cdn_holds |= 1 << piece

    def missing(self, member: Member) -> int:
        """Return the pieces that a member still needs and nobody is bringing."""
        known = self.cdn_holds if self.all_pieces is None else self.all_pieces
        if member.digest_form is DigestForm.MD5_WRAPPED:
            known &= self.md5_known
        return known & ~(member.has | member.in_flight)

    def is_complete(self, member: Member) -> bool:
        """Tell whether a member has the whole file."""
        return self.all_pieces is not None and not self.all_pieces & ~member.has

    def start(self, member: Member, piece: PieceIndex, parent: Member | None) -> Run:
        """``piece`` is in flight to ``member``; the caller adds it to ``fetching``."""
        run = Run(parent)
        member.busy_slots += 1
        if parent is None:
            self.cdn_uploads += 1
        else:
            self._set_uploads(parent, parent.uploads + 1)
        self.extend(member, piece, run)
        return run

    def extend(self, member: Member, piece: PieceIndex, run: Run) -> None:
        """``piece`` comes to ``member`` as well, at the end of ``run``."""
        run.left += 1
        member.runs[piece] = run
        member.in_flight |= 1 << piece
        if member.serves:
            self.picker.gained(piece)

    def arrived(self, member: Member, piece: PieceIndex) -> Member | None:
        """``member`` has ``piece``; return the parent that brought it."""
        parent = self.give_up(member, piece)
        member.has |= 1 << piece
        return parent

    def give_up(self, member: Member, piece: PieceIndex) -> Member | None:
        """``piece`` is in flight no more; return the parent it was to come from."""
        parent, _ = member.fetching.pop(piece)
        member.in_flight &= ~(1 << piece)
        if member.serves:
            self.picker.lost(piece)
        run = member.runs.pop(piece)
        run.left -= 1
        if not run.left:
            member.busy_slots -= 1
            if parent is None:
                self.cdn_uploads -= 1
            else:
                self._set_uploads(parent, parent.uploads - 1)
        return parent

    def holds(self, member: Member, piece: PieceIndex) -> None:
        """``member`` can serve ``piece``."""
        self._reach(piece)
        bit = 1 << piece
        member.has |= bit
        if not member.serves or member.holds & bit:
            return
        member.holds |= bit
        self.holders[piece] |= 1 << member.index
        self.picker.gained(piece)
        self._enter_uplinks(member)

    def drops(self, member: Member, piece: PieceIndex) -> None:
        """``member`` turned out not to hold ``piece``, or not as it should be."""
        bit = 1 << piece
        if member.holds & bit:
            member.holds &= ~bit
            if not member.holds:
                self._leave_uplinks(member)
            self.holders[piece] &= ~(1 << member.index)
            self.picker.lost(piece)

    # --- slots and waiting ---

    def requeue(self, member: Member) -> None:
        """Place a member in the queue by how deprived it is; out of it if it does not wait."""
        level = -1
        if member.exchange is not None and member.busy_slots < member.down_slots:
            wants = self.all_pieces is None or self.all_pieces & ~(member.has | member.in_flight)
            if wants:
                level = min(member.busy_slots + (1 if member.has else 0), self.down_slots)
        if level == member.level:
            return
        bit = 1 << member.index
        if member.level >= 0:
            self.waiting[member.level] &= ~bit
        if level >= 0:
            self.waiting[level] |= bit
        member.level = level

    @property
    def cdn_is_free(self) -> bool:
        """Tell whether the supernode may upload one more piece of this task."""
        return self.cdn_uploads < self.cdn_up_slots

    def is_free(self, member: Member) -> bool:
        """Tell whether a member may upload one more piece."""
        return member.serves and member.uploads < self.up_slots

    def check(self) -> None:
        """Recount everything from scratch."""
        self.picker.check()
        uploads = dict.fromkeys(self.by_peer.values(), 0)
        copies = [0] * len(self.holders)
        holders = [0] * len(self.holders)
        cdn_uploads = 0
        for member in self.by_peer.values():
            assert self.members[member.index] is member
            assert member.in_flight == sum(1 << piece for piece in member.fetching)
            assert not member.in_flight & member.has
            assert member.holds & ~member.has == 0
            runs: dict[int, Run] = {}
            for piece, (parent, _) in member.fetching.items():
                copies[piece] += member.serves
                run = member.runs[piece]
                assert run.parent is parent
                assert parent is not member
                runs[id(run)] = run
            assert member.runs.keys() == member.fetching.keys()
            assert member.busy_slots == len(runs)
            assert sum(run.left for run in runs.values()) == len(member.runs)
            for run in runs.values():
                if run.parent is None:
                    cdn_uploads += 1
                else:
                    uploads[run.parent] += 1
            for piece in each(member.holds):
                holders[piece] |= 1 << member.index
        assert cdn_uploads == self.cdn_uploads
        assert holders == self.holders
        for piece, held in enumerate(holders):
            assert self.picker.copies(PieceIndex(piece)) == copies[piece] + held.bit_count()
        self._check_queues(uploads)

    def _check_queues(self, uploads: dict[Member, int]) -> None:
        waiting = [0] * len(self.waiting)
        by_uploads = [0] * len(self.by_uploads)
        for member, count in uploads.items():
            assert member.uploads == count
            if member.level >= 0:
                waiting[member.level] |= 1 << member.index
            if self.is_free(member) and member.holds:
                by_uploads[count] |= 1 << member.index
        assert waiting == self.waiting
        assert by_uploads == self.by_uploads

    def _set_uploads(self, member: Member, uploads: int) -> None:
        self._leave_uplinks(member)
        member.uploads = uploads
        assert uploads >= 0
        self._enter_uplinks(member)

    def _enter_uplinks(self, member: Member) -> None:
        if member.holds and self.is_free(member):
            self.by_uploads[member.uploads] |= 1 << member.index

    def _leave_uplinks(self, member: Member) -> None:
        if member.uploads < self.up_slots:
            self.by_uploads[member.uploads] &= ~(1 << member.index)

    def _reach(self, piece: PieceIndex) -> None:
        self.picker.add(piece)
        while len(self.holders) <= piece:
            self.holders.append(0)
