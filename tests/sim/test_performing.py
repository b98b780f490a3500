"""What a peer and a supernode do with effects that the usual run of things never asks for."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.engine.effects import (
    CancelFetch,
    DropPiece,
    FetchPiece,
    ForgetTask,
    HashCopy,
    HashPiece,
    KeepPiece,
    Publish,
    ReadOrigin,
)
from damselfly.engine.events import (
    CopyHashed,
    Dropped,
    OriginFailed,
    Published,
    Requested,
    Started,
)
from damselfly.engine.ids import FetchId, PeerId, PieceIndex, task_id
from damselfly.engine.messages import PieceOffer
from damselfly.engine.piece import Digest
from damselfly.sim.host import Content
from damselfly.sim.scenario import Corruption, Scenario
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from damselfly.sim.node import Node

PIECE = PieceIndex(0)
SCENARIO = Scenario(peers=2, file_bytes=1000, corruptions=(Corruption(1),), until_s=9.0)
CONTENT = Content(SCENARIO.layout)
KEEP = KeepPiece(PIECE, 1000, CONTENT.sha256(PIECE))
FETCH = FetchPiece(
    FetchId(1), PieceOffer(PIECE, PeerId("p"), "10.0.0.1", 15001, "/f", 1 << 20), 1000, 10.0
)
TASK = task_id("http://origin.example/file")
READ = ReadOrigin(FetchId(1), TASK, "http://origin.example/file", (), 1 << 20)


class Script:
    """An engine that asks for one thing after the other, one a call, and notes what comes back."""

    def __init__(self, *acts: list[Any]) -> None:
        self.acts = list(acts)
        self.heard: list[Any] = []

    def handle(self, event: object, now: float) -> list[Any]:
        self.heard.append(event)
        return self.acts.pop(0) if self.acts else []

    def tick(self, now: float) -> list[Any]:
        return []

    def deadline(self) -> float:
        return inf

    def check(self) -> None:
        pass


def play(swarm: Swarm, node: Node[Any, Any], acts: list[Any], *, crash: bool = False) -> list[Any]:
    """Let ``node`` perform ``acts``, and perhaps die; return what they brought."""
    node.engine = script = Script(acts)
    node.handle(Started())
    if crash and node is swarm.supernode.node:
        swarm.crash_supernode()
    elif crash:
        swarm.crash_peer(0)
    swarm.run()
    return [event for event in script.heard if not isinstance(event, (Started, Requested, Dropped))]


def test_a_peer_serves_what_it_keeps_until_it_drops_it() -> None:
    for acts, served in (([KEEP], [PIECE]), ([KEEP, DropPiece(PIECE), DropPiece(PIECE)], [])):
        swarm = Swarm(SCENARIO)
        peer = swarm.peers[0]
        peer.replica.stored[PIECE] = False
        assert play(swarm, peer.node, acts) == []
        assert list(peer.replica.serves) == served


@pytest.mark.parametrize(
    ("number", "md5", "good"),
    [
        (0, "", True),
        (0, CONTENT.md5, True),
        (0, "ff", False),
        (1, "", True),  # the pieces were right when they were kept
        (1, CONTENT.md5, False),
    ],
)
def test_publishing_compares_the_md5_that_is_wanted(number: int, md5: str, good: bool) -> None:
    swarm = Swarm(SCENARIO)
    peer = swarm.peers[number]
    peer.replica.stored[PIECE] = False
    (event,) = play(swarm, peer.node, [KEEP, Publish(1000, md5)])
    assert event == Published() if good else event.mismatch


@pytest.mark.parametrize("effect", [FETCH, READ])
def test_what_a_peer_cancels_brings_nothing(effect: FetchPiece | ReadOrigin) -> None:
    cancel = CancelFetch(FetchId(1))
    for acts, brings in (([effect], True), ([effect, cancel, cancel], False)):
        swarm = Swarm(SCENARIO)
        assert bool(play(swarm, swarm.peers[0].node, acts)) == brings


def test_what_a_supernode_cancels_brings_nothing() -> None:
    cancel = CancelFetch(FetchId(1))
    for acts, brings in (([READ], True), ([READ, cancel, cancel], False)):
        swarm = Swarm(SCENARIO)
        assert bool(play(swarm, swarm.supernode.node, acts)) == brings
        (replica,) = swarm.supernode.host.replicas.values()
        assert list(replica.serves) == ([PIECE] if brings else [])


def test_a_crash_ends_what_was_under_way() -> None:
    for effect in (FETCH, READ):
        swarm = Swarm(SCENARIO)
        assert play(swarm, swarm.peers[0].node, [effect], crash=True) == []
    swarm = Swarm(SCENARIO)
    assert play(swarm, swarm.supernode.node, [READ], crash=True) == []
    assert not any(replica.serves for replica in swarm.supernode.host.replicas.values())


def test_a_supernode_hashes_pieces_for_old_clients() -> None:
    swarm = Swarm(SCENARIO)
    acts = [HashPiece(TASK, PIECE, 1 << 20), ForgetTask(TASK)]
    (event,) = play(swarm, swarm.supernode.node, acts)
    assert (event.task, event.piece) == (TASK, PIECE)
    assert CONTENT.digest(PIECE, Digest("md5:")) == f"md5:{event.md5}"


def test_a_supernode_hashes_its_copy_for_old_clients() -> None:
    acts = [HashCopy(TASK, CONTENT.length)]
    swarm = Swarm(SCENARIO)
    assert play(swarm, swarm.supernode.node, acts) == [CopyHashed(TASK, CONTENT.md5)]


def test_an_origin_that_changed_is_told_to_the_engine() -> None:
    changed = ReadOrigin(FetchId(1), TASK, "", (), 1 << 20, validator='"v0"')
    swarm = Swarm(SCENARIO)
    (event,) = play(swarm, swarm.supernode.node, [changed])
    assert isinstance(event, OriginFailed)
    (event,) = play(swarm := Swarm(SCENARIO), swarm.peers[0].node, [changed])
    assert isinstance(event, OriginFailed)
