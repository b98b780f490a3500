"""Gives out the work of one task as its policy decides, and answers the pulls held for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import Answer
from .runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .answers import Answers
    from .cdn import CdnCopy
    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .ids import PieceIndex
    from .members import Flight, Member
    from .messages import PieceOffer, Reply
    from .order_book import OrderBook
    from .policies import Policy
    from .scheduler import Assignment


class Dispatcher:
    """Asks the policy whenever something came free, and marks in the swarm what it decides.

    Answers leave with ``flush``, one for each member however much was decided for it.
    """

    def __init__(
        self,
        policy: Policy,
        answers: Answers,
        copy: CdnCopy,
        config: SupernodeConfig,
        rng: Random,
    ) -> None:
        self._policy, self._swarm, self._answers = policy, policy.swarm, answers
        self._runs = Runs(policy.swarm, copy, config, rng)
        self._touched: dict[Member, None] = {}
        self._freed: list[Member | None] = []
        """Uplinks that came free while something else was decided."""
        self._arriving: list[Member] = []
        """Members to which something is on its way that others may follow."""

    def uplink_freed(self, parent: Member | None, now: float) -> None:
        """An uplink, perhaps the supernode's own, may be free: have it used."""
        if not self._swarm.queued or (parent is not None and parent.rank < 0):
            return
        while (found := self._policy.taker_from(parent)) is not None:
            self.assign(found, now)

    def serve(self, member: Member, now: float) -> None:
        """A member may be waiting: see what there is for it."""
        self._swarm.requeue(member)
        self.give_work(member, now)

    def give_work(self, member: Member, now: float) -> None:
        """See what there is for a member that is in its place in the queue."""
        while (found := self._policy.work_for(member, now)) is not None:
            self.assign(found, now)
        if not member.in_flight and member.exchange is not None and self._answers.is_done(member):
            self._touched[member] = None

    def assign(self, found: Assignment, now: float) -> None:
        """Do as was decided; who talks in updates is given several pieces in a run."""
        member, piece, parent = found.member, found.piece, found.parent
        offer = self._answers.offer(member, piece, parent)
        flight = self._swarm.start(member, parent, offer.parent, now, found.upstream)
        self._bring(flight, piece, offer, now)
        if (book := member.orders) is not None:
            book.order(piece)
            self._lengthen(flight, book, self._runs.length(member, parent) - 1, now)
            if member.relays:
                self._arriving.append(member)
        self._swarm.requeue(member)
        self._touched[member] = None

    def go_on(self, flights: Iterable[Flight], now: float) -> None:
        """Have runs that have just brought something made longer, if their uplinks are theirs."""
        for flight in flights:
            member = flight.child
            if not flight.offers or (book := member.orders) is None:
                continue
            length = self._runs.length(member, flight.parent)
            more = length - len(flight.offers)
            if more > 0 and self._runs.goes_on(flight, length):
                self._lengthen(flight, book, more, now)
                self._swarm.requeue(member)
                self._touched[member] = None

    def touch(self, member: Member) -> None:
        """Have a held pull answered with what is under way, at the next ``flush``."""
        self._touched[member] = None

    def touch_done(self) -> None:
        """Have all those answered that have everything."""
        for member in self._swarm.by_peer.values():
            if member.exchange is not None and self._answers.is_done(member):
                self._touched[member] = None

    def flush(self, now: float, out: list[SupernodeEffect]) -> None:
        """Look for late pieces, then answer all held pulls for which something was decided."""
        swarm = self._swarm
        if swarm.may_be_overdue(now):
            for member in swarm.overdue(now):
                self.serve(member, now)
        while self._freed:
            self.uplink_freed(self._freed.pop(), now)
        while self._arriving:
            self._pass_on(self._arriving.pop(), now)
        if not self._touched:
            return
        for member in self._touched:
            if member.exchange is not None:
                self._answer(member, self._answers.news(member), out)
        self._touched.clear()

    def let_go(self, member: Member, out: list[SupernodeEffect]) -> None:
        """Answer a pull for which there is nothing new."""
        if member.exchange is not None:
            self._answer(member, self._answers.idle(member), out)

    def answer_all(self, reply: Reply, out: list[SupernodeEffect]) -> None:
        """Answer everybody who waits."""
        for member in self._swarm.by_peer.values():
            if member.exchange is not None:
                self._answer(member, reply, out)

    def check(self) -> None:
        """Assert that nothing was left undone."""
        assert not self._touched
        assert not self._freed
        assert not self._arriving

    def _pass_on(self, parent: Member, now: float) -> None:
        while self._swarm.queued and parent.rank >= 0:
            if (found := self._policy.relay_from(parent)) is None:
                break
            self.assign(found, now)

    def _answer(self, member: Member, reply: Reply, out: list[SupernodeEffect]) -> None:
        assert member.exchange is not None
        out.append(Answer(member.exchange, reply))
        member.exchange = None
        self._swarm.requeue(member)

    def _lengthen(self, flight: Flight, book: OrderBook, most: int, now: float) -> None:
        member, parent = flight.child, flight.parent
        for piece in self._policy.continue_run(member, parent, most, flight.upstream):
            self._bring(flight, piece, self._answers.offer(member, piece, parent), now)
            book.order(piece)

    def _bring(self, flight: Flight, piece: PieceIndex, offer: PieceOffer, now: float) -> None:
        replaced = self._swarm.bring(flight, piece, offer, now)
        if replaced is not None:
            self._freed.append(replaced.parent)
