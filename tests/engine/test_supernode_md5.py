"""What v1 peers compare at the end: the MD5 of the content, whoever came first."""

from __future__ import annotations

from damselfly.engine.effects import HashCopy, HashPiece, SupernodeEffect
from damselfly.engine.events import (
    CopyHashed,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    PieceHashed,
    Requested,
)
from damselfly.engine.ids import ExchangeId, PieceIndex
from damselfly.engine.messages import Code, DropTask, PullResult, PullStatus, Refused, TaskCompleted
from damselfly.engine.piece import DigestForm

from ..driven import one, only
from .test_supernode import CONTENT, TASK, Supernode, wish

MD5 = "ab" * 16
OLD = wish("old", digest_form=DigestForm.MD5_WRAPPED)


def join_v1(node: Supernode, now: float = 0.1) -> list[SupernodeEffect]:
    return node.at(now, Requested(ExchangeId(900), OLD))


def fetched_all(node: Supernode, now: float) -> int:
    """Have the v1 peer fetch the only piece; return the pull that says so."""
    node.at(now, PieceHashed(TASK, PieceIndex(0), MD5))
    node.offers(node.pull(now, "old", status=PullStatus.START))
    return node.pull(now, "old", 0, PullResult.SEMI_SUCCESS)


def completed(md5: str) -> TaskCompleted:
    return TaskCompleted(md5, CONTENT + 5)


def test_a_copy_that_was_read_for_ours_is_hashed_for_the_first_v1_peer() -> None:
    node = Supernode()
    node.warm(1, "a")
    effects = join_v1(node)
    assert one(HashCopy, effects) == HashCopy(TASK, CONTENT)
    assert not only(HashCopy, node.at(0.1, Requested(ExchangeId(901), wish("bb"))))
    done = fetched_all(node, 0.2)
    assert done not in node.answers, "its md5 is being found out"
    node.at(0.3, CopyHashed(TASK, MD5))
    assert node.answers[done] == completed(MD5)


def test_who_waits_for_the_md5_too_long_for_a_v1_client_is_told_to_ask_again() -> None:
    node = Supernode(hold_s=2.0)
    node.warm(1, "a")
    join_v1(node)
    done = fetched_all(node, 0.2)
    node.at(2.2)
    reply = node.answers[done]
    assert isinstance(reply, Refused)
    assert reply.code is Code.PEER_WAIT
    again = node.pull(2.3, "old")
    node.at(2.4, CopyHashed(TASK, MD5))
    assert node.answers[again] == completed(MD5)


def test_a_copy_that_cannot_be_read_again_has_no_md5() -> None:
    node = Supernode()
    node.warm(1, "a")
    join_v1(node)
    done = fetched_all(node, 0.2)
    node.at(0.3, CopyHashed(TASK, ""))
    assert node.answers[done] == completed("")


def test_a_v1_peer_that_has_all_before_the_read_ends_waits_for_its_md5() -> None:
    node = Supernode()
    node.at(0.0, Requested(ExchangeId(900), OLD))
    fetch = node.open_origin(0.0, 1)
    assert node.reads[0].wants_md5
    assert node.reads[0].md5 == "", "that is what the content has to have, and nobody said"
    node.bring(0.1, 0)
    done = fetched_all(node, 0.2)
    assert done not in node.answers
    node.at(0.3, OriginEnded(fetch, CONTENT, MD5))
    assert node.answers[done] == completed(MD5)


def test_a_v1_peer_that_comes_while_the_copy_is_read_for_ours_gets_it_too() -> None:
    node = Supernode()
    node.ask(0.0, wish("a"))
    fetch = node.open_origin(0.0, 1)
    assert not only(HashCopy, join_v1(node))
    node.bring(0.1, 0)
    done = fetched_all(node, 0.2)
    effects = node.at(0.3, OriginEnded(fetch, CONTENT))
    assert one(HashCopy, effects) == HashCopy(TASK, CONTENT)
    assert done not in node.answers
    node.at(0.4, CopyHashed(TASK, MD5))
    assert node.answers[done] == completed(MD5)


def test_a_read_that_fails_at_its_end_keeps_nobody_waiting() -> None:
    node = Supernode(origin_retries=0)
    node.at(0.0, Requested(ExchangeId(900), OLD))
    fetch = node.open_origin(0.0, 1)
    node.bring(0.1, 0)
    done = fetched_all(node, 0.2)
    node.at(0.3, OriginFailed(fetch, OriginFailure.SHORT, "cut off"))
    reply = node.answers[done]
    assert isinstance(reply, Refused)
    assert reply.code is Code.CDN_FAILED
    again = node.pull(0.4, "old", 0, PullResult.SEMI_SUCCESS)
    assert node.answers[again] == completed(""), "it has the piece, and nobody knows better"


def test_ours_are_not_kept_waiting_for_an_md5() -> None:
    node = Supernode()
    node.warm(1, "a")
    effects = join_v1(node)
    assert one(HashPiece, effects).piece == 0
    node.offers(node.pull(0.2, "a", status=PullStatus.START))
    done = node.pull(0.3, "a", 0, PullResult.SEMI_SUCCESS)
    assert node.answers[done] == completed("")
    node.at(0.4, CopyHashed(TASK, MD5))


def test_the_md5_of_an_earlier_copy_is_not_taken_for_that_of_the_next() -> None:
    node = Supernode()
    node.warm(1, "a")
    join_v1(node)
    node.at(0.2, Requested(ExchangeId(902), DropTask(TASK, full=True)))
    node.at(0.3, Requested(ExchangeId(903), OLD))
    fetch = node.open_origin(0.3, 1)
    node.bring(0.3, 0)
    node.at(0.4, CopyHashed(TASK, "00" * 16))
    done = fetched_all(node, 0.5)
    node.at(0.6, OriginEnded(fetch, CONTENT, MD5))
    assert node.answers[done] == completed(MD5)
