"""A supernode engine, told what peers and origins do."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.effects import (
    Answer,
    Ban,
    CancelFetch,
    ForgetTask,
    HashPiece,
    ReadOrigin,
    SupernodeEffect,
)
from damselfly.engine.errors import ConfigError
from damselfly.engine.events import (
    Dropped,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceHashed,
    Requested,
    SupernodeEvent,
)
from damselfly.engine.ids import ExchangeId, FetchId, PeerId, PieceIndex, TaskId, task_id
from damselfly.engine.messages import (
    Acknowledged,
    Code,
    LeaveTask,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Register,
    Registered,
    Reply,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    Request,
    TaskCompleted,
)
from damselfly.engine.piece import MIB, Digest, DigestForm, PieceLayout
from damselfly.engine.supernode import SupernodeEngine

from ..driven import Driven, one, only

URL = "http://origin/file"
TASK = task_id(URL)
SIZE = MIB
CONTENT = SIZE - 5


def digest(piece: int) -> Digest:
    return Digest(f"sha256:{piece:064x}")


def wish(peer: str, **changes: object) -> Register:
    values: dict[str, object] = {
        "raw_url": URL,
        "task_url": URL,
        "peer": PeerId(peer),
        "ip": f"10.0.0.{len(peer)}",
        "host_name": "host",
        "port": 20000,
        "path": f"/peer/file/{peer}",
        "node_host": "sn",
        "digest_form": DigestForm.SHA256,
    }
    return Register(**{**values, **changes})  # pyright: ignore[reportArgumentType]


class Supernode(Driven[SupernodeEvent, SupernodeEffect]):
    """An engine with an origin and peers to play."""

    def __init__(self, **config: object) -> None:
        made = SupernodeConfig(**config)  # pyright: ignore[reportArgumentType]
        self.supernode = SupernodeEngine(made, Random(3))
        super().__init__(self.supernode)
        self.answers: dict[int, Reply] = {}
        self.reads: list[ReadOrigin] = []
        self._exchange = 0

    def at(self, now: float, *events: SupernodeEvent) -> list[SupernodeEffect]:
        effects = super().at(now, *events)
        for effect in effects:
            if isinstance(effect, Answer):
                assert effect.exchange not in self.answers, "answered twice"
                self.answers[effect.exchange] = effect.reply
            if isinstance(effect, ReadOrigin):
                self.reads.append(effect)
        return effects

    def ask(self, now: float, request: Request) -> int:
        self._exchange += 1
        self.at(now, Requested(ExchangeId(self._exchange), request))
        return self._exchange

    def asked(self, now: float, request: Request) -> Reply:
        return self.answers[self.ask(now, request)]

    def join(self, now: float, peer: str, **changes: object) -> Reply:
        return self.asked(now, wish(peer, **changes))

    def pull(
        self,
        now: float,
        peer: str,
        piece: int | None = None,
        result: PullResult = PullResult.INVALID,
        parent: str = "",
        status: PullStatus = PullStatus.RUNNING,
    ) -> int:
        at = PieceIndex(piece) if piece is not None else None
        return self.ask(
            now, PullPieces(TASK, PeerId(peer), status, result, PeerId(parent), at, SIZE)
        )

    def offers(self, exchange: int) -> tuple[PieceOffer, ...]:
        reply = self.answers[exchange]
        assert isinstance(reply, PiecesOffered), reply
        return reply.offers

    def report(self, now: float, peer: str, piece: int, **changes: object) -> Reply:
        said = ReportPiece(TASK, PeerId(peer), PeerId(""), PieceIndex(piece), SIZE, **changes)  # pyright: ignore[reportArgumentType]
        return self.asked(now, said)

    def open_origin(self, now: float, pieces: int, *, ranged: bool = True) -> FetchId:
        """The origin answers the latest read with the head of a file of so many full pieces."""
        fetch = self.reads[-1].fetch
        self.at(now, OriginOpened(fetch, pieces * CONTENT, SIZE, ranged, '"v1"'))
        return fetch

    def bring(self, now: float, *pieces: int) -> None:
        fetch = self.reads[-1].fetch
        for piece in pieces:
            self.at(now, OriginPieceStored(fetch, PieceIndex(piece), CONTENT, digest(piece)))

    def warm(self, pieces: int, *peers: str) -> None:
        """Have the whole file and these peers registered, at time 0."""
        first, *rest = peers
        joining = self.ask(0.0, wish(first))
        fetch = self.open_origin(0.0, pieces)
        assert isinstance(self.answers[joining], Registered)
        self.bring(0.0, *range(pieces))
        self.at(0.0, OriginEnded(fetch, pieces * CONTENT))
        for peer in rest:
            assert isinstance(self.join(0.0, peer), Registered)


# --- registration ---------------------------------------------------------------------------------


def test_a_registration_waits_for_the_origin() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a"))
    assert exchange not in node.answers
    assert [read.url for read in node.reads] == [URL]
    node.open_origin(0.5, 3)
    reply = node.answers[exchange]
    assert reply == Registered(
        TASK, 3 * CONTENT, SIZE, digest_form=DigestForm.SHA256, validator='"v1"'
    )
    assert len(node.reads) == 1


def test_one_origin_read_for_all() -> None:
    node = Supernode()
    exchanges = [node.ask(0.0, wish(name)) for name in ("a", "b", "c")]
    node.open_origin(0.1, 1)
    assert all(isinstance(node.answers[exchange], Registered) for exchange in exchanges)
    assert isinstance(node.join(1.0, "d"), Registered)
    assert len(node.reads) == 1


def test_a_slow_origin_makes_peers_ask_again() -> None:
    node = Supernode(register_hold_s=4.0)
    exchange = node.ask(0.0, wish("a"))
    node.at(3.9)
    assert exchange not in node.answers
    node.at(4.0)
    reply = node.answers[exchange]
    assert isinstance(reply, Refused)
    assert reply.code is Code.WAIT_AUTH
    again = node.ask(5.0, wish("a"))
    node.open_origin(5.5, 1)
    assert isinstance(node.answers[again], Registered)


def test_a_peer_that_hangs_up_while_registering_is_forgotten() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a"))
    node.at(0.1, Dropped(ExchangeId(exchange)))
    node.open_origin(0.2, 1)
    assert exchange not in node.answers
    assert node.supernode.peers == 0


@pytest.mark.parametrize(
    ("status", "dfdaemon", "code"),
    [
        (404, False, Code.URL_UNREACHABLE),
        (401, False, Code.URL_UNREACHABLE),
        (401, True, Code.NEED_AUTH),
    ],
)
def test_an_origin_that_refuses(status: int, dfdaemon: bool, code: Code) -> None:
    node = Supernode(fail_access_s=180.0)
    exchange = node.ask(0.0, wish("a", dfdaemon=dfdaemon))
    failed = OriginFailed(node.reads[0].fetch, OriginFailure.STATUS, "GET: no", status)
    node.at(0.1, failed)
    reply = node.answers[exchange]
    assert isinstance(reply, Refused)
    assert reply.code is code
    assert "GET: no" in reply.message
    assert isinstance(node.join(179.0, "b"), Refused), "the failure is remembered"
    assert len(node.reads) == 1
    node.ask(181.0, wish("c"))
    assert len(node.reads) == 2


def test_an_unreachable_origin_is_tried_twice_and_remembered_briefly() -> None:
    node = Supernode(origin_backoff_s=0.5)
    exchange = node.ask(0.0, wish("a"))
    gone = OriginFailure.UNREACHABLE
    node.at(0.0, OriginFailed(node.reads[0].fetch, gone, "no route"))
    assert exchange not in node.answers
    node.at(0.5)
    assert len(node.reads) == 2
    node.at(0.6, OriginFailed(node.reads[1].fetch, gone, "no route"))
    assert isinstance(node.answers[exchange], Refused)
    node.ask(9.0, wish("a"))
    assert len(node.reads) == 2
    node.ask(11.0, wish("a"))
    assert len(node.reads) == 3


def test_the_same_id_for_other_content_is_a_conflict() -> None:
    node = Supernode()
    node.ask(0.0, wish("a", md5="ff"))
    node.open_origin(0.0, 1)
    reply = node.join(0.1, "b", identifier="ff")
    assert isinstance(reply, Refused)
    assert reply.code is Code.TASK_CONFLICT


def test_a_content_that_is_not_the_md5_asked_for() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a", md5="AB"))
    fetch = node.open_origin(0.0, 1)
    assert node.reads[0].wants_md5
    assert isinstance(node.answers[exchange], Registered)
    node.bring(0.1, 0)
    node.at(0.1, OriginEnded(fetch, CONTENT, "cd"))
    reply = node.join(0.2, "b", md5="AB")
    assert isinstance(reply, Refused)
    assert "cd" in reply.message


# --- pulls ----------------------------------------------------------------------------------------


def test_a_pull_is_held_until_there_is_work() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 2)
    exchange = node.pull(0.1, "a", status=PullStatus.START)
    assert exchange not in node.answers
    node.bring(0.5, 0)
    (offer,) = node.offers(exchange)
    assert (offer.piece, offer.host, offer.port) == (0, "sn", 8001)
    assert offer.path == f"/download/{TASK[:3]}/{TASK}"
    assert offer.digest == digest(0)
    assert offer.md5 == ""


def test_a_hold_ends_in_time_for_the_client() -> None:
    node = Supernode(hold_s=2.0)
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 2)
    exchange = node.pull(0.0, "a", status=PullStatus.START)
    node.at(1.99)
    assert exchange not in node.answers
    node.at(2.0)
    assert node.answers[exchange] == Refused(Code.PEER_WAIT, "peer should wait")


def test_a_peer_with_pieces_under_way_is_told_of_them_again() -> None:
    node = Supernode(hold_s=2.0)
    node.warm(2, "a")
    first = node.pull(0.0, "a", status=PullStatus.START)
    assert {offer.piece for offer in node.offers(first)} == {0, 1}
    second = node.pull(0.1, "a")
    assert second not in node.answers
    node.at(2.1)
    assert node.offers(second) == node.offers(first)
    started_again = node.pull(2.2, "a", status=PullStatus.START)
    assert node.offers(started_again) == node.offers(first)


def test_a_second_pull_answers_the_first() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 1)
    first = node.pull(0.0, "a", status=PullStatus.START)
    second = node.pull(0.1, "a")
    assert isinstance(node.answers[first], Refused)
    assert second not in node.answers


def test_peers_serve_each_other_and_complete() -> None:
    node = Supernode(rare_copies=0)
    node.warm(2, "a", "bb")
    for offer in node.offers(node.pull(0.0, "a", status=PullStatus.START)):
        assert node.report(1.0, "a", offer.piece) == Acknowledged(Code.REPORT_OK)
    done = node.pull(1.1, "a")
    assert node.answers[done] == TaskCompleted("", PieceLayout(2 * CONTENT, SIZE).wrapped_length)
    offers = node.offers(node.pull(1.2, "bb", status=PullStatus.START))
    assert {(offer.parent, offer.host, offer.port, offer.path) for offer in offers} == {
        ("a", "10.0.0.1", 20000, "/peer/file/a")
    }


def test_semi_success_frees_the_slot_but_makes_no_parent() -> None:
    node = Supernode(rare_copies=0)
    node.warm(1, "a", "bb")
    node.pull(0.0, "a", status=PullStatus.START)
    exchange = node.pull(1.0, "a", 0, PullResult.SEMI_SUCCESS)
    assert isinstance(node.answers[exchange], TaskCompleted)
    (offer,) = node.offers(node.pull(1.1, "bb", status=PullStatus.START))
    assert offer.host == "sn"
    assert node.report(1.2, "a", 0) == Acknowledged(Code.REPORT_OK)


def test_a_held_pull_of_a_waiting_peer_is_answered_by_anothers_report() -> None:
    node = Supernode(rare_copies=0)
    node.warm(1, "a", "bb")
    node.pull(0.0, "a", status=PullStatus.START)
    waiting = node.pull(0.1, "bb", status=PullStatus.START)
    assert waiting not in node.answers
    node.report(0.2, "a", 0)
    assert node.offers(waiting)[0].parent == "a"


def test_a_failed_piece_comes_from_elsewhere() -> None:
    node = Supernode(rare_copies=0)
    node.warm(1, "a", "bb")
    node.report(0.0, "a", 0)
    (offer,) = node.offers(node.pull(0.1, "bb", status=PullStatus.START))
    assert offer.parent == "a"
    stale = node.pull(0.2, "bb", 0, PullResult.FAILED, parent="somebody else")
    assert stale not in node.answers
    (offer,) = node.offers(node.pull(0.3, "bb", 0, PullResult.FAILED, parent="a"))
    assert offer.host == "sn"
    again = node.pull(0.4, "bb", 0, PullResult.INVALID)
    assert again not in node.answers


def test_a_parent_that_fails_many_is_banned() -> None:
    node = Supernode(ban_after=2, rare_copies=9)
    node.warm(1, "a", "bb", "ccc", "dddd")
    node.report(0.0, "a", 0)
    for name in ("bb", "ccc"):
        exchange = node.pull(0.1, name, status=PullStatus.START)
        assert node.offers(exchange)[0].parent == "a"
    node.pull(0.2, "bb", 0, PullResult.FAILED)
    effects = node.at(
        0.3,
        Requested(
            ExchangeId(99),
            PullPieces(
                *(TASK, PeerId("ccc"), PullStatus.RUNNING, PullResult.FAILED),
                piece=PieceIndex(0),
                piece_size=SIZE,
            ),
        ),
    )
    assert one(Ban, effects).peer == "a"
    (offer,) = node.offers(node.pull(0.4, "dddd", status=PullStatus.START))
    assert offer.host == "sn"


def test_a_good_delivery_clears_a_parent() -> None:
    node = Supernode(ban_after=2, rare_copies=0)
    node.warm(2, "a", "bb", "ccc", "dddd")
    node.report(0.0, "a", 0)
    for name, result in (
        ("bb", PullResult.FAILED),
        ("ccc", PullResult.SEMI_SUCCESS),
        ("dddd", PullResult.FAILED),
    ):
        offers = node.offers(node.pull(0.1, name, status=PullStatus.START))
        assert "a" in {offer.parent for offer in offers if offer.piece == 0}
        node.pull(0.2, name, 0, result, parent="a")
    assert not [reply for reply in node.answers.values() if isinstance(reply, Refused)]


def test_a_corrupt_piece_is_not_offered_again_from_there() -> None:
    node = Supernode(rare_copies=9)
    node.warm(2, "a", "bb", "ccc")
    node.report(0.0, "a", 0)
    node.pull(0.1, "bb", status=PullStatus.START)
    accusation = ReportPieceError(
        TASK, PeerId("bb"), PeerId("a"), "FILE_MD5_NOT_MATCH", piece=PieceIndex(0)
    )
    assert node.asked(0.2, accusation) == Acknowledged()
    offers = node.offers(node.pull(0.3, "ccc", status=PullStatus.START))
    assert "a" not in {offer.parent for offer in offers}


@pytest.mark.parametrize(
    "accusation",
    [
        ReportPieceError(TaskId("0" * 64), PeerId("a"), PeerId("bb"), "FILE_NOT_EXIST"),
        ReportPieceError(TASK, PeerId("a"), PeerId("a"), "FILE_NOT_EXIST"),
        ReportPieceError(TASK, PeerId("a"), PeerId("nobody"), "FILE_NOT_EXIST"),
        ReportPieceError(TASK, PeerId("nobody"), PeerId("a"), "FILE_NOT_EXIST"),
    ],
)
def test_accusations_without_ground_are_taken_and_forgotten(accusation: ReportPieceError) -> None:
    node = Supernode()
    node.warm(1, "a", "bb")
    assert node.asked(0.1, accusation) == Acknowledged()


def test_strangers_are_told_to_register() -> None:
    node = Supernode()
    for exchange in (node.pull(0.0, "a"), node.ask(0.0, _report("a"))):
        reply = node.answers[exchange]
        assert isinstance(reply, Refused)
        assert reply.code is Code.TARGET_NOT_FOUND
    node.warm(1, "a")
    for exchange in (node.pull(0.0, "x"), node.ask(0.0, _report("x"))):
        reply = node.answers[exchange]
        assert isinstance(reply, Refused)
        assert reply.code is Code.TARGET_NOT_FOUND


def _report(peer: str) -> ReportPiece:
    return ReportPiece(TASK, PeerId(peer), PeerId(""), PieceIndex(0), SIZE)


def test_other_calls_are_acknowledged() -> None:
    node = Supernode()
    assert node.asked(0.0, LeaveTask(TASK, PeerId("a"))) == Acknowledged(Code.LEAVE_OK)
    metrics = ReportMetrics(TASK, PeerId("a"), "10.0.0.1", 0, True, 1.0, 1)
    assert node.asked(0.0, metrics) == Acknowledged()
    node.warm(1, "a")
    finished = node.pull(0.0, "a", status=PullStatus.FINISHED)
    assert isinstance(node.answers[finished], TaskCompleted)


def test_finished_is_answered_even_while_the_length_is_unknown() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    node.at(0.0, OriginOpened(node.reads[0].fetch, -1, SIZE, False, ""))
    reply = node.answers[node.pull(0.1, "a", status=PullStatus.FINISHED)]
    assert reply == TaskCompleted("", 0)


# --- reports with digests -------------------------------------------------------------------------


def test_pieces_brought_from_elsewhere_are_compared() -> None:
    node = Supernode()
    node.warm(2, "a")
    assert node.report(0.1, "a", 0, digest=digest(0)) == Acknowledged(Code.REPORT_OK)
    reply = node.report(0.1, "a", 1, digest=digest(9))
    assert isinstance(reply, Refused)
    assert reply.code is Code.BAD_PARAMETER
    (offer,) = node.offers(node.pull(0.2, "a", status=PullStatus.START))
    assert offer.piece == 1


@pytest.mark.parametrize(("piece", "size"), [(0, 4 * MIB), (2, SIZE)])
def test_pieces_that_cannot_be_of_this_file_are_refused(piece: int, size: int) -> None:
    node = Supernode()
    node.warm(2, "a", "bb")
    reply = node.asked(0.1, ReportPiece(TASK, PeerId("a"), PeerId(""), PieceIndex(piece), size))
    assert isinstance(reply, Refused)
    assert reply.code is Code.BAD_PARAMETER
    under_way = node.offers(node.pull(0.2, "a", status=PullStatus.START))
    assert len(under_way) == 2
    pull = PullPieces(
        *(TASK, PeerId("a"), PullStatus.RUNNING, PullResult.SEMI_SUCCESS, PeerId("")),
        *(PieceIndex(0), 4 * MIB),
    )
    held = node.ask(0.3, pull)
    node.at(2.3)
    assert node.offers(held) == under_way


def test_a_report_of_what_the_supernode_has_not_read_yet_makes_no_parent() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 2)
    assert node.report(0.1, "a", 1, digest=digest(1)) == Acknowledged(Code.REPORT_OK)
    exchange = node.pull(0.2, "a", status=PullStatus.START)
    node.bring(0.3, 0, 1)
    assert 1 in {offer.piece for offer in node.offers(exchange)} or node.pull(0.4, "a")


# --- MD5 for v1 peers -----------------------------------------------------------------------------


def test_v1_peers_get_a_piece_once_its_md5_is_known() -> None:
    node = Supernode()
    node.warm(1, "a")
    effects = node.at(
        0.1, Requested(ExchangeId(50), wish("old", digest_form=DigestForm.MD5_WRAPPED))
    )
    assert one(HashPiece, effects) == HashPiece(TASK, PieceIndex(0), SIZE)
    exchange = node.pull(0.2, "old", status=PullStatus.START)
    assert exchange not in node.answers
    node.at(0.3, PieceHashed(TASK, PieceIndex(0), "ab" * 16))
    (offer,) = node.offers(exchange)
    assert offer.md5 == f"{'ab' * 16}:{SIZE}"
    assert offer.sha256 == ""
    assert node.report(0.4, "old", 0, digest=Digest(f"md5:{'ab' * 16}")) == Acknowledged(
        Code.REPORT_OK
    )
    node.at(0.5, PieceHashed(TaskId("0" * 64), PieceIndex(0), "ab"))


def test_new_pieces_are_hashed_for_v1_peers_as_they_come() -> None:
    node = Supernode()
    node.ask(0.0, wish("old", digest_form=DigestForm.MD5_WRAPPED))
    fetch = node.open_origin(0.0, 2)
    effects = node.at(0.1, OriginPieceStored(fetch, PieceIndex(0), CONTENT, digest(0)))
    assert one(HashPiece, effects).piece == 0


# --- the origin -----------------------------------------------------------------------------------


def test_a_broken_read_is_resumed_behind_the_last_piece() -> None:
    node = Supernode(origin_backoff_s=0.5)
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 3)
    node.bring(0.1, 0, 1)
    node.at(0.2, OriginFailed(fetch, OriginFailure.SHORT, "cut off"))
    node.until_due()
    assert len(node.reads) == 2
    resumed = node.reads[1]
    assert resumed.first_byte == 2 * CONTENT
    assert resumed.validator == '"v1"'
    assert resumed.piece_size == SIZE
    node.open_origin(1.0, 3)
    node.bring(1.1, 2)
    node.at(1.1, OriginEnded(resumed.fetch, 3 * CONTENT))
    assert len(node.offers(node.pull(1.2, "a", status=PullStatus.START))) == 2


def test_a_damaged_copy_is_no_fault_of_the_origin() -> None:
    node = Supernode(origin_retries=0)
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 3)
    node.bring(0.1, 0)
    node.at(0.2, OriginFailed(fetch, OriginFailure.COPY_DAMAGED, "piece 1"))
    assert [read.first_byte for read in node.reads] == [0, CONTENT], "at once"
    node.open_origin(0.3, 3)
    node.bring(0.3, 1, 2)
    node.at(0.3, OriginEnded(node.reads[1].fetch, 3 * CONTENT))
    assert len(node.offers(node.pull(0.4, "a", status=PullStatus.START))) == 2


def test_late_events_of_a_read_given_up_are_ignored() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    old = node.open_origin(0.0, 2)
    node.at(0.1, OriginFailed(old, OriginFailure.STALLED, "no bytes"))
    assert node.at(0.2, OriginPieceStored(old, PieceIndex(0), CONTENT, digest(0))) == []


def test_an_origin_without_ranges_is_read_again_and_compared() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 2, ranged=False)
    node.bring(0.1, 0)
    node.at(0.2, OriginFailed(fetch, OriginFailure.SHORT, "cut off"))
    node.until_due()
    assert node.reads[1].first_byte == 0
    assert node.reads[1].validator == ""
    node.open_origin(1.0, 2, ranged=False)
    node.bring(1.1, 0, 1)
    node.at(1.2, OriginEnded(node.reads[1].fetch, 2 * CONTENT))
    assert len(node.offers(node.pull(1.3, "a", status=PullStatus.START))) == 2


@pytest.mark.parametrize("change", ["piece", "length"])
def test_content_that_changes_between_reads_fails_the_task(change: str) -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 2, ranged=False)
    node.bring(0.1, 0)
    held = node.pull(0.1, "a", status=PullStatus.START)
    node.at(0.2, OriginFailed(fetch, OriginFailure.SHORT, "cut off"))
    node.until_due()
    again = node.reads[1].fetch
    if change == "length":
        effects = node.at(1.0, OriginOpened(again, 5, SIZE, False, ""))
    else:
        node.open_origin(1.0, 2, ranged=False)
        effects = node.at(1.0, OriginPieceStored(again, PieceIndex(0), CONTENT, digest(8)))
    assert one(CancelFetch, effects).fetch == again
    assert isinstance(node.answers[held], PiecesOffered)
    refusal = node.answers[node.pull(1.1, "a")]
    assert isinstance(refusal, Refused)
    assert refusal.code is Code.CDN_FAILED


def test_held_pulls_hear_of_a_failed_copy() -> None:
    node = Supernode(origin_retries=0)
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 2)
    held = node.pull(0.1, "a", status=PullStatus.START)
    node.at(0.2, OriginFailed(fetch, OriginFailure.STORE_FAILED, "disk broken"))
    reply = node.answers[held]
    assert isinstance(reply, Refused)
    assert "disk broken" in reply.message


def test_peers_finish_although_the_copy_failed_when_they_have_all() -> None:
    node = Supernode(origin_retries=0)
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 1)
    node.bring(0.1, 0)
    node.pull(0.1, "a", status=PullStatus.START)
    node.report(0.2, "a", 0)
    node.at(0.3, OriginFailed(fetch, OriginFailure.SHORT, "cut off"))
    assert isinstance(node.answers[node.pull(0.4, "a")], TaskCompleted)


def test_an_unknown_length_is_learnt_at_the_end() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a"))
    fetch = node.reads[0].fetch
    node.at(0.0, OriginOpened(fetch, -1, SIZE, False, ""))
    registered = node.answers[exchange]
    assert isinstance(registered, Registered)
    assert registered.length == -1
    node.bring(0.1, 0)
    node.pull(0.1, "a", status=PullStatus.START)
    node.report(0.2, "a", 0)
    held = node.pull(0.2, "a")
    assert held not in node.answers
    node.at(0.3, OriginEnded(fetch, CONTENT))
    assert isinstance(node.answers[held], TaskCompleted)


# --- life and death -------------------------------------------------------------------------------


def test_a_silent_peer_loses_its_pieces_to_others() -> None:
    node = Supernode(peer_silence_s=15.0, rare_copies=0, hold_s=2.0)
    node.warm(1, "a", "bb")
    node.pull(0.0, "a", status=PullStatus.START)
    node.at(14.0)
    waiting = node.pull(14.5, "bb")
    node.at(14.9)
    assert waiting not in node.answers
    node.at(16.1)
    assert node.offers(waiting)[0].host == "sn"


def test_silent_peers_that_serve_nobody_are_forgotten() -> None:
    node = Supernode(peer_gc_delay_s=5.0, gc_initial_delay_s=0.0, gc_meta_interval_s=1.0)
    node.warm(1, "a")
    node.join(0.0, "mute", port=0)
    assert node.supernode.peers == 2
    for _ in range(7):
        node.until_due()
    assert node.supernode.peers == 1
    node.join(7.0, "next", port=0)
    node.report(7.0, "next", 0)


def test_a_leaving_peer_server_is_no_parent_any_more() -> None:
    node = Supernode(rare_copies=0)
    node.warm(1, "a", "bb")
    node.report(0.0, "a", 0)
    assert node.asked(0.1, LeaveTask(TASK, PeerId("a"))) == Acknowledged(Code.LEAVE_OK)
    assert node.asked(0.1, LeaveTask(TASK, PeerId("a"))) == Acknowledged(Code.LEAVE_OK)
    assert node.offers(node.pull(0.2, "bb", status=PullStatus.START))[0].host == "sn"


def test_registering_again_starts_over() -> None:
    node = Supernode(rare_copies=0)
    node.warm(2, "a", "bb")
    node.report(0.0, "a", 0)
    node.pull(0.1, "bb", status=PullStatus.START)
    held = node.pull(0.2, "a", status=PullStatus.START)
    again = node.pull(0.2, "a")
    assert isinstance(node.join(0.3, "a"), Registered)
    assert held in node.answers
    assert again in node.answers
    assert len(node.offers(node.pull(0.4, "a", status=PullStatus.START))) > 0


def test_an_idle_task_is_forgotten_and_the_engine_sleeps() -> None:
    node = Supernode(task_expire_s=60.0, peer_silence_s=5.0)
    node.warm(1, "a")
    effects: list[SupernodeEffect] = []
    while node.engine.deadline() < 1000:
        effects += node.until_due()
    assert only(ForgetTask, effects) == [ForgetTask(TASK)]
    assert node.supernode.tasks == ()
    assert node.engine.deadline() == float("inf")


def test_a_task_being_read_is_not_forgotten() -> None:
    node = Supernode(task_expire_s=10.0)
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 1)
    for _ in range(30):
        assert not only(ForgetTask, node.until_due())


def test_a_hung_up_pull_is_not_answered() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 1)
    exchange = node.pull(0.1, "a", status=PullStatus.START)
    node.at(0.2, Dropped(ExchangeId(exchange)))
    node.bring(0.3, 0)
    node.at(5.0)
    assert exchange not in node.answers
    node.at(5.0, Dropped(ExchangeId(12345)))


def test_what_a_dying_peer_was_fetching_goes_to_others() -> None:
    node = Supernode(rare_copies=0)
    node.warm(1, "a", "bb")
    node.pull(0.0, "a", status=PullStatus.START)
    held = node.pull(0.1, "a")
    waiting = node.pull(0.1, "bb", status=PullStatus.START)
    assert waiting not in node.answers
    node.at(0.2, Dropped(ExchangeId(held)))
    assert node.offers(waiting)[0].host == "sn"
    assert node.report(0.3, "a", 0) == Acknowledged(Code.REPORT_OK), "it lived after all"


def test_pieces_on_their_way_to_the_dead_are_no_dead_end() -> None:
    node = Supernode(rare_copies=0, hold_s=2.0)
    node.warm(1, "a", "bb")
    node.pull(0.0, "a", status=PullStatus.START)
    waiting = node.pull(0.0, "bb", status=PullStatus.START)
    node.at(1.9)
    assert waiting not in node.answers
    node.at(2.0)
    assert node.offers(waiting)[0].host == "sn"


def test_a_task_that_failed_is_dropped_when_asked_for_again() -> None:
    node = Supernode(origin_retries=0)
    node.ask(0.0, wish("a"))
    node.at(0.0, OriginFailed(node.reads[0].fetch, OriginFailure.SHORT, "cut off"))
    exchange = node.ask(11.0, wish("a"))
    assert len(node.reads) == 2
    node.open_origin(11.5, 1)
    assert isinstance(node.answers[exchange], Registered)


@pytest.mark.parametrize(
    ("name", "value"),
    [("up_slots", 0), ("rare_copies", -1), ("hold_s", 0.0), ("fail_access_s", float("nan"))],
)
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SupernodeConfig(**{name: value})  # pyright: ignore[reportArgumentType]
