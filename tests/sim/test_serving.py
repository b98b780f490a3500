from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.effects import FetchPiece
from damselfly.engine.events import FetchFailure, PieceFailed, PieceFetched
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.messages import PieceOffer
from damselfly.sim import serving
from damselfly.sim.scenario import Crash, Scenario
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from damselfly.sim.transfers import PieceTransfer

PIECE = (1 << 20) - 5
FIRST = PieceIndex(0)


class Lab:
    """Two peers, of which the first has announced its download and holds the first piece."""

    def __init__(self, slots: int | None = None, host_slots: int | None = None) -> None:
        scenario = Scenario(
            peers=2,
            file_bytes=3 * PIECE,
            peer_servers=True,
            peer_server_slots=slots,
            peer_server_host_slots=host_slots,
        )
        self.swarm = Swarm(scenario)
        self.stage = self.swarm.stage
        parent, child = self.swarm.peers
        self.parent, self.child = parent.host, child.replica
        assert isinstance(self.parent.server, serving.PeerServer)
        self.server = self.parent.server
        self.server.announce(parent)
        parent.replica.stored[FIRST] = False
        parent.replica.serves[FIRST] = None
        self.heard: list[PieceFetched | PieceFailed] = []

    def fetch(self, piece: int = 0, path: str = "/peer/file/file-0-0.000") -> PieceTransfer:
        offer = PieceOffer(PieceIndex(piece), PeerId("p"), "10.0.0.0", 15001, path, 1 << 20)
        effect = FetchPiece(FetchId(len(self.heard) + 1), offer, PIECE, 10.0)
        return self.stage.transfers.fetch(self.child, effect, self.heard.append)

    def run(self) -> list[FetchFailure | None]:
        self.stage.world.run(5.0)
        self.server.node.engine.check()
        return [e.failure if isinstance(e, PieceFailed) else None for e in self.heard]


def test_a_piece_that_the_engine_grants_comes() -> None:
    lab = Lab()
    lab.fetch()
    assert lab.run() == [None]


@pytest.mark.parametrize(("piece", "path"), [(1, "/peer/file/file-0-0.000"), (0, "/peer/file/x")])
def test_what_the_peer_server_does_not_have_is_not_found(piece: int, path: str) -> None:
    lab = Lab()
    lab.fetch(piece, path)
    assert lab.run() == [FetchFailure.NOT_FOUND]


def test_a_server_with_all_slots_taken_refuses() -> None:
    lab = Lab(slots=2)
    for _ in range(3):
        lab.fetch()
    assert sorted(lab.run(), key=str) == [FetchFailure.REFUSED, None, None]


def test_who_gives_up_in_the_line_and_who_is_left_there_by_a_crash() -> None:
    lab = Lab(host_slots=1)
    lab.fetch()
    given_up = lab.fetch()
    lab.fetch()
    lab.stage.world.at(0.01, lambda _: lab.stage.transfers.cancel(given_up), None)
    lab.stage.world.at(0.02, lambda _: lab.swarm.crash_peer(0), None)
    assert lab.run() == [FetchFailure.SHORT, FetchFailure.SHORT]


def test_a_broken_upload_frees_its_slot() -> None:
    lab = Lab(slots=1)
    lab.fetch()
    lab.stage.world.at(0.01, lambda _: lab.stage.transfers.cut_off(lab.parent), None)
    lab.stage.world.at(0.02, lambda _: lab.fetch(), None)
    assert lab.run() == [FetchFailure.SHORT, None]


def test_servers_that_nobody_needs_leave_the_swarm_and_end() -> None:
    # Of the first two peers one helps the third; the other expires and says so, and is gone when
    # the fourth comes.
    scenario = Scenario(
        peers=4, file_bytes=PIECE, peer_servers=True, arrivals_s=(0.0, 0.0, 170.0, 310.0)
    )
    swarm = Swarm(scenario, paranoid=True)
    report = swarm.run()
    assert len(report.completions_s) == 4
    assert report.origin_bytes == PIECE
    assert sorted(peer.host.listens for peer in swarm.peers[:2]) == [False, True]
    assert sorted(len(peer.replica.serves) for peer in swarm.peers[:2]) == [0, 1]


def test_servers_change_nothing_about_who_gets_what_when() -> None:
    scenario = Scenario(peers=12, file_bytes=8 * PIECE, crashes=(Crash(3, 0.2),))
    plain, asked = (
        Swarm(replace(scenario, peer_servers=servers)).run() for servers in (False, True)
    )
    assert plain.completions_s == asked.completions_s
    assert plain.engine_calls < asked.engine_calls
