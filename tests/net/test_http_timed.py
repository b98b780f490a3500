"""Receiving much at once: woken for all that is wanted, never longer silent than allowed."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.http.timed import TimedSocket

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def connected() -> Generator[tuple[TimedSocket, socket.socket]]:
    """Give the end to be tested, and the other one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    sock = TimedSocket(accepted)
    try:
        with other:
            other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sock, other
    finally:
        sock.close()


async def receive(sock: TimedSocket, size: int, timeout_s: float) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: await sock.receive_into(memoryview(buffer), timeout_s)])


async def test_bytes_that_come_one_by_one_are_received_together() -> None:
    with connected() as (sock, other):

        async def send() -> None:
            for byte in b"hello":
                await trio.sleep(0.01)
                other.send(bytes([byte]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive(sock, 5, timeout_s=5) == b"hello"


async def test_the_end_of_the_stream_ends_the_wait() -> None:
    with connected() as (sock, other):
        other.send(b"he")
        other.shutdown(socket.SHUT_WR)
        assert await receive(sock, 5, timeout_s=60) == b"he"
        assert await receive(sock, 5, timeout_s=60) == b""


async def test_what_came_before_a_silence_is_given_and_the_silence_is_noticed() -> None:
    with connected() as (sock, other):
        other.send(b"he")
        assert await receive(sock, 5, timeout_s=0.05) == b"he"
        with pytest.raises(trio.TooSlowError):
            await receive(sock, 5, timeout_s=0.05)


async def test_bytes_that_did_not_wake_are_no_silence() -> None:
    with connected() as (sock, other):

        async def send() -> None:
            await trio.sleep(0.01)
            other.send(b"he")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive(sock, 5, timeout_s=0.2) == b"he"


async def test_after_a_wait_for_much_a_little_wakes_again() -> None:
    with connected() as (sock, other):
        with pytest.raises(trio.TooSlowError):
            await receive(sock, 1000, timeout_s=0.01)

        async def send() -> None:
            await trio.sleep(0.01)
            other.send(b"hello")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await sock.receive(100, timeout_s=60) == b"hello"
