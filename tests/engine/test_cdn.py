"""The supernode's own copies: doubts, changes, a full disk, other people's origins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from damselfly.engine.config import CdnPattern
from damselfly.engine.effects import (
    CancelFetch,
    CheckOrigin,
    DeleteCopy,
    ForgetTask,
    HashPiece,
    ProbeOrigin,
    ReadOrigin,
    SurveyDisk,
    VerifyPiece,
)
from damselfly.engine.events import (
    CopyDeleted,
    DiskSurveyed,
    FoundCopy,
    Freshness,
    OriginChecked,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    PieceVerified,
    Requested,
)
from damselfly.engine.ids import (
    ExchangeId,
    FetchId,
    PeerId,
    PieceIndex,
    TaskId,
    cdn_peer_id,
    task_id,
)
from damselfly.engine.messages import (
    Code,
    PullResult,
    PullStatus,
    Refused,
    Register,
    Registered,
    ReportPieceError,
    TaskCompleted,
)
from damselfly.engine.piece import MIB, DigestForm

from ..driven import one, only
from .test_supernode import CONTENT, SIZE, TASK, URL, Supernode, wish

if TYPE_CHECKING:
    from damselfly.engine.effects import SupernodeEffect
    from damselfly.engine.messages import Reply

OTHER = TaskId("0" * 64)


def refusal(reply: Reply) -> Refused:
    assert isinstance(reply, Refused), reply
    return reply


def ask(node: Supernode, now: float, wanted: Register) -> tuple[int, list[SupernodeEffect]]:
    """Register, and return the exchange with all effects."""
    exchange = ExchangeId(1000 + int(now * 10))
    return exchange, node.at(now, Requested(exchange, wanted))


# --- is it still the same? ------------------------------------------------------------------------


def test_a_copy_is_compared_with_the_origin_once_in_a_while() -> None:
    node = Supernode(revalidate_s=60.0, task_expire_s=1e6)
    node.warm(1, "a")
    assert isinstance(node.join(59.0, "bb"), Registered), "just read"
    exchange, effects = ask(node, 61.0, wish("ccc", raw_url=f"{URL}?token=fresh"))
    check = one(CheckOrigin, effects)
    assert (check.url, check.validator, check.length) == (f"{URL}?token=fresh", '"v1"', CONTENT)
    also, effects = ask(node, 61.1, wish("dddd"))
    assert not only(CheckOrigin, effects)
    assert exchange not in node.answers
    node.at(61.5, OriginChecked(check.fetch, Freshness.SAME))
    assert isinstance(node.answers[exchange], Registered)
    assert isinstance(node.answers[also], Registered)
    assert isinstance(node.join(120.0, "eeeee"), Registered), "asked a minute ago"
    assert len(node.reads) == 1


@pytest.mark.parametrize("freshness", [Freshness.UNKNOWN, Freshness.DENIED])
def test_an_origin_that_says_nothing_changes_nothing(freshness: Freshness) -> None:
    node = Supernode(task_expire_s=1e6)
    node.warm(1, "a")
    exchange, effects = ask(node, 100.0, wish("bb"))
    node.at(100.1, OriginChecked(one(CheckOrigin, effects).fetch, freshness))
    assert isinstance(node.answers[exchange], Registered)
    assert isinstance(node.join(101.0, "ccc"), Registered), "and is not asked by everybody"


def test_a_registration_does_not_wait_long_for_a_slow_check() -> None:
    node = Supernode(revalidate_wait_s=2.0, task_expire_s=1e6)
    node.warm(1, "a")
    exchange, effects = ask(node, 100.0, wish("bb"))
    node.at(101.9)
    assert exchange not in node.answers
    node.at(102.0)
    assert isinstance(node.answers[exchange], Registered)
    fetch = one(CheckOrigin, effects).fetch
    effects = node.at(110.0, OriginChecked(fetch, Freshness.CHANGED))
    assert only(ForgetTask, effects), "the answer counts all the same"
    assert node.at(111.0, OriginChecked(fetch, Freshness.CHANGED)) == []


def test_changed_content_is_read_anew_for_everybody() -> None:
    node = Supernode(task_expire_s=1e6)
    node.warm(2, "a", "bb")
    waiting = node.pull(100.0, "a", 0, PullResult.SEMI_SUCCESS)
    exchange, effects = ask(node, 100.0, wish("ccc", headers=("Authorization: new",)))
    fetch = one(CheckOrigin, effects).fetch
    effects = node.at(100.5, OriginChecked(fetch, Freshness.CHANGED))
    kinds = [
        type(effect)
        for effect in effects
        if isinstance(effect, ForgetTask | DeleteCopy | ReadOrigin)
    ]
    assert kinds == [ForgetTask, DeleteCopy, ReadOrigin]
    assert one(ReadOrigin, effects).headers == ("Authorization: new",)
    assert waiting in node.answers
    assert refusal(node.answers[node.pull(100.6, "a")]).code is Code.TARGET_NOT_FOUND
    assert exchange not in node.answers
    node.at(101.0, OriginOpened(node.reads[-1].fetch, CONTENT + 1, SIZE, True, '"v2"'))
    reply = node.answers[exchange]
    assert isinstance(reply, Registered)
    assert (reply.length, reply.validator) == (CONTENT + 1, '"v2"')


def test_a_held_pull_hears_that_the_content_has_changed() -> None:
    node = Supernode(task_expire_s=1e6, rare_copies=0)
    node.warm(1, "a", "bb")
    node.pull(99.9, "a", status=PullStatus.START)
    held = node.pull(100.0, "bb", status=PullStatus.START)
    assert held not in node.answers
    _, effects = ask(node, 100.1, wish("ccc"))
    node.at(100.5, OriginChecked(one(CheckOrigin, effects).fetch, Freshness.CHANGED))
    assert refusal(node.answers[held]).code is Code.TARGET_NOT_FOUND
    assert "changed" in refusal(node.answers[held]).message


def test_content_that_its_digest_pins_is_never_in_doubt() -> None:
    node = Supernode(task_expire_s=1e6)
    exchange = node.ask(0.0, wish("a", md5="ab"))
    fetch = node.open_origin(0.0, 1)
    node.bring(0.0, 0)
    node.at(0.0, OriginEnded(fetch, CONTENT, "ab"))
    assert isinstance(node.answers[exchange], Registered)
    assert isinstance(node.join(1000.0, "bb", md5="ab"), Registered)


def test_a_task_forgotten_during_a_check_is_checked_no_more() -> None:
    node = Supernode(task_expire_s=70.0, gc_meta_interval_s=1.0, revalidate_wait_s=1.0)
    node.warm(1, "a")
    exchange, effects = ask(node, 65.0, wish("bb"))
    fetch = one(CheckOrigin, effects).fetch
    gone: list[SupernodeEffect] = []
    while not only(ForgetTask, gone):
        gone += node.until_due()
    assert CancelFetch(fetch) in gone
    assert exchange in node.answers
    assert node.at(1000.0, OriginChecked(fetch, Freshness.SAME)) == []


# --- damage ---------------------------------------------------------------------------------------


def blame(piece: int | None = 0, peer: str = "a") -> ReportPieceError:
    at = PieceIndex(piece) if piece is not None else None
    cdn = cdn_peer_id("127.0.0.1", TASK)
    return ReportPieceError(TASK, PeerId(peer), cdn, "FILE_MD5_NOT_MATCH", piece=at)


def test_a_copy_that_is_called_damaged_is_looked_at() -> None:
    node = Supernode()
    node.warm(2, "a")
    for number, nonsense in enumerate((blame(7), blame(None), blame(0, "stranger"))):
        effects = node.at(1.0, Requested(ExchangeId(60 + number), nonsense))
        assert not only(VerifyPiece, effects)
    effects = node.at(1.0, Requested(ExchangeId(51), blame(1)))
    assert one(VerifyPiece, effects) == VerifyPiece(TASK, PieceIndex(1))
    effects = node.at(2.0, Requested(ExchangeId(52), blame(1)))
    assert not only(VerifyPiece, effects), "not again so soon"
    assert node.at(2.5, PieceVerified(TASK, PieceIndex(1), intact=True)) == []
    assert node.supernode.tasks == (TASK,)
    assert only(VerifyPiece, node.at(5.0, Requested(ExchangeId(53), blame(1))))
    effects = node.at(5.5, PieceVerified(TASK, PieceIndex(1), intact=False))
    assert only(DeleteCopy, effects) == [DeleteCopy(TASK)]
    assert node.supernode.tasks == ()
    assert node.at(5.6, PieceVerified(TASK, PieceIndex(1), intact=False)) == []


# --- no room --------------------------------------------------------------------------------------


def fill_the_disk(node: Supernode, now: float) -> list[SupernodeEffect]:
    node.ask(now, wish("a"))
    node.open_origin(now, 2)
    node.bring(now, 0)
    full = OriginFailed(node.reads[-1].fetch, OriginFailure.STORE_FULL, "no space left")
    return node.at(now, full)


def listed(*tasks: TaskId) -> DiskSurveyed:
    return DiskSurveyed(0, 100, tuple([FoundCopy(task, 10, 1000.0) for task in tasks]))


def test_a_full_disk_is_cleared_and_the_read_goes_on() -> None:
    node = Supernode()
    assert one(SurveyDisk, fill_the_disk(node, 1.0)).lists_copies
    held = node.pull(1.5, "a", status=PullStatus.START)
    assert {offer.piece for offer in node.offers(held)} == {0}, "what is here is given out"
    effects = node.at(2.0, listed(OTHER, TASK))
    assert only(DeleteCopy, effects) == [DeleteCopy(OTHER)], "never what is being read"
    node.at(2.5, CopyDeleted(OTHER))
    resumed = node.reads[-1]
    assert len(node.reads) == 2
    assert (resumed.first_byte, resumed.validator) == (CONTENT, '"v1"')


def test_where_no_room_can_be_made_the_task_fails_and_leaves_its_room() -> None:
    node = Supernode()
    fill_the_disk(node, 1.0)
    assert node.offers(node.pull(1.4, "a", status=PullStatus.START))
    held = node.pull(1.5, "a", 0, PullResult.SEMI_SUCCESS)
    effects = node.at(2.0, listed(TASK))
    assert only(DeleteCopy, effects) == [DeleteCopy(TASK)]
    answer = refusal(node.answers[held])
    assert (answer.code, answer.message) == (Code.CDN_FAILED, "cdn status is fail: no space left")
    again = refusal(node.join(3.0, "bb"))
    assert (again.code, again.message) == (Code.SYSTEM_ERROR, "no space left")
    node.at(3.0, CopyDeleted(TASK))
    exchange = node.ask(13.0, wish("bb"))
    node.open_origin(13.5, 1)
    assert isinstance(node.answers[exchange], Registered), "it is tried again later"


def test_registrations_wait_while_room_is_made() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a"))
    full = OriginFailed(node.reads[-1].fetch, OriginFailure.STORE_FULL, "needs more")
    node.at(0.1, full)
    assert exchange not in node.answers
    node.at(0.2, listed(OTHER))
    node.at(0.3, CopyDeleted(OTHER))
    node.open_origin(0.4, 1)
    assert isinstance(node.answers[exchange], Registered)


def test_without_collection_a_full_disk_fails_the_task_at_once() -> None:
    node = Supernode(gc_disk_interval_s=0.0)
    effects = fill_the_disk(node, 1.0)
    assert only(DeleteCopy, effects) == [DeleteCopy(TASK)]
    assert refusal(node.answers[node.pull(1.1, "a")]).code is Code.CDN_FAILED


def test_a_collection_that_never_ends_does_not_hold_the_read_for_ever() -> None:
    node = Supernode()
    fill_the_disk(node, 1.0)
    node.at(31.5)
    assert len(node.reads) == 2


def test_a_task_dropped_while_it_waits_for_room() -> None:
    node = Supernode()
    fill_the_disk(node, 1.0)
    node.at(1.5, PieceVerified(TASK, PieceIndex(0), intact=False))
    assert node.supernode.tasks == ()
    assert node.at(2.0, listed()) == []


@pytest.mark.parametrize(
    ("failure", "goes"),
    [
        (OriginFailure.STATUS, False),
        (OriginFailure.SHORT, False),
        (OriginFailure.CHANGED, True),
        (OriginFailure.BAD_ANSWER, True),
    ],
)
def test_what_a_failed_read_leaves_is_kept_if_it_can_be_of_use(
    failure: OriginFailure, goes: bool
) -> None:
    node = Supernode(origin_retries=0)
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 2)
    effects = node.at(1.0, OriginFailed(fetch, failure, "why"))
    assert bool(only(DeleteCopy, effects)) is goes


@pytest.mark.parametrize(("status", "reads"), [(503, 2), (404, 1)])
def test_an_origin_in_trouble_is_asked_again_and_one_that_refuses_is_not(
    status: int, reads: int
) -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 2)
    node.at(1.0, OriginFailed(fetch, OriginFailure.STATUS, "why", status))
    node.at(3.0)
    assert len(node.reads) == reads


def test_a_file_that_fits_nowhere_drives_out_nothing() -> None:
    node = Supernode()
    exchange = node.ask(0.0, wish("a"))
    fetch = node.reads[-1].fetch
    node.at(0.1, OriginFailed(fetch, OriginFailure.STORE_FULL, "too big", needed_bytes=1000))
    effects = node.at(0.2, listed(OTHER))
    assert only(DeleteCopy, effects) == [DeleteCopy(TASK)], "but its own beginnings"
    assert refusal(node.answers[exchange]).message == "too big"


# --- the disk's own clock -------------------------------------------------------------------------


def test_copies_of_tasks_in_memory_stay_those_of_failed_ones_may_go() -> None:
    node = Supernode(origin_retries=0, task_expire_s=1e6)
    node.warm(1, "a")
    other = wish("bb", task_url=f"{URL}2", raw_url=f"{URL}2")
    node.ask(0.0, other)
    node.at(0.1, OriginFailed(node.reads[-1].fetch, OriginFailure.SHORT, "cut off"))
    assert SurveyDisk(lists_copies=False) in node.at(7.0)
    node.at(7.1, DiskSurveyed(1, 100))
    effects = node.at(7.2, listed(TASK, other.task, OTHER))
    assert only(DeleteCopy, effects) == [DeleteCopy(OTHER), DeleteCopy(other.task)]


# --- who may read ---------------------------------------------------------------------------------


def test_trust_and_rights_go_with_the_read() -> None:
    node = Supernode()
    node.ask(0.0, wish("a", insecure=True, root_cas=("Q0E=",), headers=("k:v",)))
    (read,) = node.reads
    assert (read.insecure, read.root_cas, read.headers) == (True, ("Q0E=",), ("k:v",))


@pytest.mark.parametrize(("status", "asked_again"), [(401, True), (403, True), (404, False)])
def test_other_credentials_are_tried_where_others_failed(status: int, asked_again: bool) -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    denied = OriginFailed(node.reads[0].fetch, OriginFailure.STATUS, "no", status)
    node.at(0.0, denied)
    assert isinstance(node.join(0.5, "bb", headers=("Authorization: x",)), Refused), "not at once"
    assert isinstance(node.join(5.0, "bb"), Refused), "nor with the same ones"
    node.ask(5.0, wish("bb", headers=("Authorization: x",)))
    assert (len(node.reads) == 2) is asked_again


def test_a_range_makes_another_task() -> None:
    byte_range = "bytes=0-99"
    wanted = wish("a", headers=(f"Range: {byte_range}", "range: ignored"))
    assert wanted.task == task_id(URL, byte_range=byte_range) != wish("a").task
    assert wish("a", md5="ff").task == task_id(URL, md5="ff")
    assert replace(wanted, headers=("range: bytes=0-1",)).task == TASK


# --- peers that read the origin themselves --------------------------------------------------------


class Pointer(Supernode):
    """A supernode that keeps no copy."""

    def __init__(self, **config: object) -> None:
        super().__init__(cdn_pattern=CdnPattern.SOURCE, **config)

    def probe(self, now: float, peer: str) -> tuple[int, ProbeOrigin]:
        exchange, effects = ask(self, now, wish(peer))
        assert not self.reads
        return exchange, one(ProbeOrigin, effects)

    def opened(self, length: int, *peers: str) -> None:
        exchange, probe = self.probe(0.0, peers[0])
        self.at(0.0, OriginOpened(probe.fetch, length, MIB, True, '"v1"'))
        assert isinstance(self.answers[exchange], Registered)
        for peer in peers[1:]:
            assert isinstance(self.join(0.0, peer), Registered)


def test_peers_are_sent_to_the_origin() -> None:
    node = Pointer()
    exchange, probe = node.probe(0.0, "a")
    assert (probe.url, probe.headers) == (URL, ())
    node.at(0.1, OriginOpened(probe.fetch, 2 * MIB, MIB, True, '"v1"'))
    assert node.answers[exchange] == Registered(
        TASK, 2 * MIB, MIB, "source", DigestForm.MD5_WRAPPED, '"v1"'
    )
    offers = node.offers(node.pull(0.2, "a", status=PullStatus.START))
    assert {offer.piece for offer in offers} == {0, 1}
    for offer in offers:
        assert (offer.path, offer.md5, offer.sha256) == (URL, "", "")
        assert (offer.host, offer.port, offer.parent) == (
            "sn",
            8001,
            cdn_peer_id("127.0.0.1", TASK),
        )


def test_each_peer_reads_by_its_own_url_and_then_they_feed_each_other() -> None:
    node = Pointer(rare_copies=0)
    node.opened(MIB, "a")
    node.join(0.1, "bb", raw_url=f"{URL}?token=b", digest_form=DigestForm.MD5_WRAPPED)
    node.pull(0.2, "a", status=PullStatus.START)
    node.report(0.3, "a", 0)
    (offer,) = node.offers(node.pull(0.4, "bb", status=PullStatus.START))
    assert (offer.parent, offer.path) == ("a", "/peer/file/a")
    (offer,) = node.offers(node.pull(0.5, "bb", 0, PullResult.FAILED, parent="a"))
    assert offer.path == f"{URL}?token=b"


def test_the_end_says_nothing_about_the_content() -> None:
    node = Pointer()
    node.opened(MIB, "a")
    node.pull(0.2, "a", status=PullStatus.START)
    done = node.pull(0.3, "a", 0, PullResult.SEMI_SUCCESS)
    assert node.answers[done] == TaskCompleted("", 0)
    finished = node.pull(0.4, "a", status=PullStatus.FINISHED)
    assert node.answers[finished] == TaskCompleted("", 0)


def test_old_peers_get_no_digests_and_nobody_hashes_any() -> None:
    node = Pointer()
    exchange, effects = ask(node, 0.0, wish("old", digest_form=DigestForm.MD5_WRAPPED))
    probe = one(ProbeOrigin, effects)
    effects = node.at(0.1, OriginOpened(probe.fetch, MIB, MIB, True, ""))
    assert not only(HashPiece, effects)
    assert isinstance(node.answers[exchange], Registered)
    (offer,) = node.offers(node.pull(0.2, "old", status=PullStatus.START))
    assert offer.md5 == ""


@pytest.mark.parametrize(
    ("length", "ranged", "lacks"), [(-1, True, "length"), (0, True, "length"), (5, False, "ranges")]
)
def test_an_origin_that_cannot_be_shared_out(length: int, ranged: bool, lacks: str) -> None:
    node = Pointer()
    exchange, probe = node.probe(0.0, "a")
    node.at(0.1, OriginOpened(probe.fetch, length, MIB, ranged, ""))
    answer = refusal(node.answers[exchange])
    assert answer.code is Code.URL_UNREACHABLE
    assert lacks in answer.message


def test_a_probe_that_fails_is_repeated_once() -> None:
    node = Pointer(origin_backoff_s=0.5)
    exchange, probe = node.probe(0.0, "a")
    node.at(0.1, OriginFailed(probe.fetch, OriginFailure.UNREACHABLE, "no route"))
    (again,) = only(ProbeOrigin, node.until_due())
    assert again.fetch != probe.fetch
    node.at(1.0, OriginFailed(again.fetch, OriginFailure.UNREACHABLE, "no route"))
    assert refusal(node.answers[exchange]).message == "no route"
    assert node.at(2.0, OriginOpened(FetchId(99), MIB, MIB, True, "")) == []


def test_changed_content_is_shared_out_anew() -> None:
    node = Pointer(task_expire_s=1e6)
    node.opened(MIB, "a")
    exchange, effects = ask(node, 100.0, wish("bb"))
    effects = node.at(100.1, OriginChecked(one(CheckOrigin, effects).fetch, Freshness.CHANGED))
    node.at(100.2, OriginOpened(one(ProbeOrigin, effects).fetch, 2 * MIB, MIB, True, '"v2"'))
    reply = node.answers[exchange]
    assert isinstance(reply, Registered)
    assert reply.length == 2 * MIB
