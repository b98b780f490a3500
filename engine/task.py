"""One task at the supernode: its copy, its swarm, and what each member is told.

Methods answer through ``out``, a list of effects that the caller hands on.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from .bits import each
from .cdn import CdnCopy, CdnPhase
from .effects import Answer, Ban, ForgetPeer, HashPiece, VerifyPiece
from .events import OriginEnded, OriginPieceStored
from .ids import NO_PEER, PieceIndex, cdn_peer_id, is_cdn
from .messages import (
    Code,
    DigestForm,
    FailedNote,
    Orders,
    PieceOffer,
    PiecesOffered,
    PullResult,
    PullStatus,
    Refused,
    Registered,
    ReportPiece,
    TaskCompleted,
)
from .piece import NO_DIGEST, Digest
from .scheduler import Scheduler
from .swarm import Member, Native, Swarm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .config import SupernodeConfig
    from .effects import SupernodeEffect
    from .events import OriginEvent
    from .ids import ExchangeId, TaskId
    from .messages import HeldNote, PullPieces, Register, Reply, SettlePiece, Update
    from .scheduler import Assignment

_VERIFY_S: Final = 3.0
"""How often pieces of one task are read again because somebody says that they are bad."""


class Task:
    """Everything a supernode knows about one task."""

    def __init__(
        self, task: TaskId, wanted: Register, config: SupernodeConfig, rng: Random
    ) -> None:
        self.id, self.wanted, self._config = task, wanted, config
        self.cdn = CdnCopy(task, wanted, config)
        self.swarm = Swarm(config.up_slots, config.down_slots, config.cdn_up_slots)
        self.active_at = 0.0
        self._verified_at = -inf
        self.failed_at: float | None = None
        self._scheduler = Scheduler(self.swarm, config.rare_copies, rng)
        self._md5s: dict[PieceIndex, str] = {}
        self._wants_md5 = False
        self._touched: dict[Member, None] = {}

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
            self._drop(known, out)
        plain = self.cdn.is_source
        is_native = wanted.native and not plain
        member = Member(
            index=-1,
            peer=wanted.peer,
            host=wanted.ip,
            port=wanted.port,
            path=wanted.path,
            node_host=wanted.node_host or self._config.ip,
            digest_form=wanted.digest_form,
            seen_at=now,
            down_slots=self._config.down_slots,
            url=wanted.raw_url,
            call_system=wanted.call_system,
            native=Native() if is_native else None,
        )
        self.swarm.add(member)
        if wanted.digest_form is DigestForm.MD5_WRAPPED and not self._wants_md5 and not plain:
            self._wants_md5 = True
            out += [HashPiece(self.id, piece, self.cdn.piece_size) for piece in self.cdn.digests]
        return Registered(
            task=self.id,
            length=self.cdn.length,
            piece_size=self.cdn.piece_size,
            cdn_source="source" if plain else "supernode",
            digest_form=DigestForm.MD5_WRAPPED if plain else wanted.digest_form,
            validator=self.cdn.validator,
            native=is_native,
        )

    def leave(self, member: Member, out: list[SupernodeEffect]) -> None:
        """The member's peer server is gone: nobody is sent to it any more."""
        self.swarm.stop_serving(member)
        self._uplink_freed(None)
        self._flush(out)

    def lost(self, member: Member, out: list[SupernodeEffect]) -> None:
        """The member hung up while it waited, as the dying do: others get what it was fetching.

        Should it live, what it fetches is welcome all the same.
        """
        member.exchange = None
        self._give_up_all(member)
        self.swarm.requeue(member)
        self._flush(out)

    def release(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """A pull was held as long as may be: answer it, with a piece of last resort if need be."""
        member.seen_at = now
        if (found := self._scheduler.last_resort(member)) is not None:
            self._assign(found)
            self._flush(out)
        elif member.exchange is not None:
            out.append(Answer(member.exchange, self.idle_answer(member)))
            member.exchange = None
            self.swarm.requeue(member)

    def sweep(self, now: float, out: list[SupernodeEffect]) -> None:
        """Give up what silent members were fetching."""
        for member in list(self.swarm.by_peer.values()):
            if member.exchange is not None or now - member.seen_at < self._config.peer_silence_s:
                continue
            if not self.swarm.is_complete(member):
                self._give_up_all(member)
        self._flush(out)

    def remove_silent(self, now: float, out: list[SupernodeEffect]) -> None:
        """Forget members that serve nobody and have said nothing for long."""
        for member in list(self.swarm.by_peer.values()):
            is_silent = now - member.seen_at >= self._config.peer_gc_delay_s
            is_busy = member.exchange is not None or member.uploads or member.fetching
            if is_silent and not is_busy and not member.serves:
                self.swarm.remove(member)
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
        member.seen_at = now
        if asked.piece is not None and asked.status is PullStatus.RUNNING:
            self._settle(member, asked, out)
        if member.exchange is not None:
            out.append(Answer(member.exchange, self.idle_answer(member)))
        member.exchange = exchange
        if asked.status is PullStatus.START and member.fetching:
            self._touched[member] = None
        self._serve(member)
        self._flush(out)

    def report(
        self, said: ReportPiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> Reply | None:
        """Take in that a member holds a piece; the answer is ``None`` where it may be right."""
        member.seen_at = now
        if (expected := self._took(said, member)) is not None:
            return Refused(
                Code.BAD_PARAMETER, f"piece {said.piece} is {said.digest}, expected {expected}"
            )
        self._serve(member)
        self._flush(out)
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
        native = member.native
        if native is None:
            text = "this registration did not ask for the native protocol"
            out.append(Answer(exchange, Refused(Code.BAD_PARAMETER, text)))
            return
        member.seen_at = now
        rejected = tuple(note.piece for note in said.held if self._took(note, member) is not None)
        for note in said.failed:
            self._not_delivered(note, member, now, out)
        if said.number <= native.newest:
            out.append(Answer(exchange, self._orders(member, (), rejected)))
        else:
            native.newest = said.number
            self._reconcile(said, member, native)
            if member.exchange is not None:
                out.append(Answer(member.exchange, self._orders(member, ())))
            member.exchange = exchange
            member.down_slots = min(member.busy_slots + said.free, self._config.down_slots)
            self._serve(member)
            native.rejected += rejected
            if native.rejected or native.untold:
                self._touched[member] = None
        self._flush(out)

    def settle(
        self, said: SettlePiece, member: Member, now: float, out: list[SupernodeEffect]
    ) -> None:
        """Take in what became of a piece, without being asked for more."""
        member.seen_at = now
        self._settle(member, said, out)
        self._serve(member)
        self._flush(out)

    def report_whole(self, member: Member, now: float, out: list[SupernodeEffect]) -> None:
        """Take in that a member holds all pieces that there are."""
        size = self.cdn.piece_size
        for piece in map(PieceIndex, each(self.cdn.held)):
            self.report(ReportPiece(self.id, member.peer, NO_PEER, piece, size), member, now, out)

    def idle_answer(self, member: Member) -> Reply:
        """Return what a pull is told when there is nothing new: the pieces under way, or wait."""
        if self.cdn.phase is CdnPhase.FAILED:
            return self.failure_answer()
        if member.native is not None:
            return self._orders(member, ())
        if member.fetching:
            return PiecesOffered(tuple(offer for _, offer in member.fetching.values()))
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
        if parent.serves and parent.accusers.bit_count() >= self._config.ban_after:
            self.swarm.stop_serving(parent)
            why = f"{parent.accusers.bit_count()} peers failed to get pieces from it"
            out.append(Ban(self.id, parent.peer, why))

    # --- the copy ---

    def doubt(self, piece: PieceIndex | None, now: float, out: list[SupernodeEffect]) -> None:
        """Somebody says that a piece of our own copy is missing or bad: look again, if we may."""
        if piece is None or piece not in self.cdn.digests:
            return
        if now - self._verified_at >= _VERIFY_S:
            self._verified_at = now
            out.append(VerifyPiece(self.id, piece))

    def origin(self, event: OriginEvent, now: float, out: list[SupernodeEffect]) -> None:
        """Take in what the origin read brought, and serve whoever waited for it."""
        out += self.cdn.handle(event, now)
        if isinstance(event, OriginPieceStored) and event.piece in self.cdn.digests:
            self.swarm.cdn_got(event.piece)
            if self._wants_md5:
                out.append(HashPiece(self.id, event.piece, self.cdn.piece_size))
        if isinstance(event, OriginEnded) and self.cdn.phase is CdnPhase.COMPLETE:
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

    def hashed(self, piece: PieceIndex, md5: str, out: list[SupernodeEffect]) -> None:
        """The wrapped piece's MD5 is known, so v1 peers may have the piece."""
        self._md5s[piece] = md5
        self.swarm.md5_known |= 1 << piece
        for member in self.swarm.by_peer.values():
            if member.exchange is not None:
                self._serve(member)
        self._flush(out)

    def check(self) -> None:
        """Recount from scratch."""
        self.cdn.check()
        self.swarm.check()
        assert not self._touched
        assert self.swarm.cdn_holds == self.cdn.held
        assert (self.failed_at is not None) == (self.cdn.phase is CdnPhase.FAILED)

    # --- inside ---

    def _took(self, said: ReportPiece | HeldNote, member: Member) -> Digest | None:
        """``member`` holds a piece; return the digest that it should have if it is another."""
        piece = said.piece
        if not self.cdn.held >> piece & 1:
            return None  # not ours yet, so nothing to compare with: it is offered later
        known = self.cdn.digests.get(piece, NO_DIGEST)
        if said.digest and known and said.digest not in (known, f"md5:{self._md5(piece)}"):
            self.swarm.drops(member, piece)
            return known
        parent = None
        if piece in member.fetching:
            parent = self._delivered(member, piece)
        self.swarm.holds(member, piece)
        self.swarm.requeue(member)
        self._uplink_freed(parent)
        self._uplink_freed(member)
        return None

    def _not_delivered(
        self, note: FailedNote, member: Member, now: float, out: list[SupernodeEffect]
    ) -> None:
        """``member`` did not get a piece from a parent, or not as it should be."""
        if is_cdn(note.parent):
            if note.kind:
                self.doubt(note.piece, now, out)
        elif (parent := self.swarm.by_peer.get(note.parent)) not in (None, member):
            self.accuse(member, parent, note.piece if note.kind else None, out)
        if (known := member.fetching.get(note.piece)) and known[1].parent == note.parent:
            self._uplink_freed(self.swarm.give_up(member, note.piece))
            self._uplink_freed(None)

    def _reconcile(self, said: Update, member: Member, native: Native) -> None:
        """What was ordered and is not under way was either not heard yet, or will not come."""
        listed = 0
        for piece in said.under_way:
            listed |= 1 << piece
        for piece in each(member.in_flight & ~listed):
            if said.heard >= native.told:
                self._uplink_freed(self.swarm.give_up(member, PieceIndex(piece)))
            else:
                native.untold[PieceIndex(piece)] = None

    def _orders(
        self,
        member: Member,
        pieces: Iterable[PieceIndex],
        rejected: tuple[PieceIndex, ...] = (),
    ) -> Orders:
        runs: dict[int, list[PieceOffer]] = {}
        for piece in pieces:
            if piece in member.fetching:
                runs.setdefault(id(member.runs[piece]), []).append(member.fetching[piece][1])
        return Orders(tuple(map(tuple, runs.values())), rejected, self._config.native_pace_s)

    def _copy_moved(self, now: float, out: list[SupernodeEffect]) -> None:
        if self.cdn.phase is CdnPhase.FAILED:
            self.failed_at = now
            self._answer_all(self.failure_answer(), out)
        self._uplink_freed(None)
        self._flush(out)

    def _settle(
        self, member: Member, asked: PullPieces | SettlePiece, out: list[SupernodeEffect]
    ) -> None:
        piece = asked.piece
        if piece is None or piece not in member.fetching:
            return
        parent, offer = member.fetching[piece]
        if asked.result in (PullResult.SEMI_SUCCESS, PullResult.SUCCESS):
            self._delivered(member, piece)
        elif asked.result is PullResult.FAILED:
            if asked.parent and asked.parent != offer.parent:
                return
            self.swarm.give_up(member, piece)
            if parent is not None:
                self.accuse(member, parent, None, out)
            self._uplink_freed(None)
        self._uplink_freed(parent)

    def _delivered(self, member: Member, piece: PieceIndex) -> Member | None:
        parent = self.swarm.arrived(member, piece)
        if parent is not None:
            parent.accusers = 0
        return parent

    def _drop(self, member: Member, out: list[SupernodeEffect]) -> None:
        if member.exchange is not None:
            out.append(Answer(member.exchange, Refused(Code.PEER_WAIT, "registered again")))
        for other in list(self.swarm.by_peer.values()):
            for piece, (parent, _) in list(other.fetching.items()):
                if parent is member:
                    self.swarm.give_up(other, piece)
        self.swarm.remove(member)

    def _give_up_all(self, member: Member) -> None:
        for piece in list(member.fetching):
            self._uplink_freed(self.swarm.give_up(member, piece))
        self._uplink_freed(None)

    def _uplink_freed(self, parent: Member | None) -> None:
        while (found := self._scheduler.taker_from(parent)) is not None:
            self._assign(found)

    def _serve(self, member: Member) -> None:
        self.swarm.requeue(member)
        while (found := self._scheduler.work_for(member)) is not None:
            self._assign(found)
        if member.exchange is not None and self.swarm.is_complete(member):
            self._touched[member] = None

    def _assign(self, found: Assignment) -> None:
        member, piece, parent = found
        run = self.swarm.start(member, piece, parent)
        self._order(member, piece, parent)
        if member.native is not None and parent is not None:
            for more in self._scheduler.continue_run(found, self._run_length(member) - 1):
                self.swarm.extend(member, more, run)
                self._order(member, more, parent)
        self.swarm.requeue(member)
        self._touched[member] = None

    def _order(self, member: Member, piece: PieceIndex, parent: Member | None) -> None:
        member.fetching[piece] = parent, self._offer(member, piece, parent)
        if member.native is not None:
            member.native.untold[piece] = None

    def _run_length(self, member: Member) -> int:
        """Return how many pieces to get from one parent at a time.

        Ever fewer towards the end, so that nobody waits for one parent's long last run.
        """
        missing = self.swarm.missing(member).bit_count()
        share = missing // (self._config.run_share * self._config.down_slots)
        return max(1, min(share, self._config.run_bytes // self.cdn.piece_size))

    def _offer(self, member: Member, piece: PieceIndex, parent: Member | None) -> PieceOffer:
        sha256 = ""
        if member.digest_form is DigestForm.SHA256 and not self.cdn.is_source:
            sha256 = self.cdn.digests[piece].removeprefix("sha256:")
        own = member.url if self.cdn.is_source else f"/download/{self.id[:3]}/{self.id}"
        md5 = self._md5(piece)
        layout = self.cdn.layout
        wrapped = layout.size(piece) + 5 if layout is not None else self.cdn.piece_size
        return PieceOffer(
            piece=piece,
            parent=cdn_peer_id(self._config.ip, self.id) if parent is None else parent.peer,
            host=member.node_host if parent is None else parent.host,
            port=self._config.download_port if parent is None else parent.port,
            path=own if parent is None else parent.path,
            piece_size=self.cdn.piece_size,
            md5=f"{md5}:{wrapped}" if md5 else "",
            sha256=sha256,
            down_link_kb_per_s=20480,
        )

    def _md5(self, piece: PieceIndex) -> str:
        return self._md5s.get(piece, "")

    def _know_length(self) -> None:
        layout = self.cdn.layout
        if layout is not None:
            self.swarm.all_pieces = (1 << layout.count) - 1
            for member in self.swarm.by_peer.values():
                self.swarm.requeue(member)
                if member.exchange is not None and self.swarm.is_complete(member):
                    self._touched[member] = None

    def _answer_all(self, reply: Reply, out: list[SupernodeEffect]) -> None:
        for member in self.swarm.by_peer.values():
            if member.exchange is not None:
                out.append(Answer(member.exchange, reply))
                member.exchange = None
                self.swarm.requeue(member)

    def _flush(self, out: list[SupernodeEffect]) -> None:
        """Answer the held pulls of all members for whom something was decided."""
        for member in self._touched:
            if member.exchange is None:
                continue
            out.append(Answer(member.exchange, self._news(member)))
            member.exchange = None
            self.swarm.requeue(member)
        self._touched.clear()

    def _news(self, member: Member) -> Reply:
        if (native := member.native) is not None:
            untold, native.untold = native.untold, {}
            rejected, native.rejected = native.rejected, ()
            if self.swarm.is_complete(member):
                return self.completion()
            native.told = native.newest
            return self._orders(member, untold, rejected)
        if not self.swarm.is_complete(member):
            return PiecesOffered(tuple(offer for _, offer in member.fetching.values()))
        return self.completion()

    def completion(self) -> TaskCompleted:
        """Return what a peer that has all is told; with pieces from the origin that is nothing."""
        layout = self.cdn.layout
        if layout is None or self.cdn.is_source:
            return TaskCompleted("", 0)
        return TaskCompleted(self.cdn.md5, layout.wrapped_length)
