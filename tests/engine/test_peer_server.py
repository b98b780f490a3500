from __future__ import annotations

import json
import random
from math import inf
from typing import TYPE_CHECKING

import pytest

from damselfly.engine import served
from damselfly.engine.errors import ConfigError, LocalProtocolError
from damselfly.engine.ids import ExchangeId, NodeAddress, PeerId, PieceIndex, TaskId
from damselfly.engine.peer_server import (
    LIFE,
    PeerServerEngine,
    ServerPhase,
    ServerTrigger,
)
from damselfly.engine.served import ServedPhase, ServedTrigger
from damselfly.engine.uploads import (
    OCTETS,
    TEXT,
    CheckRequested,
    CloseServer,
    DataSurveyed,
    DeleteDownload,
    DownloadWithdrawn,
    FinishReported,
    FoundFile,
    LeaveSwarm,
    LimitUploads,
    PeerServerEffect,
    PeerServerEvent,
    PieceRequested,
    PingRequested,
    RateRequested,
    RequestDropped,
    Respond,
    RetireServer,
    ServePiece,
    ShareRequested,
    StatsRequested,
    StopRequested,
    SurveyData,
    UploadEnded,
    UploadPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = "/home/u/.small-dragonfly/data"
TASK, PEER, NODE = TaskId("t" * 64), PeerId("10.0.0.1-1-2.000"), "10.0.0.9:8002"
LEAVE = LeaveSwarm(NodeAddress("10.0.0.9", 8002), TASK, PEER)


class Played:
    """An engine, its clock, and the promises of the contract checked after every call."""

    def __init__(self, **policy: float) -> None:
        self.policy = UploadPolicy(DATA, "0.1.0", **policy)  # type: ignore[arg-type]
        self.engine = PeerServerEngine(self.policy)
        self.now = 0.0
        self._exchange = 0
        assert self.at(0.0) == []

    def at(self, now: float, event: PeerServerEvent | None = None) -> list[PeerServerEffect]:
        self.now = max(self.now, now)
        engine = self.engine
        effects = engine.tick(now) if event is None else engine.handle(event, now)
        engine.check()
        assert engine.deadline() > self.now
        assert engine.tick(self.now) == []
        return effects

    def do(self, event: PeerServerEvent) -> list[PeerServerEffect]:
        return self.at(self.now, event)

    def next(self) -> ExchangeId:
        self._exchange += 1
        return ExchangeId(self._exchange)

    def check_in(self, name: str, limit: str = "", data_dir: str = DATA) -> list[PeerServerEffect]:
        return self.do(CheckRequested(self.next(), name, data_dir, limit))

    def rate(self, name: str, rate: str) -> Respond:
        (effect,) = self.do(RateRequested(self.next(), name, rate))
        assert isinstance(effect, Respond)
        return effect

    def share(self, name: str, rate: str, taken: str) -> list[PeerServerEffect]:
        return self.do(ShareRequested(self.next(), name, rate, taken))

    def finish(self, name: str, node: str = NODE) -> Respond:
        (effect,) = self.do(FinishReported(self.next(), name, TASK, PEER, node))
        assert isinstance(effect, Respond)
        return effect

    def piece(
        self,
        name: str,
        byte_range: str = "bytes=0-1023",
        piece: str = "0",
        piece_size: str = "1024",
        plain: bool = False,
    ) -> PeerServerEffect:
        event = PieceRequested(self.next(), name, byte_range, piece, piece_size, plain)
        (effect,) = self.do(event)
        return effect

    def upload(self, name: str) -> ExchangeId:
        effect = self.piece(name)
        assert isinstance(effect, ServePiece)
        return effect.exchange

    def survey(self, now: float, *files: FoundFile) -> list[PeerServerEffect]:
        """Let a survey come due at ``now`` and return what its result leads to."""
        assert self.engine.deadline() <= now
        assert self.at(now) == [SurveyData()]
        return self.do(DataSurveyed(files))


def text(effect: PeerServerEffect) -> tuple[int, str]:
    assert isinstance(effect, Respond)
    return effect.status, effect.text


def found(name: str, age_s: float = 0.0, *, in_use: bool = False, delivered: bool = False):
    return FoundFile(name, age_s, in_use, delivered)


# --- requests, row by row ---


def test_a_checked_download_is_served() -> None:
    played = Played()
    assert played.check_in("T1") == [Respond(ExchangeId(1), 200, "T1@0.1.0", OCTETS)]
    expected = ServePiece(ExchangeId(2), "T1", 1024, 2047, PieceIndex(1), 1024, False)
    assert played.piece("T1", "bytes=1024-2047", "1") == expected
    assert played.engine.served == ("T1",)


def test_source_pattern_asks_for_plain_bytes() -> None:
    played = Played()
    played.check_in("T1")
    effect = played.piece("T1", plain=True)
    assert isinstance(effect, ServePiece)
    assert effect.plain


@pytest.mark.parametrize(
    ("byte_range", "piece", "piece_size", "names"),
    [
        ("bytes=0-1023", "", "1024", "pieceNum"),
        ("bytes=0-1023", "x", "1024", "pieceNum"),
        ("bytes=0-1023", "-1", "1024", "pieceNum"),
        ("bytes=0-1023", "0", "", "pieceSize"),
        ("bytes=0-1023", "0", "x", "pieceSize"),
        ("bytes=0-1023", "0", "5", "pieceSize 5"),
        ("bytes=0-1023", "0", str(16 << 20), "pieceSize 16777216"),
        ("", "0", "1024", "invalid range: "),
        ("0-100", "0", "1024", "invalid range: 0-100"),
        ("bytes=0-100=1", "0", "1024", "invalid range: bytes=0-100=1"),
        ("bytes=0-1-2", "0", "1024", "invalid range: 0-1-2"),
        ("bytes=5-5", "0", "1024", "invalid range: 5-5"),
        ("bytes=9-3", "0", "1024", "invalid range: 9-3"),
        ("bytes=0-", "0", "1024", "''"),
        ("bytes=a-b", "0", "1024", "'a'"),
    ],
)
@pytest.mark.parametrize("name", ["T1", "nope"])
def test_bad_parameters_come_before_the_unknown_name(
    byte_range: str, piece: str, piece_size: str, names: str, name: str
) -> None:
    played = Played()
    played.check_in("T1")
    effect = played.piece(name, byte_range, piece, piece_size)
    assert isinstance(effect, Respond)
    assert (effect.status, effect.content_type) == (400, TEXT)
    assert names in effect.text


def test_the_unit_of_a_range_is_not_looked_at() -> None:
    played = Played()
    played.check_in("T1")
    assert isinstance(played.piece("T1", "items=0-100"), ServePiece)


@pytest.mark.parametrize("name", ["nope", "", "../../../etc/passwd", "a/b"])
def test_a_name_that_nobody_checked_is_500(name: str) -> None:
    played = Played()
    played.check_in("T1")
    assert text(played.piece(name)) == (500, f"failed to get taskPath: {name}\n")


def test_more_uploads_than_slots_are_refused_until_one_ends() -> None:
    played = Played(up_slots=2)
    played.check_in("T1")
    first = played.upload("T1")
    played.upload("T1")
    status, why = text(played.piece("T1"))
    assert (status, "2 upload slots" in why) == (503, True)
    assert played.do(UploadEnded(first, 1024, True)) == []
    played.upload("T1")


def test_an_exchange_is_used_once() -> None:
    played = Played()
    played.check_in("T1")
    exchange = played.upload("T1")
    again = PieceRequested(exchange, "T1", "bytes=0-1023", "0", "1024")
    with pytest.raises(LocalProtocolError, match="already an upload"):
        played.engine.handle(again, 0.0)
    played.engine.check()


@pytest.mark.parametrize("data_dir", [DATA, DATA + "/", ""])
def test_check_takes_its_own_data_directory(data_dir: str) -> None:
    played = Played()
    (effect,) = played.check_in("T1", data_dir=data_dir)
    assert text(effect) == (200, "T1@0.1.0")


def test_check_refuses_any_other_data_directory() -> None:
    played = Played()
    (effect,) = played.check_in("passwd", data_dir="/etc")
    status, why = text(effect)
    assert (status, "'/etc'" in why) == (400, True)
    assert played.engine.served == ()


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/passwd", "a\0b", "..", ".", "x" * 241])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    played = Played()
    (effect,) = played.check_in(name)
    assert text(effect)[0] == 400
    finished = played.finish(name)
    assert finished.status == 400
    assert played.engine.served == ()


@pytest.mark.parametrize("name", ["a..b-1-2.000", "", "…", "x" * 240])
def test_odd_but_plain_names_are_served(name: str) -> None:
    played = Played()
    assert text(played.check_in(name)[0]) == (200, f"{name}@0.1.0")
    played.upload(name)


def test_the_table_of_downloads_is_bounded() -> None:
    played = Played(max_downloads=1)
    played.check_in("T1")
    assert text(played.check_in("T2")[0])[0] == 503
    assert text(played.check_in("T1")[0])[0] == 200


def test_total_limit_is_set_by_a_positive_number_and_told_once() -> None:
    played = Played()
    assert len(played.check_in("T1", "abc")) == 1
    assert len(played.check_in("T1", "0")) == 1
    assert played.check_in("T1", "3000")[0] == LimitUploads(3000)
    assert len(played.check_in("T2", "3000")) == 1
    assert len(played.check_in("T2", "0")) == 1
    assert played.check_in("T2", "4000")[0] == LimitUploads(4000)


def test_rate_without_a_total_limit_is_what_was_asked() -> None:
    played = Played()
    played.check_in("T1")
    assert text(played.rate("T1", "1000")) == (200, "1000")
    assert text(played.rate("nope", "1000")) == (200, "1000")


@pytest.mark.parametrize("rate", ["", "x", "-5"])
def test_rate_refuses_what_is_no_number(rate: str) -> None:
    assert text(Played().rate("T1", rate))[0] == 400


def test_rates_are_shares_of_the_total_limit() -> None:
    played = Played()
    for name in ("T1", "T0", "TX"):
        played.check_in(name, "3000")
    shares = [played.rate(name, "2000").text for name in ("T1", "T0", "T1", "TX")]
    assert shares == ["2000", "1500", "1500", "1000"]
    played.finish("T1")
    assert played.rate("T0", "2000").text == "1500"
    assert played.rate("T1", "2000").text == "1500"  # a finished one asks, but has no share
    assert played.rate("T0", "2001").text == "1501"  # rounded up: 2001 * 3000 / 4001
    played.check_in("T0")
    assert played.rate("TX", "3000").text == "3000"  # a new check starts from no rate


def asked_by(host: str, number: int) -> PieceRequested:
    exchange = ExchangeId(number)
    return PieceRequested(exchange, "T1", "bytes=0-1023", "0", "1024", host=host)


def serves(*effects: PeerServerEffect) -> list[int]:
    return [int(effect.exchange) for effect in effects if isinstance(effect, ServePiece)]


def test_one_host_is_sent_so_many_pieces_at_a_time_and_others_do_not_mind() -> None:
    played = Played(host_slots=2, line_s=3.0)
    played.check_in("T1")
    sent = [serves(*played.do(asked_by("a", number))) for number in (11, 12, 13)]
    assert sent == [[11], [12], []]
    assert serves(*played.do(asked_by("b", 14))) == [14]
    assert serves(*played.do(UploadEnded(ExchangeId(11), 1024, complete=True))) == [13]
    assert played.do(asked_by("a", 15)) == []
    assert serves(*played.at(2.9)) == []
    assert serves(*played.at(3.0)) == [15]


def test_who_hangs_up_in_the_line_leaves_it_and_its_slot() -> None:
    played = Played(host_slots=1, up_slots=3)
    played.check_in("T1")
    assert serves(*[e for n in (11, 12, 13) for e in played.do(asked_by("a", n))]) == [11]
    assert text(played.do(asked_by("b", 14))[0])[0] == 503
    assert played.do(RequestDropped(ExchangeId(12))) == []
    assert played.do(RequestDropped(ExchangeId(11))) == [], "the driver tells of its end"
    assert serves(*played.do(asked_by("b", 15))) == [15]
    assert serves(*played.do(UploadEnded(ExchangeId(11), 0, complete=False))) == [13]


def test_who_waits_when_the_server_leaves_is_still_served() -> None:
    played = Played(host_slots=1, drain_s=60.0)
    played.check_in("T1")
    assert serves(*[e for n in (11, 12) for e in played.do(asked_by("a", n))]) == [11]
    assert played.do(StopRequested()) == [RetireServer()]
    assert serves(*played.do(UploadEnded(ExchangeId(11), 1024, complete=True))) == [12]
    assert played.do(UploadEnded(ExchangeId(12), 1024, complete=True)) == [CloseServer()]


def test_a_share_is_told_when_it_is_another() -> None:
    played = Played()
    for name in ("T1", "T2"):
        played.check_in(name, "3000")
    assert played.share("T1", "3000", "0") == [Respond(ExchangeId(3), 200, "3000")]
    assert played.share("T1", "3000", "3000") == []
    assert played.share("T2", "3000", "0") == [Respond(ExchangeId(4), 200, "1500")]
    assert played.share("T1", "3000", "1500") == [Respond(ExchangeId(5), 200, "1500")]
    assert played.share("T2", "3000", "1500") == []
    dropped = RequestDropped(ExchangeId(7))
    assert played.do(dropped) == [Respond(ExchangeId(6), 200, "3000")]
    assert played.do(dropped) == []


@pytest.mark.parametrize("how", ["finished", "checked", "withdrawn", "asked again", "polled"])
def test_a_question_that_is_overtaken_is_answered(how: str) -> None:
    played = Played()
    played.check_in("T1", "3000")
    assert played.share("T1", "3000", "3000") == []
    effects: list[PeerServerEffect] = []
    match how:
        case "finished":
            effects = played.do(FinishReported(played.next(), "T1", TASK, PEER, NODE))
        case "checked":
            effects = played.check_in("T1", "3000")
        case "withdrawn":
            effects = played.do(DownloadWithdrawn("T1"))
        case "asked again":
            effects = played.share("T1", "3000", "3000")
        case _:
            effects = played.do(RateRequested(played.next(), "T1", "3000"))
    first = effects[0]
    assert isinstance(first, Respond)
    assert (first.exchange, first.status) == (ExchangeId(2), 409)


def test_only_a_download_under_way_has_a_share() -> None:
    played = Played()
    played.check_in("T1", "3000")
    played.finish("T1")
    for name in ("T1", "T2"):
        (effect,) = played.share(name, "3000", "0")
        assert text(effect)[0] == 404
    (effect,) = played.share("T1", "3000", "-1")
    assert text(effect)[0] == 400


def test_a_server_with_questions_is_in_use() -> None:
    played = Played(alive_s=5.0, survey_s=100.0)
    played.check_in("T1", "3000")
    assert played.share("T1", "3000", "3000") == []
    assert played.at(19.0) == []
    assert played.at(20.0) == [Respond(ExchangeId(2), 200, "3000")]
    assert played.at(24.9) == []
    assert played.at(25.0) == [SurveyData()]


def test_finish_needs_name_task_and_peer() -> None:
    played = Played()
    for name, task, peer in (("", TASK, PEER), ("T1", "", PEER), ("T1", TASK, "")):
        event = FinishReported(played.next(), name, TaskId(task), PeerId(peer), NODE)
        assert played.do(event) == [Respond(event.exchange, 400, "invalid params", OCTETS)]
    assert played.engine.served == ()


def test_finish_of_an_unknown_name_makes_an_entry() -> None:
    played = Played()
    assert text(played.finish("T1")) == (200, "success")
    played.upload("T1")


def test_ping() -> None:
    played = Played()
    assert played.do(PingRequested(ExchangeId(9))) == [Respond(ExchangeId(9), 200, "success")]


def test_stats_count_uploads() -> None:
    played = Played()
    played.check_in("T1")
    played.check_in("T2")
    played.do(UploadEnded(played.upload("T1"), 1024, True))
    played.do(UploadEnded(played.upload("T1"), 100, False))
    played.upload("T2")
    status, body = text(played.do(StatsRequested(played.next()))[0])
    assert status == 200
    assert json.loads(body) == {
        "uploads": 1,
        "bytes": 1124,
        "active": 1,
        "downloads": {"T1": 1124, "T2": 0},
    }


def test_an_upload_that_nobody_knows_ends_without_effect() -> None:
    assert Played().do(UploadEnded(ExchangeId(77), 5, True)) == []


# --- expiry ---


def test_a_finished_download_expires_at_the_next_survey() -> None:
    played = Played(expire_s=5)
    played.check_in("T1")
    played.finish("T1")
    assert played.survey(15.0, found("T1", 15.0)) == [LEAVE, DeleteDownload("T1")]
    assert text(played.piece("T1"))[0] == 500


@pytest.mark.parametrize("node", ["", "no:port", "h:0", "h:65536", "a b", "http://h:8002", "h\r\n"])
def test_without_a_usable_supernode_the_file_just_goes(node: str) -> None:
    played = Played(expire_s=5)
    played.finish("T1", node)
    assert played.survey(15.0) == [DeleteDownload("T1")]


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("10.0.0.9", NodeAddress("10.0.0.9", 8002)),
        ("super-node.example:9", NodeAddress("super-node.example", 9)),
        ("[fe80::1]:8002", NodeAddress("fe80::1", 8002)),
    ],
)
def test_forms_of_a_supernode_address(node: str, address: NodeAddress) -> None:
    played = Played(expire_s=5)
    played.finish("T1", node)
    assert played.survey(15.0)[0] == LeaveSwarm(address, TASK, PEER)


@pytest.mark.parametrize("use", ["upload", "rate", "modified", "finished"])
def test_every_use_puts_the_expiry_off(use: str) -> None:
    played = Played(expire_s=20)
    played.finish("T1")
    played.now = 10.0
    age_s = 15.0
    match use:
        case "upload":
            played.do(UploadEnded(played.upload("T1"), 1024, True))
        case "rate":
            played.rate("T1", "1")
        case "modified":
            age_s = 5.0
        case _:
            played.finish("T1")
    assert played.survey(15.0, found("T1", age_s)) == []
    assert played.survey(30.0, found("T1", age_s + 15)) == [LEAVE, DeleteDownload("T1")]


def test_a_clock_set_back_does_not_keep_a_file() -> None:
    played = Played(expire_s=20)
    played.finish("T1")
    assert played.survey(15.0, found("T1", -1000.0)) == []
    assert played.survey(35.0) == [LEAVE, DeleteDownload("T1")]


def test_an_upload_under_way_keeps_its_download() -> None:
    played = Played(expire_s=5)
    played.finish("T1")
    exchange = played.upload("T1")
    assert played.survey(15.0, found("T1", 15.0)) == []
    played.do(UploadEnded(exchange, 1, False))
    assert played.survey(30.0, found("T1", 30.0)) == [LEAVE, DeleteDownload("T1")]


def test_a_download_under_way_stays_however_long_it_takes() -> None:
    played = Played(expire_s=5, alive_s=20)
    played.check_in("T1")
    for now in range(15, 300, 15):
        assert played.survey(now, found("T1", now, in_use=True)) == []
    played.upload("T1")


def test_a_download_cut_off_is_forgotten_but_its_file_stays_for_a_while() -> None:
    played = Played(expire_s=5, partial_keep_s=100, alive_s=0)
    played.check_in("T1")
    for now in (15.0, 30.0, 45.0):
        assert played.survey(now, found("T1", now)) == []
        played.upload("T1")
    played = Played(expire_s=5, partial_keep_s=100, alive_s=0)
    played.check_in("T1")
    assert played.survey(60.0, found("T1", 60.0)) == []
    assert played.engine.served == ()
    assert played.survey(75.0, found("T1", 75.0)) == []
    assert played.survey(100.0, found("T1", 100.0, in_use=True)) == []
    assert played.survey(120.0, found("T1", 120.0)) == [DeleteDownload("T1")]


@pytest.mark.parametrize("finished", [False, True])
def test_a_file_in_use_never_expires(finished: bool) -> None:
    played = Played(expire_s=0)
    played.check_in("T1")
    if finished:
        played.finish("T1")
    assert played.survey(100.0, found("T1", 100.0, in_use=True)) == []
    played.upload("T1")


def test_a_delivered_file_of_an_earlier_server_goes_when_it_expires() -> None:
    played = Played(expire_s=30, partial_keep_s=1000)
    assert played.survey(15.0, found("old", 29.0, delivered=True)) == []
    assert played.survey(30.0, found("old", 44.0, delivered=True)) == [DeleteDownload("old")]


def test_a_name_checked_again_is_unfinished_again() -> None:
    played = Played(expire_s=20)
    played.finish("T1")
    played.check_in("T1")
    assert played.survey(15.0, found("T1", 15.0, in_use=True)) == []
    assert played.survey(100.0, found("T1", 100.0)) == [LEAVE]  # the file stays


def test_an_empty_server_surveys_nothing_until_something_comes() -> None:
    played = Played(alive_s=0)
    assert played.survey(15.0) == []
    assert played.engine.deadline() == inf
    played.at(20.0)
    played.check_in("T1")
    assert played.engine.deadline() == 35.0


def test_while_a_survey_is_out_none_is_asked_for() -> None:
    played = Played(alive_s=20)
    assert played.at(15.0) == [SurveyData()]
    assert played.engine.deadline() == inf
    assert played.at(1000.0) == []
    assert played.do(DataSurveyed(())) == [RetireServer(), CloseServer()]


def test_a_survey_that_nobody_asked_for_is_ignored() -> None:
    played = Played()
    assert played.do(DataSurveyed((found("x", 1e9),))) == []


# --- the end ---


def test_a_server_that_nobody_needs_ends() -> None:
    played = Played(alive_s=30, expire_s=5)
    played.check_in("T1")
    played.finish("T1")
    assert played.survey(15.0) == [LEAVE, DeleteDownload("T1")]
    assert played.engine.deadline() == 30.0
    assert played.survey(30.0) == [RetireServer(), CloseServer()]
    assert played.engine.phase is ServerPhase.CLOSED
    assert played.engine.deadline() == inf


@pytest.mark.parametrize(
    ("use", "counts"),
    [("check", True), ("rate", True), ("upload", True), ("finish", False), ("ping", False)],
)
def test_what_keeps_a_server_alive(use: str, counts: bool) -> None:
    played = Played(alive_s=30, survey_s=1000)
    played.finish("T1")
    played.at(20.0)
    match use:
        case "check":
            played.check_in("T2")
        case "rate":
            played.rate("T1", "1")
        case "upload":
            played.do(UploadEnded(played.upload("T1"), 1, True))
        case "finish":
            played.finish("T2")
        case _:
            played.do(PingRequested(played.next()))
    assert played.engine.deadline() == (50.0 if counts else 30.0)


def test_an_upload_under_way_keeps_the_server_alive() -> None:
    played = Played(alive_s=30, survey_s=1000)
    played.check_in("T1")
    exchange = played.upload("T1")
    assert played.engine.deadline() == 1000.0
    played.at(100.0, UploadEnded(exchange, 1, True))
    assert played.engine.deadline() == 130.0


@pytest.mark.parametrize("alive_s", [0.0, -1.0])
def test_no_alive_time_means_for_ever(alive_s: float) -> None:
    played = Played(alive_s=alive_s)
    assert played.survey(1e6) == []
    assert played.engine.phase is ServerPhase.SERVING


def test_stopping_leaves_every_swarm_and_deletes_what_is_finished() -> None:
    played = Played()
    played.check_in("growing")
    played.finish("done")
    played.finish("orphan", "")
    assert played.do(StopRequested()) == [
        RetireServer(),
        LEAVE,
        DeleteDownload("done"),
        DeleteDownload("orphan"),
        CloseServer(),
    ]
    assert played.do(StopRequested()) == []


def test_stopping_waits_for_uploads_and_refuses_new_requests() -> None:
    played = Played(drain_s=10)
    played.finish("T1")
    exchange = played.upload("T1")
    assert played.do(StopRequested()) == [RetireServer(), LEAVE, DeleteDownload("T1")]
    assert text(played.piece("T1"))[0] == 503
    assert text(played.check_in("T2")[0])[0] == 503
    assert played.engine.deadline() == 10.0
    assert played.at(3.0, UploadEnded(exchange, 1024, True)) == [CloseServer()]


def test_stopping_does_not_wait_for_ever() -> None:
    played = Played(drain_s=10)
    played.check_in("T1")
    exchange = played.upload("T1")
    played.do(StopRequested())
    assert played.at(10.0) == [CloseServer()]
    assert played.at(11.0, UploadEnded(exchange, 0, False)) == []
    assert text(played.do(PingRequested(ExchangeId(99)))[0])[0] == 503


def test_a_survey_that_comes_back_too_late_is_ignored() -> None:
    played = Played()
    assert played.at(15.0) == [SurveyData()]
    assert played.do(StopRequested()) == [RetireServer(), CloseServer()]
    assert played.do(DataSurveyed((found("x", 1e9),))) == []


# --- laws ---


def test_before_its_first_call_an_engine_wants_one_at_once() -> None:
    assert PeerServerEngine(UploadPolicy(DATA, "v")).deadline() == -inf


def test_an_early_tick_is_harmless_and_time_never_runs_back() -> None:
    played = Played(alive_s=30, survey_s=1000)
    assert played.at(29.999) == []
    played.check_in("T1")  # at 29.999
    assert played.at(10.0, RateRequested(ExchangeId(50), "T1", "1"))[0] == Respond(
        ExchangeId(50), 200, "1"
    )
    assert played.engine.deadline() == 29.999 + 30


def test_an_epoch_may_be_anything() -> None:
    engine = PeerServerEngine(UploadPolicy(DATA, "v", alive_s=30))
    assert engine.tick(-5000.0) == []
    assert engine.deadline() == -4985.0


@pytest.mark.parametrize(
    ("phase", "trigger"), [(phase, trigger) for phase in LIFE for trigger in ServerTrigger]
)
def test_the_life_of_a_server_only_goes_forward(phase: ServerPhase, trigger: ServerTrigger) -> None:
    order = list(ServerPhase)
    assert set(LIFE) == set(order)
    after = LIFE[phase].get(trigger)
    assert after is None or order.index(after) > order.index(phase)


@pytest.mark.parametrize("phase", list(ServedPhase))
def test_the_life_of_a_download_ends_in_forgotten(phase: ServedPhase) -> None:
    moves = served.LIFE[phase]
    if phase is ServedPhase.FORGOTTEN:
        assert not moves
    else:
        assert set(moves) == set(ServedTrigger)
        assert (
            moves[ServedTrigger.EXPIRED]
            is moves[ServedTrigger.WITHDRAWN]
            is (ServedPhase.FORGOTTEN)
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"up_slots": 0},
        {"max_downloads": 0},
        {"survey_s": 0},
        {"drain_s": -1.0},
        {"expire_s": -1.0},
        {"partial_keep_s": float("nan")},
    ],
)
def test_a_policy_names_the_setting_that_is_wrong(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        UploadPolicy(DATA, "v", **wrong)  # type: ignore[arg-type]


# --- random actors ---


class Actors:
    """Random dfgets, peers and disks around one engine; answers are counted per exchange."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.played = Played(
            up_slots=self.rng.choice([1, 3, 64]),
            expire_s=self.rng.choice([0.0, 3.0, 50.0]),
            alive_s=self.rng.choice([-1.0, 4.0, 40.0]),
            survey_s=self.rng.choice([1.0, 15.0]),
            max_downloads=self.rng.choice([2, 100]),
            drain_s=5.0,
            host_slots=self.rng.choice([1, 2]),
        )
        self.uploads: list[ExchangeId] = []
        self.questions: list[ExchangeId] = []
        """About shares, and for pieces, that may have to wait."""
        self.survey_is_out = False
        self.closed = False

    def absorb(self, event: PeerServerEvent | None, effects: Sequence[PeerServerEffect]) -> None:
        answered = [e.exchange for e in effects if isinstance(e, Respond | ServePiece)]
        asked = isinstance(
            event,
            PieceRequested
            | CheckRequested
            | RateRequested
            | ShareRequested
            | FinishReported
            | PingRequested
            | StatsRequested,
        )
        if isinstance(event, ShareRequested | PieceRequested):
            self.questions.append(event.exchange)
        elif asked:
            assert answered.count(event.exchange) == 1
            answered.remove(event.exchange)
        for exchange in answered:
            self.questions.remove(exchange)
        for effect in effects:
            if isinstance(effect, ServePiece):
                self.uploads.append(effect.exchange)
            elif isinstance(effect, SurveyData):
                assert not self.survey_is_out
                self.survey_is_out = True
            assert not self.closed or isinstance(effect, Respond)
            self.closed = self.closed or isinstance(effect, CloseServer)

    def draw(self) -> PeerServerEvent | None:
        rng, played = self.rng, self.played
        name = rng.choice(["a", "b", "c", "d/e"])
        exchange = played.next()
        match rng.randrange(12):
            case 0 | 1:
                return CheckRequested(exchange, name, DATA, rng.choice(["", "0", "100"]))
            case 2:
                return RateRequested(exchange, name, rng.choice(["", "70"]))
            case 3:
                return FinishReported(exchange, name, TASK, PEER, rng.choice([NODE, ""]))
            case 4 | 5 | 6:
                return PieceRequested(
                    exchange,
                    name,
                    rng.choice(["bytes=0-9", "x"]),
                    "0",
                    "1024",
                    host=rng.choice(["", "h", "i"]),
                )
            case 7 if self.uploads:
                ended = self.uploads.pop(rng.randrange(len(self.uploads)))
                return UploadEnded(ended, rng.randrange(1000), rng.random() < 0.5)
            case 8 if self.survey_is_out:
                self.survey_is_out = False
                return DataSurveyed(
                    tuple(
                        FoundFile(n, rng.uniform(-1, 99), rng.random() < 0.3, rng.random() < 0.3)
                        for n in ("a", "b", "old")
                        if rng.random() < 0.5
                    )
                )
            case 9:
                withdrawn = DownloadWithdrawn(name)
                return rng.choice([PingRequested(exchange), StatsRequested(exchange), withdrawn])
            case 10:
                return ShareRequested(exchange, name, "70", rng.choice(["", "0", "50", "70"]))
            case 11 if self.questions:
                dropped = self.questions.pop(rng.randrange(len(self.questions)))
                return RequestDropped(dropped)
            case _:
                return None

    def run(self, steps: int) -> None:
        for _ in range(steps):
            now = self.played.now + self.rng.choice([-1.0, 0.0, 0.1, 2.0])
            event = self.draw()
            self.absorb(event, self.played.at(now, event))


def test_a_download_is_withdrawn_while_it_is_being_sent() -> None:
    it = Played()
    it.check_in("a")
    it.finish("a")
    sending = it.upload("a")
    assert it.do(DownloadWithdrawn("a")) == [LEAVE, DeleteDownload("a")]
    assert isinstance(it.piece("a"), Respond)
    assert it.do(UploadEnded(sending, 1024, complete=True)) == []
    assert it.do(DownloadWithdrawn("a")) == []


def test_an_unfinished_download_is_withdrawn_and_its_file_stays() -> None:
    it = Played()
    it.check_in("a")
    assert it.do(DownloadWithdrawn("a")) == []
    assert it.engine.served == ()


@pytest.mark.parametrize("seed", range(60))
def test_random_actors(seed: int) -> None:
    actors = Actors(seed)
    actors.run(300)
    stop = StopRequested()
    actors.absorb(stop, actors.played.do(stop))
    while not actors.closed:
        assert actors.uploads
        actors.absorb(None, actors.played.at(actors.played.engine.deadline()))
    actors.run(50)
