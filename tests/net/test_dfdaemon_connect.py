"""CONNECT: blind tunnels, and TLS in the name of the host."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from damselfly.engine.errors import ConfigError
from damselfly.net.dfdaemon.certificates import CaExpired, Certificates
from damselfly.net.dfdaemon.served import Entry
from damselfly.net.dfdaemon.settings import Bounds, Hijack, HijackHost, Mirror, ProxyRule

from .dfdaemon_support import (
    BLOB,
    LOOPBACK,
    FakeContent,
    FakeContents,
    Pem,
    TlsClient,
    connect,
    daemon,
    intercepted,
    origin,
    server_context,
    trusting,
)
from .http_support import RawClient, answering, scripted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ca(tmp_path: Path) -> Pem:
    return Pem.make(tmp_path, "ca", ca=True)


@pytest.fixture
def upstream_pem(tmp_path: Path) -> Pem:
    return Pem.make(tmp_path, "upstream", sans=LOOPBACK)


def hijack(ca: Pem, regx: str, upstream: Pem | None = None, *, insecure: bool = False) -> Hijack:
    certs = (upstream.cert,) if upstream else ()
    return Hijack(ca.cert, ca.key, (HijackHost(regx, certs, insecure),))


# --- blind tunnels --------------------------------------------------------------------------------


async def test_a_tunnel_carries_bytes_both_ways_and_half_closes() -> None:
    got: list[bytes] = []

    async def upper(stream: trio.SocketStream) -> None:
        while data := await stream.receive_some():
            got.append(bytes(data))
        await stream.send_all(b"bye " + b"".join(got)[-3:])

    big = bytes(300_000) + b"end"
    async with scripted(upper) as server, daemon() as proxy:
        async with await RawClient.connect(proxy.port) as client:
            target = f"127.0.0.1:{server.port}"
            await client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly".encode())
            status, head, _ = await client.answer()
            assert status == 200
            assert b"transfer-encoding" not in head
            assert b"content-length" not in head
            await client.send(big)
            await client.stream.send_eof()
            assert await client.rest() == b"bye end"
        assert b"".join(got) == b"early" + big
        await proxy.told(1)
        (served,) = proxy.served
        assert (served.entry, served.url, served.sent_bytes) == (Entry.TUNNEL, target, 7)


async def test_an_upstream_that_is_not_there_is_told_before_any_200() -> None:
    async with daemon() as proxy, await RawClient.connect(proxy.port) as client:
        status, _ = await connect(client, "127.0.0.1:1")
        assert status == 502
        assert b"efused" in await client.rest() or "efused" in proxy.served[0].reason


@pytest.mark.parametrize("target", ["localhost", "localhost:0", "a b:1", ":443", "h:99999"])
async def test_a_target_that_is_no_address_is_a_400(target: str) -> None:
    async with daemon() as proxy, await RawClient.connect(proxy.port) as client:
        assert (await connect(client, target))[0] == 400


async def test_a_tunnel_that_is_silent_for_too_long_is_cut() -> None:
    async def upper(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with (
        scripted(upper) as server,
        daemon(bounds=Bounds(tunnel_idle_s=0.05)) as proxy,
        await RawClient.connect(proxy.port) as client,
    ):
        assert (await connect(client, f"127.0.0.1:{server.port}"))[0] == 200
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()


async def test_an_upstream_that_breaks_breaks_the_client() -> None:
    async def upper(stream: trio.SocketStream) -> None:
        RawClient(stream).reset()

    async with (
        scripted(upper) as server,
        daemon() as proxy,
        await RawClient.connect(proxy.port) as client,
    ):
        assert (await connect(client, f"127.0.0.1:{server.port}"))[0] == 200
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()


async def test_a_tunnel_goes_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = answering(b"HTTP/1.1 200 OK\r\n\r\nhello")
    async with scripted(script) as outer, daemon() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://u:p@127.0.0.1:{outer.port}")
        async with await RawClient.connect(proxy.port) as client:
            assert (await connect(client, "far.example:443"))[0] == 200
            assert await client.rest() == b"hello"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with await RawClient.connect(proxy.port) as client:
            assert (await connect(client, "127.0.0.1:1"))[0] == 502


async def test_a_proxy_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(answering(b"HTTP/1.1 403 No\r\n\r\n")) as outer, daemon() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{outer.port}")
        async with await RawClient.connect(proxy.port) as client:
            assert (await connect(client, "far.example:443"))[0] == 502
        assert "answered 403" in proxy.served[0].reason


# --- interception ---------------------------------------------------------------------------------


async def test_two_requests_on_one_intercepted_connection(ca: Pem, upstream_pem: Pem) -> None:
    async with origin(tls=server_context(upstream_pem)) as upstream:
        target = f"127.0.0.1:{upstream.port}"
        contents = FakeContents()
        contents.contents[f"https://{target}{BLOB}"] = FakeContent(bytes(3000))
        told = hijack(ca, r"^127\.0\.0\.1:", upstream_pem)
        async with (
            daemon(contents=contents, hijack_https=told) as proxy,
            intercepted(proxy.port, target, trusting(ca)) as client,
        ):
            assert (await client.ask("/v2/", target))[2] == b"/v2/"
            status, head, body = await client.ask(BLOB, target)
            assert (status, body) == (200, bytes(3000))
            assert b"x-dragonfly-source: p2p" in head
            assert contents.requests[0].root_cas
            assert (await client.ask("/v2/", "other.example"))[0] == 421
            assert [served.entry for served in proxy.served] == [Entry.INTERCEPTED] * 3
            assert [served.status for served in proxy.served] == [200, 200, 421]


async def test_rules_hold_inside(ca: Pem, upstream_pem: Pem) -> None:
    async with origin(tls=server_context(upstream_pem)) as upstream:
        target = f"localhost:{upstream.port}"
        rules = (ProxyRule(rf"^https://localhost:{upstream.port}/v2/.*/blobs/", direct=True),)
        told = hijack(ca, "localhost", insecure=True)
        async with (
            daemon(hijack_https=told, proxies=rules) as proxy,
            intercepted(proxy.port, target, trusting(ca)) as client,
        ):
            assert (await client.ask(BLOB, target))[2] == BLOB.encode()


async def test_hosts_that_are_not_listed_are_tunnelled(ca: Pem, upstream_pem: Pem) -> None:
    async with origin(tls=server_context(upstream_pem)) as upstream:
        target = f"127.0.0.1:{upstream.port}"
        async with (
            daemon(hijack_https=hijack(ca, "only.example")) as proxy,
            intercepted(proxy.port, target, trusting(upstream_pem)) as client,
        ):
            assert (await client.ask("/x", target))[2] == b"/x"
            assert client.leaf.serial_number == upstream_pem.certificate.serial_number


async def test_an_upstream_that_is_not_trusted_is_told_before_any_200(
    ca: Pem, upstream_pem: Pem
) -> None:
    told = hijack(ca, "127")
    async with (
        origin(tls=server_context(upstream_pem)) as upstream,
        daemon(hijack_https=told) as proxy,
    ):
        for port in (upstream.port, 1):
            async with await RawClient.connect(proxy.port) as client:
                assert (await connect(client, f"127.0.0.1:{port}"))[0] == 502
        assert "not trusted" in proxy.served[0].reason
        assert "refused" in proxy.served[1].reason


async def test_a_client_that_does_not_trust_the_ca_ends_quietly(
    ca: Pem, upstream_pem: Pem, caplog: pytest.LogCaptureFixture
) -> None:
    told = hijack(ca, "127", upstream_pem)
    async with (
        origin(tls=server_context(upstream_pem)) as upstream,
        daemon(hijack_https=told) as proxy,
    ):
        target = f"127.0.0.1:{upstream.port}"
        with pytest.raises(trio.BrokenResourceError):
            await intercepted(proxy.port, target, trusting(upstream_pem)).__aenter__()
        assert (await proxy.ask("/v2/"))[0] == 502
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("trust", ["certs", "insecure", "neither"])
async def test_a_mirror_of_a_private_ca(ca: Pem, tmp_path: Path, trust: str) -> None:
    pem = Pem.make(tmp_path, "leaf", issuer=ca, sans=LOOPBACK)
    async with origin(tls=server_context(pem)) as upstream:
        certs = (ca.cert,) if trust == "certs" else ()
        remote = f"https://127.0.0.1:{upstream.port}"
        mirror = Mirror(remote, certs, insecure=trust == "insecure")
        async with daemon(registry_mirror=mirror) as server:
            status, _, body = await server.ask("/v2/")
            if trust == "neither":
                assert status == 502
                assert b"certificate that is not trusted" in body
            else:
                assert (status, body) == (200, b"/v2/")


# --- the listener's own TLS -----------------------------------------------------------------------


async def test_the_listener_speaks_tls(ca: Pem, tmp_path: Path) -> None:
    pem = Pem.make(tmp_path, "listener", issuer=ca, sans=LOOPBACK)
    contents = FakeContents()
    contents.contents["http://127.0.0.1:1" + BLOB] = FakeContent(bytes(100_000), bit=70_000)
    async with daemon(contents=contents, cert_pem=pem.cert, key_pem=pem.key) as server:
        raw = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with trio.SSLStream(raw, trusting(ca), server_hostname="localhost") as stream:
            client = TlsClient(stream)
            assert (await client.ask(BLOB, "x"))[2] == bytes(100_000)
            assert (await client.ask(BLOB, "x", "Range: bytes=-5"))[2] == bytes(5)
            assert (await client.ask("/v2/", "x", "Connection: close"))[0] == 502
            assert await stream.receive_some() == b""  # ended as TLS should be
        async with await RawClient.connect(server.port) as plain:
            await plain.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not (await plain.rest()).startswith(b"HTTP")


async def test_tls_inside_tls(ca: Pem, upstream_pem: Pem, tmp_path: Path) -> None:
    pem = Pem.make(tmp_path, "listener", issuer=ca, sans=LOOPBACK)
    async with (
        origin(tls=server_context(upstream_pem)) as upstream,
        daemon(
            hijack_https=hijack(ca, "localhost", upstream_pem),
            cert_pem=pem.cert,
            key_pem=pem.key,
        ) as proxy,
    ):
        raw = await trio.open_tcp_stream("127.0.0.1", proxy.port)
        outer = trio.SSLStream(raw, trusting(ca), server_hostname="localhost")
        target = f"localhost:{upstream.port}"
        assert (await connect(RawClient(outer), target))[0] == 200  # type: ignore[arg-type]
        inner = trio.SSLStream(outer, trusting(ca), server_hostname="localhost")
        assert (await TlsClient(inner).ask("/x", target))[2] == b"/x"  # type: ignore[arg-type]
        await raw.aclose()


# --- certificates ---------------------------------------------------------------------------------


async def shown(certificates: Certificates, host: str, client: ssl.SSLContext) -> x509.Certificate:
    """Shake hands in memory; return what the client was shown."""
    near, far = trio.testing.memory_stream_pair()
    server = trio.SSLStream(near, await certificates.context(host), server_side=True)
    tls = trio.SSLStream(far, client, server_hostname=host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        nursery.start_soon(tls.do_handshake)
    return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))


@pytest.mark.parametrize("host", ["reg.example.com", "127.0.0.1", "::1", "a" * 60 + ".b" * 20])
async def test_a_leaf_is_believed_for_its_host(ca: Pem, host: str) -> None:
    certificates = Certificates(ca.cert, ca.key)
    strict = trusting(ca)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    leaf = await shown(certificates, host, strict)
    assert leaf.issuer == ca.certificate.subject
    assert leaf.public_key() != ca.certificate.public_key()
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert leaf.not_valid_after_utc <= ca.certificate.not_valid_after_utc
    assert leaf.not_valid_before_utc < datetime.now(UTC) - timedelta(minutes=50)


async def test_a_leaf_is_made_once_and_again_before_it_expires(tmp_path: Path) -> None:
    ca = Pem.make(tmp_path, "ca", ca=True, days=30)
    now = datetime.now(UTC)
    certificates = Certificates(ca.cert, ca.key, lambda: now)
    contexts: list[ssl.SSLContext] = []

    async def ask() -> None:
        contexts.append(await certificates.context("h"))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert len(set(contexts)) == 1
    now += timedelta(hours=22)
    assert await certificates.context("h") is contexts[0]
    now += timedelta(hours=1, seconds=1)
    assert await certificates.context("h") is not contexts[0]
    assert await certificates.context("i") is not await certificates.context("h")
    now += timedelta(days=40)
    with pytest.raises(CaExpired, match="make a new one"):
        await certificates.context("h")


async def test_a_certificate_that_is_no_ca_is_shown_as_it_is(tmp_path: Path) -> None:
    fixed = Pem.make(tmp_path, "fixed", sans=(x509.DNSName("reg.example"),))
    certificates = Certificates(fixed.cert, fixed.key)
    leaf = await shown(certificates, "reg.example", trusting(fixed))
    assert leaf.serial_number == fixed.certificate.serial_number


async def test_a_client_that_names_another_host_is_turned_away(ca: Pem) -> None:
    near, far = trio.testing.memory_stream_pair()
    context = await Certificates(ca.cert, ca.key).context("a.example")
    server = trio.SSLStream(near, context, server_side=True)
    client = trio.SSLStream(far, trusting(ca), server_hostname="b.example")

    async def refused(stream: trio.SSLStream[trio.StapledStream[Any, Any]]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused, server)
        nursery.start_soon(refused, client)


def test_files_that_do_not_belong_together_are_refused(ca: Pem, tmp_path: Path) -> None:
    other = Pem.make(tmp_path, "other", ca=True)
    with pytest.raises(ConfigError, match="is not the key of"):
        Certificates(ca.cert, other.key)
    with pytest.raises(ConfigError, match="cannot be read"):
        Certificates(tmp_path / "none", ca.key)
    with pytest.raises(ConfigError, match="cannot be read"):
        Certificates(ca.cert, ca.cert)
