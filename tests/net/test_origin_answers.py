from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.errors import ConfigError
from damselfly.engine.events import (
    OriginFailed,
    OriginFailure,
)
from damselfly.engine.ids import FetchId
from damselfly.net.origin import OriginReader, shown_url
from damselfly.net.origin_head import parse_header_lines

from ..origin_server import OriginServer
from .origin_support import (
    CONTENT,
    DATA,
    Disk,
    effect,
    raw_origin,
    read,
    stored_pieces,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def origin() -> Generator[OriginServer]:
    with OriginServer() as origin:
        yield origin


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "data")


@pytest.fixture
async def reader() -> AsyncGenerator[OriginReader]:
    async with OriginReader(stall_timeout_s=30) as reader:
        yield reader


# --- answers that are no download -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "404 Not Found"),
        (403, "403 Forbidden"),
        (500, "500 Internal Server Error"),
        (204, "204 No Content"),
        (304, "304 Not Modified"),
        (599, "599"),
    ],
)
async def test_only_200_and_206_are_downloads(
    origin: OriginServer, reader: OriginReader, disk: Disk, status: int, text: str
) -> None:
    origin.put("/file", DATA, status=status)
    for first in (0, CONTENT):
        run = await read(reader, effect(origin.url("/file"), first), disk)
        reason = f"GET {origin.url('/file')} answered {text}"
        assert run.events == [OriginFailed(FetchId(7), OriginFailure.STATUS, reason, status)]


async def test_a_206_nobody_asked_for_is_no_download(reader: OriginReader, disk: Disk) -> None:
    answer = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\n"
    async with raw_origin(answer + b"Content-Length: 1\r\n\r\nx") as url:
        run = await read(reader, effect(url), disk)
    assert run.failed.failure is OriginFailure.BAD_ANSWER


@pytest.mark.parametrize(("last_byte", "headers"), [(0, ()), (None, ("Range: bytes=0-0",))])
async def test_who_ignores_a_range_is_not_believed_to_take_them(
    reader: OriginReader, disk: Disk, last_byte: int | None, headers: tuple[str, ...]
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: 2\r\n\r\nxy"
    async with raw_origin(answer) as url:
        run = await read(reader, effect(url, 0, last_byte, headers=headers), disk)
    assert run.ended.length == 2
    assert not run.opened.ranged


async def test_an_encoded_body_is_refused(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA, gzip=True)
    run = await read(reader, effect(origin.url("/file"), headers=("Accept-Encoding: gzip",)), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.BAD_ANSWER
    assert "gzip-encoded" in run.failed.reason
    assert origin.requests("/file")[0].headers["accept-encoding"] == "identity"


async def test_a_short_body_keeps_the_pieces_that_came(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA, cut_at=CONTENT + 10)
    run = await read(reader, effect(origin.url("/file")), disk)
    assert run.pieces == [0]
    assert run.failed.failure is OriginFailure.SHORT
    assert f"received {CONTENT + 10} bytes, expected {len(DATA)}" in run.failed.reason


async def test_a_stall_ends_the_read(origin: OriginServer, disk: Disk) -> None:
    origin.put("/stall", DATA, stall_at=CONTENT + 10)
    origin.put("/silent", DATA, silent=True)
    async with OriginReader(stall_timeout_s=0.5) as reader:
        run = await read(reader, effect(origin.url("/stall")), disk)
        assert run.pieces == [0]
        assert run.failed.failure is OriginFailure.STALLED
        assert "stalled: no byte for 0.5 s" in run.failed.reason
        run = await read(reader, effect(origin.url("/silent")), disk)
        assert run.events == [run.failed]
        assert run.failed.failure is OriginFailure.STALLED


async def test_slow_is_not_stalled(origin: OriginServer, disk: Disk) -> None:
    origin.put("/slow", DATA[:750], rate_bytes_per_s=500)
    async with OriginReader(stall_timeout_s=1) as reader:
        run = await read(reader, effect(origin.url("/slow")), disk)
    assert run.ended.length == 750


async def test_nobody_listens(reader: OriginReader, disk: Disk) -> None:
    with OriginServer() as gone:
        url = gone.url("/file")
    run = await read(reader, effect(url), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.UNREACHABLE
    assert run.failed.reason.startswith(f"GET {url} failed: ")
    assert run.failed.reason.endswith("Connection refused")


async def test_no_connection_in_time(disk: Disk) -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())  # the queue has one place, so nobody else gets in
        async with OriginReader(connect_timeout_s=0.1) as reader:
            run = await read(reader, effect(f"http://127.0.0.1:{deaf.getsockname()[1]}/"), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.UNREACHABLE
    assert "got no connection within 0.1 s" in run.failed.reason


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", OriginFailure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", OriginFailure.BAD_ANSWER),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a:b/\r\n\r\n", OriginFailure.BAD_ANSWER),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://host/file\r\n\r\n", OriginFailure.BAD_ANSWER),
        (b"", OriginFailure.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Le", OriginFailure.UNREACHABLE),
    ],
    ids=["ssh", "length", "location", "scheme", "silence", "half a head"],
)
async def test_garbage_is_told_from_a_lost_connection(
    reader: OriginReader, disk: Disk, answer: bytes, failure: OriginFailure
) -> None:
    async with raw_origin(answer) as url:
        run = await read(reader, effect(url), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is failure, run.failed.reason


@pytest.mark.parametrize("url", ["ftp://host/file", "file", "http://[::1/file", "http://a:b:c/"])
async def test_what_is_no_url_is_not_asked(reader: OriginReader, disk: Disk, url: str) -> None:
    run = await read(reader, effect(url), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.BAD_ANSWER
    assert "cannot be sent" in run.failed.reason


async def test_a_certificate_must_be_trusted_unless_told_otherwise(
    reader: OriginReader, disk: Disk
) -> None:
    with OriginServer(tls=True) as origin:
        origin.put("/file", DATA)
        run = await read(reader, effect(origin.url("/file")), disk)
        assert run.events == [run.failed]
        assert run.failed.failure is OriginFailure.UNREACHABLE
        assert "has a certificate that is not trusted: self" in run.failed.reason
        run = await read(reader, effect(origin.url("/file"), insecure=True), disk)
        assert run.events[1:-1] == stored_pieces(DATA)
        run = await read(reader, effect(origin.url("/file")), disk)
        assert run.failed.failure is OriginFailure.UNREACHABLE


# --- headers and redirects ------------------------------------------------------------------------


async def test_the_users_headers_are_sent(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA)
    headers = ("X-One:1", "x-two :  a:b ", "X-Empty:", "Content-Length: 5", "X-Name: J\u00fcrgen")
    headers += ("what an old dfget cut off at a comma",)
    await read(reader, effect(origin.url("/file"), headers=headers), disk)
    (request,) = origin.requests("/file")
    assert request.headers["x-one"] == "1"
    assert request.headers["x-two"] == "a:b"
    assert request.headers["x-name"].encode("latin-1").decode() == "J\u00fcrgen"
    assert not {"x-empty", "content-length"} & request.headers.keys()


@pytest.mark.parametrize("line", [":secret", "a b:secret", "X:secret\r\nY:1", "X:\0secret"])
async def test_a_malformed_header_is_told_without_its_value(
    origin: OriginServer, reader: OriginReader, disk: Disk, line: str
) -> None:
    origin.put("/file", DATA)
    run = await read(reader, effect(origin.url("/file"), headers=("Good:1", line)), disk)
    assert run.events == [run.failed]
    assert run.failed.failure is OriginFailure.BAD_ANSWER
    assert "header" in run.failed.reason
    assert "secret" not in run.failed.reason
    assert origin.requests("/file") == []
    with pytest.raises(ConfigError):
        parse_header_lines([line])


async def test_a_redirect_is_followed_but_secrets_stay_at_home(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    with OriginServer() as other:
        other.put("/file", DATA)
        origin.put("/far", b"", redirect=other.url("/file"))
        origin.put("/near", b"", redirect="/far")
        headers = ("Authorization: Basic c2VjcmV0", "Cookie: id=1", "X-Mine: 1")
        run = await read(reader, effect(origin.url("/near"), headers=headers), disk)
        assert run.events[1:-1] == stored_pieces(DATA)
        for path in ("/near", "/far"):
            (request,) = origin.requests(path)
            assert request.headers["authorization"] == "Basic c2VjcmV0"
            assert request.headers["cookie"] == "id=1"
        (request,) = other.requests("/file")
        assert request.headers["x-mine"] == "1"
        assert not {"authorization", "cookie"} & request.headers.keys()
        assert len({request.client_port for request in origin.requests("/far")}) == 1
        missing = other.url("/missing")
        origin.put("/near", b"", redirect=missing)
        run = await read(reader, effect(origin.url("/near")), disk)
        assert f"(redirected to {missing}) answered 404 Not Found" in run.failed.reason


async def test_a_proxy_of_the_environment_is_used(
    origin: OriginServer, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", origin.url(""))
    origin.put("http://origin.invalid/file", DATA)
    async with OriginReader() as reader:
        run = await read(reader, effect("http://origin.invalid/file"), disk)
    assert run.events[1:-1] == stored_pieces(DATA)


async def test_redirects_come_to_an_end(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/loop", b"", redirect="/loop")
    run = await read(reader, effect(origin.url("/loop")), disk)
    assert run.failed.failure is OriginFailure.BAD_ANSWER
    assert "redirects more than 10 times" in run.failed.reason
    assert len(origin.requests("/loop")) == 11


async def test_cookies_of_one_read_do_not_reach_another(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    origin.put("/file", DATA, set_cookie="session=of-somebody; Path=/")
    for _ in range(2):
        await read(reader, effect(origin.url("/file")), disk)
    assert all("cookie" not in request.headers for request in origin.requests("/file"))


async def test_a_users_name_and_password_are_used_but_not_shown(
    origin: OriginServer, reader: OriginReader, disk: Disk
) -> None:
    url = origin.url("/file?sign=secret").replace("//", "//user:secret@")
    run = await read(reader, effect(url), disk)
    assert origin.requests("/file")[0].headers["authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert run.failed.reason == f"GET {origin.url('/file')}?... answered 404 Not Found"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/a", "http://host/a"),
        ("http://u:p@ss@host:8/a@b?x=1&y=2#z", "http://host:8/a@b?..."),
        ("http://host/a#frag?x", "http://host/a"),
        ("http://host/a\r\nlog: line", "http://host/a??log:?line"),
        ("http://host/" + "a" * 999, "http://host/" + "a" * 288),
        ("what is this", "what?is?this"),
    ],
)
def test_shown_urls_tell_no_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown
