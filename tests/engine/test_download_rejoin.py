"""A supernode that comes back, and one that sends its peers to the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from damselfly.engine.download import Phase
from damselfly.engine.effects import FetchPiece, LayOut, Publish, ReadOrigin, Tell
from damselfly.engine.events import HeldPiece, PieceFetched, Started
from damselfly.engine.ids import FetchId, PieceIndex, cdn_peer_id
from damselfly.engine.messages import (
    Acknowledged,
    Code,
    PullPieces,
    Register,
    ReportPiece,
    TaskCompleted,
)
from damselfly.engine.outcomes import Milestone
from damselfly.engine.piece import MIB, DigestForm

from ..driven import one, only
from .test_download import CONTENT, NODE, SPARE, TASK, URL, Download, digest, offer

if TYPE_CHECKING:
    from damselfly.engine.effects import DownloadEffect

# --- a supernode that is restarted ----------------------------------------------------------------


def lose(it: Download, now: float) -> list[DownloadEffect]:
    """Two pulls in a row find nobody there."""
    effects: list[DownloadEffect] = []
    for _ in range(2):
        if not it.asked(PullPieces):
            it.at(max(now, it.engine.deadline()))
        effects = it.fail(max(now, it.now), PullPieces)
    return effects


def test_a_supernode_that_stops_answering_is_asked_again_for_a_while() -> None:
    it = Download(NODE, rejoin_s=5.0)
    it.join(3)
    it.offered(0.1, offer(0))
    it.fetched(1.0, 0)
    lose(it, 2.0)
    assert it.download.phase is Phase.REGISTERING
    tries = 0
    while it.download.phase is Phase.REGISTERING:
        if it.asked(Register):
            it.fail(it.now, Register)
            tries += 1
        else:
            it.until_due()
    assert 9 <= tries <= 11
    assert it.download.phase is Phase.SOURCING
    assert 7.0 <= it.now <= 8.0
    assert it.download.held_bytes == CONTENT


def test_who_is_back_in_time_hears_what_is_held() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.fetched(1.0, 0)
    it.reply(1.1, ReportPiece, Acknowledged(Code.REPORT_OK))
    lose(it, 2.0)
    it.at(it.engine.deadline())
    it.fail(it.now, Register)
    it.until_due()
    effects = it.join(3)
    assert one(LayOut, effects).keep
    reports = [send.request for send in it.asked(ReportPiece)]
    assert [(said.piece, said.digest) for said in reports if isinstance(said, ReportPiece)] == [
        (0, digest(0))
    ]
    effects = it.offered(it.now, offer(0), offer(1), offer(2))
    assert [fetch.offer.piece for fetch in only(FetchPiece, effects)] == [1, 2]


def test_another_supernode_is_tried_first() -> None:
    it = Download(NODE, SPARE)
    it.join(3)
    lose(it, 1.0)
    (send,) = it.asked(Register)
    assert send.node == SPARE
    it.fail(it.now, Register)
    it.until_due()
    (send,) = it.asked(Register)
    assert send.node == NODE, "and then all again"


def test_patience_ends() -> None:
    it = Download(NODE)
    it.join(3)
    for _ in range(3):
        lose(it, it.now + 1.0)
        it.until_due()
        it.join(3)
    lose(it, it.now + 1.0)
    assert it.download.phase is Phase.SOURCING


def test_without_patience_the_source_is_next() -> None:
    it = Download(NODE, rejoin_s=0.0)
    it.join(3)
    lose(it, 1.0)
    assert it.download.phase is Phase.SOURCING


def test_a_supernode_that_never_answered_is_not_waited_for() -> None:
    it = Download(NODE)
    it.at(0.0, Started())
    effects = it.fail(0.1, Register)
    assert one(Tell, effects).milestone is Milestone.BACK_TO_SOURCE


# --- a supernode without a copy -------------------------------------------------------------------


def join_source(it: Download) -> LayOut:
    changes = {"length": 2 * MIB, "cdn_source": "source", "digest_form": DigestForm.MD5_WRAPPED}
    return one(LayOut, it.join(2, **changes))


def test_pieces_from_the_origin_are_plain() -> None:
    it = Download(NODE)
    assert join_source(it) == LayOut(TASK, 2 * MIB, MIB, "", keep=False, plain=True)
    cdn = cdn_peer_id("sn1", TASK)
    effects = it.offered(0.1, offer(0, cdn, path=URL, sha256=""), offer(1, sha256=""))
    fetches = only(FetchPiece, effects)
    assert [(fetch.offer.path, fetch.size, fetch.plain) for fetch in fetches] == [
        (URL, MIB, True),
        ("/peer/file/x", MIB, True),
    ]
    it.fetched(1.0, 0, size=MIB)
    assert not only(Publish, it.fetched(1.1, 1, size=MIB)), "nobody vouches for the pieces"
    effects = it.reply(1.2, PullPieces, TaskCompleted("", 0))
    assert one(Publish, effects) == Publish(2 * MIB, "")


def test_plain_pieces_are_completed_from_the_source() -> None:
    it = Download(NODE, rejoin_s=0.0)
    join_source(it)
    it.offered(0.1, offer(0, sha256=""))
    it.fetched(1.0, 0, size=MIB)
    read = one(ReadOrigin, lose(it, 2.0))
    assert (read.first_byte, read.piece_size, read.plain) == (MIB, MIB, True)


def test_pieces_of_the_other_kind_do_not_fit() -> None:
    it = Download(NODE)
    held = (HeldPiece(PieceIndex(0), CONTENT, digest(0)),)
    it.at(0.0, Started(held, 2 * MIB, MIB))
    assert not join_source(it).keep
    again = Download(NODE)
    plain = (HeldPiece(PieceIndex(0), MIB, digest(0)),)
    again.at(0.0, Started(plain, 2 * MIB, MIB, plain=True))
    assert join_source(again).keep
    assert again.at(0.1, PieceFetched(FetchId(99), MIB, digest(0))) == []
