"""What the members of a task are told: facts of its copy and its swarm, put into replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cdn import CdnPhase
from .ids import cdn_peer_id
from .messages import Code, Extension, Orders, PieceOffer, PiecesOffered, Refused, TaskCompleted
from .piece import DigestForm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cdn import CdnCopy
    from .config import SupernodeConfig
    from .ids import PieceIndex, TaskId
    from .md5s import CopyMd5s
    from .members import Flight, Member
    from .messages import Reply
    from .swarm import Swarm

_DOWN_LINK_KB_PER_S: Final = 20480
_SHA256: Final = DigestForm.SHA256


class Answers:
    """Puts one task's answers together; decides nothing."""

    def __init__(
        self, task: TaskId, copy: CdnCopy, md5s: CopyMd5s, swarm: Swarm, config: SupernodeConfig
    ) -> None:
        self._copy, self._md5s, self._swarm, self._config = copy, md5s, swarm, config
        self._cdn_peer = cdn_peer_id(config.ip, task)
        self._sha256s: dict[PieceIndex, str] = {}
        self._path = f"/download/{task[:3]}/{task}"

    def offer(self, member: Member, piece: PieceIndex, parent: Member | None) -> PieceOffer:
        """Return what ``member`` has to know to get ``piece`` from ``parent``, None: the copy."""
        copy = self._copy
        sha256 = ""
        if member.digest_form is _SHA256 and not copy.is_source:
            if (known := self._sha256s.get(piece)) is None:
                known = self._sha256s[piece] = copy.digests[piece].removeprefix("sha256:")
            sha256 = known
        size, md5 = copy.piece_size, self._md5s.offered(piece)
        if parent is not None:
            source, host, port, path = parent.peer, parent.host, parent.port, parent.path
        else:
            source, host, port = self._cdn_peer, member.node_host, self._config.download_port
            path = member.url if copy.is_source else self._path
        return PieceOffer(piece, source, host, port, path, size, md5, sha256, _DOWN_LINK_KB_PER_S)

    def news(self, member: Member) -> Reply:
        """Return what a member is told for whom something was decided."""
        if not member.fetching and self.is_done(member):
            return self.completion()
        if (book := member.orders) is not None:
            pieces, rejected = book.take()
            return self._orders(member, pieces, rejected)
        return _offers(member)

    def idle(self, member: Member) -> Reply:
        """Return what is told when there is nothing new: the pieces under way, or wait."""
        if self._copy.phase is CdnPhase.FAILED:
            return self.failure()
        if member.orders is not None:
            return self._orders(member, ())
        if member.fetching:
            return _offers(member)
        return Refused(Code.PEER_WAIT, "peer should wait")

    def late(self, member: Member, rejected: tuple[PieceIndex, ...]) -> Reply:
        """Return what answers an update that a newer one has overtaken."""
        return self._orders(member, (), rejected)

    def failure(self) -> Refused:
        """Return what is told once the copy has failed."""
        failure = self._copy.failure
        assert failure is not None
        return Refused(Code.CDN_FAILED, f"cdn status is fail: {failure.reason}")

    def completion(self) -> TaskCompleted:
        """Return what a peer that has all is told; with pieces from the origin that is nothing."""
        layout = self._copy.layout
        if layout is None or self._copy.is_source:
            return TaskCompleted("", 0)
        return TaskCompleted(self._copy.md5, layout.wrapped_length)

    def is_done(self, member: Member) -> bool:
        """Tell whether a member has all, and its MD5 if it is to compare that (protocol 1.2)."""
        if not self._swarm.is_complete(member):
            return False
        needs_none = member.digest_form is _SHA256 or self._copy.is_source
        return needs_none or self._md5s.is_settled

    def _orders(
        self,
        member: Member,
        pieces: Iterable[PieceIndex],
        rejected: tuple[PieceIndex, ...] = (),
    ) -> Orders:
        found: dict[Flight, list[PieceOffer]] = {}
        for piece in pieces:
            if (flight := member.fetching.get(piece)) is not None:
                found.setdefault(flight, []).append(flight.offers[piece])
        runs: list[tuple[PieceOffer, ...]] = []
        extended: list[Extension] = []
        for flight, offers in found.items():
            told_before = [piece for piece, offer in flight.offers.items() if offer not in offers]
            if told_before:
                extended.append(Extension(told_before[-1], tuple(offers)))
            else:
                runs.append(tuple(offers))
        return Orders(tuple(runs), rejected, self._config.native_pace_s, tuple(extended))


def _offers(member: Member) -> PiecesOffered:
    offers = [flight.offers[piece] for piece, flight in member.fetching.items()]
    return PiecesOffered(tuple(offers))
