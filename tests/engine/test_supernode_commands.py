"""What the REST API asks of a supernode engine: to warm, to drop, to settle, to look."""

from __future__ import annotations

from itertools import count

import pytest

from damselfly.engine.effects import (
    CancelFetch,
    CheckOrigin,
    DeleteCopy,
    ForgetPeer,
    ForgetTask,
    SupernodeEffect,
)
from damselfly.engine.events import (
    Dropped,
    Freshness,
    OriginChecked,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    Requested,
    SupernodeEvent,
)
from damselfly.engine.ids import ExchangeId, FetchId, PeerId, PieceIndex, TaskId
from damselfly.engine.messages import (
    Acknowledged,
    Code,
    Command,
    DropTask,
    LeaveTask,
    PullResult,
    PullStatus,
    Refused,
    Registered,
    Reply,
    ReportWhole,
    SettlePiece,
    TaskCompleted,
    WarmTask,
)
from damselfly.engine.views import CdnStatus, DownloadStatus

from ..driven import one, only
from .test_supernode import CONTENT, SIZE, TASK, Supernode, wish

NOBODY = wish("", ip="", host_name="", port=0, path="", call_system="preheat")


class Node(Supernode):
    """An engine that operators talk to, too."""

    def __init__(self, **config: object) -> None:
        self.last: list[SupernodeEffect] = []
        self.checks: list[FetchId] = []
        self._commands = count(1000)
        super().__init__(**config)

    def at(self, now: float, *events: SupernodeEvent) -> list[SupernodeEffect]:
        self.last = super().at(now, *events)
        self.checks += [check.fetch for check in only(CheckOrigin, self.last)]
        return self.last

    def order(self, now: float, command: Command) -> int:
        number = next(self._commands)
        self.at(now, Requested(ExchangeId(number), command))
        return number

    def ordered(self, now: float, command: Command) -> Reply:
        return self.answers[self.order(now, command)]

    def end_origin(self, now: float, pieces: int) -> None:
        self.at(now, OriginEnded(self.reads[-1].fetch, pieces * CONTENT, "abc"))


def refused(reply: Reply, code: Code) -> str:
    assert isinstance(reply, Refused), reply
    assert reply.code is code
    return reply.message


# --- warming --------------------------------------------------------------------------------------


def test_warming_is_answered_when_all_is_here() -> None:
    node = Node()
    warming = node.order(0.0, WarmTask(NOBODY))
    node.open_origin(1.0, 2)
    node.bring(2.0, 0, 1)
    assert warming not in node.answers
    node.end_origin(200.0, 2)
    assert node.answers[warming] == TaskCompleted("abc", 2 * SIZE)
    assert node.supernode.peers == 0


def test_a_warm_task_costs_the_origin_nothing_more() -> None:
    node = Node()
    first = node.order(0.0, WarmTask(NOBODY))
    second = node.order(0.0, WarmTask(NOBODY))
    node.open_origin(0.0, 1)
    node.bring(0.0, 0)
    node.end_origin(0.0, 1)
    assert isinstance(node.join(1.0, "a"), Registered)
    assert node.answers[first] == node.answers[second] == node.ordered(2.0, WarmTask(NOBODY))
    assert len(node.reads) == 1


def test_warming_joins_a_read_under_way() -> None:
    node = Node()
    node.ask(0.0, wish("a"))
    node.open_origin(0.0, 1)
    warming = node.order(0.5, WarmTask(NOBODY))
    node.bring(1.0, 0)
    node.end_origin(1.0, 1)
    assert isinstance(node.answers[warming], TaskCompleted)
    assert len(node.reads) == 1


def test_warming_says_why_it_failed_and_is_remembered() -> None:
    node = Node()
    warming = node.order(0.0, WarmTask(NOBODY))
    gone = OriginFailed(node.reads[-1].fetch, OriginFailure.STATUS, "GET x answered 404", 404)
    node.at(0.1, gone)
    assert "404" in refused(node.answers[warming], Code.URL_UNREACHABLE)
    assert "404" in refused(node.ordered(1.0, WarmTask(NOBODY)), Code.URL_UNREACHABLE)
    assert len(node.reads) == 1
    assert node.supernode.copies_failed == 1
    node.order(400.0, WarmTask(NOBODY))
    assert len(node.reads) == 2


def test_warming_other_content_of_the_same_id_is_a_conflict() -> None:
    node = Node()
    node.ask(0.0, wish("a", md5="0" * 32))
    clash = wish("", identifier="0" * 32)
    reply = node.ordered(0.0, WarmTask(clash))
    assert clash.task in refused(reply, Code.TASK_CONFLICT)


def test_who_warms_may_leave() -> None:
    node = Node()
    warming = node.order(0.0, WarmTask(NOBODY))
    node.at(0.1, Dropped(ExchangeId(warming)))
    node.open_origin(0.2, 1)
    node.bring(0.3, 0)
    node.end_origin(0.3, 1)
    assert warming not in node.answers


@pytest.mark.parametrize("freshness", Freshness)
def test_an_old_copy_is_compared_with_the_origin_first(freshness: Freshness) -> None:
    node = Node(revalidate_s=60.0)
    node.warm(1, "a")
    node.pull(90.0, "a", status=PullStatus.START)
    warming = node.order(100.0, WarmTask(NOBODY))
    assert warming not in node.answers
    (fetch,) = node.checks
    node.at(101.0, OriginChecked(fetch, freshness))
    if freshness is Freshness.CHANGED:
        assert warming not in node.answers
        node.open_origin(102.0, 2)
        node.bring(102.0, 0, 1)
        node.end_origin(102.0, 2)
        assert node.answers[warming] == TaskCompleted("abc", 2 * SIZE)
    else:
        assert isinstance(node.answers[warming], TaskCompleted)


# --- dropping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
def test_a_task_is_dropped_whoever_wants_it(full: bool) -> None:
    node = Node()
    joining = node.ask(0.0, wish("a"))
    warming = node.order(0.0, WarmTask(NOBODY))
    fetch = node.reads[-1].fetch
    number = node.order(0.1, DropTask(TASK, full))
    assert node.answers[number] == Acknowledged()
    refused(node.answers[joining], Code.TARGET_NOT_FOUND)
    refused(node.answers[warming], Code.TARGET_NOT_FOUND)
    assert one(CancelFetch, node.last) == CancelFetch(fetch)
    assert only(ForgetTask, node.last) == [ForgetTask(TASK)]
    assert only(DeleteCopy, node.last) == [DeleteCopy(TASK)] * full
    assert node.supernode.tasks == ()


def test_peers_of_a_dropped_task_are_told_to_register_again() -> None:
    node = Node()
    node.warm(2, "a", "b")
    node.pull(0.1, "a", status=PullStatus.START)
    held = node.pull(0.1, "b", status=PullStatus.RUNNING)
    for piece in (0, 1):
        node.report(0.2, "a", piece)
    node.order(0.3, DropTask(TASK, True))
    again = node.pull(0.4, "a")
    refused(node.answers[again], Code.TARGET_NOT_FOUND)
    assert held in node.answers
    node.ask(0.5, wish("a"))
    assert len(node.reads) == 2


def test_dropping_what_is_not_known_only_deletes_its_files() -> None:
    node = Node()
    unknown = TaskId("0" * 64)
    assert node.ordered(0.0, DropTask(unknown, False)) == Acknowledged()
    assert only(DeleteCopy, node.last) == []
    assert node.ordered(0.0, DropTask(unknown, True)) == Acknowledged()
    assert only(DeleteCopy, node.last) == [DeleteCopy(unknown)]


# --- pieces ---------------------------------------------------------------------------------------


def settle(piece: int, result: PullResult, parent: str = "") -> SettlePiece:
    return SettlePiece(TASK, PeerId("b"), PeerId(parent), PieceIndex(piece), SIZE, result)


def test_a_piece_got_is_not_given_again_and_frees_its_slot() -> None:
    node = Node(down_slots=1)
    node.warm(2, "b")
    (offer,) = node.offers(node.pull(0.1, "b", status=PullStatus.START))
    assert node.ordered(0.2, settle(offer.piece, PullResult.SEMI_SUCCESS)) == Acknowledged()
    (second,) = node.offers(node.pull(0.3, "b"))
    assert second.piece == 1 - offer.piece


def test_a_piece_that_failed_is_taken_from_elsewhere() -> None:
    node = Node(down_slots=1)
    node.warm(1, "a", "b")
    node.report(0.0, "a", 0)
    (offer,) = node.offers(node.pull(0.1, "b", status=PullStatus.START))
    assert offer.parent == "a"
    failed = settle(0, PullResult.FAILED, "a")
    assert node.ordered(0.2, failed) == Acknowledged()
    (again,) = node.offers(node.pull(0.3, "b"))
    assert again.parent != "a"


def test_a_peer_that_has_all_serves_all() -> None:
    node = Node()
    node.warm(3, "a", "b")
    assert node.ordered(0.1, ReportWhole(TASK, PeerId("a"))) == Acknowledged()
    offers = node.offers(node.pull(0.2, "b", status=PullStatus.START))
    assert {offer.parent for offer in offers} == {"a"}
    assert isinstance(node.answers[node.pull(0.3, "a")], TaskCompleted)


def test_strangers_settle_nothing() -> None:
    node = Node()
    node.warm(1, "a")
    refused(node.ordered(0.1, settle(0, PullResult.FAILED)), Code.TARGET_NOT_FOUND)
    refused(node.ordered(0.1, ReportWhole(TASK, PeerId("z"))), Code.TARGET_NOT_FOUND)
    other = TaskId("0" * 64)
    refused(node.ordered(0.1, ReportWhole(other, PeerId("a"))), Code.TARGET_NOT_FOUND)


# --- looking --------------------------------------------------------------------------------------


def test_a_task_as_it_comes() -> None:
    node = Node()
    assert node.supernode.view(TASK) is None
    node.ask(0.0, wish("a"))

    def seen() -> tuple[CdnStatus, int, int, int]:
        view = node.supernode.view(TASK)
        assert view is not None
        return view.status, view.length, view.wrapped_length, view.piece_total

    assert seen() == (CdnStatus.WAITING, -1, 0, 0)
    node.open_origin(0.1, 2)
    assert seen() == (CdnStatus.RUNNING, 2 * CONTENT, 0, 0)
    node.bring(0.2, 0, 1)
    node.end_origin(0.3, 2)
    assert seen() == (CdnStatus.SUCCESS, 2 * CONTENT, 2 * SIZE, 2)
    view = node.supernode.view(TASK)
    assert view is not None
    assert (view.piece_size, view.md5, view.wanted) == (SIZE, "abc", wish("a"))


@pytest.mark.parametrize(
    ("failure", "status", "shown"),
    [
        (OriginFailure.STATUS, 404, CdnStatus.SOURCE_ERROR),
        (OriginFailure.STATUS, 401, CdnStatus.SOURCE_ERROR),
        (OriginFailure.UNREACHABLE, 0, CdnStatus.SOURCE_ERROR),
        (OriginFailure.STATUS, 403, CdnStatus.FAILED),
        (OriginFailure.STORE_FAILED, 0, CdnStatus.FAILED),
    ],
)
def test_a_failed_task_says_whose_fault_it_is(
    failure: OriginFailure, status: int, shown: CdnStatus
) -> None:
    node = Node(origin_retries=0)
    node.ask(0.0, wish("a"))
    node.at(0.1, OriginFailed(node.reads[-1].fetch, failure, "why", status))
    view = node.supernode.view(TASK)
    assert view is not None
    assert view.status is shown


def test_tasks_and_downloads_are_counted_by_state() -> None:
    node = Node()
    node.ask(0.0, wish("a", call_system="cs"))
    node.open_origin(0.0, 1)
    node.bring(0.0, 0)
    node.end_origin(0.0, 1)
    node.join(0.0, "bb")
    node.pull(0.1, "a", status=PullStatus.START)
    census = node.supernode.census()
    assert census.tasks == {CdnStatus.SUCCESS: 1}
    assert census.downloads == {
        ("cs", DownloadStatus.RUNNING): 1,
        ("", DownloadStatus.WAITING): 1,
    }
    node.report(0.2, "a", 0)
    assert node.supernode.census().downloads["cs", DownloadStatus.SUCCESS] == 1


def test_a_peer_that_goes_is_named() -> None:
    node = Node(peer_gc_delay_s=10.0, gc_initial_delay_s=1.0, gc_meta_interval_s=5.0)
    node.warm(1, "a", "b")
    node.ask(0.1, LeaveTask(TASK, PeerId("a")))
    gone: list[ForgetPeer] = []
    while node.now < 60:
        gone += only(ForgetPeer, node.until_due())
    assert gone == [ForgetPeer(TASK, PeerId("a"))]
