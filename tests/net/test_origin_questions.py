"""What an origin is asked beside its content: is it the same, how long, and whom to trust."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.effects import CheckOrigin, ProbeOrigin
from damselfly.engine.events import Freshness, OriginFailed, OriginFailure, OriginOpened
from damselfly.engine.ids import FetchId
from damselfly.engine.piece import PieceSizePolicy
from damselfly.net.origin import OriginReader
from damselfly.net.origin_clients import OriginClients
from damselfly.net.origin_head import OriginError

from ..origin_server import CERTIFICATE, DATE, OriginServer
from .origin_support import Disk, effect, raw_origin, read

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.engine.events import OriginEvent

    from ..origin_server import Behaviour

DATA = random.Random(1).randbytes(300_000)
CA = base64.b64encode(CERTIFICATE.read_bytes()).decode()


def question(
    url: str, validator: str, length: int = len(DATA), headers: tuple[str, ...] = ()
) -> CheckOrigin:
    return CheckOrigin(FetchId(7), url, headers, validator, length)


@pytest.mark.parametrize(
    ("behaviour", "validator", "expected"),
    [
        ({"etag": '"v1"'}, '"v1"', Freshness.SAME),
        ({"etag": '"v2"'}, '"v1"', Freshness.CHANGED),
        ({"etag": '"v1"', "conditional": False}, '"v1"', Freshness.CHANGED),
        ({"etag": ""}, DATE, Freshness.SAME),
        ({"etag": "", "last_modified": ""}, DATE, Freshness.CHANGED),
        ({"status": 404}, '"v1"', Freshness.CHANGED),
        ({"status": 401}, '"v1"', Freshness.DENIED),
        ({"status": 403}, "", Freshness.DENIED),
        ({"status": 429}, '"v1"', Freshness.UNKNOWN),
        ({"status": 502}, "", Freshness.UNKNOWN),
        ({}, "", Freshness.SAME),
        ({"ranges": False}, "", Freshness.SAME),
        ({"chunked": True, "ranges": False}, "", Freshness.SAME),
        ({"gzip": True, "ranges": False}, "", Freshness.CHANGED),
    ],
)
async def test_is_it_still_the_same(
    behaviour: Behaviour, validator: str, expected: Freshness
) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, **behaviour)
        async with OriginReader() as reader:
            assert await reader.check(question(origin.url("/f"), validator)) is expected


@pytest.mark.parametrize(("length", "expected"), [(1000, Freshness.SAME), (999, Freshness.CHANGED)])
async def test_a_part_of_a_file_has_a_length_of_its_own(length: int, expected: Freshness) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with OriginReader() as reader:
            asked = question(origin.url("/f"), "", length, ("Range: bytes=500-1499",))
            assert await reader.check(asked) is expected
        assert origin.requests("/f")[0].headers["range"] == "bytes=500-500"


async def test_the_users_own_conditions_are_left_out_but_not_the_rest() -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, etag='"v1"')
        headers = ('If-None-Match: "theirs"', "If-Range: x", "Authorization: secret")
        async with OriginReader() as reader:
            asked = question(origin.url("/f"), '"v1"', headers=headers)
            assert await reader.check(asked) is Freshness.SAME
        (seen,) = origin.requests("/f")
        assert seen.headers["if-none-match"] == '"v1"'
        assert "if-range" not in seen.headers
        assert seen.headers["authorization"] == "secret"


async def test_who_cannot_be_asked_says_nothing() -> None:
    with OriginServer() as origin:
        url = origin.url("/f")
    async with OriginReader() as reader:
        assert await reader.check(question(url, '"v1"')) is Freshness.UNKNOWN
        bad = question(url, '"v1"', headers=("no name:1",))
        assert await reader.check(bad) is Freshness.UNKNOWN
    async with raw_origin(b"garbage\r\n\r\n") as url, OriginReader() as reader:
        assert await reader.check(question(url, '"v1"')) is Freshness.UNKNOWN


async def probe(url: str, *, root_cas: tuple[str, ...] = ()) -> OriginEvent:
    events: list[OriginEvent] = []
    asked = ProbeOrigin(FetchId(7), url, (), PieceSizePolicy.DRAGONFLY, root_cas=root_cas)
    async with OriginReader() as reader:
        await reader.probe(asked, events.append)
    (event,) = events
    return event


@pytest.mark.parametrize(
    ("behaviour", "length", "ranged"),
    [({}, len(DATA), True), ({"ranges": False}, len(DATA), False), ({"status": 404}, 0, False)],
)
async def test_can_peers_read_it_in_parts(behaviour: Behaviour, length: int, ranged: bool) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, **behaviour)
        event = await probe(origin.url("/f"))
        assert origin.requests("/f")[0].headers["range"] == "bytes=0-0"
        if length:
            assert isinstance(event, OriginOpened)
            assert (event.length, event.piece_size, event.ranged) == (length, 4 << 20, ranged)
            assert event.validator.startswith('"')
        else:
            assert isinstance(event, OriginFailed)
            assert (event.failure, event.status) == (OriginFailure.STATUS, 404)


async def test_an_empty_file_has_no_parts() -> None:
    with OriginServer() as origin:
        origin.put("/f", b"")
        event = await probe(origin.url("/f"))
    assert isinstance(event, OriginOpened)
    assert event.length == 0


# --- trust ----------------------------------------------------------------------------------------


async def test_an_authority_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "data")
    with OriginServer(tls=True) as origin:
        origin.put("/f", DATA)
        async with OriginReader() as reader:
            trusting = effect(origin.url("/f"), root_cas=(CA,))
            assert (await read(reader, trusting, disk)).ended.length == len(DATA)
            failed = (await read(reader, effect(origin.url("/f")), disk)).failed
        assert failed.failure is OriginFailure.UNREACHABLE
        assert "not trusted" in failed.reason
        assert isinstance(await probe(origin.url("/f"), root_cas=(CA,)), OriginOpened)


@pytest.mark.parametrize(
    "nonsense",
    ["", "%%%", "bm90IGEgY2VydGlmaWNhdGU=", base64.b64encode(b"\xff\xfe").decode(), CA[:400]],
)
async def test_what_is_no_certificate_is_said_to_be_none(tmp_path: Path, nonsense: str) -> None:
    async with OriginReader() as reader:
        asked = effect("https://127.0.0.1:9/f", root_cas=(CA, nonsense))
        failed = (await read(reader, asked, Disk(tmp_path / "data"))).failed
    assert failed.failure is OriginFailure.BAD_ANSWER
    assert "root CA 2 is no PEM certificate in base64" in failed.reason


async def test_clients_are_kept_but_not_without_end() -> None:
    clients = OriginClients(connect_timeout_s=1, stall_timeout_s=1)
    async with clients.use(insecure=False, root_cas=()) as usual:
        for count in range(1, 18):
            async with clients.use(insecure=False, root_cas=(CA,) * count):
                pass
        assert len(clients) == 16
        async with clients.use(insecure=False, root_cas=()) as again:
            assert again is usual, "what is in use stays"
        async with clients.use(insecure=True, root_cas=(CA,)) as insecure:
            pass
        async with clients.use(insecure=True, root_cas=("anything",)) as same:
            assert same is insecure, "who trusts everybody needs no authority"
    with pytest.raises(OriginError):
        async with clients.use(insecure=False, root_cas=("x",)):
            pass
    await clients.aclose()
    assert len(clients) == 0


async def test_a_client_can_be_made_before_it_is_wanted() -> None:
    clients = OriginClients(connect_timeout_s=1.0, stall_timeout_s=1.0)
    await clients.prepare()
    async with clients.use(insecure=False, root_cas=()):
        assert len(clients) == 1
    await clients.aclose()


async def test_certificates_that_cannot_be_read_are_no_matter_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    clients = OriginClients(connect_timeout_s=1.0, stall_timeout_s=1.0)
    await clients.prepare()
    assert len(clients) == 0
