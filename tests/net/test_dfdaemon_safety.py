"""What the daemon refuses, what it hides, and what clients cannot take from it."""

from __future__ import annotations

import base64
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.errors import ConfigError
from damselfly.net.dfdaemon.front import serve_daemon
from damselfly.net.dfdaemon.served import Entry, access_line
from damselfly.net.dfdaemon.settings import (
    AllowedUpstream,
    BasicAuth,
    Bounds,
    DaemonSettings,
    Hijack,
    HijackHost,
    Mirror,
    NamedMirror,
    ProxyRule,
)
from damselfly.net.http import HttpRequest, HttpResponse, text_response

from .dfdaemon_support import BLOB, HERE, FakeContent, FakeContents, Requests, daemon, origin
from .http_support import RawClient, scripted, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    default = DaemonSettings(HERE, HERE, port=0)
    for settings, host in ((default, "127.0.0.1"), (replace(default, host="0.0.0.0"), "0.0.0.0")):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(serve_daemon, settings, FakeContents(), Requests())
            assert address[0] == host
            nursery.cancel_scope.cancel()


# --- loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "0.0.0.0"])
async def test_a_request_to_itself_is_refused(host: str) -> None:
    async with daemon() as server:
        status, _, body = await server.ask(f"http://{host}:{server.port}/args")
        assert status == 508
        assert b"this daemon itself" in body
        async with await RawClient.connect(server.port) as client:
            await client.send(f"CONNECT {host}:{server.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await client.answer())[0] == 508


async def test_a_mirror_of_itself_is_refused_by_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    async with daemon("http://origin.example", port=port) as server:
        with trio.fail_after(5):
            status, _, body = await server.ask("/v2/")
        assert status == 508
        assert b"went through this daemon before" in body


async def test_another_daemon_s_mark_is_no_loop() -> None:
    async with origin() as upstream, daemon(f"http://127.0.0.1:{upstream.port}") as far:
        async with daemon(f"http://127.0.0.1:{far.port}") as near:
            assert (await near.ask("/v2/"))[2] == b"/v2/"
        via = upstream.requests[0].header("via")
        assert via is not None
        assert via.count("damselfly-") == 2


# --- upstreams that are allowed -------------------------------------------------------------------


async def test_only_allowed_upstreams_are_asked() -> None:
    async with origin() as upstream, origin() as other:
        allowed = (
            AllowedUpstream("127.0.0.1", ports=(upstream.port,)),
            AllowedUpstream(regx=r"\.example$"),
        )
        rules = (ProxyRule("moved", redirect=f"127.0.0.1:{other.port}"),)
        remote = f"http://127.0.0.1:{other.port}"
        async with daemon(remote, whitelist=allowed, proxies=rules) as server:
            assert (await server.ask(f"http://127.0.0.1:{upstream.port}/x"))[0] == 200
            refused = [
                f"http://127.0.0.1:{other.port}/x",
                "/v2/",
                f"{BLOB}?ns=evil.test",
                f"http://127.0.0.1:{upstream.port}/moved",
            ]
            for target in refused:
                status, _, body = await server.ask(target)
                assert status == 403
                assert b"whitelist" in body
            async with await RawClient.connect(server.port) as client:
                await client.send(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await client.answer())[0] == 403
            assert other.requests == []
            assert server.contents.requests == []


# --- the password of the proxy --------------------------------------------------------------------


async def test_the_proxy_asks_for_its_password() -> None:
    right, wrong = (base64.b64encode(text).decode() for text in (b"ann:s3cret", b"ann:other"))
    async with origin() as upstream, daemon(basic_auth=BasicAuth("ann", "s3cret")) as server:
        url = f"http://127.0.0.1:{upstream.port}/x"
        for headers in ([], [f"Proxy-Authorization: Basic {wrong}"], ["Proxy-Authorization: X"]):
            status, head, _ = await server.ask(url, *headers)
            assert status == 407
            assert b"proxy-authenticate: basic realm=" in head
        assert (await server.ask(url, f"Proxy-Authorization: basic {right}"))[0] == 200
        assert upstream.requests[0].header("proxy-authorization") is None
        async with await RawClient.connect(server.port) as client:
            await client.send(b"CONNECT x.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer())[0] == 407
        assert "s3cret" not in repr(BasicAuth("ann", "s3cret"))


# --- secrets --------------------------------------------------------------------------------------


async def test_no_secret_is_told_or_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with daemon() as server:
        await server.ask("/v2/x?token=hush1", "Authorization: Bearer hush2")
        await server.ask("http://u:hush3@127.0.0.1:1/x?X-Amz-Signature=hush4")
        told = "".join([access_line(served) for served in server.served])
    assert "127.0.0.1:1" in told
    assert "hush" not in told
    assert "hush" not in "".join([r.getMessage() for r in caplog.records if "damselfly" in r.name])


async def test_a_cookie_for_one_client_is_not_replayed_to_others() -> None:
    contents = FakeContents()
    contents.contents["http://127.0.0.1:1" + BLOB] = FakeContent(
        b"x", Set_Cookie="id=1", ETag='"e"'
    )
    async with daemon(contents=contents) as server:
        _, head, _ = await server.ask(BLOB)
        assert b"set-cookie" not in head
        assert b"etag" in head


# --- local pages ----------------------------------------------------------------------------------


class Pages:
    def answer(self, request: HttpRequest) -> HttpResponse | None:
        return text_response(200, "local") if request.target == "/args" else None


async def test_local_pages_only_in_origin_form() -> None:
    served = Requests()
    async with origin() as upstream, trio.open_nursery() as nursery:
        told = DaemonSettings(HERE, HERE, port=0)
        _, port = await nursery.start(serve_daemon, told, FakeContents(), served, Pages())
        for target in ("/args", f"http://127.0.0.1:{upstream.port}/args"):
            async with await RawClient.connect(port) as client:
                await client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await client.answer())[0] == 200
        nursery.cancel_scope.cancel()
    assert [told.entry for told in served] == [Entry.LOCAL, Entry.PROXY]
    assert upstream.seen == ["GET /args"]


# --- clients that take too long, or too much ------------------------------------------------------


async def test_a_client_that_takes_nothing_is_cut() -> None:
    contents = FakeContents()
    content = contents.contents["http://127.0.0.1:1" + BLOB] = FakeContent(bytes(1 << 25), 1 << 20)
    async with daemon(contents=contents, bounds=Bounds(client_stall_s=0.1)) as server:
        async with await RawClient.connect(server.port) as client:
            await client.send(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await server.told(1)
        assert content.users == 0
        assert server.served[0].sent_bytes < len(content.data)


async def test_an_upstream_that_goes_silent_is_a_502() -> None:
    async with (
        scripted(silent()) as upstream,
        daemon(bounds=Bounds(upstream_stall_s=0.05)) as server,
    ):
        status, _, body = await server.ask(f"http://127.0.0.1:{upstream.port}/x")
        assert status == 502
        assert b"no byte for 0.05 s" in body


async def test_one_connection_too_many_waits_for_its_turn() -> None:
    async with daemon(bounds=Bounds(connections=1)) as server:
        async with await RawClient.connect(server.port) as first:
            await first.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            _, head, _ = await first.answer()
            assert b"connection: close" in head
        assert (await server.ask("/v2/"))[0] == 502


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mirror("registry.example"), "registry_mirror.remote"),
        (lambda: Mirror("http://x:99999"), "registry_mirror.remote"),
        (lambda: NamedMirror(Mirror()), "neither regx nor path"),
        (lambda: NamedMirror(Mirror(), path="/x"), "mirrors.path"),
        (lambda: ProxyRule("("), "no regular expression"),
        (lambda: ProxyRule("x", redirect="http://y"), "proxies.redirect"),
        (lambda: ProxyRule("x", direct=True, strict=True), "choose one"),
        (lambda: HijackHost("["), "hijack_https.hosts.regx"),
        (lambda: AllowedUpstream(), "neither host nor regx"),
        (lambda: DaemonSettings(HERE, HERE, cert_pem=HERE), "go together"),
        (lambda: DaemonSettings(HERE, HERE, port=70000), "port 70000"),
        (lambda: Bounds(connections=0), "connections is 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


async def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nonsense")
    for settings in (
        DaemonSettings(HERE, HERE, registry_mirror=Mirror(certs=(bad,))),
        DaemonSettings(HERE, HERE, cert_pem=bad, key_pem=bad),
        DaemonSettings(HERE, HERE, hijack_https=Hijack(bad, bad, (HijackHost("x"),))),
    ):
        with pytest.raises(ConfigError, match=r"bad\.pem"):
            await serve_daemon(settings, FakeContents(), Requests())
