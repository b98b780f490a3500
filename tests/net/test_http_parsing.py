"""Bytes to requests, without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.net.http import HttpRequest, ServerLimits
from damselfly.net.http.parsing import RequestReader, RequestRejected

LIMITS = ServerLimits(head_bytes=512, body_bytes=100)


def read(*portions: bytes) -> tuple[list[HttpRequest], int | None]:
    """Return the requests in ``portions`` and the status of the rejection that ended them."""
    reader = RequestReader(LIMITS, "10.0.0.1")
    requests: list[HttpRequest] = []
    for portion in portions:
        reader.feed(portion)
        try:
            while (request := reader.next_request()) is not None:
                requests.append(request)
        except RequestRejected as rejected:
            return requests, rejected.status
    return requests, None


def read_bytewise(data: bytes) -> tuple[list[HttpRequest], int | None]:
    return read(*[bytes([byte]) for byte in data])


PLAIN = (
    b"GET /peer/task?srcCid=a~b&x=%20 HTTP/1.1\r\nHost: h\r\nX-Thing:  two words \r\nEmpty:\r\n\r\n"
)
POST = b"POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
)


def test_a_plain_request_comes_with_its_raw_target_and_lower_case_names() -> None:
    requests, rejected = read(PLAIN)
    assert rejected is None
    assert requests == [
        HttpRequest(
            "GET",
            "/peer/task?srcCid=a~b&x=%20",
            (("host", "h"), ("x-thing", "two words"), ("empty", "")),
            b"",
            "10.0.0.1",
        )
    ]
    assert requests[0].header("x-thing") == "two words"
    assert requests[0].header("absent") is None


def test_headers_are_those_of_each_request_by_itself() -> None:
    first, second = (
        b"GET /a HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n",
        b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    closing = b"GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    requests, rejected = read(first + second + first + closing)
    assert rejected is None
    assert [request.header("a") for request in requests] == ["1", None, "1", None]
    sizes = [request.head_bytes for request in requests]
    assert sizes[:3] == [len(first), len(second), len(first)]
    assert abs(sizes[3] - len(closing)) <= 2


@pytest.mark.parametrize("request_bytes", [POST, CHUNKED])
def test_a_body_is_part_of_the_request(request_bytes: bytes) -> None:
    requests, rejected = read(request_bytes)
    assert rejected is None
    assert [request.body for request in requests] == [b"hello"]


def test_pipelined_requests_come_one_by_one() -> None:
    requests, rejected = read(PLAIN + POST + CHUNKED + PLAIN)
    assert rejected is None
    assert [request.method for request in requests] == ["GET", "POST", "POST", "GET"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (CHUNKED.replace(b"host: h", b"host: h\r\ncontent-length: 5"), 400),
        (CHUNKED.replace(b"3\r\nllo", b"z\r\nllo"), 400),
        (CHUNKED.replace(b"chunked", b"gzip"), 501),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 600, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 600 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 600, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
        (POST.replace(b"length: 5", b"length: 101"), 413),
        (POST.replace(b"length: 5", b"length: " + b"9" * 20), 413),
        (CHUNKED.replace(b"3\r\nllo", b"65\r\n" + b"a" * 101), 413),
    ],
)
def test_bad_requests_are_rejected_whole_and_byte_by_byte(data: bytes, status: int) -> None:
    assert read(data) == ([], status)
    assert read_bytewise(data) == ([], status)


def test_a_request_before_a_bad_one_is_still_read() -> None:
    requests, rejected = read(PLAIN + b"nonsense\r\n\r\n")
    assert [request.method for request in requests] == ["GET"]
    assert rejected == 400


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (PLAIN, True),
        (POST, True),
        (PLAIN.replace(b"Empty:", b"Connection: keep-alive"), True),
        (PLAIN.replace(b"Empty:", b"Connection: close"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", False),
    ],
)
def test_keep_alive_follows_version_and_connection_header(data: bytes, keeps: bool) -> None:
    reader = RequestReader(LIMITS, "")
    reader.feed(data)
    assert reader.next_request() is not None
    assert reader.keep_alive is keeps


def test_expect_continue_is_announced_once() -> None:
    reader = RequestReader(LIMITS, "")
    reader.feed(POST[: -len(b"hello")].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert reader.next_request() is None
    assert reader.in_body
    assert reader.take_continue()
    assert not reader.take_continue()
    reader.feed(b"hello")
    request = reader.next_request()
    assert request is not None
    assert request.body == b"hello"
    assert reader.is_empty


def test_posts_one_behind_the_other_keep_to_their_bodies() -> None:
    shorter = b"POST /q HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"
    requests, rejected = read(POST + shorter + PLAIN + POST)
    assert rejected is None
    assert [request.body for request in requests] == [b"hello", b"hi", b"", b"hello"]
    assert [request.method for request in requests] == ["POST", "POST", "GET", "POST"]
    assert requests[0].head_bytes == len(POST) - len(b"hello")


WORDS = st.sampled_from(
    [
        b"GET ", b"HEAD ", b"POST ", b"/", b"/a?b=c", b"*", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
        b"Host: a\r\n", b"host:\tb\t\r\n", b"X-Y: z  z\r\n", b"Connection: close\r\n", b":", b" ",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"\0", b"\xff",
    ]
)  # fmt: skip


def joined(portions: list[bytes]) -> bytes:
    return b"".join(portions)


def headed(method: bytes, headers: list[bytes], body: bytes) -> bytes:
    return method + b"/ HTTP/1.1\r\n" + b"".join(headers) + b"\r\n" + body


METHODS = st.sampled_from([b"GET ", b"HEAD ", b"POST "])
LENGTHS = st.sampled_from([b"Host: a\r\n", *(
    b"content-length: " + length + b"\r\n"
    for length in (b"3", b"0", b"003", b"+3", b"3,3", b"\xb2", b"101", b"", b"9999999999")
)])  # fmt: skip
HEADED = st.builds(
    headed,
    METHODS,
    st.one_of(st.lists(WORDS, max_size=6), st.lists(LENGTHS, max_size=3)),
    st.sampled_from([b"", b"ab", b"abc"]),
)
STREAMS = st.one_of(
    st.binary(max_size=80),
    st.builds(joined, st.lists(WORDS, max_size=20)),
    st.builds(joined, st.lists(HEADED, max_size=3)),
)


@given(STREAMS)
def test_any_bytes_are_read_alike_by_expression_and_by_h11(data: bytes) -> None:
    """One portion goes by the regular expression where that can, single bytes go by h11."""
    assert read(data) == read_bytewise(data)


@given(STREAMS, st.data())
def test_reading_does_not_depend_on_how_the_bytes_are_cut(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    portions = [portion for portion in (data[:cut], data[cut:]) if portion]
    assert read(*portions) == read(data)
