"""One read of an origin on its way into a copy, with what the copy had of it before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..engine.events import (
    HeldPiece,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
)
from ..engine.ids import PieceIndex
from .disk import free_bytes
from .origin_head import OriginError
from .store import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.effects import ReadOrigin
    from ..engine.events import OriginEvent
    from ..engine.piece import PieceLayout
    from .copy import Copy


class Fill:
    """Lays the copy out when the head comes, logs its pieces, and passes the events on.

    ``renew`` gives an empty copy in place of this one, where pieces of it must not be overwritten.
    Pieces that the copy had before go in front of what the read brings: ``precede``,
    ``give_cached``.  A read ``is_void`` if the origin has other content than they.  A digest of
    the whole file that a read of a part cannot give is left to the caller: ``ended``, ``finish``.
    """

    def __init__(
        self,
        effect: ReadOrigin,
        copy: Copy,
        post: Callable[[OriginEvent], None],
        renew: Callable[[Copy], Copy],
    ) -> None:
        self.copy, self._post, self._renew, self._effect = copy, post, renew, effect
        self._cached: tuple[HeldPiece, ...] = ()
        self.is_void = False
        self.ended: OriginEnded | None = None

    def precede(self, cached: tuple[HeldPiece, ...]) -> None:
        """Read what follows these pieces from the start of the file only."""
        self._cached = cached

    async def give_cached(self, is_intact: Callable[[Copy, PieceIndex], Awaitable[bool]]) -> None:
        """Pass on the pieces that precede, each once it was hashed again.

        Raises ``OriginError`` for one that ``is_intact`` does not find right.
        """
        cached, self._cached = self._cached, ()
        for held in cached:
            if not await is_intact(self.copy, held.piece):
                raise damaged(held.piece)
            event = OriginPieceStored(self._effect.fetch, held.piece, held.size, held.digest)
            self._stored(event)

    def shortened(self) -> ReadOrigin:
        """Return the effect without what is cached, on the condition that nothing has changed."""
        layout = self.copy.store.layout
        if not self._cached or layout is None:
            return self._effect
        return replace(
            self._effect,
            piece_size=layout.piece_size,
            first_byte=layout.offset(PieceIndex(len(self._cached))),
            validator=self.copy.store.validator,
        )

    def write(self, offset: int, data: memoryview) -> None:
        """Write to the copy."""
        self.copy.store.write(offset, data)

    def take(self, event: OriginEvent) -> None:
        """Pass an event on, behind the disk work that it stands for.

        Raises ``OriginError`` if the disk has no room for the file.
        """
        match event:
            case OriginFailed(_, OriginFailure.CHANGED) if self._cached:
                self.is_void, self._cached = True, ()
            case OriginEnded():
                self._learn_length(event.length)
                if self._effect.wants_md5 and not event.md5:
                    self.ended = event
                else:
                    self._post(event)
            case OriginOpened():
                try:
                    self._lay_out(event)
                except (OSError, StoreError) as error:
                    text = f"cannot be stored here: {error}"
                    raise OriginError(OriginFailure.STORE_FAILED, text) from error
                self._post(event)
            case OriginPieceStored(_, piece, size, digest):
                self.copy.store.keep(piece, size, digest)
                self._stored(event)
            case _:
                self._post(event)

    def finish(self, md5: str) -> None:
        """Say that the read has ended, with the digest that was left to the caller."""
        assert self.ended is not None
        self._post(replace(self.ended, md5=md5))

    def _stored(self, event: OriginPieceStored) -> None:
        self.copy.sound.add(event.piece)
        self._post(event)

    def _lay_out(self, event: OriginOpened) -> None:
        store = self.copy.store
        same_cut = store.layout is not None and store.layout.piece_size == event.piece_size
        goes_on = bool(self._cached or self.copy.sound)
        if store.held and not (goes_on and same_cut):
            self.copy = self._renew(self.copy)
            store, goes_on = self.copy.store, False
        if goes_on and store.layout is not None and store.layout.length != event.length:
            text = f"now has {event.length} bytes, it had {store.layout.length}"
            raise OriginError(OriginFailure.CHANGED, text)
        self._check_room(event, goes_on=goes_on)
        store.lay_out(event.length, event.piece_size, event.validator, keep=goes_on)

    def _learn_length(self, length: int) -> None:
        store = self.copy.store
        if store.layout is not None and store.layout.length < 0:
            store.lay_out(length, store.layout.piece_size, store.validator, keep=True)

    def _check_room(self, event: OriginOpened, *, goes_on: bool) -> None:
        store = self.copy.store
        here = sum(size for size, _ in store.held.values()) if goes_on else 0
        needed, free = event.length - here, free_bytes(store.path.parent)
        if needed > free:
            text = f"cannot be stored here: {needed} bytes are needed, {free} are free"
            raise OriginError(OriginFailure.STORE_FULL, text, needed_bytes=needed)


def damaged(piece: PieceIndex) -> OriginError:
    """Return the error of a piece that is not what the log says."""
    text = f"is read again from piece {piece} on: that one is damaged in the copy on disk"
    return OriginError(OriginFailure.COPY_DAMAGED, text)


def whole_prefix(copy: Copy) -> tuple[HeldPiece, ...]:
    """Return the pieces from the start of the file on without a gap, the last one excepted.

    They are as the log has them: nobody has read them.  The last piece is asked for in any case:
    its answer is the origin's word that nothing has changed.  Without a validator there is no such
    word, and none counts.
    """
    store = copy.store
    layout: PieceLayout | None = store.layout
    if layout is None or layout.length < 0 or not store.validator:
        return ()
    found: list[HeldPiece] = []
    for number in range(layout.count - 1):
        piece = PieceIndex(number)
        if (held := store.held.get(piece)) is None:
            break
        found.append(HeldPiece(piece, *held))
    return tuple(found)
