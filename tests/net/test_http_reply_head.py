"""Heads of answers: the expression for plain ones, and h11 for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.net.http.errors import BadAnswer
from damselfly.net.http.reply_head import AnyHead, ReplyHead, plain_head

PLAIN = b"HTTP/1.1 206 Partial Content\r\nDate: now\r\nContent-Length:  5 \r\nX:\r\n\r\nhel"
WORDS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 \r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 103 Early\r\n", b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"X : y\r\n",
        b"Content-Length: 3, 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
        b"X-Y:\t z  z \r\n", b" folded\r\n", b"\r\n", b"\n", b":", b"abc", b"\0", b"\xff", b"\x01",
    ]
)  # fmt: skip


def joined(words: list[bytes]) -> bytes:
    return b"".join(words)


def headed(words: list[bytes]) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(words) + b"\r\nab"


ANSWERS = st.one_of(
    st.builds(joined, st.lists(WORDS, max_size=10)), st.builds(headed, st.lists(WORDS, max_size=5))
)


def any_head() -> AnyHead:
    return AnyHead("a:1", "GET")


def test_a_plain_head_is_taken_apart() -> None:
    headers = (("date", "now"), ("content-length", "5"), ("x", ""))
    assert plain_head(PLAIN) == ReplyHead(206, headers, True, b"hel", None)


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN[:-4],
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"206", b"103"),
        PLAIN.replace(b"X:", b"Transfer-Encoding: chunked"),
        PLAIN.replace(b"X:", b"Content-Length: 5"),
        PLAIN.replace(b"  5 ", b"five"),
        PLAIN.replace(b"X:", b" folded"),
    ],
)
def test_what_takes_more_than_a_look_is_left_to_h11(answer: bytes) -> None:
    assert plain_head(answer) is None


@given(ANSWERS)
def test_what_the_expression_takes_h11_reads_alike(answer: bytes) -> None:
    found = plain_head(answer)
    if found is not None:
        slow = any_head().feed(answer)
        assert slow is not None
        assert found == slow._replace(chunks=None)


def test_a_head_may_come_byte_by_byte_behind_interim_ones() -> None:
    reader = any_head()
    answer = b"HTTP/1.1 103 Early\r\n\r\n" + PLAIN.removesuffix(b"hel")
    heads = [reader.feed(bytes([byte])) for byte in answer]
    assert heads[:-1] == [None] * (len(answer) - 1)
    assert heads[-1] is not None
    assert heads[-1].status == 206


def test_a_stream_that_ends_in_the_head_is_no_answer() -> None:
    reader = any_head()
    assert reader.feed(PLAIN[:20]) is None
    with pytest.raises(BadAnswer, match=r"not an HTTP/1\.1 answer"):
        reader.feed(b"")
