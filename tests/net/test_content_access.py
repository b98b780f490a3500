"""Who is let to what a daemon has: whom the origin lets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from damselfly.net.dfdaemon.content import OriginAnswered, Unreachable
from damselfly.net.dfdaemon.settings import AuthCheck

from ..origin_server import OriginServer
from .content_support import BLOB, DATA, DIGEST, get, running_contents, running_daemon, wanted

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "Bearer opensesame"


@pytest.mark.parametrize("mode", [AuthCheck.ORIGIN, AuthCheck.CACHED])
async def test_what_is_here_is_not_for_strangers(tmp_path: Path, mode: AuthCheck) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, authorization=TOKEN)
        url = origin.url(BLOB)
        async with running_daemon(tmp_path, auth_check=mode) as contents:
            assert await get(contents, wanted(url, digest=DIGEST, token=TOKEN)) == DATA
            for token in ("", "Bearer guess"):
                with pytest.raises(OriginAnswered) as caught:
                    await contents.open(wanted(url, digest=DIGEST, token=token))
                assert caught.value.status == 401
                challenge = dict(caught.value.headers)["WWW-Authenticate"]
                assert challenge.startswith("Bearer realm=")
        assert origin.bytes_sent(BLOB) == len(DATA) + 2 * len(b"who are you?\n")


async def test_off_serves_everybody(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, authorization=TOKEN)
        url = origin.url(BLOB)
        async with running_contents(tmp_path, auth_check=AuthCheck.OFF) as contents:
            await get(contents, wanted(url, token=TOKEN))
            before = len(origin.requests(BLOB))
            assert await get(contents, wanted(url)) == DATA
            assert len(origin.requests(BLOB)) == before


async def test_a_cached_answer_is_good_for_the_repository(tmp_path: Path) -> None:
    other = "/v2/some/image/blobs/sha256:" + "0" * 64
    elsewhere = "/v2/another/image/blobs/sha256:" + "0" * 64
    with OriginServer() as origin:
        for path in (BLOB, other, elsewhere):
            origin.put(path, DATA[:1000], authorization=TOKEN)
        async with running_contents(tmp_path, auth_check=AuthCheck.CACHED) as contents:
            for path in (BLOB, other, elsewhere):
                await get(contents, wanted(origin.url(path), token=TOKEN))
            asked = [len(origin.requests(path)) for path in (BLOB, other, elsewhere)]
            for path in (BLOB, other, elsewhere):
                assert await get(contents, wanted(origin.url(path), token=TOKEN)) == DATA[:1000]
            assert [len(origin.requests(path)) for path in (BLOB, other, elsewhere)] == asked


async def test_each_request_is_checked_with_its_own_token(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, authorization=TOKEN)
        async with running_contents(tmp_path) as contents:
            for _ in range(2):
                await get(contents, wanted(origin.url(BLOB), token=TOKEN))
            shown = [
                (seen.method, seen.headers.get("authorization"))
                for seen in origin.requests(BLOB)
                if seen.method == "HEAD"
            ]
    assert shown == [("HEAD", TOKEN)] * 2


async def test_the_token_reaches_the_origin_by_way_of_the_supernode(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put(BLOB, DATA, authorization=TOKEN)
        async with running_daemon(tmp_path) as contents:
            await get(contents, wanted(origin.url(BLOB), digest=DIGEST, token=TOKEN))
        assert origin.bytes_sent(BLOB) == len(DATA)
    assert not [path for path in _files(tmp_path) if b"opensesame" in path.read_bytes()]


async def test_with_the_origin_away_only_what_was_public_is_given(tmp_path: Path) -> None:
    origin = OriginServer().start()
    origin.put("/public", DATA[:1000])
    origin.put("/private", DATA[:1000], authorization=TOKEN)
    public, private = wanted(origin.url("/public")), wanted(origin.url("/private"), token=TOKEN)
    async with running_contents(tmp_path) as contents:
        await get(contents, public)
        await get(contents, private)
        origin.stop()
        assert await get(contents, public) == DATA[:1000]
        with pytest.raises(Unreachable):
            await contents.open(private)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
