"""Whatever a stranger sends, the server answers in HTTP or closes, and then serves the next one."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from damselfly.net.http import ServerLimits

from .http_support import RawClient, ask, serving

LIMITS = ServerLimits(head_bytes=256, body_bytes=64, head_timeout_s=5, body_timeout_s=5)
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n", b"POST /p HTTP/1.1\r\n", b"HEAD /h HTTP/1.0\r\n",
        b"PRI * HTTP/2.0\r\n", b"Host: x\r\n", b"Content-Length: 4\r\n", b"Content-Length: -1\r\n",
        b"content-length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
        b"Transfer-Encoding: gzip\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
        b"X: " + b"y" * 200 + b"\r\n", b" folded\r\n", b"\r\n", b"\n", b"abcd", b"4\r\nabcd\r\n",
        b"0\r\n\r\n", b"ffffffffffffffffffff\r\n", b"\x00\xff",
    ]
)  # fmt: skip


def joined(lines: list[bytes]) -> bytes:
    return b"".join(lines)


GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.builds(joined, st.lists(LINES, min_size=1, max_size=8)),
)


async def send_and_end(client: RawClient, data: bytes, *, bytewise: bool) -> bytes:
    """Send ``data``, say that this was all, and return everything that comes back."""
    portions = [bytes([byte]) for byte in data] if bytewise else [data]
    try:
        for portion in portions:
            await client.send(portion)
        await client.stream.send_eof()
    except trio.BrokenResourceError:
        return b""
    return await client.rest()


@settings(deadline=None, max_examples=60)
@given(st.lists(GARBAGE, min_size=1, max_size=4), st.booleans())
def test_garbage_is_answered_or_closed_and_then_good_requests_are_served(
    streams: list[bytes], bytewise: bool
) -> None:
    async def main() -> None:
        async with serving(limits=LIMITS) as port:
            for data in streams:
                async with await RawClient.connect(port) as client:
                    answer = await send_and_end(client, data, bytewise=bytewise)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
                assert b"HTTP/1.1 500" not in answer
            assert (await ask(port))[0] == 200

    trio.run(main)
