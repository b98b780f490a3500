"""Going to the origin: parallel ranges, origins of every temper, resuming."""

from __future__ import annotations

from random import Random

import pytest

from damselfly.engine.config import DownloadConfig
from damselfly.engine.download import DownloadEngine
from damselfly.engine.effects import (
    CancelFetch,
    DownloadEffect,
    Finish,
    KeepPiece,
    LayOut,
    Publish,
    ReadOrigin,
    Tell,
)
from damselfly.engine.events import (
    DownloadEvent,
    HeldPiece,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    Started,
    Wanted,
)
from damselfly.engine.ids import FetchId, PeerId, PieceIndex
from damselfly.engine.outcomes import BackSourceReason, FailCode, Milestone
from damselfly.engine.piece import MIB, Digest, PieceLayout

from ..driven import Driven, one, only

URL = "http://origin/file"
SIZE = MIB
CONTENT = SIZE - 5


def digest(piece: int) -> Digest:
    return Digest(f"sha256:{piece:064x}")


class Reading(Driven[DownloadEvent, DownloadEffect]):
    """A download without supernode; spans of two pieces, three streams."""

    def __init__(self, **config: object) -> None:
        values: dict[str, object] = {
            "url": URL,
            "task_url": URL,
            "peer": PeerId("me"),
            "origin_piece_size": SIZE,
            "origin_span_bytes": 2 * CONTENT,
            "origin_streams": 3,
        }
        made = DownloadConfig(**{**values, **config})  # pyright: ignore[reportArgumentType]
        self.download = DownloadEngine(made, Random(1))
        super().__init__(self.download)
        self.reads: dict[FetchId, ReadOrigin] = {}

    def at(self, now: float, *events: DownloadEvent) -> list[DownloadEffect]:
        effects = super().at(now, *events)
        for effect in effects:
            if isinstance(effect, ReadOrigin):
                self.reads[effect.fetch] = effect
            if isinstance(effect, CancelFetch):
                del self.reads[effect.fetch]
        return effects

    def spans(self) -> list[tuple[int, int | None]]:
        """Return first and last piece of each read under way."""
        return [
            (r.first_byte // CONTENT, None if r.last_byte is None else r.last_byte // CONTENT)
            for r in self.reads.values()
        ]

    def first(self) -> ReadOrigin:
        return next(iter(self.reads.values()))

    def opened(self, length: int, *, ranged: bool = True, validator: str = "v"):
        return self.at(self.now, OriginOpened(self.first().fetch, length, SIZE, ranged, validator))

    def stored(self, read: ReadOrigin, piece: int, size: int = CONTENT) -> list[DownloadEffect]:
        event = OriginPieceStored(read.fetch, PieceIndex(piece), size, digest(piece))
        return self.at(self.now, event)

    def ended(self, read: ReadOrigin, length: int) -> list[DownloadEffect]:
        del self.reads[read.fetch]
        return self.at(self.now, OriginEnded(read.fetch, length))

    def failed(
        self, read: ReadOrigin, failure: OriginFailure, status: int = 0
    ) -> list[DownloadEffect]:
        self.reads.pop(read.fetch)
        return self.at(self.now, OriginFailed(read.fetch, failure, "GET failed", status))

    def finish_all(self, length: int) -> list[DownloadEffect]:
        """Let every read bring what it was asked for, until none is left."""
        layout = PieceLayout(length, SIZE)
        effects: list[DownloadEffect] = []
        while self.reads:
            read = self.first()
            last = length if read.last_byte is None else read.last_byte
            for piece in range(read.first_byte // CONTENT, min(last // CONTENT + 1, layout.count)):
                effects += self.stored(read, piece, layout.size(PieceIndex(piece)))
            if read.fetch in self.reads:
                effects += self.ended(read, length)
        return effects


def test_the_first_span_is_asked_for_before_others() -> None:
    it = Reading()
    effects = it.at(0.0, Started())
    assert one(LayOut, effects).length == -1
    assert it.spans() == [(0, 1)]
    length = 7 * CONTENT + 10
    effects = it.opened(length)
    laid_out = one(LayOut, effects)
    assert (laid_out.length, laid_out.validator, laid_out.keep) == (length, "v", True)
    assert it.spans() == [(0, 1), (2, 3), (4, 5)]
    assert {read.validator for read in it.reads.values()} == {"", "v"}
    it.ended(it.first(), length)
    effects = it.finish_all(length)
    assert one(Publish, effects).length == length


def test_the_last_span_ends_with_the_file() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(2 * CONTENT + 1)
    assert [read.last_byte for read in it.reads.values()] == [2 * CONTENT - 1, 2 * CONTENT]


def test_an_origin_without_ranges_is_read_in_one_stream() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(5 * CONTENT, ranged=False)
    assert len(it.reads) == 1
    read = it.first()
    for piece in range(5):
        effects = it.stored(read, piece)
    assert only(Publish, effects)  # pyright: ignore[reportPossiblyUnboundVariable]


def test_a_length_nobody_tells_is_known_at_the_end() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(-1, ranged=False)
    read = it.first()
    it.stored(read, 0)
    it.stored(read, 1, 17)
    effects = it.ended(read, CONTENT + 17)
    assert one(Publish, effects).length == CONTENT + 17


def test_ranges_of_a_length_nobody_tells_are_of_no_use() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(-1)
    assert it.spans() == [(0, None)]
    it.opened(CONTENT, ranged=False)
    assert only(Publish, it.stored(it.first(), 0))


def test_an_empty_file() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(0)
    assert one(Publish, it.stored(it.first(), 0, 0)).length == 0


def test_the_rest_of_an_empty_file_is_asked_for_without_a_range() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(0)
    it.failed(it.first(), OriginFailure.SHORT)
    it.at(1.0)
    assert it.spans() == [(0, None)]


def test_a_range_that_the_user_wants_is_left_alone() -> None:
    it = Reading(headers=("Range: bytes=5-9",))
    it.at(0.0, Started())
    assert it.spans() == [(0, None)]


def test_resuming_fetches_only_what_is_missing() -> None:
    it = Reading()
    held = tuple(HeldPiece(PieceIndex(n), CONTENT, digest(n)) for n in (0, 1, 3))
    effects = it.at(0.0, Started(held, 6 * CONTENT, SIZE, "v"))
    assert one(Tell, effects).milestone is Milestone.RESUMED
    assert not only(LayOut, effects)
    assert it.spans() == [(2, 2)]
    assert it.first().validator == "v"
    it.opened(6 * CONTENT)
    assert it.spans() == [(2, 2), (4, 5)]
    effects = it.finish_all(6 * CONTENT)
    assert sorted(keep.piece for keep in only(KeepPiece, effects)) == [2, 4, 5]
    assert only(Publish, effects)


def test_nothing_is_missing() -> None:
    it = Reading()
    effects = it.at(0.0, Started((HeldPiece(PieceIndex(0), 5, digest(0)),), 5, SIZE, "v"))
    assert only(Publish, effects)
    assert not it.reads


def test_an_unfinished_file_of_unknown_length_starts_over() -> None:
    it = Reading()
    it.at(0.0, Started((HeldPiece(PieceIndex(0), CONTENT, digest(0)),), -1, SIZE, "v"))
    assert it.spans() == [(0, 1)]
    assert it.download.held_bytes == 0


@pytest.mark.parametrize("how", ["validator", "length"])
def test_content_that_changed_is_fetched_anew(how: str) -> None:
    it = Reading()
    held = (HeldPiece(PieceIndex(0), CONTENT, digest(0)),)
    it.at(0.0, Started(held, 3 * CONTENT, SIZE, "v"))
    if how == "validator":
        effects = it.failed(it.first(), OriginFailure.CHANGED)
    else:
        effects = it.opened(4 * CONTENT)
    assert one(Tell, effects).milestone is Milestone.ORIGIN_RETRY
    assert not one(LayOut, effects).keep
    assert it.spans() == [(0, 1)]
    assert it.first().validator == ""
    assert it.download.held_bytes == 0


def test_content_that_keeps_changing_is_given_up() -> None:
    it = Reading()
    it.at(0.0, Started())
    it.failed(it.first(), OriginFailure.CHANGED)
    it.failed(it.first(), OriginFailure.CHANGED)
    finish = one(Finish, it.failed(it.first(), OriginFailure.CHANGED))
    assert finish.code is FailCode.DOWNLOAD_FAILED


def test_a_broken_read_is_asked_for_again_after_a_pause() -> None:
    it = Reading(origin_backoff_s=0.5)
    it.at(0.0, Started())
    it.opened(6 * CONTENT)
    read = it.first()
    it.stored(read, 0)
    effects = it.failed(read, OriginFailure.SHORT)
    assert "GET failed" in one(Tell, effects).text
    it.ended(it.first(), 6 * CONTENT)
    assert len(it.reads) == 1, "no new read during the pause"
    it.until_due()
    assert it.now == 0.5
    assert 1 in [first for first, _ in it.spans()]


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (OriginFailure.STATUS, 404, BackSourceReason.REGISTER_FAILED),
        (OriginFailure.BAD_ANSWER, 200, BackSourceReason.REGISTER_FAILED),
        (OriginFailure.STORE_FULL, 0, 1000 + BackSourceReason.NO_SPACE),
        (OriginFailure.STORE_FAILED, 0, BackSourceReason.REGISTER_FAILED),
    ],
)
def test_what_cannot_get_better_ends_at_once(
    failure: OriginFailure, status: int, reason: int
) -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(6 * CONTENT)
    effects = it.failed(it.first(), failure, status)
    assert len(only(CancelFetch, effects)) == 2
    finish = one(Finish, effects)
    assert (finish.code, finish.reason) == (FailCode.DOWNLOAD_FAILED, reason)
    assert finish.message == "GET failed"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_origin_in_trouble_is_asked_again(status: int) -> None:
    it = Reading()
    it.at(0.0, Started())
    it.opened(6 * CONTENT)
    effects = it.failed(it.first(), OriginFailure.STATUS, status)
    assert not only(Finish, effects)
    it.until_due()
    assert len(it.reads) > 1


def test_an_origin_that_stays_away_is_given_up() -> None:
    it = Reading(origin_retries=2, origin_backoff_s=1.0)
    it.at(0.0, Started())
    it.opened(CONTENT)
    for _ in range(2):
        it.failed(it.first(), OriginFailure.UNREACHABLE)
        it.until_due()
    assert it.now == 3.0
    assert only(Finish, it.failed(it.first(), OriginFailure.UNREACHABLE))


def test_an_origin_without_ranges_that_always_breaks_is_given_up() -> None:
    """Pieces that come again and again are no progress."""
    it = Reading(origin_retries=2, origin_backoff_s=1.0)
    it.at(0.0, Started())
    for _ in range(2):
        it.opened(3 * CONTENT, ranged=False)
        it.stored(it.first(), 0)
        it.failed(it.first(), OriginFailure.SHORT)
        it.until_due()
    it.opened(3 * CONTENT, ranged=False)
    it.stored(it.first(), 0)
    assert only(Finish, it.failed(it.first(), OriginFailure.SHORT))


def test_what_somebody_waits_for_is_read_before_the_rest() -> None:
    it = Reading(origin_streams=2)
    it.at(0.0, Started())
    it.at(0.0, Wanted(7 * CONTENT + 5))
    it.opened(12 * CONTENT)
    assert it.spans() == [(0, 1), (7, 8)]
    it.ended(it.reads[max(it.reads)], 12 * CONTENT)
    assert it.spans()[1:] == [(7, 8)], "what is missing there comes first, again"


def test_an_origin_that_never_answered_is_tried_twice() -> None:
    it = Reading(origin_retries=5)
    it.at(0.0, Started())
    it.failed(it.first(), OriginFailure.UNREACHABLE)
    it.until_due()
    assert only(Finish, it.failed(it.first(), OriginFailure.UNREACHABLE))


def test_late_events_are_ignored() -> None:
    it = Reading()
    it.at(0.0, Started())
    read = it.first()
    it.failed(read, OriginFailure.STALLED)
    late = OriginPieceStored(read.fetch, PieceIndex(0), CONTENT, digest(0))
    assert it.at(0.0, late) == []
