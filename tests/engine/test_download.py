"""A download engine, told what supernodes, parents and the disk do."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.config import DownloadConfig
from damselfly.engine.download import LIFE, DownloadEngine, Phase, Trigger
from damselfly.engine.effects import (
    CancelFetch,
    DownloadEffect,
    DropPiece,
    FetchPiece,
    Finish,
    KeepPiece,
    LayOut,
    Publish,
    ReadOrigin,
    Send,
    Tell,
)
from damselfly.engine.errors import ConfigError, LocalProtocolError
from damselfly.engine.events import (
    DownloadEvent,
    ExchangeFailed,
    FetchFailure,
    HeldPiece,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    PieceFailed,
    PieceFetched,
    Published,
    PublishFailed,
    Replied,
    Started,
    Wanted,
)
from damselfly.engine.ids import ExchangeId, NodeAddress, PeerId, PieceIndex, task_id
from damselfly.engine.messages import (
    Acknowledged,
    Code,
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
from damselfly.engine.outcomes import BackSourceReason, FailCode, Milestone
from damselfly.engine.piece import MIB, Digest, DigestForm, PieceLayout

from ..driven import Driven, one, only

URL = "http://origin/file"
TASK = task_id(URL)
SIZE = MIB
CONTENT = SIZE - 5
NODE, SPARE = NodeAddress("sn1"), NodeAddress("sn2")


def digest(piece: int) -> Digest:
    return Digest(f"sha256:{piece:064x}")


def offer(piece: int, parent: str = "parent", **changes: object) -> PieceOffer:
    values: dict[str, object] = {
        "piece": PieceIndex(piece),
        "parent": PeerId(parent),
        "host": "10.0.0.9",
        "port": 20000,
        "path": "/peer/file/x",
        "piece_size": SIZE,
        "sha256": f"{piece:064x}",
    }
    return PieceOffer(**{**values, **changes})  # pyright: ignore[reportArgumentType]


class Download(Driven[DownloadEvent, DownloadEffect]):
    """An engine with everything around it to play."""

    def __init__(self, *nodes: NodeAddress, **config: object) -> None:
        values: dict[str, object] = {
            "url": URL,
            "task_url": URL,
            "peer": PeerId("me"),
            "nodes": nodes,
            "port": 20001,
            "path": "/peer/file/me",
        }
        made = DownloadConfig(**{**values, **config})  # pyright: ignore[reportArgumentType]
        self.download = DownloadEngine(made, Random(5))
        super().__init__(self.download)
        self.open: dict[ExchangeId, Send] = {}
        self.fetches: dict[int, FetchPiece] = {}

    def at(self, now: float, *events: DownloadEvent) -> list[DownloadEffect]:
        effects = super().at(now, *events)
        for effect in effects:
            if isinstance(effect, Send):
                self.open[effect.exchange] = effect
            if isinstance(effect, FetchPiece):
                self.fetches[effect.offer.piece] = effect
        return effects

    def asked(self, kind: type[Request]) -> list[Send]:
        """Return the unanswered requests of one kind."""
        return [send for send in self.open.values() if isinstance(send.request, kind)]

    def reply(self, now: float, kind: type[Request], reply: Reply) -> list[DownloadEffect]:
        """Answer the oldest unanswered request of one kind."""
        send = self.asked(kind)[0]
        del self.open[send.exchange]
        return self.at(now, Replied(send.exchange, reply))

    def fail(self, now: float, kind: type[Request]) -> list[DownloadEffect]:
        send = self.asked(kind)[0]
        del self.open[send.exchange]
        return self.at(now, ExchangeFailed(send.exchange, "connection refused"))

    def join(self, pieces: int = 3, **changes: object) -> list[DownloadEffect]:
        """Start, and be registered for a file of so many full pieces."""
        if self.download.phase is Phase.STARTING:
            self.at(0.0, Started())
        return self.reply(self.now, Register, registered(pieces, **changes))

    def offered(self, now: float, *offers: PieceOffer) -> list[DownloadEffect]:
        return self.reply(now, PullPieces, PiecesOffered(offers))

    def fetched(self, now: float, piece: int, **changes: object) -> list[DownloadEffect]:
        values: dict[str, object] = {"size": CONTENT, "digest": digest(piece), **changes}
        fetch = self.fetches.pop(piece).fetch
        return self.at(now, PieceFetched(fetch, **values))  # pyright: ignore[reportArgumentType]

    def failed(self, now: float, piece: int, failure: FetchFailure) -> list[DownloadEffect]:
        return self.at(now, PieceFailed(self.fetches.pop(piece).fetch, failure, "it broke"))

    def measured(self, now: float) -> list[DownloadEffect]:
        """Take the report on how it went, as the supernode does."""
        return self.reply(now, ReportMetrics, Acknowledged())

    def last_pull(self) -> PullPieces:
        request = self.asked(PullPieces)[-1].request
        assert isinstance(request, PullPieces)
        return request


def registered(pieces: int, **changes: object) -> Registered:
    values: dict[str, object] = {
        "task": TASK,
        "length": pieces * CONTENT if pieces >= 0 else -1,
        "piece_size": SIZE,
        "digest_form": DigestForm.SHA256,
    }
    return Registered(**{**values, **changes})  # pyright: ignore[reportArgumentType]


# --- the table ------------------------------------------------------------------------------------


def test_every_phase_has_its_row_and_the_end_has_no_way_out() -> None:
    assert set(LIFE) == set(Phase)
    assert LIFE[Phase.DONE] == {}
    reached = {Phase.STARTING}
    for _ in Phase:
        reached |= {after for phase in reached for after in LIFE[phase].values()}
    assert reached == set(Phase)
    assert {trigger for row in LIFE.values() for trigger in row} == set(Trigger)


# --- the way it should go -------------------------------------------------------------------------


def test_a_whole_download() -> None:
    it = Download(NODE)
    (send,) = only(Send, it.at(0.0, Started()))
    assert send.node == NODE
    assert isinstance(send.request, Register)
    assert send.request.digest_form is DigestForm.SHA256
    effects = it.join(2)
    assert one(LayOut, effects) == LayOut(TASK, 2 * CONTENT, SIZE, "", keep=False)
    assert one(Tell, effects).milestone is Milestone.CONNECTED
    assert it.download.node == NODE
    first = it.last_pull()
    assert (first.status, first.result, first.piece) == (PullStatus.START, PullResult.INVALID, None)
    effects = it.offered(0.1, offer(0), offer(1))
    assert [fetch.offer.piece for fetch in only(FetchPiece, effects)] == [0, 1]
    assert it.last_pull().status is PullStatus.RUNNING, "one pull is always outstanding"
    effects = it.fetched(1.0, 0)
    assert one(KeepPiece, effects) == KeepPiece(PieceIndex(0), CONTENT, digest(0))
    assert isinstance(one(Send, effects).request, ReportPiece)
    effects = it.fetched(1.1, 1)
    assert one(Publish, effects) == Publish(2 * CONTENT, "")
    assert it.download.held_bytes == 2 * CONTENT
    metrics = one(Send, it.at(1.2, Published())).request
    assert isinstance(metrics, ReportMetrics)
    assert (metrics.success, metrics.duration_s, metrics.length) == (True, 1.2, 2 * CONTENT)
    assert it.measured(1.25) == []
    it.reply(1.3, ReportPiece, Acknowledged(Code.REPORT_OK))
    (finish,) = it.reply(1.4, ReportPiece, Acknowledged(Code.REPORT_OK))
    assert finish == Finish(FailCode.SUCCESS, 0, "", 2 * CONTENT)
    assert it.download.finished
    assert it.engine.deadline() == float("inf")


def test_the_last_reports_are_not_waited_for_in_vain() -> None:
    it = Download(NODE, exchange_timeout_s=5.0)
    it.join(1)
    it.offered(0.1, offer(0))
    it.fetched(1.0, 0)
    it.at(1.0, Published())
    assert one(Finish, it.at(6.0)).code is FailCode.SUCCESS


def test_a_v1_supernode_vouches_for_the_file_at_the_end() -> None:
    it = Download(NODE)
    it.join(1, digest_form=DigestForm.MD5_WRAPPED)
    md5 = "ab" * 16
    it.offered(0.1, offer(0, sha256="", md5=f"{md5}:{SIZE}"))
    effects = it.fetched(1.0, 0, digest=Digest(f"md5:{md5}"))
    assert not only(Publish, effects)
    effects = it.reply(1.1, PullPieces, TaskCompleted("cd" * 16, 2 * SIZE))
    assert one(Publish, effects).md5 == "cd" * 16


def test_an_unknown_length_is_learnt_when_all_is_delivered() -> None:
    it = Download(NODE)
    it.join(-1)
    it.offered(0.1, offer(0), offer(1))
    it.fetched(0.2, 0)
    it.fetched(0.3, 1, size=100)
    length = CONTENT + 100
    effects = it.reply(0.4, PullPieces, TaskCompleted("", PieceLayout(length, SIZE).wrapped_length))
    assert one(LayOut, effects) == LayOut(TASK, length, SIZE, "", keep=True)
    assert one(Publish, effects).length == length


def test_completion_waits_for_pieces_in_flight() -> None:
    it = Download(NODE)
    it.join(-1)
    it.offered(0.1, offer(0))
    assert not only(Publish, it.reply(0.2, PullPieces, TaskCompleted("", SIZE)))
    assert only(Publish, it.fetched(0.3, 0))


# --- waiting --------------------------------------------------------------------------------------


def test_a_supernode_that_holds_no_pulls_is_asked_ever_more_rarely() -> None:
    it = Download(NODE)
    it.join(3)
    pauses: list[float] = []
    for _ in range(7):
        asked_at = it.now
        it.reply(asked_at, PullPieces, Refused(Code.PEER_WAIT))
        assert not it.asked(PullPieces)
        it.until_due()
        pauses.append(it.now - asked_at)
    assert 0.05 <= pauses[0] <= 0.1
    assert all(0.8 <= pause <= 1.6 for pause in pauses[-2:])
    it.reply(it.now + 2.0, PullPieces, Refused(Code.PEER_WAIT))
    assert it.asked(PullPieces), "a pull that was held is followed by the next at once"


def test_other_answers_without_work_are_waits_too() -> None:
    it = Download(NODE)
    it.join(3)
    it.reply(0.1, PullPieces, Acknowledged())
    it.until_due()
    it.reply(it.now, PullPieces, PiecesOffered(()))
    it.until_due()
    assert it.asked(PullPieces)


def test_a_report_that_was_taken_ends_the_pause() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.reply(0.1, PullPieces, Refused(Code.PEER_WAIT))
    it.fetched(0.11, 0)
    assert not it.asked(PullPieces)
    it.reply(0.12, ReportPiece, Acknowledged(Code.REPORT_OK))
    assert it.last_pull().piece == 0
    assert it.last_pull().result is PullResult.SEMI_SUCCESS


def test_no_pull_while_all_slots_are_full() -> None:
    it = Download(NODE, down_slots=1)
    it.join(3)
    it.offered(0.1, offer(0))
    assert not it.asked(PullPieces)
    it.fetched(0.2, 0)
    assert it.asked(PullPieces)


def test_never_more_at_once_than_there_are_slots() -> None:
    it = Download(NODE, down_slots=2)
    it.join(4)
    effects = it.offered(0.1, offer(0), offer(1), offer(2))
    assert [fetch.offer.piece for fetch in only(FetchPiece, effects)] == [0, 1]
    it.fetched(0.2, 0)
    effects = it.offered(0.3, offer(1), offer(2))
    assert [fetch.offer.piece for fetch in only(FetchPiece, effects)] == [2]


def test_pieces_listed_again_are_not_fetched_again() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    assert not only(FetchPiece, it.offered(0.2, offer(0)))
    it.until_due()
    it.fetched(it.now, 0)
    reports = len(it.asked(ReportPiece))
    it.offered(it.now, offer(0))
    assert len(it.asked(ReportPiece)) == reports, "its report is under way"
    it.reply(it.now, ReportPiece, Acknowledged(Code.REPORT_OK))
    it.offered(it.now, offer(0))
    assert len(it.asked(ReportPiece)) == reports, "and is made again when it got lost"


def test_a_piece_that_is_late_is_fetched_from_whom_the_supernode_now_says() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0, "slow"), offer(1))
    first = it.fetches[0].fetch
    effects = it.offered(5.0, offer(0, "quick"), offer(1))
    assert one(CancelFetch, effects).fetch == first
    assert one(FetchPiece, effects).offer.parent == "quick"
    assert not it.at(5.1, PieceFetched(first, CONTENT, digest(0)))
    it.fetched(5.2, 0)
    (report,) = it.asked(ReportPiece)
    assert isinstance(report.request, ReportPiece)
    assert report.request.parent == "quick"


@pytest.mark.parametrize("strange", [offer(0, "quick", piece_size=2 * MIB), offer(0)])
def test_what_is_no_better_offer_leaves_a_fetch_alone(strange: PieceOffer) -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    assert not only(CancelFetch, it.offered(0.2, strange))
    assert it.fetches[0].offer.parent == "parent"


@pytest.mark.parametrize("strange", [offer(3), offer(0, piece_size=2 * MIB)])
def test_offers_that_do_not_fit_the_file_are_ignored(strange: PieceOffer) -> None:
    it = Download(NODE)
    it.join(3)
    assert not only(FetchPiece, it.offered(0.1, strange))


def test_a_v1_supernode_is_only_told_what_it_understands() -> None:
    it = Download(NODE)
    it.join(3, digest_form=DigestForm.MD5_WRAPPED)
    it.reply(0.1, PullPieces, Refused(Code.PEER_WAIT))
    it.until_due()
    assert it.last_pull().status is PullStatus.START, "the same request again"
    it.offered(it.now, offer(0))
    assert not it.asked(PullPieces), "no pull without a piece to name"
    it.fetched(it.now, 0)
    assert (it.last_pull().status, it.last_pull().piece) == (PullStatus.RUNNING, 0)


# --- bad pieces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"digest": digest(9)}, {"size": 7}])
def test_a_wrong_piece_is_reported_and_fetched_elsewhere(bad: dict[str, object]) -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0, "liar"))
    effects = it.fetched(0.2, 0, **bad)
    assert not only(KeepPiece, effects)
    told = one(Tell, effects)
    assert told.milestone is Milestone.PARENT_FAILED
    assert "liar" in told.text
    accusations = [send.request for send in it.asked(ReportPieceError)]
    assert [a.kind for a in accusations if isinstance(a, ReportPieceError)] == [
        "FILE_MD5_NOT_MATCH"
    ]
    failed = it.last_pull()
    assert (failed.result, failed.piece, failed.parent) == (PullResult.FAILED, 0, "liar")
    effects = it.at(0.3, Replied(it.asked(PullPieces)[-1].exchange, PiecesOffered((offer(0),))))
    assert only(FetchPiece, effects)


@pytest.mark.parametrize(
    ("failure", "accused"), [(FetchFailure.UNREACHABLE, False), (FetchFailure.NOT_FOUND, True)]
)
def test_a_parent_that_does_not_deliver(failure: FetchFailure, accused: bool) -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.failed(0.2, 0, failure)
    assert it.last_pull().result is PullResult.FAILED
    assert bool(it.asked(ReportPieceError)) == accused


def test_an_answer_that_crossed_a_failure_report_starts_nothing() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.failed(0.2, 0, FetchFailure.UNREACHABLE)
    assert len(it.asked(PullPieces)) == 2
    assert it.last_pull().result is PullResult.FAILED
    assert not only(FetchPiece, it.offered(0.3, offer(0))), "the older pull's answer"
    assert only(FetchPiece, it.offered(0.4, offer(0, "another"))), "the failed pull's answer"


def test_an_overtaken_answer_does_not_bring_back_a_parent_that_was_left() -> None:
    it = Download(NODE)
    it.join(2)
    it.offered(0.1, offer(0, "a"), offer(1, "b"))
    it.failed(0.2, 0, FetchFailure.SHORT)
    it.offered(0.3, offer(0, "c"), offer(1, "d"))
    assert it.fetches[0].offer.parent == "c"
    assert it.fetches[1].offer.parent == "d"
    assert not only(FetchPiece, it.offered(0.4, offer(0, "a"), offer(1, "b")))
    it.at(1.0)
    (fetch,) = only(FetchPiece, it.offered(1.1, offer(0, "e"), offer(1, "d")))
    assert fetch.offer.parent == "e"


def test_too_many_failures_in_a_row_end_the_swarm_part() -> None:
    it = Download(NODE, piece_failures=2)
    it.join(3)
    told: list[Milestone] = []
    for n in range(3):
        it.offered(float(n), offer(0, f"parent {n}"))
        told += [tell.milestone for tell in only(Tell, it.failed(n, 0, FetchFailure.STALLED))]
    assert told == [Milestone.PARENT_FAILED] * 3 + [Milestone.BACK_TO_SOURCE]


def test_pieces_without_digest_are_taken() -> None:
    it = Download(NODE)
    it.join(1, digest_form=DigestForm.MD5_WRAPPED)
    it.offered(0.1, offer(0, sha256=""))
    assert only(KeepPiece, it.fetched(0.2, 0))


def test_late_outcomes_are_ignored() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    fetch = it.fetches[0].fetch
    it.failed(0.2, 0, FetchFailure.SHORT)
    assert it.at(0.3, PieceFetched(fetch, CONTENT, digest(0))) == []
    assert it.at(0.3, PieceFailed(fetch, FetchFailure.SHORT, "again")) == []
    assert it.at(0.3, Replied(ExchangeId(999), Acknowledged())) == []
    assert it.at(0.3, ExchangeFailed(ExchangeId(999), "late")) == []
    assert it.at(0.3, Published()) == []
    assert it.at(0.3, PublishFailed("late")) == []


# --- our own disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (FetchFailure.STORE_FULL, 1000 + BackSourceReason.NO_SPACE),
        (FetchFailure.STORE_FAILED, 1000 + BackSourceReason.WRITE_FAILED),
    ],
)
def test_a_disk_that_refuses_ends_it(failure: FetchFailure, reason: int) -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0), offer(1))
    effects = it.failed(0.2, 0, failure)
    assert only(CancelFetch, effects)
    metrics = one(Send, effects).request
    assert isinstance(metrics, ReportMetrics)
    assert (metrics.success, metrics.back_source_reason) == (False, str(reason))
    finish = one(Finish, it.measured(0.3))
    assert (finish.code, finish.reason) == (FailCode.DOWNLOAD_FAILED, reason)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (PublishFailed("md5 not match", mismatch=True), 0),
        (PublishFailed("full", no_space=True), 1000 + BackSourceReason.NO_SPACE),
        (PublishFailed("denied"), 1000 + BackSourceReason.WRITE_FAILED),
    ],
)
def test_a_file_that_cannot_be_published(event: PublishFailed, reason: int) -> None:
    it = Download(NODE, md5="ab" * 16)
    it.join(1)
    it.offered(0.1, offer(0))
    assert one(Publish, it.fetched(0.2, 0)).md5 == "ab" * 16
    assert it.asked(ReportMetrics) == []
    it.at(0.3, event)
    finish = one(Finish, it.fail(0.4, ReportMetrics))
    assert (finish.code, finish.reason) == (FailCode.DOWNLOAD_FAILED, reason)
    assert finish.message == event.reason


def test_the_supernode_hears_that_the_whole_is_wrong() -> None:
    it = Download(NODE)
    it.join(1)
    it.offered(0.1, offer(0))
    it.fetched(0.2, 0)
    said = [send.request for send in only(Send, it.at(0.3, PublishFailed("x", mismatch=True)))]
    (report,) = [request for request in said if isinstance(request, ReportPieceError)]
    assert (report.piece, report.kind) == (None, "FILE_MD5_NOT_MATCH")
    assert report.parent.startswith("cdnnode:")


def test_pulls_say_where_the_reader_is() -> None:
    it = Download(NODE)
    it.join(3)
    assert it.last_pull().wanted is None
    it.at(0.1, Wanted(CONTENT + 1))
    it.offered(0.1, offer(0))
    assert it.last_pull().wanted == 1


# --- supernodes that fail -------------------------------------------------------------------------


def test_the_next_supernode_is_tried() -> None:
    it = Download(NODE, SPARE)
    it.at(0.0, Started())
    (send,) = only(Send, it.fail(1.0, Register))
    assert send.node == SPARE
    (send,) = it.asked(Register)
    assert send.node == SPARE


@pytest.mark.parametrize("reply", [Refused(Code.SYSTEM_ERROR, "no"), Acknowledged()])
def test_no_supernode_takes_us_so_back_to_the_source(reply: Reply) -> None:
    it = Download(NODE)
    it.at(0.0, Started())
    effects = it.reply(0.1, Register, reply)
    assert one(Tell, effects).milestone is Milestone.BACK_TO_SOURCE
    assert one(ReadOrigin, effects).url == URL


def test_not_going_back_fails_with_the_reason() -> None:
    it = Download(NODE, back_to_source=False)
    it.at(0.0, Started())
    finish = one(Finish, it.fail(0.1, Register))
    assert finish.reason == 1000 + BackSourceReason.REGISTER_FAILED
    assert "connection refused" in finish.message
    assert "forbidden" in finish.message


def test_an_unreachable_origin_stops_the_search() -> None:
    it = Download(NODE, SPARE)
    it.at(0.0, Started())
    effects = it.reply(0.1, Register, Refused(Code.URL_UNREACHABLE, "404"))
    assert one(Tell, effects).milestone is Milestone.BACK_TO_SOURCE


def test_an_origin_that_wants_authentication() -> None:
    it = Download(NODE, SPARE)
    it.at(0.0, Started())
    finish = one(Finish, it.reply(0.1, Register, Refused(Code.NEED_AUTH, "401")))
    assert finish.code is FailCode.NEED_AUTH


def test_wait_auth_asks_the_same_supernode_three_times_more() -> None:
    it = Download(NODE, SPARE, wait_auth_s=1.0)
    it.at(0.0, Started())
    for _ in range(3):
        assert it.reply(it.now, Register, Refused(Code.WAIT_AUTH)) == []
        it.until_due()
        assert it.asked(Register)[0].node == NODE
    it.reply(it.now, Register, Refused(Code.WAIT_AUTH))
    assert it.asked(Register)[0].node == SPARE


def test_migration_keeps_and_reports_what_is_held() -> None:
    it = Download(NODE, SPARE)
    it.join(3)
    it.offered(0.1, offer(0), offer(1))
    it.fetched(0.2, 0)
    it.fail(0.3, PullPieces)
    assert it.asked(PullPieces), "one failed pull may be chance"
    effects = it.fail(0.4, PullPieces)
    assert only(CancelFetch, effects)
    assert it.asked(Register)[0].node == SPARE
    it.open = {key: send for key, send in it.open.items() if send.node == SPARE}
    effects = it.join(3)
    assert one(LayOut, effects).keep
    assert one(Tell, effects).milestone is Milestone.MIGRATED
    (report,) = it.asked(ReportPiece)
    assert isinstance(report.request, ReportPiece)
    assert (report.request.piece, report.request.digest) == (0, digest(0))
    assert it.last_pull().status is PullStatus.START


def test_migration_to_another_piece_size_starts_over() -> None:
    it = Download(NODE, SPARE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.fetched(0.2, 0)
    it.reply(0.3, PullPieces, Refused(Code.CDN_FAILED, "cdn status is fail"))
    effects = it.reply(
        0.4, Register, registered(3, piece_size=2 * MIB, digest_form=DigestForm.MD5_WRAPPED)
    )
    assert not one(LayOut, effects).keep
    assert it.download.held_bytes == 0


def test_a_supernode_that_forgot_us_is_joined_again_but_not_for_ever() -> None:
    it = Download(NODE)
    it.join(3)
    for _ in range(3):
        it.reply(it.now, PullPieces, Refused(Code.TARGET_NOT_FOUND, "who?"))
        assert it.asked(Register)[0].node == NODE
        it.join(3)
    effects = it.reply(it.now, PullPieces, Refused(Code.TARGET_NOT_FOUND, "who?"))
    assert one(Tell, effects).milestone is Milestone.BACK_TO_SOURCE


def test_a_supernode_that_claims_we_have_all_has_lost_track() -> None:
    it = Download(NODE)
    it.join(3)
    it.reply(0.1, PullPieces, TaskCompleted("", 3 * SIZE))
    assert it.asked(Register)


def test_a_supernode_without_work_for_us_is_given_up() -> None:
    it = Download(NODE, idle_s=60.0)
    it.join(3)
    it.open.clear()
    effects: list[DownloadEffect] = []
    while not only(Tell, effects):
        effects = it.until_due()
    assert it.now == pytest.approx(60.0)  # pyright: ignore[reportUnknownMemberType]
    assert "60 s" in one(Tell, effects).text


def test_a_lost_report_is_made_again_three_times() -> None:
    it = Download(NODE)
    it.join(3)
    it.offered(0.1, offer(0))
    it.fetched(0.2, 0)
    for _ in range(2):
        it.fail(0.3, ReportPiece)
        assert len(it.asked(ReportPiece)) == 1
    it.fail(0.3, ReportPiece)
    assert not it.asked(ReportPiece)


def test_a_piece_that_the_supernode_refuses_is_dropped() -> None:
    it = Download(NODE)
    held = tuple(HeldPiece(PieceIndex(n), CONTENT, digest(n)) for n in range(2))
    it.at(0.0, Started(held, 3 * CONTENT, SIZE, ""))
    it.join(3)
    effects = it.reply(0.1, ReportPiece, Refused(Code.BAD_PARAMETER, "other content"))
    assert one(DropPiece, effects).piece == 0
    assert only(FetchPiece, it.offered(0.2, offer(0)))


# --- what an earlier run left ---------------------------------------------------------------------


def test_resuming_in_a_swarm() -> None:
    it = Download(NODE)
    held = tuple(HeldPiece(PieceIndex(n), CONTENT, digest(n)) for n in range(20))
    effects = it.at(0.0, Started(held, 21 * CONTENT, SIZE, "v"))
    assert one(Tell, effects).milestone is Milestone.RESUMED
    effects = it.join(21, validator="v")
    assert one(LayOut, effects).keep
    assert len(it.asked(ReportPiece)) == 8, "not all reports at once"
    while it.asked(ReportPiece):
        it.reply(0.1, ReportPiece, Acknowledged(Code.REPORT_OK))
    it.offered(0.2, offer(20))
    assert only(Publish, it.fetched(0.3, 20))


def test_a_held_piece_that_is_offered_is_reported_or_replaced() -> None:
    it = Download(NODE)
    held = tuple(HeldPiece(PieceIndex(n), CONTENT, digest(n)) for n in range(2))
    it.at(0.0, Started(held, 3 * CONTENT, SIZE, ""))
    it.join(3)
    while it.asked(ReportPiece):
        it.reply(0.1, ReportPiece, Acknowledged(Code.REPORT_OK))
    effects = it.offered(0.2, offer(0), offer(1, sha256="f" * 64))
    assert isinstance(it.asked(ReportPiece)[0].request, ReportPiece)
    assert one(DropPiece, effects).piece == 1
    assert one(FetchPiece, effects).offer.piece == 1


def test_everything_was_there_already() -> None:
    it = Download(NODE)
    held = tuple(HeldPiece(PieceIndex(n), CONTENT, digest(n)) for n in range(2))
    it.at(0.0, Started(held, 2 * CONTENT, SIZE, ""))
    assert only(Publish, it.join(2))


def test_what_was_left_of_another_content_is_thrown_away() -> None:
    it = Download(NODE)
    it.at(0.0, Started((HeldPiece(PieceIndex(0), CONTENT, digest(0)),), 3 * CONTENT, SIZE, "old"))
    effects = it.join(3, validator="new")
    assert not one(LayOut, effects).keep
    assert it.download.held_bytes == 0


# --- limits ---------------------------------------------------------------------------------------


def test_the_time_limit_holds_for_the_swarm_and_then_for_the_origin() -> None:
    it = Download(NODE, timeout_s=30.0)
    it.join(3)
    effects = it.at(30.0)
    assert "30 s" in one(Tell, effects).text
    assert only(ReadOrigin, effects)
    it.at(60.0)
    finish = one(Finish, it.at(65.0))
    assert (finish.code, finish.reason) == (FailCode.DOWNLOAD_FAILED, BackSourceReason.NONE)
    assert "30 s" in finish.message


def test_a_least_rate_sets_the_limit_once_the_length_is_known() -> None:
    it = Download(NODE, min_rate_bytes_per_s=100_000)
    it.at(0.0, Started())
    assert it.download.deadline() == 300.0
    it.join(3)
    limit_s = 3 * CONTENT / 100_000 + 10
    assert not only(Tell, it.at(limit_s - 1))
    assert f"{limit_s:g} s" in one(Tell, it.at(limit_s)).text
    it.at(2 * limit_s)
    assert one(Finish, it.measured(2 * limit_s)).code is FailCode.DOWNLOAD_FAILED


def test_a_supernode_that_was_given_up_is_not_told_how_it_went() -> None:
    it = Download(NODE, back_to_source=False)
    it.join(3)
    finish = one(Finish, it.reply(0.1, PullPieces, Refused(Code.CDN_FAILED, "no copy")))
    assert finish.reason == 1000 + BackSourceReason.DOWNLOAD_FAILED
    assert it.asked(ReportMetrics) == []


def test_what_the_user_asked_for_is_the_reason() -> None:
    it = Download(source_only=True)
    fetch = one(ReadOrigin, it.at(0.0, Started())).fetch
    failure = OriginFailed(fetch, OriginFailure.STATUS, "404", 404)
    assert one(Finish, it.at(0.1, failure)).reason == BackSourceReason.USER_ASKED


def test_without_a_supernode_the_reason_is_that_none_took_it() -> None:
    it = Download()
    fetch = one(ReadOrigin, it.at(0.0, Started())).fetch
    failure = OriginFailed(fetch, OriginFailure.STATUS, "404", 404)
    assert one(Finish, it.at(0.1, failure)).reason == BackSourceReason.REGISTER_FAILED


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"source_only": True, "back_to_source": False}, 1000 + BackSourceReason.USER_ASKED),
        ({"back_to_source": False}, 1000 + BackSourceReason.REGISTER_FAILED),
        ({"md5": "abc"}, int(BackSourceReason.MD5_NOT_MATCH)),
    ],
)
def test_what_cannot_succeed_ends_at_once(config: dict[str, object], reason: int) -> None:
    it = Download(**config)
    (finish,) = it.at(0.0, Started())
    assert isinstance(finish, Finish)
    assert (finish.code, finish.reason, finish.length) == (FailCode.DOWNLOAD_FAILED, reason, -1)
    assert it.download.finished


def test_an_md5_in_capitals_is_one() -> None:
    it = Download(NODE, md5="AB" * 16)
    assert len(only(Send, it.at(0.0, Started()))) == 1


def test_the_time_limit_without_going_back() -> None:
    it = Download(NODE, timeout_s=30.0, back_to_source=False)
    it.at(0.0, Started())
    assert one(Finish, it.at(30.0)).reason >= 1000


def test_misuse_is_told_to_the_caller() -> None:
    it = Download(NODE)
    with pytest.raises(LocalProtocolError):
        it.engine.handle(Published(), 0.0)
    it.at(0.0, Started())
    with pytest.raises(LocalProtocolError):
        it.engine.handle(Started(), 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("down_slots", 0),
        ("origin_retries", -1),
        ("idle_s", 0.0),
        ("timeout_s", -1.0),
        ("min_rate_bytes_per_s", -1),
    ],
)
def test_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Download(NODE, **{name: value})


def test_origin_events_outside_the_origin_part_are_ignored() -> None:
    it = Download(NODE)
    it.join(3)
    exchange = it.asked(PullPieces)[0].exchange
    assert it.at(0.1, OriginOpened(exchange, 5, SIZE, True, "")) == []  # pyright: ignore[reportArgumentType]
