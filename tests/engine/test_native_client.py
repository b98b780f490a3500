"""The peer's side of the native protocol."""

from __future__ import annotations

from damselfly.engine.effects import CancelFetch, DropPiece, FetchPiece, Publish, Send
from damselfly.engine.events import FetchFailure, HeldPiece, Started
from damselfly.engine.ids import PieceIndex
from damselfly.engine.messages import (
    Code,
    Extension,
    FailedNote,
    HeldNote,
    Orders,
    PieceOffer,
    Refused,
    Register,
    TaskCompleted,
    Update,
)

from ..driven import one, only
from .test_download import CONTENT, NODE, SIZE, SPARE, Download, digest, offer


class Native(Download):
    """A download with a supernode that takes updates."""

    def start(self, pieces: int) -> None:
        self.join(pieces, native=True)

    def ordered(self, now: float, *runs: tuple[PieceOffer, ...], pace_s: float = 0.0) -> None:
        self.reply(now, Update, Orders(runs, pace_s=pace_s))

    def extended(self, now: float, after: int, *pieces: PieceOffer) -> None:
        self.reply(now, Update, Orders(extended=(Extension(PieceIndex(after), pieces),)))

    def said(self) -> Update:
        """Return the newest update that waits for its answer."""
        request = self.asked(Update)[-1].request
        assert isinstance(request, Update)
        return request


def test_a_whole_download() -> None:
    it = Native(NODE)
    it.start(3)
    assert it.said() == Update(it.download.task, it.said().peer, 1, 0, free=8, extends=True)
    it.ordered(0.1, (offer(0), offer(1)), (offer(2, "other"),))
    assert sorted(it.fetches) == [0, 2], "one piece of each run"
    it.fetched(0.2, 0)
    assert 1 in it.fetches, "the next of the run"
    it.fetched(0.3, 2)
    effects = it.fetched(0.4, 1)
    assert one(Publish, effects)


def test_what_is_held_already_is_said_first() -> None:
    it = Native(NODE)
    held = HeldPiece(PieceIndex(1), CONTENT, digest(1))
    it.at(0.0, Started((held,), 3 * CONTENT, SIZE))
    it.start(3)
    assert [(note.piece, note.digest) for note in it.said().held] == [(1, digest(1))]


def test_while_a_run_is_under_way_updates_keep_the_pace() -> None:
    it = Native(NODE, down_slots=1)
    it.start(8)
    it.ordered(0.0, tuple(offer(piece) for piece in range(4)), pace_s=0.5)
    it.fetched(0.1, 0)
    it.fetched(0.2, 1)
    assert not it.asked(Update)
    it.at(0.5)
    assert [note.piece for note in it.said().held] == [0, 1]
    assert it.said().under_way == (2, 3)
    assert it.said().free == 0


def test_the_end_of_a_run_is_said_at_once() -> None:
    it = Native(NODE, down_slots=1)
    it.start(8)
    it.ordered(0.0, (offer(0), offer(1)), pace_s=0.5)
    it.fetched(0.1, 0)
    it.fetched(0.2, 1)
    assert [note.piece for note in it.said().held] == [0, 1]
    assert it.said().free == 1


def test_no_more_than_two_updates_are_open() -> None:
    it = Native(NODE, down_slots=4)
    it.start(8)
    it.ordered(0.0, (offer(0),), (offer(1),), (offer(2),))
    for number in range(3):
        it.fetched(0.1 + number / 10, number)
    assert len(it.asked(Update)) == 2


def test_orders_given_twice_are_followed_once() -> None:
    it = Native(NODE)
    it.start(8)
    run = offer(0), offer(1), offer(2)
    it.ordered(0.0, run)
    first = it.fetches[0]
    it.ordered(0.1, run)
    assert list(it.fetches.values()) == [first]


def test_an_extension_goes_behind_its_run() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, (offer(0), offer(1)), (offer(2), offer(3)))
    it.extended(0.1, 1, offer(4), offer(5))
    assert sorted(it.fetches) == [0, 2], "nothing more is fetched at a time"
    for piece in (0, 1, 4):
        it.fetched(0.2, piece)
    assert sorted(it.fetches) == [2, 5]


def test_an_extension_of_a_run_that_is_over_is_a_run() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, (offer(0),), (offer(2), offer(3)))
    it.fetched(0.1, 0)
    it.extended(0.2, 0, offer(4), offer(5))
    assert sorted(it.fetches) == [2, 4]


def test_of_a_run_told_twice_what_is_new_goes_behind() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, (offer(0), offer(1)))
    it.ordered(0.1, (offer(1), offer(2)))
    assert sorted(it.fetches) == [0]
    it.fetched(0.2, 0)
    it.fetched(0.3, 1)
    assert sorted(it.fetches) == [2]


def test_one_update_is_open_although_there_is_news_to_be_told_later() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, tuple(offer(piece) for piece in range(4)), pace_s=0.5)
    it.fetched(0.1, 0)
    it.reply(0.2, Update, Orders(pace_s=5.0))
    assert not it.asked(Update)
    it.at(0.4)
    assert it.asked(Update), "the supernode can give orders, and hears it if this peer dies"


def test_a_failure_ends_the_run_and_is_said() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, (offer(0), offer(1)))
    it.reply(0.0, Update, Orders())
    it.failed(0.2, 0, FetchFailure.NOT_FOUND)
    assert it.fetches == {}
    assert it.said().failed == (FailedNote(PieceIndex(0), offer(0).parent, "FILE_NOT_EXIST"),)
    assert it.said().under_way == ()


def test_a_wrong_piece_is_said_and_not_kept() -> None:
    it = Native(NODE)
    it.start(8)
    it.ordered(0.0, (offer(0), offer(1)))
    it.reply(0.0, Update, Orders())
    it.fetched(0.2, 0, digest=digest(7))
    assert it.said().failed == (FailedNote(PieceIndex(0), offer(0).parent, "FILE_MD5_NOT_MATCH"),)
    assert it.fetches == {}


def test_what_was_not_heard_is_said_again() -> None:
    it = Native(NODE, down_slots=1)
    it.start(8)
    it.ordered(0.0, (offer(0),))
    it.fetched(0.1, 0)
    assert it.said().held == (HeldNote(PieceIndex(0), offer(0).parent),)
    it.fail(0.2, Update)
    assert it.said().held == (HeldNote(PieceIndex(0), offer(0).parent),)


def test_a_rejected_piece_is_dropped() -> None:
    it = Native(NODE)
    held = HeldPiece(PieceIndex(1), CONTENT, digest(5))
    it.at(0.0, Started((held,), 3 * CONTENT, SIZE))
    it.start(3)
    effects = it.reply(0.1, Update, Orders(rejected=(PieceIndex(1),)))
    assert one(DropPiece, effects).piece == 1


def test_a_supernode_that_forgot_us_is_asked_to_take_us_again() -> None:
    it = Native(NODE)
    it.start(3)
    it.ordered(0.0, (offer(0),))
    it.reply(0.1, Update, Refused(Code.TARGET_NOT_FOUND, "who?"))
    assert [send.node for send in it.asked(Register)] == [NODE]


def test_a_silent_supernode_is_left_for_the_next() -> None:
    it = Native(NODE, SPARE)
    it.start(3)
    it.fail(0.1, Update)
    it.fail(0.2, Update)
    assert [send.node for send in it.asked(Register)] == [SPARE]


def test_at_the_end_the_supernode_hears_of_the_last_pieces() -> None:
    it = Native(NODE)
    it.start(1)
    it.ordered(0.0, (offer(0),))
    effects = it.fetched(0.1, 0)
    assert one(Publish, effects)
    assert [note.piece for note in it.said().held] == [0]


def test_the_supernode_says_that_all_is_there() -> None:
    it = Native(NODE)
    held = tuple(HeldPiece(PieceIndex(piece), CONTENT, digest(piece)) for piece in range(2))
    it.at(0.0, Started(held, 2 * CONTENT, SIZE))
    effects = it.reply(0.1, Register, Refused(Code.WAIT_AUTH))
    assert not only(Publish, effects)
    effects = it.at(1.1)
    assert only(Send, effects)
    it.start(2)
    it.reply(1.2, Update, TaskCompleted("", 0))
    assert not only(CancelFetch, effects)
    assert not only(FetchPiece, effects)


def test_the_last_word_to_a_dead_supernode_is_said_three_times() -> None:
    it = Native(NODE)
    it.start(1)
    it.ordered(0.1, (offer(0),))
    it.fetched(0.2, 0)
    tries = 0
    while it.asked(Update):
        tries += 1
        it.fail(0.2 + tries, Update)
        assert tries < 10
    assert tries >= 3
