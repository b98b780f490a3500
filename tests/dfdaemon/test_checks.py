"""The acceptance checks of a dfdaemon, on the program; numbers are those of the list of checks.

18 is ``tests/cli/test_dfdaemon.py``; 21 are ``test_skopeo.py`` and ``test_clients.py``.  What needs
a clock or a fault inside is in ``tests/net``: a leaf that expires (6) in ``test_dfdaemon_connect``,
deaths of supernode and parent in mid-stream (10), a corrupt piece of a peer (16) in
``test_content_failures``, what an abort leaves (19) in ``test_content``.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Final

import pytest

from damselfly.cli.dfdaemon import main

from ..origin_server import CERTIFICATE, OriginServer
from .asking import SOURCE, Reply, ask, blob_path, connect, read_reply
from .authority import Authority
from .daemon import Daemon, Supernode
from .processes import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA: Final = random.Random(22).randbytes(3_000_000)
TOKEN: Final = "Bearer may-read"


class World:
    """An origin, one with TLS, a supernode, and a daemon whose mirror is the origin."""

    def __init__(self, folder: Path, supernode: Supernode) -> None:
        self.folder = folder
        self.supernode = supernode
        self.origin, self.secure = OriginServer(), OriginServer(tls=True)
        self.ca, self.key = folder / "df.crt", folder / "df.key"
        self._numbers = iter(range(1000))

    def new_blob(self, **behaviour: object) -> tuple[str, bytes]:
        """Put a blob that nobody has seen into the origin's registry; return path and bytes."""
        data = DATA + str(next(self._numbers)).encode()
        path = blob_path(data)
        self.origin.put(path, data, **behaviour)  # pyright: ignore[reportArgumentType]
        return path, data

    def config(self, **more: object) -> dict[str, object]:
        """Return a configuration with the origin as the mirror's upstream."""
        return {"registry_mirror": {"remote": self.origin.url("")}, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, supernode: Supernode) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("checks"), supernode)
    arguments = ["gen-ca", "--cert-output", str(made.ca), "--key-output", str(made.key)]
    assert main(arguments) == 0
    with made.origin, made.secure:
        yield made


@pytest.fixture(scope="module")
def daemon(world: World) -> Iterator[Daemon]:
    rules = [
        {"regx": "/direct/", "direct": True},
        {"regx": r"\.rpm$"},
        {"regx": "/secured/", "use_https": True},
        {"regx": "/moved/", "redirect": f"127.0.0.1:{world.origin.port}"},
        {"regx": "blobs/sha256.*"},
    ]
    hosts = [{"regx": f"^(127.0.0.1|localhost):{world.secure.port}$", "insecure": True}]
    hijack = {"cert": str(world.ca), "key": str(world.key), "hosts": hosts}
    config = world.config(proxies=rules, hijack_https=hijack)
    with Daemon(world.folder / "d", config, node=world.supernode.node) as running:
        yield running


def started(daemon: Daemon, path: str, wanted: str = "bytes=0-") -> HTTPConnection:
    """Ask for a range, and do not wait for the answer."""
    host, _, port = daemon.address.partition(":")
    client = HTTPConnection(host, int(port), timeout=PATIENCE_S)
    client.request("GET", path, headers={"Range": wanted})
    return client


def test_1_a_challenge_reaches_the_client_unchanged(world: World, daemon: Daemon) -> None:
    world.origin.put("/v2/", b"{}", authorization=TOKEN)
    reply = ask(daemon.url, "/v2/")
    assert (reply.status, reply.body) == (401, b"who are you?\n")
    assert reply.headers["www-authenticate"] == 'Bearer realm="https://token.example/"'
    (seen,) = world.origin.requests("/v2/")
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["host"] == f"127.0.0.1:{world.origin.port}"


def test_2_a_blob_is_read_once_and_right(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob()
    reply = ask(daemon.url, path)
    assert (reply.status, reply.body, reply.headers[SOURCE]) == (200, data, "p2p")
    assert reply.headers["content-length"] == str(len(data))
    assert reply.headers["docker-content-digest"] == path.rpartition("/")[2]
    assert len(reply.headers["x-dragonfly-task"]) == 64
    assert world.origin.bytes_sent(path) == len(data)
    assert daemon.accessed(world.origin.url(path)).status == 200


def test_3_what_is_no_get_of_a_blob_goes_directly(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob()
    manifest = "/v2/library/x/manifests/latest"
    world.origin.put(manifest, b"{}")
    assert ask(daemon.url, path, method="HEAD").headers[SOURCE] == "direct"
    assert ask(daemon.url, manifest).headers[SOURCE] == "direct"
    mirror = {"remote": world.origin.url(""), "direct": True}
    with Daemon(world.folder / "direct", {"registry_mirror": mirror}) as other:
        reply = ask(other.url, path)
        assert (reply.body, reply.headers[SOURCE]) == (data, "direct")


def test_4_the_first_rule_that_matches_counts(world: World, daemon: Daemon) -> None:
    for path in ("/direct/a.rpm", "/b.rpm", "/moved/c", "/none"):
        world.origin.put(path, path.encode())
    world.secure.put("/secured/d", b"secured")
    plain, moved = world.origin.url(""), "http://elsewhere.example"
    answers = {
        f"{plain}/direct/a.rpm": (b"/direct/a.rpm", "direct"),
        f"{plain}/b.rpm": (b"/b.rpm", "p2p"),
        f"http://127.0.0.1:{world.secure.port}/secured/d": (b"secured", "p2p"),
        f"{moved}/moved/c": (b"/moved/c", "p2p"),
        f"{plain}/none": (b"/none", "direct"),
    }
    for url, expected in answers.items():
        reply = ask(daemon.url, url)
        assert (reply.body, reply.headers[SOURCE]) == expected, url
    (seen, *_) = world.origin.requests("/moved/c")
    assert seen.headers["host"] == f"127.0.0.1:{world.origin.port}"


def test_5_a_tunnel_carries_bytes_both_ways(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock, head = connect(daemon.url, f"127.0.0.1:{server.getsockname()[1]}")
        far, _ = server.accept()
        with sock, far:
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"transfer-encoding" not in head.lower()
            sock.sendall(b"there")
            sock.shutdown(socket.SHUT_WR)
            assert far.makefile("rb").read() == b"there"
            far.sendall(b"and back")
            far.shutdown(socket.SHUT_WR)
            assert sock.makefile("rb").read() == b"and back"
        port = server.getsockname()[1]
    sock, head = connect(daemon.url, f"127.0.0.1:{port}")
    sock.close()
    assert head.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_6_a_leaf_is_believed_and_kept(world: World, daemon: Daemon, host: str) -> None:
    shown: set[bytes | None] = set()
    for _ in range(2):
        sock, _ = connect(daemon.url, f"{host}:{world.secure.port}")
        trust = ssl.create_default_context(cafile=str(world.ca))
        with trust.wrap_socket(sock, server_hostname=host) as inside:
            shown.add(inside.getpeercert(binary_form=True))
    assert len(shown) == 1


def test_6_a_certificate_that_is_no_ca_is_shown_as_it_is(world: World) -> None:
    certified = Authority(world.folder / "authority").certify("127.0.0.1")
    cert, key = certified.certificate, certified.key
    hosts = [{"regx": "127.0.0.1", "insecure": True}]
    hijack = {"cert": str(cert), "key": str(key), "hosts": hosts}
    with Daemon(world.folder / "static", world.config(hijack_https=hijack)) as other:
        sock, _ = connect(other.url, f"127.0.0.1:{world.secure.port}")
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        with trust.wrap_socket(sock) as inside:
            shown = ssl.DER_cert_to_PEM_cert(inside.getpeercert(binary_form=True) or b"")
    assert shown == cert.read_text()


def test_7_two_requests_on_one_intercepted_connection(world: World, daemon: Daemon) -> None:
    world.secure.put("/one.rpm", b"one")
    world.secure.put("/two", b"two")
    sock, _ = connect(daemon.url, f"127.0.0.1:{world.secure.port}")
    trust = ssl.create_default_context(cafile=str(world.ca))
    with closing(HTTPConnection("127.0.0.1", world.secure.port)) as connection:
        connection.sock = trust.wrap_socket(sock, server_hostname="127.0.0.1")
        found: list[tuple[bytes, str]] = []
        for path in ("/one.rpm", "/two"):
            connection.request("GET", path)
            reply = read_reply(connection)
            found.append((reply.body, reply.headers[SOURCE]))
    assert found == [(b"one", "p2p"), (b"two", "direct")]


def test_8_a_private_authority_has_to_be_named(world: World) -> None:
    path = blob_path(DATA)
    world.secure.put(path, DATA)
    certificate = world.folder / "origin.pem"
    _, mark, text = CERTIFICATE.read_text().partition("-----BEGIN CERTIFICATE-----")
    certificate.write_text(mark + text)
    remote, node = world.secure.url(""), world.supernode.node
    trusts: list[dict[str, object]] = [{"certs": [str(certificate)]}, {"insecure": True}, {}]
    replies: list[Reply] = []
    for number, trust in enumerate(trusts):
        config = {"registry_mirror": {"remote": remote, **trust}}
        with Daemon(world.folder / f"trust{number}", config, node=node) as other:
            replies.append(ask(other.url, path))
    assert [(reply.status, reply.body == DATA) for reply in replies] == [
        (200, True),
        (200, True),
        (502, False),
    ]
    assert b"certificate" in replies[-1].body


@pytest.mark.parametrize("status", [401, 403, 404, 416, 500])
def test_9_the_origins_own_answer_comes_through(world: World, daemon: Daemon, status: int) -> None:
    path, _ = world.new_blob(status=status)
    reply = ask(daemon.url, path)
    assert (reply.status, reply.body) == (status, b"an error page\n")
    assert len(world.origin.requests(path)) <= 2


def test_10_a_supernode_that_is_not_there_costs_no_pull(world: World) -> None:
    path, data = world.new_blob()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Daemon(world.folder / "alone", world.config(), node=f"127.0.0.1:{port}") as other:
        reply = ask(other.url, path)
    assert (reply.body, reply.headers[SOURCE]) == (data, "direct")


def test_10_a_supernode_that_dies_midway_costs_no_byte(world: World) -> None:
    path, data = world.new_blob(rate_bytes_per_s=4e6)
    with (
        Supernode(world.folder / "mortal") as mortal,
        Daemon(world.folder / "bereft", world.config(), node=mortal.node) as other,
        closing(started(other, path)) as client,
        client.getresponse() as answer,
    ):
        body = answer.read(100_000)
        mortal.running.process.kill()
        body += answer.read()
    assert body == data


def test_11_ranges(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob()
    size = len(data)
    for wanted, first, last in (
        ("100-199", 100, 199),
        ("2999000-", 2_999_000, size - 1),
        ("-10", size - 10, size - 1),
    ):
        reply = ask(daemon.url, path, [("Range", f"bytes={wanted}")])
        assert (reply.status, reply.body) == (206, data[first : last + 1])
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{size}"
    beyond = ask(daemon.url, path, [("Range", f"bytes={size}-")])
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    several = ask(daemon.url, path, [("Range", "bytes=0-1,5-6")])
    assert several.headers["content-type"].startswith("multipart/byteranges")
    old = ask(daemon.url, path, [("Range", "bytes=0-1"), ("If-Range", '"other"')])
    assert (old.status, old.body) == (200, data)


def test_11_open_ended_ranges_that_are_closed_early(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob()
    clients = [started(daemon, path, f"bytes={n * 1_000_000}-") for n in range(3)]
    for number, client in enumerate(clients):
        with closing(client), client.getresponse() as answer:
            assert answer.status == 206
            first = number * 1_000_000
            assert answer.read(1000) == data[first : first + 1000]
    assert world.origin.bytes_sent(path) <= len(data)


def test_12_headers_reach_the_origin_unchanged(world: World, daemon: Daemon) -> None:
    sent = [("Accept", "a/b, c/d"), ("X-Empty", ""), ("Accept-Encoding", "zstd;q=1.0, gzip")]
    path = "/v2/library/x/manifests/1"
    world.origin.put(path, b"{}" * 1000, gzip=True)
    reply, direct = (ask(url, path, sent) for url in (daemon.url, world.origin.url("")))
    assert reply.headers["content-encoding"] == direct.headers["content-encoding"] == "gzip"
    assert reply.body == direct.body
    (seen, _) = world.origin.requests(path)
    assert [(name, seen.headers[name.lower()]) for name, _ in sent] == sent
    blob, _ = world.new_blob()
    ask(daemon.url, blob, sent)
    assert {seen.headers["accept"] for seen in world.origin.requests(blob)} == {"a/b, c/d"}


def test_13_ten_clients_share_one_read(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob(rate_bytes_per_s=20e6)
    leaving = started(daemon, path)
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(ask, daemon.url, path) for _ in range(10)]
        with closing(leaving), leaving.getresponse() as answer:
            answer.read(1000)
        assert [one.result().body == data for one in asked] == [True] * 10
    assert world.origin.bytes_sent(path) == len(data)


@pytest.mark.parametrize(("mode", "status"), [("origin", 401), ("cached", 401), ("off", 200)])
def test_14_who_may_have_what_is_here(world: World, mode: str, status: int) -> None:
    path, data = world.new_blob(authorization=TOKEN)
    config, node = world.config(authCheck=mode), world.supernode.node
    with Daemon(world.folder / f"auth-{mode}", config, node=node) as other:
        assert ask(other.url, path, [("Authorization", TOKEN)]).body == data
        reply = ask(other.url, path)
        assert reply.status == status
        assert ("www-authenticate" in reply.headers) == (status == 401)
        again = ask(other.url, path, [("Authorization", TOKEN)])
        assert (again.body, again.headers[SOURCE]) == (data, "cache")
        assert ask(other.url, path, [("Authorization", "Bearer other")]).status == status
    assert "may-read" not in "".join([one.read_text() for one in (other.home / "logs").iterdir()])


def test_15_the_first_byte_does_not_wait_for_the_last(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob(stall_at=len(DATA) - 10)
    with closing(started(daemon, path)) as client, client.getresponse() as answer:
        body = answer.read(1_000_000)
        world.origin.release()
        body += answer.read()
    assert body == data


def test_16_a_digest_that_does_not_hold_never_ends_well(world: World, daemon: Daemon) -> None:
    path, data = world.new_blob()
    world.origin.put(path, data[:-1] + b"!")
    reply = ask(daemon.url, path)
    assert not reply.whole
    assert len(reply.body) < len(data)


def test_17_what_it_tells_about_itself(world: World, daemon: Daemon) -> None:
    config = world.config(
        basicAuth={"username": "u", "password": "hidden-password"},
        whiteList=[{"host": "127.0.0.1", "ports": [world.origin.port]}],
        dfget_flags=["--header", "Authorization: hidden-token"],
    )
    with Daemon(world.folder / "local", config, node=world.supernode.node) as other:
        told = "".join([other.get(path) for path in ("/env", "/args", "/debug/version")])
        assert '"ratelimit": 0' in told
        assert '"GoVersion"' in told
        metrics = other.get("/metrics")
        assert "dragonfly_dfdaemon_build_info{" in metrics
        login = [("Proxy-Authorization", "Basic dTpoaWRkZW4tcGFzc3dvcmQ=")]
        assert ask(other.url, world.origin.url("/none")).status == 407
        assert ask(other.url, "http://127.0.0.1:1/x", login).status == 403
        assert "hidden" not in told + metrics + other.running.text
    assert "hidden" not in "".join([one.read_text() for one in (other.home / "logs").iterdir()])
    assert ask(daemon.url, f"{daemon.url}/args").status == 508
    ask(daemon.url, world.new_blob()[0])
    wanted = 'code="200",entry="mirror",method="GET",outcome="complete",source="p2p"'
    assert f"requests_total{{{wanted}}}" in daemon.get("/metrics")


def test_19_what_a_crash_left_goes(world: World) -> None:
    home = world.folder / "crashed"
    left = home / "dfdaemon" / "data" / "0b7c8f9e"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    old = time.time() - 7200
    os.utime(left, (old, old))
    with Daemon(home, world.config()):
        until = time.monotonic() + PATIENCE_S
        while left.exists() and time.monotonic() < until:
            time.sleep(0.01)
    assert not left.exists()


def test_20_a_dfget_can_be_plugged_in(world: World, tmp_path: Path) -> None:
    script, log = tmp_path / "dfget", tmp_path / "calls"
    ours = f'exec {sys.executable} -m damselfly.cli.dfget "$@"'
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\n{ours}\n')
    script.chmod(0o755)
    flags = ["--home", str(tmp_path / "home"), "--alivetime", "1s"]
    config = world.config(dfpath=str(script), dfget_flags=flags)
    path, data = world.new_blob(authorization=TOKEN)
    with Daemon(tmp_path / "d", config, node=world.supernode.node) as other:
        reply = ask(other.url, path, [("Authorization", TOKEN), ("Accept", "a, b")])
        assert (reply.status, reply.body, reply.headers[SOURCE]) == (200, data, "p2p")
        assert ask(other.url, path).status == 401
        assert not list((tmp_path / "d" / "dfdaemon" / "data").iterdir())
    version, call = log.read_text().splitlines()
    assert version == "version"
    node = world.supernode.node
    assert f"--home {tmp_path / 'home'} --alivetime 1s --dfdaemon --node {node},{node}" in call
    assert f"--header Authorization:{TOKEN}" in call
    assert "--header Accept:a, b" in call
