"""Peers that take a file from each other in no time: all they ever do is talk to a supernode.

A conversation is a generator that yields requests and is sent the replies, until the supernode
says that the peer has everything.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias

from damselfly.engine.ids import PeerId
from damselfly.engine.messages import (
    Code,
    HeldNote,
    Orders,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Register,
    Registered,
    Reply,
    ReportPiece,
    Request,
    TaskCompleted,
    Update,
)
from damselfly.engine.piece import DigestForm

Conversation: TypeAlias = Generator[Request, Reply, None]
RUNS_AT_ONCE: Final = 8
"""As many as dfget would take."""


def v1_peer(url: str, name: str) -> Conversation:
    """Register, then pull, and report every piece that is offered."""
    registered = yield register(url, name, native=False)
    assert isinstance(registered, Registered), registered
    task, peer = registered.task, PeerId(name)
    start = pull = PullPieces(task, peer, PullStatus.START, PullResult.INVALID)
    while True:
        match (yield pull):
            case PiecesOffered(offers):
                for offer in offers:
                    yield ReportPiece(task, peer, offer.parent, offer.piece, offer.piece_size)
                    pull = PullPieces(
                        task,
                        peer,
                        PullStatus.RUNNING,
                        PullResult.SEMI_SUCCESS,
                        offer.parent,
                        offer.piece,
                        offer.piece_size,
                    )
            case TaskCompleted():
                return
            case Refused(Code.PEER_WAIT):
                pull = start
            case other:
                raise RuntimeError(f"a pull was answered {other}")


def native_peer(url: str, name: str) -> Conversation:
    """Register, then report with each update all that the one before it was answered with."""
    registered = yield register(url, name, native=True)
    assert isinstance(registered, Registered), registered
    assert registered.native, "the supernode takes no updates"
    task, peer = registered.task, PeerId(name)
    number = 0
    held: tuple[HeldNote, ...] = ()
    while True:
        said = Update(task, peer, number + 1, number, held, free=RUNS_AT_ONCE)
        match (yield said):
            case Orders(runs):
                held = tuple([HeldNote(offer.piece, offer.parent) for run in runs for offer in run])
            case TaskCompleted():
                return
            case other:
                raise RuntimeError(f"an update was answered {other}")
        number += 1


def register(url: str, name: str, *, native: bool) -> Register:
    """Return the registration of a peer."""
    return Register(
        raw_url=url,
        task_url=url,
        peer=PeerId(name),
        ip="127.0.0.1",
        host_name="benchmark",
        port=15001,
        path=f"/peer/file/{name}",
        digest_form=DigestForm.SHA256,
        native=native,
    )
