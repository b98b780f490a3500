"""A peer in the swarm of one task, and a run of pieces on its way to one."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from .records import dataclass
from .speeds import Meter

if TYPE_CHECKING:
    from .ids import ExchangeId, PeerId, PieceIndex
    from .messages import PieceOffer
    from .order_book import OrderBook
    from .piece import DigestForm


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
    url: str = ""
    """Where this peer would read the origin itself."""
    call_system: str = ""
    has: int = 0
    count: int = 0
    """How many pieces it has."""
    holds: int = 0
    in_flight: int = 0
    """Pieces on their way that are not late: copies that count."""
    fetching: dict[PieceIndex, Flight] = field(default_factory=dict["PieceIndex", "Flight"])
    """Pieces on their way, and the run that each belongs to."""
    late: int = 0
    """How many of its runs are late."""
    up: Meter = field(default_factory=Meter)
    down: Meter = field(default_factory=Meter)
    up_slots: int = 0
    most_down_slots: int = 0
    """Runs that it takes at once at most."""
    steps: int = 0
    """By how much its uplink is slower than usual; see ``speeds.STEPS``."""
    is_mixed: bool = False
    """Its slots are those for a mixed swarm."""
    slow_since: float | None = None
    """Since when it is nobody's parent because its uplink is hopeless."""
    serves: bool = False
    """Others may be sent to it."""
    shunned: int = 0
    """Members it will not take from: they failed it."""
    accusers: int = 0
    """Members that failed to get a piece from it since it last delivered one."""
    banned: bool = False
    """It is nobody's parent any more, whatever it says."""
    relays: bool = False
    """It passes on what still arrives."""
    relaying: dict[Flight, None] = field(default_factory=dict["Flight", None])
    """Runs that it sends of pieces some of which it does not have yet."""
    is_over: bool = False
    """Its download has ended; a pull that comes now was overtaken by that news."""
    wanted: PieceIndex | None = None
    """Where it is in the file, if it reads that in order."""
    exchange: ExchangeId | None = None
    """A pull or update that is held for it."""
    orders: OrderBook | None = None
    """What it was told, if it talks in updates."""
    level: int = -1
    """Place in the queue of those who wait, 0 the most deprived; -1: does not wait."""
    rank: int = -1
    """Place among the free uplinks, 0 the best; -1: it has none."""


@dataclass(slots=True, eq=False)
class Flight:
    """A run of pieces on their way to ``child``, one after the other, over one slot at each end.

    They come from ``parent`` or from the supernode's own copy, called ``sender``.  Peers that
    talk in Dragonfly's form are given runs of a single piece.
    """

    child: Member
    parent: Member | None
    sender: PeerId
    up_mark: float
    """What the parent's uplink had done when it began."""
    down_mark: float
    looked_at: float
    """When somebody last looked whether it is late."""
    quiet_until: float
    """Nothing is to be heard of it before."""
    offers: dict[PieceIndex, PieceOffer] = field(default_factory=dict["PieceIndex", "PieceOffer"])
    """The pieces still to come."""
    got_bytes: int = 0
    """What came since its marks."""
    was_measured: bool = False
    """Its marks are of a time when a piece may have been half here."""
    is_measured: bool = True
    """All that came of it came from its sender."""
    is_late: bool = False
    upstream: Flight | None = None
    """The run on its way to the parent that this one follows, until the parent has its pieces."""
    depth: int = 0
    """Through how many hands its pieces go that did not have them when it began."""

    @property
    def next_piece(self) -> PieceIndex:
        """The first piece still to come; there must be one."""
        return next(iter(self.offers))
