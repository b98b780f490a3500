"""Connections that have no task: what a prompt handler answers, now, later, or not at all."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.net.http import HttpRequest, HttpResponse, ServerLimits, open_listeners, serve_http

from .http_support import GET, RawClient, ask, port_of, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOLD = GET.replace(b"/ ", b"/hold ")
TASK = GET.replace(b"/ ", b"/task ")
BIG = GET.replace(b"/ ", b"/big ")
BIG_BYTES = 8 << 20
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Prompter:
    """Holds ``/hold`` until it is let go, leaves ``/task`` to the handler, answers the rest."""

    def __init__(self) -> None:
        self.held: list[Callable[[HttpResponse], None]] = []
        self.started, self.withdrawn = trio.Event(), trio.Event()

    def __call__(
        self, request: HttpRequest, answer: Callable[[HttpResponse], None]
    ) -> HttpResponse | Prompter | None:
        if request.target == "/task":
            return None
        if request.target == "/hold":
            self.held.append(answer)
            self.started.set()
            return self
        if request.target == "/fail":
            raise ZeroDivisionError
        body = b"x" * BIG_BYTES if request.target == "/big" else request.target.encode()
        return HttpResponse(200, (body, request.body))

    def withdraw(self) -> None:
        self.withdrawn.set()

    def let_go(self) -> None:
        self.held.pop(0)(HttpResponse(200, (b"held",)))


async def in_task(request: HttpRequest) -> HttpResponse:
    await trio.lowlevel.checkpoint()
    return HttpResponse(200, (b"task " + request.target.encode() + request.body,))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def test_many_requests_on_one_connection_are_answered_in_order() -> None:
    async with (
        serving(in_task, prompt=Prompter()) as port,
        await RawClient.connect(port) as client,
    ):
        for turn in (GET, TASK, POST + b"ab", TASK + GET + TASK, GET + POST + b"ab" + TASK):
            await client.send(turn)
        found = [(await client.answer())[2].removeprefix(b"task ") for _ in range(9)]
    assert found == [
        *(b"/", b"/task", b"/pab", b"/task", b"/"),
        *(b"/task", b"/", b"/pab", b"/task"),
    ]


async def test_more_than_is_received_at_once_is_served() -> None:
    targets = [b"/%d" % number for number in range(3000)]
    async with (
        serving(in_task, prompt=Prompter()) as port,
        await RawClient.connect(port) as client,
        trio.open_nursery() as nursery,
    ):
        requests = b"".join([GET.replace(b"/ ", target + b" ") for target in targets])
        nursery.start_soon(client.send, requests)
        found = [(await client.answer())[2].removeprefix(b"task ") for _ in targets]
    assert found == targets


@pytest.mark.parametrize("size", [1, 20])
async def test_requests_that_trickle_in_are_served_by_a_task(size: int) -> None:
    async with (
        serving(in_task, prompt=Prompter()) as port,
        await RawClient.connect(port) as client,
    ):
        for part in cut(GET + POST + b"ab", size):
            await client.send(part)
            await trio.sleep(0.001)
        assert (await client.answer())[2] == b"task /"
        assert (await client.answer())[2] == b"task /pab"
        await client.send(GET)
        assert (await client.answer())[2] == b"/"  # it needs a task no more


async def test_what_is_no_request_is_refused() -> None:
    async with serving(in_task, prompt=Prompter()) as port:
        status, head, _ = await ask(port, b"nonsense\r\n\r\n")
        assert status == 400
        assert b"connection: close\r\n" in head


async def test_a_prompt_handler_that_fails_costs_one_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        serving(in_task, prompt=Prompter()) as port,
        await RawClient.connect(port) as client,
    ):
        await client.send(GET.replace(b"/ ", b"/fail ") + GET)
        assert (await client.answer())[0] == 500
        assert (await client.answer())[2] == b"/"
    assert [record.getMessage() for record in caplog.records] == ["handler failed at GET /fail"]


async def test_an_answer_larger_than_the_kernel_takes_arrives() -> None:
    async with (
        serving(in_task, prompt=Prompter()) as port,
        await RawClient.connect(port) as client,
    ):
        await client.send(BIG + GET)
        assert len((await client.answer())[2]) == BIG_BYTES
        assert (await client.answer())[2] == b"task /"
        await client.send(GET)
        assert (await client.answer())[2] == b"/"


# --- held -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", GET, GET + TASK, GET[:9]])
@pytest.mark.parametrize("at_once", [True, False])
async def test_what_comes_behind_a_held_request_waits(behind: bytes, at_once: bool) -> None:
    prompter = Prompter()
    async with (
        serving(in_task, prompt=prompter) as port,
        await RawClient.connect(port) as client,
    ):
        await client.send(HOLD + behind if at_once else HOLD)
        await prompter.started.wait()
        if not at_once:
            await client.send(behind)
            assert (await ask(port))[2] == b"/"
        prompter.let_go()
        assert (await client.answer())[2] == b"held"
        for _ in range(behind.count(b"Host")):
            assert (await client.answer())[0] == 200
        await client.send(GET[9:] if behind == GET[:9] else GET)
        assert (await client.answer())[0] == 200
    assert not prompter.withdrawn.is_set()


async def leave(client: RawClient) -> None:
    await client.stream.aclose()


async def reset(client: RawClient) -> None:
    client.reset()


async def half_close(client: RawClient) -> None:
    await client.stream.send_eof()


@pytest.mark.parametrize("go", [leave, reset, half_close])
@pytest.mark.parametrize("behind", [b"", GET])
async def test_a_held_request_is_withdrawn_when_its_client_goes(
    go: Callable[[RawClient], Awaitable[None]], behind: bytes
) -> None:
    prompter = Prompter()
    slots = trio.Semaphore(9)
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            await serve_http(
                in_task, listeners, slots=slots, prompt=prompter, task_status=task_status
            )

        await nursery.start(serve)
        async with await RawClient.connect(port_of(listeners[0])) as client:
            await client.send(HOLD + behind)
            await prompter.started.wait()
            await go(client)
            with trio.fail_after(5):
                await prompter.withdrawn.wait()
            assert slots.value == 9
        nursery.cancel_scope.cancel()


async def test_who_sends_the_end_with_its_request_gets_what_is_answered_at_once() -> None:
    prompter = Prompter()
    async with serving(in_task, prompt=prompter) as port:
        async with await RawClient.connect(port) as client:
            await client.send(GET)
            await client.stream.send_eof()
            assert (await client.rest()).endswith(b"\r\n\r\n/")
        async with await RawClient.connect(port) as client:
            await client.send(HOLD)
            await client.stream.send_eof()
            assert await client.rest() == b""
        assert prompter.withdrawn.is_set()


async def test_an_answer_to_who_reset_meanwhile_hurts_nobody() -> None:
    prompter = Prompter()
    async with serving(in_task, prompt=prompter) as port:
        client = await RawClient.connect(port)
        await client.send(HOLD)
        await prompter.started.wait()
        client.reset()
        prompter.let_go()  # before the watcher has had its turn
        prompter.started = trio.Event()
        assert (await ask(port))[2] == b"/"


async def test_ending_the_server_closes_all_of_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    prompter = Prompter()
    clients: list[RawClient] = []
    async with serving(in_task, prompt=prompter) as port:
        for first in (GET, HOLD, b""):
            clients.append(await RawClient.connect(port))
            await clients[-1].send(first)
        await clients[0].answer()
        await prompter.started.wait()
    for client in clients:
        async with client:
            assert await client.rest() == b""
    assert caplog.records == []


# --- bounds ---------------------------------------------------------------------------------------


async def test_idle_ones_are_closed_and_held_ones_are_not() -> None:
    prompter = Prompter()
    limits = ServerLimits(idle_timeout_s=0.1)
    async with (
        serving(in_task, limits, prompt=prompter) as port,
        await RawClient.connect(port) as held,
        await RawClient.connect(port) as idle,
    ):
        await held.send(HOLD)
        await prompter.started.wait()
        await idle.send(GET)
        await idle.answer()
        assert await idle.rest() == b""
        prompter.let_go()
        assert (await held.answer())[2] == b"held"
        assert await held.rest() == b""


async def test_the_longest_idle_one_makes_room_and_the_last_room_is_not_kept() -> None:
    prompter = Prompter()
    async with (
        serving(in_task, ServerLimits(connections=2), prompt=prompter) as port,
        await RawClient.connect(port) as first,
    ):
        await first.send(GET)
        await first.answer()
        async with await RawClient.connect(port) as second, await RawClient.connect(port) as third:
            await second.send(HOLD)
            await prompter.started.wait()
            assert await first.rest() == b""
            await third.send(GET)
            _, head, body = await third.answer()
            assert body == b"/"
            assert b"connection: close\r\n" in head
            assert await third.rest() == b""


async def test_a_reader_that_is_too_slow_is_cut_off() -> None:
    limits = ServerLimits(send_timeout_s=0.1)
    async with serving(in_task, limits, prompt=Prompter()) as port:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", port))
        async with RawClient(trio.SocketStream(sock)) as client:
            await client.send(BIG)
            await trio.sleep(0.5)
            with suppress(trio.BrokenResourceError):  # a reset tells the same
                assert len(await client.rest()) < BIG_BYTES
