"""The mirror and the proxy: which upstream a request reaches, unchanged, and by which way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.dfdaemon.content import OriginAnswered, Unreachable, Unsuitable
from damselfly.net.dfdaemon.served import Entry, Outcome
from damselfly.net.dfdaemon.settings import Mirror, NamedMirror, ProxyRule
from damselfly.net.http import HttpRequest, HttpResponse, Response

from .dfdaemon_support import BLOB, FakeContent, FakeContents, daemon, origin, refusal
from .http_support import RawClient, answering, scripted

if TYPE_CHECKING:
    from damselfly.net.dfdaemon.served import Served

DATA = bytes(range(256)) * 20


def with_blob(url: str, **headers: str) -> FakeContents:
    contents = FakeContents()
    contents.contents[url] = FakeContent(DATA, 1000, **headers)
    return contents


# --- the mirror -----------------------------------------------------------------------------------


async def test_a_challenge_passes_through_unchanged() -> None:
    async def answer(_: HttpRequest) -> Response:
        challenge = 'Bearer realm="https://auth.example/token",service="x"'
        return HttpResponse(
            401, (b"{}",), "application/json", (("WWW-Authenticate", challenge), ("X-Odd", "a  b"))
        )

    async with origin(answer) as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        status, head, body = await server.ask("/v2/", "X-Forwarded-For: 10.0.0.9")
        assert (status, body) == (401, b"{}")
        assert b'www-authenticate: bearer realm="https://auth.example/token",service="x"' in head
        assert b"x-odd: a  b\r\n" in head
        request = upstream.requests[0]
        assert request.header("x-forwarded-for") == "10.0.0.9, 127.0.0.1"
        assert request.header("host") == f"127.0.0.1:{upstream.port}"
        assert server.served[0].status == 401
        assert server.served[0].entry is Entry.MIRROR


async def test_a_blob_comes_through_the_swarm_with_the_origin_s_headers() -> None:
    remote = "http://registry.example:5000/prefix"
    contents = with_blob(remote + BLOB, ETag='"e"', Docker_Content_Digest="sha256:ab")
    async with daemon(remote, contents=contents) as server:
        token = "Authorization: Bearer t"
        status, head, body = await server.ask(BLOB, token, "Range: bytes=0-", "Accept: a, b")
        assert (status, body) == (206, DATA)
        status, head, body = await server.ask(BLOB + "?ns=docker.io", token)
        assert (status, body) == (200, DATA)
        for line in (b'etag: "e"', b"docker-content-digest: sha256:ab", b"accept-ranges: bytes"):
            assert line in head
        assert b"x-dragonfly-source: p2p\r\n" in head
        assert b"x-dragonfly-task: " + b"t" * 64 in head
        asked = contents.requests[0]
        assert asked.url == remote + BLOB
        assert asked.digest == "sha256:" + "ab" * 32
        assert ("Authorization", "Bearer t") in asked.headers
        assert ("Accept", "a, b") in asked.headers
        assert not {"Host", "Range"} & {name for name, _ in asked.headers}
        assert contents.contents[remote + BLOB].users == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "digest",
    ["sha256:" + "0" * 64, "sha512:" + "0" * 128, "blake3:" + "0" * 64, "sha256%3A" + "0" * 64],
)
async def test_blobs_of_any_digest_are_eligible(digest: str) -> None:
    async with daemon("http://registry.example") as server:
        assert (await server.ask(f"/v2/x/blobs/{digest}"))[0] == 404
        assert len(server.contents.requests) == 1


async def test_what_is_no_get_of_a_blob_goes_directly() -> None:
    async with origin() as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        await server.ask(BLOB, method="HEAD")
        await server.ask("/v2/library/x/manifests/latest")
        for condition in ('If-None-Match: "e"', "If-Modified-Since: x", "If-Match: *"):
            await server.ask(BLOB, condition)
        assert upstream.seen[:2] == [f"HEAD {BLOB}", "GET /v2/library/x/manifests/latest"]
        assert len(upstream.requests) == 5
        assert server.contents.requests == []


async def test_a_direct_mirror_never_uses_the_swarm() -> None:
    async with origin() as upstream:
        mirror = Mirror(f"http://127.0.0.1:{upstream.port}", direct=True)
        async with daemon(registry_mirror=mirror, proxies=(ProxyRule("."),)) as server:
            status, head, body = await server.ask(BLOB)
            assert (status, body) == (200, BLOB.encode())
            assert b"x-dragonfly-source: direct\r\n" in head
            assert server.contents.requests == []


async def test_not_a_byte_of_path_and_query_is_changed() -> None:
    odd = "/a//b/../c/%7Euser/%2F?x=%20+&y=%zz&&sig=a/b=="
    async with origin() as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        await server.ask(odd)
        assert upstream.requests[0].target == odd


async def test_the_prefix_and_query_of_a_remote_are_joined() -> None:
    remote = "http://127.0.0.1:{}/pre/?k=1"
    async with origin() as upstream, daemon(remote.format(upstream.port)) as server:
        await server.ask("/v2/x?n=2")
        await server.ask("/v2/x")
        assert [r.target for r in upstream.requests] == ["/pre/v2/x?k=1&n=2", "/pre/v2/x?k=1"]


async def test_headers_reach_the_origin_unchanged_and_none_is_invented() -> None:
    async with origin() as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        await server.ask(
            "/v2/x",
            "Accept: a/b, c/d",
            "X-Empty:",
            "Accept-Encoding: zstd;q=1.0, gzip;q=0.8",
            "Proxy-Authorization: Basic eDp5",
            "Proxy-Connection: keep-alive",
            "Connection: close, X-Hop",
            "X-Hop: 1",
            "TE: trailers",
        )
        headers = dict(upstream.requests[0].headers)
        del headers["via"]
        assert headers == {
            "host": f"127.0.0.1:{upstream.port}",
            "accept": "a/b, c/d",
            "x-empty": "",
            "accept-encoding": "zstd;q=1.0, gzip;q=0.8",
            "x-forwarded-for": "127.0.0.1",
        }


async def test_bytes_beyond_ascii_in_a_header_pass_through() -> None:
    async def answer(_: HttpRequest) -> Response:
        return HttpResponse(200, headers=(("X-Back", "caf\xe9"),))

    async with origin(answer) as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        async with await RawClient.connect(server.port) as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: x\r\nX-There: na\xefve\r\n\r\n")
            _, head, _ = await client.answer()
            assert b"x-back: caf\xe9\r\n" in head
        assert upstream.requests[0].header("x-there") == "na\xefve"


async def test_encoded_content_is_not_decoded() -> None:
    async def answer(_: HttpRequest) -> Response:
        return HttpResponse(200, (b"not gzip at all",), "x/y", (("Content-Encoding", "gzip"),))

    async with origin(answer) as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        _, head, body = await server.ask("/x.gz")
        assert body == b"not gzip at all"
        assert b"content-encoding: gzip\r\n" in head


async def test_a_redirect_is_passed_on() -> None:
    async def answer(_: HttpRequest) -> Response:
        return HttpResponse(307, (), headers=(("Location", "https://cdn.example/x"),))

    async with origin(answer) as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as server:
        status, head, _ = await server.ask("/v2/x/manifests/1")
        assert status == 307
        assert b"location: https://cdn.example/x\r\n" in head


# --- several registries ---------------------------------------------------------------------------


async def test_several_registries_by_ns_host_path_and_header() -> None:
    async with origin() as hub, origin() as ghcr, origin() as quay:
        table = (
            NamedMirror(Mirror(f"http://127.0.0.1:{ghcr.port}"), r"^ghcr\.io$", "/v2/ghcr.io/"),
            NamedMirror(Mirror(f"http://127.0.0.1:{quay.port}"), r"^quay\.io$"),
        )
        remote = f"http://127.0.0.1:{hub.port}"
        async with daemon(remote, mirrors=table, dynamic=True) as server:
            await server.ask("/v2/a?ns=ghcr.io")
            await server.ask("/v2/b?x=1&ns=quay.io&y=2")
            await server.ask("/v2/c?ns=docker.io")
            await server.ask("/v2/d", "Host: quay.io:65001")
            await server.ask("/v2/ghcr.io/org/e")
            await server.ask("/v2/f", f"X-Dragonfly-Registry: http://127.0.0.1:{ghcr.port}")
            assert ghcr.seen == ["GET /v2/a", "GET /v2/org/e", "GET /v2/f"]
            assert quay.seen == ["GET /v2/b?x=1&y=2", "GET /v2/d"]
            assert hub.seen == ["GET /v2/c"]
            assert ghcr.requests[2].header("x-dragonfly-registry") is None


async def test_an_ns_that_nothing_lists_names_its_registry() -> None:
    contents = with_blob("https://reg.example" + BLOB)
    async with daemon(contents=contents) as server:
        assert (await server.ask(f"{BLOB}?ns=reg.example"))[0] == 200
        assert (await server.ask(f"{BLOB}?ns=a/b"))[0] == 400
    contents = with_blob("http://127.0.0.1:1" + BLOB)
    async with daemon(contents=contents, ns_upstreams=False) as server:
        assert (await server.ask(f"{BLOB}?ns=reg.example"))[0] == 200


# --- the proxy and its rules ----------------------------------------------------------------------


async def test_the_first_rule_that_matches_counts() -> None:
    rules = (
        ProxyRule("no-p2p", direct=True),
        ProxyRule("secure/", use_https=True),
        ProxyRule("moved/", redirect="other.example:99"),
        ProxyRule(r"\.rpm$", strict=True),
        ProxyRule("no-p2p", use_https=True),
    )
    async with origin() as upstream, daemon(proxies=rules) as server:
        base = f"http://127.0.0.1:{upstream.port}"
        _, head, body = await server.ask(f"{base}/no-p2p/secure/")
        assert body == b"/no-p2p/secure/"
        assert b"x-dragonfly-source: direct" in head
        assert (await server.ask(f"{base}/a.rpm?x=1"))[2] == b"/a.rpm?x=1"
        for path in ("/secure/x", "/moved/x", "/a.rpm"):
            assert (await server.ask(f"http://reg.example:5000{path}"))[0] == 404
        await server.ask("http://reg.example/secure/y")
        asked = [(request.url, request.strict) for request in server.contents.requests]
        assert asked == [
            ("https://reg.example:5000/secure/x", False),
            ("http://other.example:99/moved/x", False),
            ("http://reg.example:5000/a.rpm", True),
            ("https://reg.example/secure/y", False),
        ]
        assert [seen.entry for seen in server.served] == [Entry.PROXY] * 6


async def test_the_proxy_asks_the_host_of_the_url_whatever_its_host_header_says() -> None:
    async with origin() as upstream, daemon() as server:
        status, _, body = await server.ask(
            f"http://user:pw@127.0.0.1:{upstream.port}/args", "Host: evil.example"
        )
        assert (status, body) == (200, b"/args")
        assert upstream.requests[0].header("host") == f"127.0.0.1:{upstream.port}"
        assert upstream.requests[0].header("x-forwarded-for") is None
        assert "pw" not in server.served[0].url


async def test_rules_rewrite_the_mirror_too() -> None:
    rules = (ProxyRule("registry.example/", redirect="cache.example"),)
    contents = with_blob("http://cache.example" + BLOB)
    async with daemon("http://registry.example", contents=contents, proxies=rules) as server:
        assert (await server.ask(BLOB))[0] == 200


@pytest.mark.parametrize("target", ["ftp://x/y", "http://", "http://h:99999/", "*", "x.example"])
async def test_a_target_that_cannot_be_asked_is_a_400(target: str) -> None:
    async with daemon() as server:
        assert (await server.ask(target))[0] == 400


# --- bodies, both ways ----------------------------------------------------------------------------


async def test_a_body_streams_through_to_the_upstream() -> None:
    async with origin() as upstream, daemon() as server:
        base = f"http://127.0.0.1:{upstream.port}"
        big = bytes(3 << 20)
        length = f"Content-Length: {len(big)}"
        assert (await server.ask(f"{base}/up", length, method="PUT", body=big))[0] == 200
        chunks = b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
        headers = ("Transfer-Encoding: chunked",)
        assert (await server.ask(f"{base}/c", *headers, method="POST", body=chunks))[0] == 200
        assert upstream.bodies == [big, b"abcd"]
        assert upstream.requests[0].header("content-length") == str(len(big))


async def test_a_client_that_expects_continue_sends_its_body_when_told() -> None:
    async with origin() as upstream, daemon() as server:
        async with await RawClient.connect(server.port) as client:
            await client.send(
                b"PUT http://127.0.0.1:%d/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                b"Expect: 100-continue\r\n\r\n" % upstream.port
            )
            assert (await client.answer())[0] == 100
            await client.send(b"ab")
            assert (await client.answer())[0] == 200
        assert upstream.bodies == [b"ab"]


async def test_an_answer_of_unknown_length_is_passed_on_in_chunks() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
    request = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with (
        scripted(script) as upstream,
        daemon() as server,
        await RawClient.connect(server.port) as client,
    ):
        await client.send(request % upstream.port)
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert body == b"2\r\nab\r\n0\r\n\r\n"


async def test_a_short_answer_never_ends_cleanly() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    async with scripted(script) as upstream, daemon() as server:
        async with await RawClient.connect(server.port) as client:
            await client.send(
                b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % upstream.port
            )
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        assert server.served[0].outcome is Outcome.FAILED
        assert "broke off" in server.served[0].reason


async def test_one_connection_to_the_upstream_serves_many_requests() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(answer, answer, answer)) as upstream, daemon() as server:
        for _ in range(3):
            assert (await server.ask(f"http://127.0.0.1:{upstream.port}/"))[0] == 200
        assert upstream.connections == 1


async def test_a_kept_connection_that_has_died_is_replaced() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(answer)) as upstream, daemon() as server:
        for _ in range(3):
            assert (await server.ask(f"http://127.0.0.1:{upstream.port}/"))[0] == 200


async def test_head_tells_the_length_of_the_origin() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: b\r\n\r\n")
    async with scripted(script) as upstream, daemon() as server:
        status, head, _ = await server.ask(f"http://127.0.0.1:{upstream.port}/", method="HEAD")
        assert status == 200
        assert b"content-length: 12345\r\n" in head


# --- failures -------------------------------------------------------------------------------------


async def test_an_upstream_that_is_not_there_is_a_502_with_its_cause() -> None:
    async with daemon() as server:
        status, _, body = await server.ask("/v2/")
        assert status == 502
        assert b"127.0.0.1:1" in body
        assert b"onnection refused" in body


@pytest.mark.parametrize("status", [401, 403, 404, 416, 500])
async def test_the_origin_s_own_answer_to_a_blob_reaches_the_client(status: int) -> None:
    contents = FakeContents()
    headers = (("WWW-Authenticate", "Bearer x"), ("Content-Length", "2"), ("Connection", "close"))
    contents.contents["http://127.0.0.1:1" + BLOB] = OriginAnswered(status, "", headers, b"no")
    async with daemon(contents=contents) as server:
        got, head, body = await server.ask(BLOB)
        assert (got, body) == (status, b"no")
        assert b"www-authenticate: bearer x\r\n" in head
        assert len(contents.requests) == 1


async def test_a_content_that_nobody_has_is_a_502_and_one_not_to_share_goes_directly() -> None:
    async with origin(refusal(200, "direct")) as upstream:
        remote = f"http://127.0.0.1:{upstream.port}"
        contents = FakeContents()
        contents.contents[remote + BLOB] = Unreachable("nobody has it")
        async with daemon(remote, contents=contents) as server:
            status, _, body = await server.ask(BLOB)
            assert (status, body) == (502, b"nobody has it\n")
            contents.contents[remote + BLOB] = Unsuitable("too big for this disk")
            assert (await server.ask(BLOB))[2] == b"direct\n"
            assert server.served[1].reason == "too big for this disk"


async def test_a_content_that_fails_half_way_cuts_the_connection() -> None:
    contents = with_blob("http://127.0.0.1:1" + BLOB)
    content = contents.contents["http://127.0.0.1:1" + BLOB]
    assert isinstance(content, FakeContent)
    content.fails_at = 2000
    async with daemon(contents=contents) as server, await RawClient.connect(server.port) as client:
        await client.send(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()
        assert content.users == 0
        assert [seen.outcome for seen in server.served] == [Outcome.FAILED]


# --- in the middle of it --------------------------------------------------------------------------


async def test_the_first_byte_is_out_before_the_last_is_here() -> None:
    contents = with_blob("http://127.0.0.1:1" + BLOB)
    content = contents.contents["http://127.0.0.1:1" + BLOB]
    assert isinstance(content, FakeContent)
    gate = content.gates[len(DATA) - 1] = trio.Event()
    async with daemon(contents=contents) as server, await RawClient.connect(server.port) as client:
        await client.send(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = b""
        with trio.fail_after(5):
            while b"\r\n\r\n" + DATA[:1000] not in got:
                got += await client.stream.receive_some()
        gate.set()
        assert (got + await client.rest()).endswith(DATA)


async def test_a_client_that_leaves_lets_go_of_the_content() -> None:
    contents = with_blob("http://127.0.0.1:1" + BLOB)
    content = contents.contents["http://127.0.0.1:1" + BLOB]
    assert isinstance(content, FakeContent)
    content.gates[3000] = trio.Event()
    left = trio.Event()

    async def aclose() -> None:
        left.set()

    content.aclose = aclose
    async with daemon(contents=contents) as server:
        async with await RawClient.connect(server.port) as client:
            await client.send(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await client.stream.receive_some()
        with trio.fail_after(5):
            await left.wait()
        await server.told(1)
        assert server.served[0].outcome is Outcome.ABORTED


async def test_each_request_is_told_of_once() -> None:
    def told(served: Served) -> tuple[str, int, str, int, bool]:
        has_first = served.first_byte_s is not None
        return served.source, served.status, served.task[:1], served.sent_bytes, has_first

    contents = with_blob("http://127.0.0.1:1" + BLOB)
    async with daemon(contents=contents) as server:
        await server.ask(BLOB)
        await server.ask("/v2/")
        assert [told(served) for served in server.served] == [
            ("p2p", 200, "t", len(DATA), True),
            ("direct", 502, "", server.served[1].sent_bytes, True),
        ]
