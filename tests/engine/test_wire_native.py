"""The native codec: what goes in comes out, unknown keys pass, and garbage never breaks it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import RemoteProtocolError
from damselfly.engine.ids import PeerId, PieceIndex, TaskId
from damselfly.engine.messages import (
    Code,
    Extension,
    FailedNote,
    HeldNote,
    Orders,
    PieceOffer,
    Refused,
    Reply,
    TaskCompleted,
    Update,
)
from damselfly.engine.piece import MAX_PIECE_SIZE, Digest
from damselfly.engine.wire.native import (
    decode_orders,
    decode_update,
    encode_orders,
    encode_update,
)

from .drawn import made

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
pieces = st.integers(0, 1 << 24).map(PieceIndex)
numbers = st.integers(0, 1 << 60)
peers = texts.map(PeerId)
held = made(HeldNote, pieces, peers, texts.map(Digest))
failed = made(FailedNote, pieces, peers, texts)
updates = made(
    Update,
    task=names.map(TaskId),
    peer=names.map(PeerId),
    number=numbers,
    heard=numbers,
    held=st.lists(held, max_size=4).map(tuple),
    failed=st.lists(failed, max_size=4).map(tuple),
    under_way=st.lists(pieces, max_size=4).map(tuple),
    free=st.integers(0, 64),
    extends=st.booleans(),
)
parents = st.tuples(peers, names, st.integers(0, 65535), texts)


@st.composite
def orders(draw: st.DrawFn) -> Orders:
    size = draw(st.integers(6, MAX_PIECE_SIZE))
    runs: list[tuple[PieceOffer, ...]] = []
    extended: list[Extension] = []
    for peer, host, port, path in draw(st.lists(parents, max_size=3)):
        cut = draw(st.lists(st.tuples(pieces, texts), min_size=1, max_size=3))
        run = tuple(
            PieceOffer(piece, peer, host, port, path, size, sha256=sha256) for piece, sha256 in cut
        )
        if draw(st.booleans()):
            runs.append(run)
        else:
            extended.append(Extension(draw(pieces), run))
    rejected = tuple(draw(st.lists(pieces, max_size=3)))
    return Orders(tuple(runs), rejected, draw(st.floats(0, 10)), tuple(extended))


answers = st.one_of(
    orders(),
    made(TaskCompleted, texts, numbers),
    made(Refused, st.sampled_from([Code.PEER_WAIT, Code.TARGET_NOT_FOUND]), texts),
)


@given(updates)
def test_an_update_comes_out_as_it_went_in(said: Update) -> None:
    assert decode_update(encode_update(said)) == said


@given(answers)
def test_an_answer_comes_out_as_it_went_in(reply: Reply) -> None:
    assert decode_orders(encode_orders(reply)) == reply


@given(st.binary(max_size=200))
def test_garbage_is_refused(body: bytes) -> None:
    for decode in (decode_update, decode_orders):
        with suppress(RemoteProtocolError):
            decode(body)


@given(updates, st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_update_is_refused_or_read(said: Update, at: int, byte: int) -> None:
    body = bytearray(encode_update(said))
    body[at % len(body)] = byte
    with suppress(RemoteProtocolError):
        decode_update(bytes(body))


def changed(body: bytes, **changes: object) -> bytes:
    found: dict[str, Any] = msgspec.msgpack.decode(body)
    return msgspec.msgpack.encode({**found, **changes})


UPDATE = encode_update(Update(TaskId("t"), PeerId("p"), 1, 0))
OFFER = PieceOffer(PieceIndex(0), PeerId("p"), "10.0.0.1", 20000, "/peer/file/x", 1 << 20)
ORDERS = encode_orders(Orders(((OFFER,),)))


def test_keys_of_a_later_version_are_passed_over() -> None:
    assert decode_update(changed(UPDATE, speeds={"a": 1})) == decode_update(UPDATE)
    assert decode_orders(changed(ORDERS, hints=[1])) == decode_orders(ORDERS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": 5}, "str"),
        ({"number": -1}, r"Expected `int` >= 0 - at `\$.number`"),
        ({"under_way": [-1]}, r"Expected `int` >= 0 - at `\$.under_way\[0\]`"),
        ({"under_way": list(range(5000))}, "length <= 4096 - at"),
        ({"held": [[1 << 25, "p", ""]]}, r"Expected `int` <= 16777216"),
        ({"held": [[1, "p" * 600, ""]]}, r"Expected `str` of length <= 512"),
        ({"held": [[1, "p"]]}, "length 3"),
        ({"peer": "a\r\nb"}, "expected no control characters"),
        ({"free": 1 << 20}, r"Expected `int` <= 4096 - at `\$.free`"),
    ],
)
def test_what_is_wrong_with_an_update_is_named(changes: dict[str, object], text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_update(changed(UPDATE, **changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"runs": [[7, [[0, ""]]]]}, "no parent 7: there are 1"),
        ({"extended": [[7, 0, [[0, ""]]]]}, "no parent 7: there are 1"),
        ({"extended": [[0, -1, [[0, ""]]]]}, "piece is -1: expected 0 to 16777216"),
        ({"extended": [[0, 0, [[0, ""]] * 5000]]}, "5000 items: expected at most 4096"),
        ({"piece_size": 0}, "piece_size is 0: expected more than 5"),
        ({"parents": [["p", "", 1, "/"]]}, "a parent without a host"),
        ({"parents": [["p", "h", 70000, "/"]]}, "port is 70000"),
        ({"pace_s": -1.0}, "pace_s is -1.0: expected 0 to 10"),
        ({"code": "x"}, "int"),
    ],
)
def test_what_is_wrong_with_orders_is_named(changes: dict[str, object], text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_orders(changed(ORDERS, **changes))


def test_a_code_of_no_known_meaning_is_a_refusal() -> None:
    body = msgspec.msgpack.encode({"code": 999, "message": "hm"})
    assert decode_orders(body) == Refused(Code.UNKNOWN_ERROR, "hm")
