"""The reference of ``bench_rpc``: as little as trio and h11 need to answer HTTP as they come.

It answers every request with the same JSON of the size of a supernode's offer of one piece.  Run
as a process of its own: ``python -m benchmarks.plain_server``.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import h11
import trio

_BODY: Final = b'{"code":601,"data":"' + b"x" * 330 + b'"}\n'
_HEADERS: Final = [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))]


async def _serve(stream: trio.SocketStream) -> None:
    async with stream:
        connection = h11.Connection(h11.SERVER)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.EndOfMessage):
                head = connection.send(h11.Response(status_code=200, headers=_HEADERS))
                body, end = connection.send(h11.Data(data=_BODY)), h11.EndOfMessage()
                await stream.send_all((head or b"") + (body or b"") + (connection.send(end) or b""))
                connection.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed):
                return


async def _main() -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, _serve, 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    trio.run(_main)
