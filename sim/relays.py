"""Pieces that are passed on while they still arrive, and requests that came too early for that.

Who asks a parent for a piece that its download does not have yet waits until that begins to arrive,
and then gets its bytes as they come: a relay.  The last of them comes once the parent has found the
piece good; if it does not, the relay breaks.  A relay is an upload like any other, from the request
on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ..engine.events import FetchFailure

if TYPE_CHECKING:
    from ..engine.ids import PieceIndex
    from .host import Replica
    from .links import Flow
    from .transfers import PieceTransfer
    from .world import World

_AWAIT_S: Final = 3.0
"""How long a request waits for its piece to begin to arrive."""


class Sender(Protocol):
    """What moves the bytes."""

    def begin(self, transfer: PieceTransfer, upstream: Flow | None = None) -> None:
        """Start to send, no faster than ``upstream`` brings it."""
        ...

    def release(self, transfer: PieceTransfer) -> None:
        """Send the last byte, too."""
        ...

    def fail(self, transfer: PieceTransfer, failure: FetchFailure, reason: str) -> None:
        """Break an upload off, unless it is over, and tell both ends."""
        ...


class Relays:
    """Uploads of pieces that their parents do not have yet.

    They are in ``awaited`` of the parent's replica: those with an ``upstream`` are relays of what
    that brings, the others wait.
    """

    def __init__(self, world: World, sender: Sender) -> None:
        self._world, self._sender = world, sender

    def take(self, transfer: PieceTransfer) -> None:
        """Send what is still arriving, as soon as it does."""
        source, piece = _asked(transfer)
        source.awaited.setdefault(piece, {})[transfer] = None
        if (upstream := source.arriving.get(piece)) is not None:
            self._relay(transfer, upstream)
        else:
            self._world.after(_AWAIT_S, self._give_up, transfer)

    def began(self, upstream: PieceTransfer) -> None:
        """A piece begins to arrive: send it on to those that wait for it."""
        replica, piece = upstream.child, upstream.effect.offer.piece
        replica.arriving[piece] = upstream
        if replica.awaited:
            for transfer in list(replica.awaited.get(piece, ())):
                if transfer.upstream is None:
                    self._relay(transfer, upstream)

    def kept(self, replica: Replica, piece: PieceIndex) -> None:
        """A piece was found good: whoever gets it needs to wait for nothing any more."""
        replica.arriving.pop(piece, None)
        if not replica.awaited:
            return
        for transfer in replica.awaited.pop(piece, ()):
            if transfer.upstream is None:
                self._sender.begin(transfer)
            else:
                self._sender.release(transfer)

    def ended(self, upstream: PieceTransfer) -> None:
        """Nothing more comes of a fetch: unless its piece was kept, its relays break."""
        replica, piece = upstream.child, upstream.effect.offer.piece
        if replica.arriving.get(piece) is upstream:
            del replica.arriving[piece]
        if replica.awaited:
            for transfer in list(replica.awaited.get(piece, ())):
                if transfer.upstream is upstream:
                    self._break(transfer)

    def lost(self, replica: Replica) -> None:
        """Nothing that is not there will come: nobody needs to wait for it."""
        for transfers in list(replica.awaited.values()):
            for transfer in list(transfers):
                if transfer.upstream is not None:
                    self._break(transfer)
                else:
                    self._refuse(transfer)

    def forget(self, transfer: PieceTransfer) -> None:
        """An upload is over before its piece was there."""
        source, piece = _asked(transfer)
        transfers = source.awaited.get(piece)
        if transfers is not None and transfer in transfers:
            del transfers[transfer]
            if not transfers:
                del source.awaited[piece]

    def _relay(self, transfer: PieceTransfer, upstream: PieceTransfer) -> None:
        transfer.upstream, transfer.is_relay = upstream, True
        self._sender.begin(transfer, upstream.flow)

    def _give_up(self, transfer: PieceTransfer) -> None:
        source, piece = _asked(transfer)
        if transfer.upstream is None and transfer in source.awaited.get(piece, ()):
            self._refuse(transfer)

    def _break(self, transfer: PieceTransfer) -> None:
        self._sender.fail(transfer, FetchFailure.SHORT, "the piece did not come through")

    def _refuse(self, transfer: PieceTransfer) -> None:
        self._sender.fail(transfer, FetchFailure.NOT_FOUND, "416")


def _asked(transfer: PieceTransfer) -> tuple[Replica, PieceIndex]:
    assert transfer.source is not None
    return transfer.source, transfer.effect.offer.piece
