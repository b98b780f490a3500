from __future__ import annotations

import pytest

from damselfly.engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    DropPiece,
    FailCode,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
    Milestone,
    Tell,
)
from damselfly.engine.events import (
    FetchFailure,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
    Requested,
)
from damselfly.engine.ids import ExchangeId, FetchId, PeerId, PieceIndex, TaskId, cdn_peer_id
from damselfly.engine.messages import (
    Code,
    LeaveTask,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Register,
)
from damselfly.engine.piece import Digest, PieceLayout
from damselfly.sim.checkers import Checkers, Violation
from damselfly.sim.host import Content
from damselfly.sim.scenario import Scenario

TASK = TaskId("t")
CDN = cdn_peer_id("192.0.2.1", TASK)
CONTENT = Content(PieceLayout(250, 105))
LAY_OUT = LayOut(TASK, 250, 105, "", keep=False)
END = Finish(FailCode.SUCCESS, 0, "", 250)
PIECES = [PieceIndex(n) for n in range(3)]


def checkers(*, up: int = 2, down: int = 2, cdn: int = 9) -> Checkers:
    return Checkers(Scenario(up_slots=up, down_slots=down, supernode_slots=cdn), CONTENT)


def keep(piece: PieceIndex) -> KeepPiece:
    return KeepPiece(piece, CONTENT.sizes[piece], CONTENT.sha256(piece))


def offer(parent: str, piece: int = 0) -> PieceOffer:
    return PieceOffer(PieceIndex(piece), PeerId(parent), "10.0.0.1", 15001, "/f", 105)


def fetch(number: int, parent: str, piece: int = 0) -> FetchPiece:
    return FetchPiece(FetchId(number), offer(parent, piece), 100, 10.0)


def pull(exchange: int, peer: str) -> Requested:
    asked = PullPieces(TASK, PeerId(peer), PullStatus.START, PullResult.INVALID)
    return Requested(ExchangeId(exchange), asked)


def answer(exchange: int, *offers: PieceOffer) -> Answer:
    return Answer(ExchangeId(exchange), PiecesOffered(offers))


def test_the_right_pieces_may_be_kept_and_the_end_may_come() -> None:
    check = checkers()
    check(0.0, "a", None, [LAY_OUT, *(keep(piece) for piece in PIECES), END])
    check(1.0, "a", None, [])


def test_an_md5_may_be_right_too() -> None:
    digest = CONTENT.digest(PIECES[0], Digest("md5:"))
    assert digest.startswith("md5:")
    checkers()(0.0, "a", None, [LAY_OUT, KeepPiece(PIECES[0], 100, digest)])


def test_a_wrong_digest_is_caught() -> None:
    bad = CONTENT.digest(PIECES[1], Digest(""), corrupt=True)
    with pytest.raises(Violation, match=r"at 2\.5 s, a: keeps piece 1 with the wrong digest"):
        checkers()(2.5, "a", None, [LAY_OUT, KeepPiece(PIECES[1], 100, bad)])


def test_a_wrong_size_is_caught() -> None:
    with pytest.raises(Violation, match="keeps piece 2 with the wrong size 100"):
        checkers()(0.0, "a", None, [LAY_OUT, KeepPiece(PIECES[2], 100, CONTENT.sha256(PIECES[2]))])


def test_downloads_beyond_the_slots_are_caught_and_ended_ones_do_not_count() -> None:
    check = checkers(down=2)
    check(0.0, "a", None, [fetch(1, "b"), fetch(2, "c")])
    check(1.0, "a", PieceFetched(FetchId(1), 100, Digest("")), [fetch(3, "b")])
    check(2.0, "a", PieceFailed(FetchId(2), FetchFailure.SHORT, ""), [fetch(4, "c")])
    check(3.0, "a", None, [CancelFetch(FetchId(3)), fetch(5, "b")])
    with pytest.raises(Violation, match="a: fetches 3 pieces at once with 2 slots"):
        check(4.0, "a", None, [fetch(6, "d")])


def test_uploads_beyond_the_slots_are_caught_across_nodes() -> None:
    check = checkers(up=2)
    for number, node in enumerate("cde"):
        check(0.0, node, None, [fetch(1, "b" if number else CDN)])
    with pytest.raises(Violation, match="f: b uploads 3 at once with 2 slots"):
        check(0.0, "f", None, [fetch(1, "b")])


def test_the_supernode_has_slots_of_its_own() -> None:
    check = checkers(up=1, cdn=3)
    for node in "abc":
        check(0.0, node, None, [fetch(1, CDN)])
    with pytest.raises(Violation, match="uploads 4 at once with 3 slots"):
        check(0.0, "d", None, [fetch(1, CDN)])


def test_what_a_dead_peer_was_fetching_no_longer_counts() -> None:
    check = checkers(up=1)
    check(0.0, "a", None, [fetch(1, "b")])
    check.crashed("a")
    check(0.0, "c", None, [fetch(1, "b")])


def test_peers_that_still_count_on_a_dead_one_may_be_many() -> None:
    check = checkers(up=1)
    check(0.0, "a", None, [fetch(1, "b")])
    check.crashed("b")
    check(0.0, "c", None, [fetch(1, "b")])


def test_a_fetch_from_oneself_is_caught() -> None:
    with pytest.raises(Violation, match="fetches piece 0 from itself"):
        checkers()(0.0, "a", None, [fetch(1, "a")])


@pytest.mark.parametrize("banned", [True, False])
def test_who_is_gone_is_not_offered_anew_but_may_be_listed_again(banned: bool) -> None:
    check = checkers()
    check(0.0, "supernode", pull(1, "a"), [answer(1, offer("b"))])
    if banned:
        check(1.0, "supernode", None, [Ban(TASK, PeerId("b"), "")])
    else:
        check(1.0, "supernode", Requested(ExchangeId(2), LeaveTask(TASK, PeerId("b"))), [])
    check(2.0, "supernode", pull(3, "a"), [answer(3, offer("b"), offer("c", 1))])
    with pytest.raises(Violation, match="sends c to b, which is gone, for 0"):
        check(3.0, "supernode", pull(4, "c"), [answer(4, offer("b"))])


def test_who_comes_back_may_be_offered_again() -> None:
    check = checkers()
    check(1.0, "supernode", None, [Ban(TASK, PeerId("b"), "")])
    again = Register("u", "u", PeerId("b"), "10.0.0.2", "h", 15001, "/f")
    check(2.0, "supernode", Requested(ExchangeId(1), again), [])
    check(3.0, "supernode", pull(2, "c"), [answer(2, offer("b"))])


def test_an_answer_to_nobody_is_caught() -> None:
    check = checkers()
    wait = Answer(ExchangeId(1), Refused(Code.PEER_WAIT))
    check(0.0, "supernode", pull(1, "a"), [wait])
    with pytest.raises(Violation, match="answers exchange 1, which is not open"):
        check(1.0, "supernode", None, [wait])


def test_reading_the_origin_twice_is_caught_only_at_the_supernode() -> None:
    check = checkers()
    stored = OriginPieceStored(FetchId(1), PIECES[0], 100, CONTENT.sha256(PIECES[0]))
    for node in ("supernode", "a", "a"):
        check(0.0, node, stored, [])
    with pytest.raises(Violation, match="reads piece 0 from the origin again"):
        check(0.0, "supernode", stored, [])


def test_nothing_may_follow_the_end() -> None:
    check = checkers()
    failed = Finish(FailCode.DOWNLOAD_FAILED, 1003, "", -1)
    check(0.0, "a", None, [LAY_OUT, failed])
    with pytest.raises(Violation, match="does Tell after it finished"):
        check(1.0, "a", None, [Tell(Milestone.CONNECTED, "")])


@pytest.mark.parametrize(
    "last", [[], [DropPiece(PIECES[0]), keep(PIECES[2])], [LAY_OUT, keep(PIECES[2])]]
)
def test_a_good_end_without_all_pieces_is_caught(last: list[object]) -> None:
    check = checkers()
    check(0.0, "a", None, [LAY_OUT, keep(PIECES[0]), keep(PIECES[1]), *last])
    with pytest.raises(Violation, match=r"finishes well with \d of 3 pieces"):
        check(1.0, "a", None, [END])
