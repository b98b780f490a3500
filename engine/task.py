"""One task at the supernode: its copy, its swarm, and what each member is told.

Methods answer through ``out``, a list of effects that the caller hands on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from .answers import Answers
from .bits import each
from .cdn import CdnCopy, CdnPhase
from .dispatcher import Dispatcher
from .effects import Answer, Ban, ForgetPeer, VerifyPiece
from .events import OriginEnded, OriginPieceStored
from .ids import NO_PEER, PieceIndex, is_cdn
from .md5s import CopyMd5s
from .members import Member
from .messages import Code, PullResult, PullStatus, Refused, Registered, ReportPiece
from .order_book import OrderBook
from .piece import NO_DIGEST, Digest, DigestForm
from .policies import make_policy

if TYPE_CHECKING:
    from random import Random

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginEvent
    from .ids import ExchangeId, PeerId, TaskId
    from .messages import (
        FailedNote,
        HeldNote,
        PullPieces,
        Register,
        Reply,
        SettlePiece,
        Update,
    )

_OVER: Final = Refused(Code.PEER_WAIT, "the download is over")
_RUNNING: Final = PullStatus.RUNNING  # a member of an enumeration is found more slowly
_START: Final = PullStatus.START
_DELIVERED: Final = (PullResult.SEMI_SUCCESS, PullResult.SUCCESS)
_VERIFY_S: Final = 3.0
"""How often pieces of one task are read again because somebody says that they are bad."""


class Task:
    """Everything a supernode knows about one task."""

    def __init__(
        self, task: TaskId, wanted: Register, config: SupernodeConfig, rng: Random
    ) -> None:
        self.id, self.wanted, self._config = task, wanted, config
        self.cdn = CdnCopy(task, wanted, config)
        self._policy = make_policy(config, rng)
        self.swarm = self._policy.swarm
        self.active_at = 0.0
        self._verified_at = -inf
        self.failed_at: float | None = None
        self._md5s = CopyMd5s(task, self.cdn)
        self.answers = Answers(task, self.cdn, self._md5s, self.swarm, config)
        self._work = Dispatcher(self._policy, self.answers, self.cdn, config, rng)

    # --- members come and go ---

    @property
    def is_open(self) -> bool:
        """Tell whether registrations can be answered: the cut of the file is known."""
        return self.cdn.piece_size > 0

    @property
    def is_complete(self) -> bool:
        """Tell whether all of the file can be given out."""
        return self.cdn.phase is CdnPhase.COMPLETE

    def join(self, wanted: Register, now: float, out: list[SupernodeEffect]) -> Registered:
        """Take in a peer, or the same peer again, and tell it about the task."""
        if (known := self.swarm.by_peer.get(wanted.peer)) is not None:
            self._drop(known, now, out)
        plain = self.cdn.is_source
        is_native = wanted.native and self._policy.holds_pulls and not plain
        member = Member(
            index=-1,
            peer=wanted.peer,
            host=wanted.ip,
            port=wanted.port,
            path=wanted.path,
            node_host=wanted.node_host or self._config.ip,
            digest_form=wanted.digest_form,
            seen_at=now,
            url=wanted.raw_url,
            call_system=wanted.call_system,
            orders=OrderBook() if is_native else None,
            relays=is_native and wanted.relays,
        )
        self.swarm.add(member)
        if wanted.digest_form is DigestForm.MD5_WRAPPED:
            self._md5s.want(out)
        return Registered(
            task=self.id,
            length=self.cdn.length,
            piece_size=self.cdn.piece_size,
            cdn_source="source" if plain else "supernode",
            digest_form=DigestForm.MD5_WRAPPED if plain else wanted.digest_form,
            validator=self.cdn.validator,
            native=is_native,
        )

    def leave(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """The member's peer server is gone: nobody is sent to it any more."""
        self.swarm.stop_serving(member)
        self._work.uplink_freed(None, now)
        self._work.flush(now, out)

    def ended(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """The member's download is over, well or not: it fetches nothing any more."""
        member.is_over = True
        if member.exchange is not None:
            out.append(Answer(member.exchange, _OVER))
        self.lost(member, now, out)

    def lost(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """The member hung up while it waited, as the dying do: others get what it was fetching.

        Should it live, what it fetches is welcome all the same.
        """
        member.exchange = None
        self.swarm.requeue(member)  # or it would get what it gives up
        self._give_up_all(member, now)
        self._work.flush(now, out)

    def release(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """A pull was held as long as may be: answer it, with a piece of last resort if need be."""
        member.seen_at = now
        if (found := self._policy.last_resort(member)) is not None:
            self._work.assign(found, now)
            self._work.flush(now, out)
        else:
            self._work.let_go(member, out)

    def sweep(self, now: float, out: list[SupernodeEffect]) -> None:
        """Give up what silent members were fetching, and see what is late."""
        for member in list(self.swarm.by_peer.values()):
            if member.exchange is not None or now - member.seen_at < self._config.peer_silence_s:
                continue
            if not self.swarm.is_complete(member):
                self._give_up_all(member, now)
        self.swarm.pardon(now)
        self._work.flush(now, out)

    def remove_silent(self, now: float, out: list[SupernodeEffect]) -> None:
        """Forget members that serve nobody and have said nothing for long."""
        for member in list(self.swarm.by_peer.values()):
            is_silent = now - member.seen_at >= self._config.peer_gc_delay_s
            is_busy = member.exchange is not None or member.up.active or member.fetching
            if is_silent and not is_busy and (member.banned or not member.port):
                self._remove(member, now)
                out.append(ForgetPeer(self.id, member.peer))

    def dismiss(self, why: str, out: list[SupernodeEffect]) -> None:
        """Tell everybody who waits that the task is gone; they may register again."""
        self._work.answer_all(Refused(Code.TARGET_NOT_FOUND, why), out)

    # --- what members say ---

    def pull(
        self,
        exchange: ExchangeId,
        asked: PullPieces,
        member: Member,
        now: float,
        out: list[SupernodeEffect],
    ) -> None:
        """Take in what a pull reports, then answer it now or hold it."""
        member.seen_at, member.wanted = now, asked.wanted
        if asked.piece is not None and asked.status is _RUNNING:
            self._settle(member, asked, now, out)
        if member.is_over:
            out.append(Answer(exchange, _OVER))
            return
        if member.exchange is not None:
            out.append(Answer(member.exchange, self.answers.idle(member)))
        member.exchange = exchange
        if asked.status is _START and member.fetching:
            self._work.touch(member)
        self._work.serve(member, now)
        self._work.flush(now, out)
        if not self._policy.holds_pulls:
            self._work.let_go(member, out)

    def report(
        self, said: ReportPiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> Reply | None:
        """Take in that a member holds a piece; the answer is ``None`` where it may be right."""
        member.seen_at = now
        if (wrong := self._misfit(said.piece, said.piece_size)) is not None:
            return wrong
        expected = self._took(member, said.piece, said.parent, said.digest, now)
        if expected:
            text = f"piece {said.piece} is {said.digest}, expected {expected}"
            return Refused(Code.BAD_PARAMETER, text)
        self._work.give_work(member, now)
        self._work.flush(now, out)
        return None

    def update(
        self,
        exchange: ExchangeId,
        said: Update,
        member: Member,
        now: float,
        out: list[SupernodeEffect],
    ) -> None:
        """Take in all that a member has to say, then give it orders, now or when there are any."""
        if (book := member.orders) is None:
            text = "this registration did not ask for the native protocol"
            out.append(Answer(exchange, Refused(Code.BAD_PARAMETER, text)))
            return
        member.seen_at, member.wanted = now, said.wanted
        flights = [member.fetching.get(note.piece) for note in said.held]
        brought = dict.fromkeys([flight for flight in flights if flight is not None])
        rejected = tuple([note.piece for note in said.held if self._is_wrong(note, member, now)])
        if flights and (latest := flights[-1]) is not None:
            self.swarm.look_at(latest, now)
        for note in said.failed:
            self._not_delivered(note, member, now, out)
        if member.is_over:
            out.append(Answer(exchange, _OVER))
        elif not book.is_newest(said):
            out.append(Answer(exchange, self.answers.late(member, rejected)))
        else:
            for piece in book.missed(said, member.fetching):
                self._work.uplink_freed(self.swarm.give_up(member, piece, now).parent, now)
            book.reject(rejected)
            self.swarm.welcomes(member, said.free)
            if said.extends:
                self._work.go_on(brought, now)
            if book.has_news:
                self._work.touch(member)
            # What there is for it now answers the update before, and this one is held.
            if member.exchange is not None:
                self._work.serve(member, now)
                self._work.flush(now, out)
                self._work.let_go(member, out)
            member.exchange = exchange
            book.hold()
            self._work.serve(member, now)
        self._work.flush(now, out)

    def settle(
        self, said: SettlePiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> None:
        """Take in what became of a piece, without being asked for more."""
        member.seen_at = now
        self._settle(member, said, now, out)
        self._work.serve(member, now)
        self._work.flush(now, out)

    def report_whole(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """Take in that a member holds all pieces that there are."""
        size = self.cdn.piece_size
        for piece in map(PieceIndex, each(self.cdn.held)):
            self.report(ReportPiece(self.id, member.peer, NO_PEER, piece, size), member, now, out)

    def accuse(
        self, member: Member, parent: Member, piece: PieceIndex | None, out: list[SupernodeEffect]
    ) -> None:
        """``parent`` gave ``member`` something bad, or nothing."""
        member.shunned |= 1 << parent.index
        parent.accusers |= 1 << member.index
        if piece is not None:
            self.swarm.drops(parent, piece)
        if not self._policy.bans or parent.banned:
            return
        if parent.accusers.bit_count() >= self._config.ban_after:
            self.swarm.stop_serving(parent)
            why = f"{parent.accusers.bit_count()} peers failed to get pieces from it"
            out.append(Ban(self.id, parent.peer, why))

    # --- the copy ---

    def doubt(self, piece: PieceIndex, now: float, out: list[SupernodeEffect]) -> None:
        """Somebody says that a piece of our own copy is missing or bad: look again, if we may."""
        if piece not in self.cdn.digests:
            return
        if now - self._verified_at >= _VERIFY_S:
            self._verified_at = now
            out.append(VerifyPiece(self.id, piece))

    def origin(self, event: OriginEvent, now: float, out: list[SupernodeEffect]) -> None:
        """Take in what the origin read brought, and serve whoever waited for it."""
        out += self.cdn.handle(event, now)
        if isinstance(event, OriginPieceStored) and event.piece in self.cdn.digests:
            self.swarm.cdn_got(event.piece)
            self._md5s.stored(event.piece, out)
        if isinstance(event, OriginEnded) and self.cdn.phase is CdnPhase.COMPLETE:
            self._md5s.completed(out)
            self._know_length()
        if self.swarm.all_pieces is None and self.is_open:
            self._know_length()
        if self.cdn.is_source and self.cdn.phase is CdnPhase.COMPLETE:
            self.swarm.md5_known = self.cdn.held  # they have none, and nobody waits for them
            for piece in each(self.cdn.held):
                self.swarm.cdn_got(PieceIndex(piece))
        self._copy_moved(now, out)

    def made_room(self, made: bool, now: float, out: list[SupernodeEffect]) -> None:
        """Take in whether the disk that was full has room now."""
        if made:
            self.cdn.room_was_made(now)
        else:
            self.cdn.no_room()
        self._copy_moved(now, out)

    def hashed(self, piece: PieceIndex, md5: str, now: float, out: list[SupernodeEffect]) -> None:
        """The wrapped piece's MD5 is known, so v1 peers may have the piece."""
        self._md5s.hashed(piece, md5)
        self.swarm.md5_known |= 1 << piece
        for member in self.swarm.by_peer.values():
            if member.exchange is not None:
                self._work.serve(member, now)
        self._work.flush(now, out)

    def hashed_whole(self, md5: str, now: float, out: list[SupernodeEffect]) -> None:
        """The MD5 of the content is known, so v1 peers that have it all may be told."""
        if self._md5s.hashed_whole(md5):
            self._work.touch_done()
            self._work.flush(now, out)

    def check(self) -> None:
        """Recount from scratch."""
        self.cdn.check()
        self.swarm.check()
        self._work.check()
        assert self.swarm.cdn_holds == self.cdn.held
        assert (self.failed_at is not None) == (self.cdn.phase is CdnPhase.FAILED)

    # --- inside ---

    def _took(
        self, member: Member, piece: PieceIndex, parent: PeerId, digest: Digest, now: float
    ) -> Digest:
        """``member`` holds a piece; return the digest that it should have if it is another."""
        swarm = self.swarm
        if not swarm.cdn_holds >> piece & 1:
            return NO_DIGEST  # not ours yet, so nothing to compare with: it is offered later
        if digest:
            known = self.cdn.digests.get(piece, NO_DIGEST)
            if known and digest not in (known, f"md5:{self._md5s.of(piece)}"):
                swarm.drops(member, piece)
                return known
        self._policy.reported(member, parent, now)
        if piece in member.fetching:
            freed = swarm.delivered(member, piece, now, parent)
            if freed is not None:
                freed.accusers = 0
            if member.exchange is not None:
                swarm.requeue(member)
            self._work.uplink_freed(freed, now)
        else:
            swarm.holds(member, piece)
            swarm.requeue(member)
        self._work.uplink_freed(member, now)
        return NO_DIGEST

    def _is_wrong(self, note: HeldNote, member: Member, now: float) -> bool:
        """Take in that a member holds a piece; tell whether it is not what it should be."""
        everything = self.swarm.all_pieces
        if everything is not None and not everything >> note.piece & 1:
            return True
        return bool(self._took(member, note.piece, note.parent, note.digest, now))

    def _not_delivered(
        self, note: FailedNote, member: Member, now: float, out: list[SupernodeEffect]
    ) -> None:
        """``member`` did not get a piece from a parent, or not as it should be."""
        flight = member.fetching.get(note.piece)
        if flight is not None and flight.sender != note.parent:
            flight = None
        if is_cdn(note.parent):
            if note.kind:
                self.doubt(note.piece, now, out)
        elif flight is not None and flight.depth and flight.parent is not None:
            self.swarm.stop_relaying(flight.parent)  # whoever sent it the pieces may be to blame
        elif (parent := self.swarm.by_peer.get(note.parent)) not in (None, member):
            self.accuse(member, parent, note.piece if note.kind else None, out)
        if flight is not None:
            self.swarm.give_up(member, note.piece, now)
            self._policy.failed(member)
            self._work.uplink_freed(flight.parent, now)
            self._work.uplink_freed(None, now)

    def _copy_moved(self, now: float, out: list[SupernodeEffect]) -> None:
        if self.cdn.phase is CdnPhase.FAILED:
            self.failed_at = now
            self._work.answer_all(self.answers.failure(), out)
        self._work.uplink_freed(None, now)
        self._work.flush(now, out)

    def _settle(
        self,
        member: Member,
        asked: PullPieces | SettlePiece,
        now: float,
        out: list[SupernodeEffect],
    ) -> None:
        piece = asked.piece
        if piece is None or piece not in member.fetching or self._misfit(piece, asked.piece_size):
            return
        flight = member.fetching[piece]
        if asked.result in _DELIVERED:
            self.swarm.arrived(member, piece, now, asked.parent)
            if flight.parent is not None:
                flight.parent.accusers = 0
        elif asked.result is PullResult.FAILED:
            if asked.parent and asked.parent != flight.sender:
                return
            self.swarm.give_up(member, piece, now)
            self._policy.failed(member)
            if flight.parent is not None:
                self.accuse(member, flight.parent, None, out)
            self._work.uplink_freed(None, now)
        self._work.uplink_freed(flight.parent, now)

    def _misfit(self, piece: PieceIndex, piece_size: int) -> Refused | None:
        """Return what is wrong with a piece of another cut, or behind the end of the file."""
        cut = self.cdn.piece_size
        if piece_size != cut:
            text = f"a piece of {piece_size} bytes: the pieces of this task have {cut}"
            return Refused(Code.BAD_PARAMETER, text)
        everything = self.swarm.all_pieces
        if everything is not None and not everything >> piece & 1:
            text = f"piece {piece}: this task has {everything.bit_length()}"
            return Refused(Code.BAD_PARAMETER, text)
        return None

    def _drop(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        if member.exchange is not None:
            out.append(Answer(member.exchange, Refused(Code.PEER_WAIT, "registered again")))
        for other in list(self.swarm.by_peer.values()):
            for piece, flight in list(other.fetching.items()):
                if flight.parent is member:
                    self.swarm.give_up(other, piece, now)
        self._remove(member, now)

    def _remove(self, member: Member, now: float) -> None:
        self.swarm.remove(member, now)
        self._policy.left(member)

    def _give_up_all(self, member: Member, now: float) -> None:
        for piece in list(member.fetching):
            self._work.uplink_freed(self.swarm.give_up(member, piece, now).parent, now)
        self._work.uplink_freed(None, now)

    def _know_length(self) -> None:
        layout = self.cdn.layout
        if layout is not None:
            self.swarm.know_all(layout)
            for member in self.swarm.by_peer.values():
                self.swarm.requeue(member)
            self._work.touch_done()
