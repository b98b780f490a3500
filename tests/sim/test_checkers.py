from __future__ import annotations

import pytest
from msgspec.structs import replace

from damselfly.engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    DeleteCopy,
    DropPiece,
    FetchPiece,
    Finish,
    KeepPiece,
    Publish,
    ReadOrigin,
    Tell,
)
from damselfly.engine.events import (
    ExchangeFailed,
    FetchFailure,
    HeldPiece,
    OriginFailed,
    OriginFailure,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
    Published,
    Replied,
    Requested,
    Started,
)
from damselfly.engine.ids import ExchangeId, FetchId, PeerId, PieceIndex
from damselfly.engine.messages import Code, LeaveTask, Refused
from damselfly.engine.outcomes import FailCode, Milestone
from damselfly.engine.piece import Digest, PieceSizePolicy

from .checking import (
    CDN,
    CONTENT,
    LAY_OUT,
    PIECES,
    SUPERNODE,
    TASK,
    Bench,
    keep,
    offer,
    pull,
    register,
    says,
)

PUBLISH = Publish(250, "")
END = Finish(FailCode.SUCCESS, 0, "", 250)
FAILED = Finish(FailCode.DOWNLOAD_FAILED, 1003, "no luck", -1)


def fetched(number: int, piece: int = 0, *, corrupt: bool = False) -> PieceFetched:
    digest = CONTENT.digest(PieceIndex(piece), Digest(""), corrupt=corrupt)
    return PieceFetched(FetchId(number), CONTENT.sizes[piece], digest)


def failed(number: int) -> PieceFailed:
    return PieceFailed(FetchId(number), FetchFailure.SHORT, "")


def read(number: int, first_byte: int = 0) -> ReadOrigin:
    return ReadOrigin(FetchId(number), TASK, "u", (), PieceSizePolicy.ADAPTIVE, first_byte)


def stored(number: int, piece: int) -> OriginPieceStored:
    index = PieceIndex(piece)
    return OriginPieceStored(FetchId(number), index, CONTENT.sizes[piece], CONTENT.sha256(index))


def completed(bench: Bench, node: str, *pieces: int) -> None:
    """Let a node get pieces, one after the other."""
    for piece in pieces:
        bench.fetches(node, piece + 1, CDN, piece)
        bench.now += 10.0
        bench.does(node, fetched(piece + 1, piece), keep(PieceIndex(piece)))


def fails(bench: Bench, node: str) -> None:
    """Let a node fail for want of supernode and origin."""
    bench.does(node, ExchangeFailed(ExchangeId(1), ""), read(9))
    bench.does(node, OriginFailed(FetchId(9), OriginFailure.SHORT, ""), FAILED)


def test_an_ordinary_download_offends_nobody() -> None:
    bench = Bench()
    bench.joins("a")
    completed(bench, "a", 0, 1, 2)
    bench.does("a", None, PUBLISH)
    bench.does("a", Published(), END)
    bench.does("a", None)
    bench.checkers.ended(bench.now)


# --- RightBytes, Whole ---


def test_an_md5_may_be_right_too() -> None:
    bench = Bench()
    bench.joins("a")
    bench.fetches("a", 1, CDN)
    digest = CONTENT.digest(PIECES[0], Digest("md5:"))
    bench.now = 10.0
    bench.does("a", PieceFetched(FetchId(1), 100, digest), KeepPiece(PIECES[0], 100, digest))


def test_a_wrong_digest_is_caught() -> None:
    bench = Bench()
    bench.joins("a")
    bench.now = 2.5
    bad = CONTENT.digest(PIECES[1], Digest(""), corrupt=True)
    with bench.objects("RightBytes", r"at 2\.5 s, a: keeps piece 1 with the wrong digest"):
        bench.does("a", None, KeepPiece(PIECES[1], 100, bad))


def test_a_wrong_size_is_caught() -> None:
    bench = Bench()
    bench.joins("a")
    with bench.objects("RightBytes", "keeps piece 2 with the wrong size 100"):
        bench.does("a", None, KeepPiece(PIECES[2], 100, CONTENT.sha256(PIECES[2])))


def test_what_is_taken_for_right_must_have_come_so() -> None:
    bench = Bench()
    bench.joins("a")
    bench.fetches("a", 1, CDN)
    bench.now = 10.0
    with bench.objects("RightBytes", "keeps piece 0, whose right bytes never came"):
        bench.does("a", fetched(1, corrupt=True), keep(PIECES[0]))


def test_what_an_earlier_run_left_counts() -> None:
    bench = Bench()
    held = tuple(HeldPiece(p, CONTENT.sizes[p], CONTENT.sha256(p)) for p in PIECES)
    bench.does("a", Started(held, 250, 105), replace(LAY_OUT, keep=True), PUBLISH)


@pytest.mark.parametrize("last", [[], [DropPiece(PIECES[0])], [LAY_OUT]])
def test_what_is_published_must_be_whole(last: list[object]) -> None:
    bench = Bench()
    bench.joins("a")
    completed(bench, "a", 0, 1)
    bench.does("a", None, *last)
    with bench.objects("Whole", r"publishes \d of 3 pieces"):
        bench.does("a", None, PUBLISH)


def test_a_good_end_without_a_file_is_caught() -> None:
    bench = Bench()
    bench.joins("a")
    with bench.objects("Whole", "without having published"):
        bench.does("a", None, END)


# --- Slots, Rates ---


def test_downloads_beyond_the_slots_are_caught_and_ended_ones_do_not_count() -> None:
    bench = Bench(down_slots=2)
    bench.joins("a")
    bench.fetches("a", 1, "b")
    bench.fetches("a", 2, "c")
    bench.now = 10.0
    bench.does("a", fetched(1))
    bench.fetches("a", 3, "b")
    bench.does("a", failed(2))
    bench.fetches("a", 4, "c")
    bench.does("a", None, CancelFetch(FetchId(3)))
    bench.fetches("a", 5, "b")
    with bench.objects("Slots", "a: fetches 3 pieces at once with 2 slots"):
        bench.fetches("a", 6, "d")


def believe(bench: Bench, *children: str, parent: str) -> None:
    bench.beliefs = [(child, PIECES[0], parent) for child in children]


def test_uploads_beyond_the_slots_are_caught_across_nodes() -> None:
    bench = Bench(up_slots=2)
    believe(bench, "c", "d", "e", parent="b")
    bench.fetches("c", 1, "b")
    bench.fetches("d", 1, "b")
    with bench.objects("Slots", "e: b uploads 3 at once with 2 slots"):
        bench.fetches("e", 1, "b")


def test_what_the_supernode_had_to_give_up_for_lost_does_not_count() -> None:
    bench = Bench(up_slots=1)
    believe(bench, "c", parent="b")
    bench.fetches("c", 1, "b")
    believe(bench, "d", parent="b")
    bench.fetches("d", 1, "b")


def test_the_supernode_has_slots_of_its_own() -> None:
    bench = Bench(up_slots=1, supernode_slots=3)
    believe(bench, *"abcd", parent=CDN)
    for node in "abc":
        bench.fetches(node, 1, CDN)
    with bench.objects("Slots", "uploads 4 at once with 3 slots"):
        bench.fetches("d", 1, CDN)


def test_what_a_dead_peer_was_fetching_no_longer_counts() -> None:
    bench = Bench(up_slots=1)
    believe(bench, "a", "c", parent="b")
    bench.fetches("a", 1, "b")
    bench.checkers.crashed("a")
    bench.fetches("c", 1, "b")


def test_peers_that_still_count_on_a_dead_one_may_be_many() -> None:
    bench = Bench(up_slots=1)
    believe(bench, "a", "c", "d", parent="b")
    bench.fetches("a", 1, "b")
    bench.checkers.crashed("b")
    bench.fetches("c", 1, "b")
    bench.joins("b")
    with bench.objects("Slots", "b uploads 3 at once"):
        bench.fetches("d", 1, "b")


@pytest.mark.parametrize(("took_s", "says"), [(1.9, "a received 100 bytes in 1.9"), (2.0, "")])
def test_no_link_is_faster_than_it_is(took_s: float, says: str) -> None:
    bench = Bench()
    bench.joins("a", "b")
    bench.fetches("a", 1, "b")
    bench.now = took_s
    if not says:
        bench.does("a", fetched(1))
        return
    with bench.objects("Rates", says):
        bench.does("a", fetched(1))


def test_what_comes_over_a_link_at_once_shares_it() -> None:
    bench = Bench()
    bench.joins("c", "d")
    bench.fetches("c", 1, "b")
    bench.fetches("d", 1, "b")
    bench.now = 1.0
    bench.does("c", fetched(1))
    with bench.objects("Rates", "ip of b sent 200 bytes"):
        bench.does("d", fetched(1))


# --- Parents, Answers ---


def test_a_fetch_from_oneself_is_caught() -> None:
    with Bench().objects("Parents", "fetches piece 0 from itself"):
        Bench().fetches("a", 1, "a")


def test_a_fetch_that_nobody_offered_is_caught() -> None:
    bench = Bench()
    bench.fetches("a", 1, "b")
    with bench.objects("Parents", "fetches piece 1 from b, which nobody offered"):
        bench.does("a", None, FetchPiece(FetchId(2), offer("b", 1), 100, 10.0))


@pytest.mark.parametrize("banned", [True, False])
def test_who_is_gone_is_not_offered_anew_but_may_be_listed_again(banned: bool) -> None:
    bench = Bench()
    bench.asks(1, "a", offer("b"))
    if banned:
        bench.does(SUPERNODE, None, Ban(TASK, PeerId("b"), ""))
    else:
        bench.does(SUPERNODE, Requested(ExchangeId(2), LeaveTask(TASK, PeerId("b"))))
    bench.asks(3, "a", offer("b"), offer("c", 1))
    with bench.objects("Parents", "sends c to b, which is gone, for piece 0"):
        bench.asks(4, "c", offer("b"))


@pytest.mark.parametrize("how", ["registers", "supernode died"])
def test_who_comes_back_may_be_offered_again(how: str) -> None:
    bench = Bench()
    bench.does(SUPERNODE, None, Ban(TASK, PeerId("b"), ""))
    if how == "registers":
        bench.does(SUPERNODE, Requested(ExchangeId(1), register("b")))
    else:
        bench.checkers.crashed(SUPERNODE)
    bench.asks(2, "c", offer("b"))


def test_an_answer_to_nobody_is_caught() -> None:
    bench = Bench()
    wait = Answer(ExchangeId(1), Refused(Code.PEER_WAIT))
    bench.does(SUPERNODE, Requested(ExchangeId(1), pull("a")), wait)
    with bench.objects("Answers", "answers exchange 1, which is not open"):
        bench.does(SUPERNODE, None, wait)


def test_a_request_that_is_not_answered_is_caught() -> None:
    bench = Bench()
    bench.does(SUPERNODE, Requested(ExchangeId(1), pull("a")))
    bench.now = 4.0
    bench.does(SUPERNODE, None)
    bench.now = 5.0
    with bench.objects("Answers", r"has not answered exchange 1 since 0\.000 s"):
        bench.does(SUPERNODE, None)


# --- OriginBudget ---


def test_a_second_read_by_the_supernode_needs_a_reason() -> None:
    bench = Bench()
    bench.does(SUPERNODE, None, read(1))
    broke = OriginFailed(FetchId(1), OriginFailure.SHORT, "")
    bench.does(SUPERNODE, broke, read(2, 100))
    bench.does(SUPERNODE, None, DeleteCopy(TASK), read(3))
    bench.checkers.crashed(SUPERNODE)
    bench.does(SUPERNODE, None, read(4))
    with bench.objects("OriginBudget", "reads the origin again, though nothing was lost"):
        bench.does(SUPERNODE, None, read(5))


def test_a_piece_read_twice_is_caught() -> None:
    bench = Bench()
    bench.does(SUPERNODE, None, read(1))
    bench.does(SUPERNODE, stored(1, 0))
    bench.does(SUPERNODE, OriginFailed(FetchId(1), OriginFailure.SHORT, ""), read(2, 100))
    with bench.objects("OriginBudget", "reads piece 0 from the origin again"):
        bench.does(SUPERNODE, stored(2, 0))


def test_an_origin_without_ranges_is_read_from_the_start() -> None:
    bench = Bench()
    bench.does(SUPERNODE, None, read(1))
    bench.does(SUPERNODE, stored(1, 0))
    bench.does(SUPERNODE, OriginFailed(FetchId(1), OriginFailure.SHORT, ""), read(2))
    bench.does(SUPERNODE, stored(2, 0))


def test_a_peer_reads_the_origin_only_in_trouble() -> None:
    bench = Bench()
    bench.joins("a", "b")
    bench.does("a", ExchangeFailed(ExchangeId(1), ""), read(1))
    with bench.objects("OriginBudget", "b: reads the origin, though nothing went wrong"):
        bench.does("b", None, read(1))


# --- LastWord, Endings, Livelock ---


def test_nothing_may_follow_the_end() -> None:
    bench = Bench()
    bench.joins("a")
    fails(bench, "a")
    with bench.objects("LastWord", "does Tell after it finished"):
        bench.does("a", None, Tell(Milestone.CONNECTED, ""))


def test_nothing_may_be_under_way_at_the_end() -> None:
    bench = Bench()
    bench.joins("a")
    bench.fetches("a", 1, "b")
    bench.fetches("a", 2, "b", 1)
    bench.does("a", PieceFailed(FetchId(1), FetchFailure.STORE_FULL, ""))
    with bench.objects("LastWord", "finishes while it fetches 1 pieces"):
        bench.does("a", None, FAILED)


@pytest.mark.parametrize("back_to_source", [True, False])
def test_a_failure_needs_a_mortal_reason(back_to_source: bool) -> None:
    bench = Bench(back_to_source=back_to_source)
    bench.joins("a")
    bench.does("a", ExchangeFailed(ExchangeId(1), ""))
    if not back_to_source:
        bench.does("a", None, FAILED)
        return
    with bench.objects("Endings", "fails though it can go on, having met exchange: no luck"):
        bench.does("a", None, FAILED)


def test_refusals_are_trouble_but_waits_are_none() -> None:
    bench = Bench(back_to_source=False)
    bench.joins("a", "b")
    bench.does("a", Replied(ExchangeId(1), Refused(Code.CDN_FAILED)), FAILED)
    with bench.objects("Endings", "having met nothing"):
        bench.does("b", Replied(ExchangeId(1), Refused(Code.PEER_WAIT)), FAILED)


def test_the_end_must_come_and_come_in_time() -> None:
    bench = Bench()
    bench.joins("a", "b", "c")
    bench.checkers.crashed("c")
    with bench.objects("Endings", "2 downloads have not ended: a, b"):
        bench.checkers.ended(100.0)
    bench.now = 100.5
    with bench.objects("Endings", r"ends only now, 100\.000 s at the latest were allowed"):
        fails(bench, "a")


def test_who_is_busy_without_effect_is_caught() -> None:
    bench = Bench()
    for second in range(3):
        bench.now = second + 0.5
        for _ in range(300):
            bench.does("a", None)
    with bench.objects("Livelock", r"301 engine calls within 0\.000 s, which brought it 0 pieces"):
        bench.does("a", None)


def test_who_gets_much_may_be_busy() -> None:
    bench = Bench()
    bench.joins("a")
    bench.does("a", None, says(2, pull("a")))
    bench.fetches("a", 1, CDN)
    bench.now = 10.0
    bench.does("a", fetched(1), *[keep(PIECES[0])] * 10)
    for _ in range(800):
        bench.does("a", None)
