"""One task at the supernode: its copy, its swarm, and what each member is told.

Methods answer through ``out``, a list of effects that the caller hands on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from .bits import each
from .cdn import CdnCopy, CdnPhase
from .effects import Answer, Ban, ForgetPeer, VerifyPiece
from .events import OriginEnded, OriginPieceStored
from .ids import NO_PEER, PieceIndex, cdn_peer_id, is_cdn
from .md5s import CopyMd5s
from .members import Member
from .messages import (
    Code,
    DigestForm,
    PieceOffer,
    PiecesOffered,
    PullResult,
    PullStatus,
    Refused,
    Registered,
    ReportPiece,
    TaskCompleted,
)
from .piece import NO_DIGEST
from .policies import make_policy

if TYPE_CHECKING:
    from random import Random

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginEvent
    from .ids import ExchangeId, TaskId
    from .messages import PullPieces, Register, Reply, SettlePiece
    from .piece import PieceLayout
    from .scheduler import Assignment

_DOWN_LINK_KB_PER_S: Final = 20480
_OVER: Final = Refused(Code.PEER_WAIT, "the download is over")
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
        self._layout: PieceLayout | None = None
        self._cdn_peer = cdn_peer_id(config.ip, task)
        self._path = f"/download/{task[:3]}/{task}"
        self.active_at = 0.0
        self._verified_at = -inf
        self.failed_at: float | None = None
        self._md5s = CopyMd5s(task, self.cdn)
        self._touched: dict[Member, None] = {}
        self._freed: list[Member | None] = []
        """Uplinks that came free while something else was decided."""

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
        )
        self.swarm.add(member)
        plain = self.cdn.is_source
        if wanted.digest_form is DigestForm.MD5_WRAPPED:
            self._md5s.want(out)
        return Registered(
            task=self.id,
            length=self.cdn.length,
            piece_size=self.cdn.piece_size,
            cdn_source="source" if plain else "supernode",
            digest_form=DigestForm.MD5_WRAPPED if plain else wanted.digest_form,
            validator=self.cdn.validator,
        )

    def leave(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """The member's peer server is gone: nobody is sent to it any more."""
        self.swarm.stop_serving(member)
        self._uplink_freed(None, now)
        self._flush(now, out)

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
        self._flush(now, out)

    def release(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """A pull was held as long as may be: answer it, with a piece of last resort if need be."""
        member.seen_at = now
        if (found := self._policy.last_resort(member)) is not None:
            self._assign(found, now)
            self._flush(now, out)
        else:
            self._let_go(member, out)

    def sweep(self, now: float, out: list[SupernodeEffect]) -> None:
        """Give up what silent members were fetching, and see what is late."""
        for member in list(self.swarm.by_peer.values()):
            if member.exchange is not None or now - member.seen_at < self._config.peer_silence_s:
                continue
            if not self.swarm.is_complete(member):
                self._give_up_all(member, now)
        self.swarm.pardon(now)
        self._flush(now, out)

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
        self._answer_all(Refused(Code.TARGET_NOT_FOUND, why), out)

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
        if asked.piece is not None and asked.status is PullStatus.RUNNING:
            self._settle(member, asked, now, out)
        if member.is_over:
            out.append(Answer(exchange, _OVER))
            return
        if member.exchange is not None:
            out.append(Answer(member.exchange, self.idle_answer(member)))
        member.exchange = exchange
        if asked.status is PullStatus.START and member.fetching:
            self._touched[member] = None
        self._serve(member, now)
        self._flush(now, out)
        if not self._policy.holds_pulls:
            self._let_go(member, out)

    def report(
        self, said: ReportPiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> Reply | None:
        """Take in that a member holds a piece; the answer is ``None`` where it may be right."""
        member.seen_at = now
        if (wrong := self._misfit(said.piece, said.piece_size)) is not None:
            return wrong
        if not self.swarm.cdn_holds >> said.piece & 1:
            return None  # not ours yet, so nothing to compare with: it is offered later
        if said.digest and (refusal := self._compare(said)) is not None:
            self.swarm.drops(member, said.piece)
            return refusal
        swarm, piece = self.swarm, said.piece
        self._policy.reported(member, from_cdn=is_cdn(said.parent), now=now)
        if piece in member.fetching:
            parent = swarm.delivered(member, piece, now, said.parent)
            if parent is not None:
                parent.accusers = 0
            swarm.requeue(member)
            self._uplink_freed(parent, now)
        else:
            swarm.holds(member, piece)
            swarm.requeue(member)
        self._uplink_freed(member, now)
        self._give_work(member, now)
        self._flush(now, out)
        return None

    def _compare(self, said: ReportPiece) -> Refused | None:
        known = self.cdn.digests.get(said.piece, NO_DIGEST)
        if not known or said.digest in (known, f"md5:{self._md5s.of(said.piece)}"):
            return None
        return Refused(Code.BAD_PARAMETER, f"piece {said.piece} is {said.digest}, expected {known}")

    def settle(
        self, said: SettlePiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> None:
        """Take in what became of a piece, without being asked for more."""
        member.seen_at = now
        self._settle(member, said, now, out)
        self._serve(member, now)
        self._flush(now, out)

    def report_whole(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """Take in that a member holds all pieces that there are."""
        size = self.cdn.piece_size
        for piece in map(PieceIndex, each(self.cdn.held)):
            self.report(ReportPiece(self.id, member.peer, NO_PEER, piece, size), member, now, out)

    def idle_answer(self, member: Member) -> Reply:
        """Return what a pull is told when there is nothing new: the pieces under way, or wait."""
        if self.cdn.phase is CdnPhase.FAILED:
            return self.failure_answer()
        if member.fetching:
            return PiecesOffered(tuple([flight.offer for flight in member.fetching.values()]))
        return Refused(Code.PEER_WAIT, "peer should wait")

    def failure_answer(self) -> Refused:
        """Return what a pull is told once the copy has failed."""
        failure = self.cdn.failure
        assert failure is not None
        return Refused(Code.CDN_FAILED, f"cdn status is fail: {failure.reason}")

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
                self._serve(member, now)
        self._flush(now, out)

    def hashed_whole(self, md5: str, now: float, out: list[SupernodeEffect]) -> None:
        """The MD5 of the content is known, so v1 peers that have it all may be told."""
        if self._md5s.hashed_whole(md5):
            self._touch_done()
            self._flush(now, out)

    def check(self) -> None:
        """Recount from scratch."""
        self.cdn.check()
        self.swarm.check()
        assert not self._touched
        assert not self._freed
        assert self.swarm.cdn_holds == self.cdn.held
        assert (self.failed_at is not None) == (self.cdn.phase is CdnPhase.FAILED)

    # --- inside ---

    def _copy_moved(self, now: float, out: list[SupernodeEffect]) -> None:
        if self.cdn.phase is CdnPhase.FAILED:
            self.failed_at = now
            self._answer_all(self.failure_answer(), out)
        self._uplink_freed(None, now)
        self._flush(now, out)

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
        if asked.result in (PullResult.SEMI_SUCCESS, PullResult.SUCCESS):
            self.swarm.arrived(member, piece, now, asked.parent)
            if flight.parent is not None:
                flight.parent.accusers = 0
        elif asked.result is PullResult.FAILED:
            if asked.parent and asked.parent != flight.offer.parent:
                return
            self.swarm.give_up(member, piece, now)
            self._policy.failed(member)
            if flight.parent is not None:
                self.accuse(member, flight.parent, None, out)
            self._uplink_freed(None, now)
        self._uplink_freed(flight.parent, now)

    def _misfit(self, piece: PieceIndex, piece_size: int) -> Refused | None:
        """Return what is wrong with a piece of another cut, or behind the end of the file."""
        cut = self.cdn.piece_size
        if piece_size != cut:
            text = f"a piece of {piece_size} bytes: the pieces of this task have {cut}"
            return Refused(Code.BAD_PARAMETER, text)
        layout = self._layout
        if layout is not None and piece >= layout.count:
            return Refused(Code.BAD_PARAMETER, f"piece {piece}: this task has {layout.count}")
        return None

    def _let_go(self, member: Member, out: list[SupernodeEffect]) -> None:
        """Answer a pull for which there is nothing new."""
        if member.exchange is not None:
            out.append(Answer(member.exchange, self.idle_answer(member)))
            member.exchange = None
            self.swarm.requeue(member)

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
            self._uplink_freed(self.swarm.give_up(member, piece, now).parent, now)
        self._uplink_freed(None, now)

    def _uplink_freed(self, parent: Member | None, now: float) -> None:
        while (found := self._policy.taker_from(parent)) is not None:
            self._assign(found, now)

    def _serve(self, member: Member, now: float) -> None:
        self.swarm.requeue(member)
        self._give_work(member, now)

    def _give_work(self, member: Member, now: float) -> None:
        while (found := self._policy.work_for(member, now)) is not None:
            self._assign(found, now)
        if not member.in_flight and member.exchange is not None and self._is_done(member):
            self._touched[member] = None

    def _assign(self, found: Assignment, now: float) -> None:
        member, piece, parent = found
        offer = self._offer(member, piece, parent)
        replaced = self.swarm.start(member, piece, parent, offer, now)
        if replaced is not None:
            self._freed.append(replaced.parent)
        self.swarm.requeue(member)
        self._touched[member] = None

    def _offer(self, member: Member, piece: PieceIndex, parent: Member | None) -> PieceOffer:
        cdn = self.cdn
        sha256 = ""
        if not cdn.is_source and member.digest_form is DigestForm.SHA256:
            sha256 = cdn.digests[piece].removeprefix("sha256:")
        if parent is not None:
            source = parent.peer, parent.host, parent.port, parent.path
        elif cdn.is_source:
            source = self._cdn_peer, member.node_host, self._config.download_port, member.url
        else:
            source = self._cdn_peer, member.node_host, self._config.download_port, self._path
        return PieceOffer(
            piece, *source, cdn.piece_size, self._md5s.offered(piece), sha256, _DOWN_LINK_KB_PER_S
        )

    def _know_length(self) -> None:
        layout = self._layout = self.cdn.layout
        if layout is not None:
            self.swarm.know_all(layout)
            for member in self.swarm.by_peer.values():
                self.swarm.requeue(member)
            self._touch_done()

    def _touch_done(self) -> None:
        for member in self.swarm.by_peer.values():
            if member.exchange is not None and self._is_done(member):
                self._touched[member] = None

    def _is_done(self, member: Member) -> bool:
        """Tell whether a member has all, and its MD5 if it is to compare that (protocol 1.2)."""
        if not self.swarm.is_complete(member):
            return False
        needs_none = member.digest_form is DigestForm.SHA256 or self.cdn.is_source
        return needs_none or self._md5s.is_settled

    def _answer_all(self, reply: Reply, out: list[SupernodeEffect]) -> None:
        for member in self.swarm.by_peer.values():
            if member.exchange is not None:
                out.append(Answer(member.exchange, reply))
                member.exchange = None
                self.swarm.requeue(member)

    def _flush(self, now: float, out: list[SupernodeEffect]) -> None:
        """Look for late pieces, then answer all held pulls for which something was decided."""
        swarm = self.swarm
        if swarm.may_be_overdue(now):
            for member in swarm.overdue(now):
                self._serve(member, now)
        while self._freed:
            self._uplink_freed(self._freed.pop(), now)
        if not self._touched:
            return
        for member in self._touched:
            if member.exchange is not None:
                out.append(Answer(member.exchange, self._news(member)))
                member.exchange = None
                swarm.requeue(member)
        self._touched.clear()

    def _news(self, member: Member) -> Reply:
        if member.fetching or not self._is_done(member):
            return PiecesOffered(tuple([flight.offer for flight in member.fetching.values()]))
        return self.completion()

    def completion(self) -> TaskCompleted:
        """Return what a peer that has all is told; with pieces from the origin that is nothing."""
        layout = self.cdn.layout
        if layout is None or self.cdn.is_source:
            return TaskCompleted("", 0)
        return TaskCompleted(self.cdn.md5, layout.wrapped_length)
