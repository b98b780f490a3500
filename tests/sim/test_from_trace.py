"""Scenarios out of traces: what a simulated fleet's supernode saw is what the fleet was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from damselfly.engine.config import CdnPattern, SupernodeConfig
from damselfly.engine.effects import Answer
from damselfly.engine.errors import ConfigError, RemoteProtocolError
from damselfly.engine.events import Dropped, OriginFailed, OriginFailure, Requested
from damselfly.engine.ids import ExchangeId, FetchId, PeerId, PieceIndex, task_id
from damselfly.engine.messages import (
    Extension,
    HeldNote,
    Orders,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Register,
    Registered,
    ReportMetrics,
    ReportPieceError,
    ReportWhole,
    SettlePiece,
    TaskCompleted,
    Update,
)
from damselfly.engine.trace import TraceRecord
from damselfly.sim.from_trace import choose, describe, rebuild
from damselfly.sim.observed import Observer
from damselfly.sim.population import PeerClass, Uploads
from damselfly.sim.scenario import Crash, Scenario
from damselfly.sim.scenario_file import dump, load
from damselfly.sim.swarm import Swarm
from damselfly.sim.traces import find

from .recorded import record

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.sim.from_trace import Rebuilt
    from damselfly.sim.report import Report

URL = "http://origin.example/f"
TASK = task_id(URL)
PEER = PeerId("10.0.0.1-1-1.000")
PARENT = PeerId("10.0.0.2-1-1.000")
PIECE = 1 << 20


def rebuilt_of(scenario: Scenario, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Report, Any]:
    report = record(scenario, folder, patch)
    ((recording,), _) = find([folder])
    observer = Observer()
    observer.read(recording.records())
    return report, rebuild(observer, choose(observer), recording.config)


@pytest.mark.parametrize(("v1_peers", "tolerance"), [(1.0, 0.05), (0.0, 0.15)])
def test_arrivals_speeds_and_departures_come_back(
    v1_peers: float, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(
        peers=24,
        file_bytes=40_000_000,
        piece_size=PIECE,
        peer_up_bytes_per_s=tuple(1e7 * (1 + n % 3) for n in range(24)),
        peer_down_bytes_per_s=3e7,
        supernode_bytes_per_s=1e8,
        origin_bytes_per_s=5e7,
        arrivals_s=tuple(0.05 * n for n in range(24)),
        linger_s=0.3,
        latency_s=0.002,
        v1_peers=v1_peers,
    )
    report, found = rebuilt_of(scenario, tmp_path, monkeypatch)
    again: Scenario = found.scenario
    assert (again.peers, again.file_bytes, again.layout) == (24, 40_000_000, scenario.layout)
    assert (again.up_slots, again.supernode_slots, again.policy) == (2, 20, "damselfly")
    assert again.arrivals_s == pytest.approx(scenario.arrivals_s, abs=1e-5)
    assert again.latency_s == pytest.approx(0.002, abs=1e-5)
    assert again.linger_s == pytest.approx(0.3, abs=0.1)
    assert again.origin_bytes_per_s == pytest.approx(5e7, rel=0.05)
    # What nobody asked of it cannot be seen.
    assert 5e7 < again.supernode_bytes_per_s < 1.25e8
    # Of a run one hears now and then, not at each piece.
    assert again.ups == pytest.approx(scenario.ups, rel=tolerance)
    # All uplinks together do not fill the downlinks, which therefore look slower than they are.
    assert all(1.6e7 < down < 3.1e7 for down in again.downs)
    assert found.notes == ()
    assert found.unfinished == 0
    assert found.took_s == pytest.approx(report.completions_s, abs=0.01)
    assert found.supernode_bytes == report.supernode_bytes
    simulated = Swarm(again).run()
    assert simulated.mean_s == pytest.approx(found.mean_s, rel=0.15)
    file = tmp_path / "again.yml"
    file.write_text(dump(again))
    assert load(file) == again


def test_crashes_and_peers_that_serve_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(
        peers=10,
        file_bytes=60_000_000,
        classes=(PeerClass(0.3, uploads=Uploads.NONE),),
        crashes=(Crash(4, 0.5),),
        arrivals_s=(*(0.0,) * 9, 20.0),
    )
    report, found = rebuilt_of(scenario, tmp_path, monkeypatch)
    assert report.crashed == 1
    ((_, at_s),) = [(crash.peer, crash.at_s) for crash in found.scenario.crashes]
    assert at_s == pytest.approx(0.5, abs=0.2)
    (kind,) = found.scenario.classes
    assert (kind.uploads, round(kind.share * 10)) == (Uploads.NONE, 3)
    assert "3 peers serve nobody" in " ".join(found.notes)
    assert (len(found.took_s), found.unfinished) == (9, 0)


# --- what supernodes are told ---------------------------------------------------------------------


def register(peer: PeerId = PEER, port: int = 9, url: str = URL) -> Register:
    return Register(url, url, peer, "10.0.0.1", "h", port, "/p")


def offer(piece: int, parent: PeerId = PARENT) -> PieceOffer:
    return PieceOffer(PieceIndex(piece), parent, "10.0.0.2", 9, "/q", PIECE)


def pull(result: PullResult, piece: int, peer: PeerId = PEER) -> PullPieces:
    return PullPieces(TASK, peer, PullStatus.RUNNING, result, PARENT, PieceIndex(piece), PIECE)


def observed(*calls: tuple[object, object | None]) -> Observer:
    """Read a trace of requests and their answers, one a second."""
    observer = Observer()
    observer.read(
        TraceRecord(
            float(now),
            Requested(ExchangeId(now), request),  # pyright: ignore[reportArgumentType]
            () if reply is None else (Answer(ExchangeId(now), reply),),  # pyright: ignore[reportArgumentType]
        )
        for now, (request, reply) in enumerate(calls)
    )
    return observer


JOINED = (register(), Registered(TASK, 2 * (PIECE - 5), PIECE))
BEGUN = (pull(PullResult.INVALID, 9), PiecesOffered((offer(0), offer(1))))


def rebuilt(*calls: tuple[object, object | None]) -> Rebuilt:
    observer = observed(*calls)
    return rebuild(observer, choose(observer), SupernodeConfig())


def test_a_v1_peer_reports_by_pulling() -> None:
    begun = (replace(BEGUN[0], status=PullStatus.START), BEGUN[1])
    observer = observed(
        JOINED, begun, (pull(PullResult.SUCCESS, 0), None), (pull(PullResult.SUCCESS, 1), None)
    )
    moves = observer.tasks[TASK].moves
    assert [(move.piece, move.begin_s, move.end_s) for move in moves] == [(0, 1, 2), (1, 1, 3)]
    assert choose(observer).done_s(observer.tasks[TASK].peers[PEER]) == 3


def test_a_native_peer_whose_run_goes_on() -> None:
    said = Update(TASK, PEER, 1, 0)
    longer = Extension(PieceIndex(1), (offer(2),))
    observer = observed(
        JOINED,
        (said, Orders(((offer(0), offer(1)),))),
        (replace(said, held=(HeldNote(PieceIndex(0), PARENT),)), Orders(extended=(longer,))),
        (replace(said, held=(HeldNote(PieceIndex(1), PARENT),)), None),
        (replace(said, held=(HeldNote(PieceIndex(2), PARENT),)), None),
    )
    moves = observer.tasks[TASK].moves
    assert [(move.piece, move.begin_s, move.end_s) for move in moves] == [
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 4),
    ]


def test_an_extension_of_a_run_that_is_over_begins_one() -> None:
    longer = Extension(PieceIndex(7), (offer(0),))
    observer = observed(
        JOINED,
        (Update(TASK, PEER, 1, 0), Orders(extended=(longer,))),
        (Update(TASK, PEER, 2, 1, (HeldNote(PieceIndex(0), PARENT),)), None),
    )
    moves = observer.tasks[TASK].moves
    assert [(move.piece, move.begin_s, move.end_s) for move in moves] == [(0, 1, 2)]


def test_pieces_that_failed_or_came_otherwise_are_no_measure() -> None:
    blamed = ReportPieceError(TASK, PEER, PARENT, "FILE_NOT_EXIST", piece=PieceIndex(1))
    other = SettlePiece(TASK, PEER, PeerId("x"), PieceIndex(1), PIECE, PullResult.SUCCESS)
    observer = observed(
        JOINED,
        BEGUN,
        (pull(PullResult.FAILED, 0), None),
        (blamed, None),
        (pull(PullResult.SUCCESS, 0), PiecesOffered((offer(1),))),
        (other, None),
    )
    assert observer.tasks[TASK].moves == []
    assert observer.tasks[TASK].peers[PEER].held == 0b11


@pytest.mark.parametrize(
    "said",
    [
        (replace(BEGUN[0], status=PullStatus.FINISHED), None),
        (BEGUN[0], TaskCompleted("", 0)),
        (ReportWhole(TASK, PEER), None),
        (ReportMetrics(TASK, PEER, "", 0, True, 1.0, 9), None),
    ],
)
def test_ways_to_say_that_it_is_all_there(said: tuple[object, object | None]) -> None:
    assert rebuilt(JOINED, said).took_s == (1.0,)


def test_who_fails_goes() -> None:
    failed = ReportMetrics(TASK, PEER, "", 0, False, 1.0, 9)
    found = rebuilt(JOINED, (failed, None))
    assert found.scenario.crashes == (Crash(0, 1.0),)
    assert (found.took_s, found.mean_s, found.max_s, found.unfinished) == ((), None, None, 0)


def test_a_length_that_is_known_only_at_the_end() -> None:
    unknown = (JOINED[0], Registered(TASK, -1, PIECE))
    with pytest.raises(ConfigError, match="does not tell the length of task"):
        rebuilt(unknown)
    assert rebuilt(unknown, (BEGUN[0], TaskCompleted("", 77))).scenario.file_bytes == 72


def test_what_was_not_seen_is_assumed_and_said() -> None:
    observer = observed(JOINED, (pull(PullResult.SUCCESS, 0, PeerId("stranger")), None))
    found = rebuild(observer, choose(observer), SupernodeConfig(cdn_pattern=CdnPattern.SOURCE))
    said = "\n".join(describe(found))
    for note in (
        "latency: no peer",
        "upload: not seen of 1 peers",
        "download: not seen of 1 peers",
        "supernode: it sent nothing",
        "origin: no read",
        "1 peers came before the trace begins",
        "pieces came from the origin to peers",
    ):
        assert note in said
    assert found.scenario.peer_up_bytes_per_s == (Scenario.peer_up_bytes_per_s,)


def test_the_task_of_most_peers_or_the_one_asked_for() -> None:
    other = task_id(URL + "2")
    calls = [(register(PeerId(f"p{n}"), url=URL + "2"), None) for n in range(2)]
    observer = observed(JOINED, *calls)
    assert choose(observer).task == other
    assert choose(observer, TASK[:5]).task == TASK
    with pytest.raises(ConfigError, match="no peer that registered for a task that begins with x"):
        choose(observer, "x")
    with pytest.raises(ConfigError, match="no peer that registered for a task"):
        choose(Observer())


def test_answers_that_nobody_waits_for_and_reads_of_nobody_are_ignored() -> None:
    observer = Observer()
    observer.read(
        [
            TraceRecord(0.0, Requested(ExchangeId(1), register()), ()),
            TraceRecord(1.0, Dropped(ExchangeId(1)), ()),
            TraceRecord(2.0, None, (Answer(ExchangeId(1), JOINED[1]),)),  # pyright: ignore[reportArgumentType]
            TraceRecord(3.0, OriginFailed(FetchId(1), OriginFailure.SHORT, ""), ()),
        ]
    )
    assert observer.tasks[TASK].length == -1
    assert (observer.records, observer.first_s, observer.last_s) == (4, 0, 3)


def test_records_that_make_no_sense_are_named() -> None:
    bad = replace(pull(PullResult.SUCCESS, 0), piece="x")
    with pytest.raises(RemoteProtocolError, match="record 2 makes no sense"):
        observed(JOINED, (bad, None))
