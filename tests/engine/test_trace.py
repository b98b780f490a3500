"""Recording and replaying: all of the vocabulary, torn and foreign traces, and differences."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate
from math import inf
from random import Random
from types import ModuleType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine import effects, messages
from damselfly.engine.config import DownloadConfig, SupernodeConfig
from damselfly.engine.effects import Answer, ForgetTask, ReadOrigin, Send
from damselfly.engine.errors import LocalProtocolError, RemoteProtocolError
from damselfly.engine.events import (
    Dropped,
    FetchFailure,
    HeldPiece,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceFailed,
    PieceHashed,
    Requested,
    Started,
    SupernodeEvent,
)
from damselfly.engine.ids import (
    ExchangeId,
    FetchId,
    NodeAddress,
    PeerId,
    PieceIndex,
    TaskId,
    task_id,
)
from damselfly.engine.messages import (
    Code,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Register,
)
from damselfly.engine.piece import NO_DIGEST, Digest, PieceSizePolicy
from damselfly.engine.redact import Redactor
from damselfly.engine.supernode import SupernodeEngine
from damselfly.engine.trace import (
    ReplayMismatch,
    TraceCutOff,
    TraceRecord,
    TraceWriter,
    read_trace,
    replay,
)
from damselfly.engine.vocabulary import VOCABULARY, Vocabulary

TASK = TaskId("3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522")
PULL = PullPieces(TASK, PeerId("p"), PullStatus.START, PullResult.INVALID)
OFFER = PieceOffer(PieceIndex(0), PeerId("q"), "10.0.0.1", 20001, "/peer/file/q", 1 << 20)
SAMPLES: tuple[object, ...] = (
    Requested(ExchangeId(1), PULL),
    Answer(ExchangeId(1), PiecesOffered((OFFER, OFFER))),
    Answer(ExchangeId(1), Refused(Code.PEER_WAIT, "nothing yet")),
    Started((HeldPiece(PieceIndex(3), 17, Digest("sha256:00")),), 1 << 62, 6, '"etag"'),
    PieceFailed(FetchId(9), FetchFailure.SHORT, "the body ended at 5 of 17 bytes"),
    OriginFailed(FetchId(9), OriginFailure.STATUS, "404", 404),
    ReadOrigin(FetchId(2), TASK, "http://h/f", ("a:b",), PieceSizePolicy.ADAPTIVE),
    ReadOrigin(FetchId(2), TASK, "http://h/\udcff", (), 1 << 20, 5, 9, insecure=True),
    Send(ExchangeId(4), NodeAddress("10.0.0.1"), PULL, 0.1 + 0.2),
    DownloadConfig("http://h/f", "http://h/f", PeerId("p"), (NodeAddress("h", 1),)),
)


@dataclass
class EchoEngine:
    """Forgets the task of every second event, and answers the rest."""

    wrong_at: int = 0
    seen: int = 0
    checks: int = field(default=0)

    def handle(self, event: SupernodeEvent, now: float) -> list[effects.SupernodeEffect]:
        self.seen += 1
        if self.seen == self.wrong_at:
            return [ForgetTask(TaskId("another"))]
        match event:
            case Requested(exchange, request) if isinstance(request, Register):
                return [Answer(exchange, Refused(Code.PEER_WAIT, request.raw_url))]
            case Requested(exchange, _):
                return [Answer(exchange, PiecesOffered((OFFER,))), ForgetTask(TASK)]
            case _:
                return []

    def tick(self, now: float) -> list[effects.SupernodeEffect]:
        return [ForgetTask(TaskId(str(now)))]

    def deadline(self) -> float:
        return inf

    def check(self) -> None:
        self.checks += 1


SCRIPT: tuple[tuple[float, SupernodeEvent | None], ...] = (
    (0.1, Requested(ExchangeId(1), PULL)),
    (0.1 + 0.2, None),
    (1e9 + 1e-7, Dropped(ExchangeId(1))),
    (2e9, PieceHashed(TASK, PieceIndex(1), "00")),
)


def recorded(
    engine: EchoEngine, script: tuple[tuple[float, SupernodeEvent | None], ...] = SCRIPT
) -> list[bytes]:
    chunks: list[bytes] = []
    writer = TraceWriter(chunks.append, {"engine": "echo", "seed": 7, "nodes": ("a", "b")})
    for now, event in script:
        answer = engine.tick(now) if event is None else engine.handle(event, now)
        writer.record(now, event, answer)
    return chunks


# --- the vocabulary -------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_samples_come_back_equal_and_of_the_same_class(sample: object):
    decoded = VOCABULARY.decode(VOCABULARY.encode(sample, Redactor()))
    assert decoded == sample
    assert type(decoded) is type(sample)
    assert repr(decoded) == repr(sample)  # equal enums and ints differ here


def test_samples_come_back_through_bytes():
    chunks: list[bytes] = []
    TraceWriter(chunks.append, {}).record(0.0, None, SAMPLES)
    _, records = read_trace(chunks)
    assert [record.effects for record in records] == [SAMPLES]


@given(st.floats(allow_nan=False))
def test_times_come_back_exactly(now: float):
    chunks: list[bytes] = []
    TraceWriter(chunks.append, {}).record(now, None, ())
    _, records = read_trace(chunks)
    assert [record.now for record in records] == [now]


@pytest.mark.parametrize("value", [object(), {1}, 1 << 64, -(1 << 63) - 1, Enum("Odd", "A").A])
def test_what_is_not_of_the_vocabulary_is_refused(value: object):
    with pytest.raises(LocalProtocolError, match="not in the vocabulary of traces"):
        VOCABULARY.encode((value,), Redactor())


def test_two_classes_of_one_name_are_a_bug():
    other = ModuleType("other")
    clash = type("Register", (), {"__module__": "other", "__annotations__": {}})
    setattr(other, "Register", dataclass(clash))  # noqa: B010
    with pytest.raises(AssertionError, match="two classes named Register"):
        Vocabulary(messages, other)


packed = msgspec.msgpack.encode


# --- files ----------------------------------------------------------------------------------------


def test_a_header_says_what_the_writer_said():
    header, records = read_trace(recorded(EchoEngine()))
    assert header == {"engine": "echo", "seed": 7, "nodes": ("a", "b"), "schema": 1}
    assert [(record.now, record.event) for record in records] == list(SCRIPT)


def test_each_file_of_a_recording_begins_with_the_header():
    chunks: list[bytes] = []
    writer = TraceWriter(chunks.append, {"engine": "echo", "part": 1})
    writer.begin({"part": 2})
    writer.record(1.0, None, ())
    assert read_trace(chunks[:1])[0] == {"engine": "echo", "part": 1, "schema": 1}
    header, records = read_trace(chunks[1:])
    assert header == {"engine": "echo", "part": 2, "schema": 1}
    assert [record.now for record in records] == [1.0]


def test_any_chunks_will_do():
    whole = b"".join(recorded(EchoEngine()))
    _, records = read_trace([whole])
    _, again = read_trace(whole[i : i + 1] for i in range(len(whole)))
    assert list(records) == list(again)


def test_a_long_record_is_read_in_parts():
    chunks: list[bytes] = []
    event = PieceHashed(TASK, PieceIndex(0), "f" * 300_000)
    TraceWriter(chunks.append, {}).record(1.0, event, ())
    _, records = read_trace([b"".join(chunks)])
    assert list(records) == [TraceRecord(1.0, event, ())]


def test_a_cut_off_trace_gives_its_whole_records_first():
    chunks = recorded(EchoEngine())
    whole = b"".join(chunks)
    for cut in range(1, len(chunks[-1])):
        _, records = read_trace([whole[:-cut]])
        found = [next(records) for _ in range(3)]
        assert [record.event for record in found] == [event for _, event in SCRIPT[:3]]
        with pytest.raises(TraceCutOff, match=r"cut off after 3 records, \d+ bytes left over"):
            next(records)


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (b"", "it begins None"),
        (packed([1, 2]), "it begins"),
        (packed({"schema": 2}), "not a trace of schema 1"),
        (b"\xc1", "bad bytes after 0"),
        (b"\x93\x01", "cut off"),
        (b"\xff" * 10, "it begins -1"),
        (packed({"schema": 1, "x": {"@": "Nothing"}}), "no such class: 'Nothing'"),
    ],
)
def test_what_is_no_trace(header: bytes, what: str):
    with pytest.raises(RemoteProtocolError, match=what):
        read_trace([header])


BAD_RECORDS: list[tuple[object, str]] = [
    ([1.0, None], "record 1: expected time, event, effects"),
    (["x", None, []], "record 1: expected time, event, effects"),
    ([1.0, None, 5], "record 1: expected time, event, effects"),
    ("x", "record 1: expected time, event, effects"),
    ([1.0, {"@": "Gone"}, []], "record 1: trace: no such class: 'Gone'"),
    ([1.0, {"@": "Dropped"}, []], "Dropped: Missing required argument"),
    ([1.0, {"@": "Dropped", "exchange": 1, "x": 2}, []], "Unexpected keyword argument 'x'"),
    (
        [
            1.0,
            {"@": "DownloadConfig", "url": "", "task_url": "", "peer": "", "down_slots": 0},
            [],
        ],
        "down_slots is 0",
    ),
    ([1.0, {"=": "Code.GONE"}, []], "no such enum member: 'Code.GONE'"),
    ([1.0, {"=": "Gone"}, []], "no such enum member: 'Gone'"),
]


@pytest.mark.parametrize(("record", "what"), BAD_RECORDS)
def test_bad_records_are_named(record: object, what: str):
    _, records = read_trace([packed({"schema": 1}), packed(record)])
    with pytest.raises(RemoteProtocolError, match=what):
        next(records)


def test_deep_nesting_is_refused():
    deep = b"\x91" * 900 + b"\xc0"
    _, records = read_trace([packed({"schema": 1}), deep])
    with pytest.raises(RemoteProtocolError, match="trace"):
        next(records)


@given(st.binary(max_size=40), st.integers(0, 400))
def test_no_bytes_break_the_reader_and_good_records_before_them_count(noise: bytes, at: int):
    chunks = recorded(EchoEngine())
    ends = list(accumulate(map(len, chunks)))
    read = 0
    with suppress(RemoteProtocolError):
        for _ in read_trace([b"".join(chunks)[:at] + noise])[1]:
            read += 1
    assert read >= sum(end <= at for end in ends[1:])


# --- replay ---------------------------------------------------------------------------------------


def test_the_same_engine_answers_the_same():
    _, records = read_trace(recorded(EchoEngine()))
    engine = EchoEngine()
    assert replay(engine, records) == 4
    assert engine.checks == 4


def test_a_replay_without_checks():
    _, records = read_trace(recorded(EchoEngine()))
    engine = EchoEngine()
    assert replay(engine, records, check=False) == 4
    assert engine.checks == 0


def test_nothing_to_replay():
    assert replay(EchoEngine(), []) == 0


def test_a_difference_is_named():
    _, records = read_trace(recorded(EchoEngine()))
    with pytest.raises(ReplayMismatch) as caught:
        replay(EchoEngine(wrong_at=1), records)
    assert (caught.value.number, caught.value.now) == (1, 0.1)
    assert caught.value.event == SCRIPT[0][1]
    assert caught.value.actual == (ForgetTask(TaskId("another")),)
    message = str(caught.value)
    assert message.startswith("record 1 at 0.1 s, after Requested(exchange=1")
    assert "effect 1 differs" in message
    assert "expected Answer(exchange=1" in message
    assert message.endswith("actual   ForgetTask(task='another')")


def test_a_missing_and_a_superfluous_effect_are_differences():
    answer = (ForgetTask(TaskId("0.5")),)
    with pytest.raises(ReplayMismatch, match=r"a tick: effect 2 differs\n.*\n  actual   nothing"):
        replay(EchoEngine(), [TraceRecord(0.5, None, (*answer, *answer))])
    with pytest.raises(ReplayMismatch, match=r"a tick: effect 1 differs\n  expected nothing"):
        replay(EchoEngine(), [TraceRecord(0.5, None, ())])


def test_a_check_that_fails_stops_the_replay():
    class Broken(EchoEngine):
        def check(self) -> None:
            raise AssertionError("slots do not add up")

    with pytest.raises(AssertionError, match="slots do not add up"):
        replay(Broken(), [TraceRecord(0.5, None, ())])


def test_a_trace_with_secrets_replays():
    register = Register(
        *("http://me:pw@h/f", "http://me:pw@h/f", PeerId("p"), "1.2.3.4", "h", 0, "/p"),
        headers=("Authorization: Basic c2VjcmV0",),
    )
    other = Register("http://you:pw@h/f", "http://you:pw@h/f", PeerId("q"), "1.2.3.4", "h", 0, "/")
    script = (
        (1.0, Requested(ExchangeId(1), register)),
        (2.0, Requested(ExchangeId(2), other)),
        (3.0, Requested(ExchangeId(3), register)),
    )
    chunks = recorded(EchoEngine(), script)
    for secret in (b"pw", b"c2VjcmV0", b"me:", b"you"):
        assert secret not in b"".join(chunks)
    header, records = read_trace(chunks)
    assert header["engine"] == "echo"
    assert replay(EchoEngine(), records) == 3


def test_a_supernodes_trace_replays_under_the_ids_of_redacted_urls():
    url = "http://me:pw@h/f"
    register = Register(url, url, PeerId("p"), "1.2.3.4", "h", 20000, "/p", node_host="1.2.3.9")
    pull = PullPieces(task_id(url), PeerId("p"), PullStatus.START, PullResult.INVALID)
    script: tuple[tuple[float, SupernodeEvent | None], ...] = (
        (1.0, Requested(ExchangeId(1), register)),
        (1.1, OriginOpened(FetchId(1), 3_000_000, 1 << 20, True, '"e"')),
        (1.2, OriginPieceStored(FetchId(1), PieceIndex(0), (1 << 20) - 5, NO_DIGEST)),
        (1.3, Requested(ExchangeId(2), pull)),
        (9.0, None),
    )
    engine, chunks = SupernodeEngine(SupernodeConfig(), Random(7)), list[bytes]()
    writer = TraceWriter(chunks.append, {"config": SupernodeConfig()})
    for now, event in script:
        answer = engine.tick(now) if event is None else engine.handle(event, now)
        writer.record(now, event, answer)
    assert task_id(url).encode() not in b"".join(chunks)
    header, records = read_trace(chunks)
    config = header["config"]
    assert isinstance(config, SupernodeConfig)
    assert replay(SupernodeEngine(config, Random(7)), records) == len(script)
