"""The supernode's side of the native protocol: updates in, orders out."""

from __future__ import annotations

from damselfly.engine.events import OriginEnded
from damselfly.engine.ids import PeerId, PieceIndex
from damselfly.engine.messages import (
    Code,
    FailedNote,
    HeldNote,
    Orders,
    PullStatus,
    Refused,
    Registered,
    Reply,
    TaskCompleted,
    Update,
)
from damselfly.engine.piece import Digest

from .test_supernode import CONTENT, TASK, Supernode, digest, wish


class Native(Supernode):
    """A supernode whose peers talk in updates; ``numbers`` counts those of each."""

    def __init__(self, **config: object) -> None:
        super().__init__(**config)
        self.numbers: dict[str, int] = {}
        self.heard: dict[str, int] = {}

    def warm_native(self, pieces: int, *peers: str, relays: bool = False) -> None:
        self.ask(0.0, wish(peers[0], native=True, relays=relays))
        fetch = self.open_origin(0.0, pieces)
        self.bring(0.0, *range(pieces))
        self.at(0.0, OriginEnded(fetch, pieces * CONTENT))
        for peer in peers[1:]:
            reply = self.join(0.0, peer, native=True, relays=relays)
            assert isinstance(reply, Registered)
            assert reply.native

    def update(
        self,
        now: float,
        peer: str,
        *held: int,
        under_way: tuple[int, ...] = (),
        free: int = 2,
        heard: int | None = None,
        **changes: object,
    ) -> int:
        number = self.numbers[peer] = self.numbers.get(peer, 0) + 1
        values: dict[str, object] = {
            "task": TASK,
            "peer": PeerId(peer),
            "number": number,
            "heard": number - 1 if heard is None else heard,
            "held": tuple(HeldNote(PieceIndex(piece)) for piece in held),
            "under_way": tuple(map(PieceIndex, under_way)),
            "free": free,
        }
        return self.ask(now, Update(**{**values, **changes}))  # pyright: ignore[reportArgumentType]

    def pieces(self, exchange: int) -> list[tuple[int, ...]]:
        return runs_of(self.answers[exchange])


def runs_of(reply: Reply) -> list[tuple[int, ...]]:
    assert isinstance(reply, Orders), reply
    return [tuple(offer.piece for offer in run) for run in reply.runs]


def test_a_whole_conversation() -> None:
    node = Native()
    node.warm_native(2, "a")
    first = node.update(0.1, "a")
    assert sorted(node.pieces(first)) == [(0,), (1,)]
    reply = node.answers[node.update(0.2, "a", 0, 1)]
    assert isinstance(reply, TaskCompleted)


def test_who_did_not_ask_for_it_is_told_so() -> None:
    node = Native()
    node.warm(1, "a")
    reply = node.answers[node.update(0.1, "a")]
    assert isinstance(reply, Refused)
    assert reply.code is Code.BAD_PARAMETER


def test_a_stranger_is_told_to_register() -> None:
    node = Native()
    node.warm_native(1, "a")
    reply = node.answers[node.update(0.1, "b")]
    assert isinstance(reply, Refused)
    assert reply.code is Code.TARGET_NOT_FOUND


def test_an_update_with_nothing_to_do_is_held_until_there_is() -> None:
    node = Native(cdn_up_slots=1)
    node.warm_native(1, "a", "b")
    node.update(0.1, "a")
    waiting = node.update(0.1, "b")
    assert waiting not in node.answers
    node.update(0.2, "a", 0)
    assert node.pieces(waiting) == [(0,)]


def test_a_held_update_is_answered_in_time() -> None:
    node = Native(cdn_up_slots=1, hold_s=2.0)
    node.warm_native(1, "a", "b")
    node.update(0.1, "a")
    waiting = node.update(0.1, "b")
    node.at(2.1)
    assert node.pieces(waiting) == []


def test_the_newest_update_is_held_and_the_older_answered() -> None:
    node = Native(cdn_up_slots=1)
    node.warm_native(1, "a", "b")
    node.update(0.1, "a")
    older = node.update(0.1, "b")
    newer = node.update(0.2, "b", heard=0)
    assert node.pieces(older) == []
    assert newer not in node.answers


def test_an_update_that_was_overtaken_counts_but_is_not_held() -> None:
    node = Native()
    node.warm_native(4, "a")
    first = node.update(0.1, "a")
    taken = [piece for run in node.pieces(first) for piece in run]
    node.update(0.3, "a", under_way=tuple(taken), free=0, number=3)
    late = node.update(0.4, "a", taken[0], number=2)
    assert node.pieces(late) == []
    member = node.supernode.view(TASK)
    assert member is not None
    last = node.update(0.5, "a", taken[1], number=4)
    assert {piece for run in node.pieces(last) for piece in run} == {0, 1, 2, 3} - set(taken)


def test_a_run_comes_from_one_parent_and_takes_one_slot() -> None:
    node = Native(run_share=1, up_slots=1, run_bytes=64 << 20)
    node.warm_native(8, "a", "b", "c")
    for number in range(8):
        node.update(0.1, "a", number)
    (run, *others) = node.pieces(node.update(0.2, "b", free=1))
    assert len(run) == 3
    assert not others
    reply = node.answers[node.update(0.3, "c", free=1)]
    assert isinstance(reply, Orders)
    offers = [offer for run in reply.runs for offer in run]
    assert all(offer.parent != "a" for offer in offers), "its one slot is taken by b's run"


def test_runs_grow_shorter_towards_the_end() -> None:
    node = Native(run_share=1, down_slots=1)
    node.warm_native(8, "a", "b")
    for number in range(8):
        node.update(0.1, "a", number)
    lengths: list[int] = []
    exchange, held = node.update(0.2, "b", free=1), list[int]()
    while isinstance(node.answers[exchange], Orders):
        (run,) = node.pieces(exchange)
        lengths.append(len(run))
        held += run
        exchange = node.update(0.3, "b", *run, free=1)
    assert sorted(held) == list(range(8))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] == 1


def after_of(reply: Reply) -> list[tuple[int, tuple[int, ...]]]:
    assert isinstance(reply, Orders), reply
    return [(one.after, tuple(offer.piece for offer in one.pieces)) for one in reply.extended]


def half_of_a_run(node: Native, *, extends: bool = False) -> tuple[int, tuple[int, ...]]:
    """Have b report half of its first run; return its held update before that, and the run."""
    for number in range(40):
        node.update(0.1, "a", number)
    (run,) = node.pieces(node.update(0.2, "b", free=1))
    held = node.update(0.3, "b", under_way=run, free=0, extends=extends)
    half = len(run) // 2
    node.update(0.5, "b", *run[:half], under_way=run[half:], free=0, extends=extends)
    return held, run


def test_a_run_goes_on_while_nobody_else_needs_its_parent() -> None:
    node = Native(run_share=1, down_slots=1)
    node.warm_native(40, "a", "b")
    held, run = half_of_a_run(node, extends=True)
    assert node.pieces(held) == []
    ((after, more),) = after_of(node.answers[held])
    assert after == run[-1]
    assert len(more) == len(run) // 2
    assert not set(more) & set(run)


def test_who_does_not_know_of_it_gets_nothing_longer() -> None:
    node = Native(run_share=1, down_slots=1)
    node.warm_native(40, "a", "b")
    held, _ = half_of_a_run(node)
    assert after_of(node.answers[held]) == []


def test_a_run_ends_if_somebody_waits_who_has_less() -> None:
    node = Native(run_share=1, down_slots=1, up_slots=1, rare_copies=0)
    node.warm_native(40, "a", "c")
    node.join(0.0, "b", native=True, port=0)  # or c would have what it brings
    for number in range(40):
        node.update(0.1, "a", number)
    (run,) = node.pieces(node.update(0.2, "b", free=1))
    waiting = node.update(0.2, "c", free=1)
    held = node.update(0.3, "b", under_way=run, free=0, extends=True)
    node.update(0.5, "b", *run[:1], under_way=run[1:], free=0, extends=True)
    assert after_of(node.answers[held]) == []
    node.update(0.6, "b", *run[1:], free=1, extends=True)
    (mine,) = node.pieces(waiting)
    assert mine, "the uplink is c's now"


def test_the_supernode_gives_runs_when_nobody_has_nothing() -> None:
    node = Native(run_share=1, cdn_up_slots=2)
    node.warm_native(40, "a")
    lengths = [len(run) for run in node.pieces(node.update(0.1, "a"))]
    assert len(lengths) == 2
    assert lengths[0] == 1, "a has nothing yet"
    assert lengths[1] > 1


def test_orders_that_crossed_an_update_are_given_again() -> None:
    node = Native()
    node.warm_native(2, "a")
    first = node.pieces(node.update(0.1, "a"))
    again = node.pieces(node.update(0.2, "a", heard=0))
    assert sorted(again) == sorted(first)


def test_orders_that_were_heard_and_are_not_followed_go_to_others() -> None:
    node = Native(cdn_up_slots=2)
    node.warm_native(2, "a", "b")
    node.update(0.1, "a")
    waiting = node.update(0.1, "b")
    assert waiting not in node.answers
    node.update(0.2, "a", heard=1, free=0)
    assert len(node.pieces(waiting)) > 0


def test_a_wrong_digest_is_rejected() -> None:
    node = Native()
    node.warm_native(2, "a")
    wrong = HeldNote(PieceIndex(0), PeerId(""), Digest(f"sha256:{9:064x}"))
    right = HeldNote(PieceIndex(1), PeerId(""), digest(1))
    reply = node.answers[node.update(0.1, "a", held=(wrong, right), free=0)]
    assert isinstance(reply, Orders)
    assert reply.rejected == (0,)
    assert node.pieces(node.update(0.2, "a")) == [(0,)]


def test_a_failed_piece_comes_from_somebody_else() -> None:
    node = Native(rare_copies=0)
    node.warm_native(1, "a", "b", "c")
    node.update(0.1, "a", 0)
    node.update(0.1, "c", 0)
    reply = node.answers[node.update(0.2, "b")]
    assert isinstance(reply, Orders)
    ((offer,),) = reply.runs
    failed = FailedNote(offer.piece, offer.parent, "FILE_NOT_EXIST")
    reply = node.answers[node.update(0.3, "b", failed=(failed,))]
    assert isinstance(reply, Orders)
    ((other,),) = reply.runs
    assert {offer.parent, other.parent} == {"a", "c"}


def test_both_kinds_of_peers_feed_each_other() -> None:
    node = Native(cdn_up_slots=1, rare_copies=0)
    node.warm_native(1, "a")
    assert isinstance(node.join(0.0, "old"), Registered)
    node.update(0.1, "a")
    pull = node.pull(0.1, "old", status=PullStatus.START)
    assert pull not in node.answers
    node.update(0.2, "a", 0)
    (offer,) = node.offers(pull)
    assert offer.parent == "a"
