"""Whatever a stranger asks a peer server for, it gets the right bytes or a clean refusal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from damselfly.engine.wire.frame import wrap

from .http_support import RawClient
from .test_peer_server import CONTENT, PIECE_SIZE, serving, store, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = b"nobody is to see this"
NAMES = st.sampled_from(
    [
        "T1", "T2", "T3", "", "..", "%2e%2e%2fsecret", "../secret", "..%2Fdata%2FT1", "T1.service",
        "%54%31", "T1%00", "%ff", "%", "T1?x=1", "a" * 300, "T1/", "/T1", "é", "%C3%A9", "T1 ",
    ]
)  # fmt: skip
PATHS = st.sampled_from(
    [
        "/peer/file/",
        "/check/",
        "/rate/",
        "/client/finish",
        "/server/ping",
        "/server/stats",
        "/",
        "*",
    ]
)
FIELDS = st.sampled_from(
    [
        "taskFileName=T1", "taskFileName=..%2Fsecret", "taskFileName=%FF", "taskID=1", "taskID=",
        "cid=c", "superNode=127.0.0.1:1", "superNode=a:b:c", "superNode=[::1]:1", "=", "%", "x",
        "taskID=1;cid=2", "&".join(["a=b"] * 40),
    ]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-3, 40).map(str),
    st.integers(0, 12_000).map(str),
    st.sampled_from([
        "", "x", "1.5", "1e3", "0x10", "+1", " 1", "1_0", "٣", "9" * 17, "9" * 40, "-0", "1024",
    ]),
)  # fmt: skip
RANGES = st.one_of(
    st.tuples(st.sampled_from(["bytes=", "=", "pieces="]), NUMBERS, NUMBERS).map(
        lambda parts: f"{parts[0]}{parts[1]}-{parts[2]}"
    ),
    st.sampled_from(
        ["bytes", "bytes=", "bytes=-5", "bytes=5-", "bytes=0-1,3-4", "bytes==0-9", "-"]
    ),
    st.integers(0, 11).map(lambda n: f"bytes={n * PIECE_SIZE}-{(n + 1) * PIECE_SIZE - 1}"),
)
OTHERS = st.sampled_from(
    [
        ("cdnSource", "source"), ("cdnSource", "x"), ("totalLimit", "1000000000"),
        ("totalLimit", "-1"), ("totalLimit", "9" * 30), ("dataDir", "/etc"), ("dataDir", "é"),
        ("rateLimit", "7"), ("rateLimit", "x"), ("rateLimit", "9" * 30), ("rateTaken", "9"),
        ("rateTaken", ""), ("X" * 60, "y" * 300),
    ]
)  # fmt: skip


class Asked(NamedTuple):
    """One request, by its parts."""

    method: str
    path: str
    name: str
    fields: Sequence[str]
    headers: Sequence[tuple[str, str]]

    @property
    def data(self) -> bytes:
        query = f"?{'&'.join(self.fields)}" if self.fields else ""
        lines = [f"{self.method} {self.path}{self.name}{query} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode()


def headers_of(named: dict[str, str], others: list[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    return [*named.items(), *others]


def piece_of(byte_range: str, piece: str, plain: bool) -> Asked:
    headers = [("Range", byte_range), ("pieceNum", piece), ("pieceSize", str(PIECE_SIZE))]
    headers += [("cdnSource", "source")] if plain else []
    return Asked("GET", "/peer/file/", "T1", (), headers)


NAMED: dict[str, st.SearchStrategy[str]] = {
    "Range": RANGES,
    "pieceNum": NUMBERS,
    "pieceSize": NUMBERS,
}
HEADERS = st.builds(
    headers_of, st.fixed_dictionaries({}, optional=NAMED), st.lists(OTHERS, max_size=2)
)
ANYTHING = st.builds(
    Asked,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "FOO"]),
    PATHS,
    NAMES,
    st.lists(FIELDS, max_size=4),
    HEADERS,
)
PIECES = st.builds(piece_of, RANGES, NUMBERS, st.booleans())


def promised(asked: Asked) -> bytes:
    """Return the bytes that an answer with status 206 must have (protocol 3.2)."""
    headers = dict(asked.headers)
    first, last = map(int, headers["Range"].partition("=")[2].split("-"))
    if headers.get("cdnSource") == "source":
        return CONTENT[first : last + 1]
    start = first - 5 * int(headers["pieceNum"])
    count = min(last - first + 1 - 5, len(CONTENT) - start)
    return wrap(CONTENT[start : start + count], int(headers["pieceSize"]))


def assert_sound(asked: Asked, status: int, body: bytes) -> None:
    assert SECRET not in body
    if status == 206:
        assert body == promised(asked)
    elif status >= 500:
        assert status == 500
        assert body.startswith(b"failed to get taskPath: ")
    else:
        assert status in (200, 400, 403, 404, 405, 416), (status, body)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(ANYTHING, PIECES), min_size=1, max_size=12))
def test_any_request_is_answered_and_then_a_good_one(wishes: list[Asked]) -> None:
    async def main(home: Path) -> None:
        store(home, "T1").close()
        (home / "secret.service").write_bytes(SECRET)
        async with serving(home) as peer:
            await peer.check_in("T1")
            for asked in wishes:
                async with await RawClient.connect(peer.port) as client:
                    await client.send(asked.data)
                    status, _, body = await client.answer(head_only=asked.method == "HEAD")
                if asked.method == "HEAD":
                    assert status in (400, 405)
                else:
                    assert_sound(asked, status, body)
            await peer.check_in("T1")
            assert await peer.piece("T1", 3) == (206, wrapped(3))
            assert (await peer.stats())["active"] == 0

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
