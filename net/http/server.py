"""An HTTP/1.1 server on trio: one task per connection, shared watchers, strict bounds."""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

import trio

from .connection import Connection, ServerContext
from .limits import DEFAULT_LIMITS
from .parked import Parking
from .timed import TimedSocket
from .watch import DisconnectWatch, IdleConnections

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from typing import Never

    from .limits import ServerLimits
    from .messages import Handler, PromptHandler

_log = logging.getLogger(__name__)
_BACKLOG: Final = 4096
_CLIENT_IS_GONE: Final = frozenset(
    {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH}
)
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RESOURCES_RETRY_S: Final = 0.1


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on every address of ``host``; port 0: one that the kernel picks.

    Raises ``OSError`` with the ``errno`` of the cause and a text that names host and port.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {why}") from error


async def serve_http(
    handler: Handler,
    listeners: Sequence[trio.SocketListener],
    limits: ServerLimits = DEFAULT_LIMITS,
    *,
    tls: ssl.SSLContext | None = None,
    stream_bodies: bool = False,
    slots: trio.Semaphore | None = None,
    prompt: PromptHandler | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Answer requests with ``handler`` until cancelled; then close listeners and connections.

    ``handler`` runs in the connection's task.  When it waits and its client disconnects, it is
    cancelled.  A ``RemoteProtocolError`` from it is answered with its ``status_hint``, any other
    exception with 500 and a line in the log.  With ``tls`` that is what clients have to speak.
    With ``stream_bodies`` a request that has a body comes as a ``StreamedRequest``, and the limit
    on bodies' sizes does not hold.  ``slots`` are the connections that are free, for whoever wants
    to look at them.  ``prompt`` is asked first if a request is plain and here as a whole, and
    there is neither TLS nor streaming: what it answers needs no task.
    """
    watch = DisconnectWatch()
    idle = IdleConnections(limits.idle_timeout_s)
    slots = slots or trio.Semaphore(limits.connections)
    context = ServerContext(handler, limits, slots, watch, idle, tls, stream_bodies)
    parking: Parking | None = None
    try:
        async with trio.open_nursery() as nursery:

            def start(connection: Connection) -> None:
                nursery.start_soon(connection.run)

            nursery.start_soon(watch.run)
            nursery.start_soon(idle.run)
            if prompt is not None and tls is None and not stream_bodies:
                parking = Parking(context, prompt, start)
                nursery.start_soon(parking.run)
            for listener in listeners:
                nursery.start_soon(_accept_all, listener, context, start, parking)
            task_status.started()
    finally:
        if parking is not None:
            parking.close()
        watch.close()
        for listener in listeners:
            listener.socket.close()
    raise AssertionError("the watchers never end")


async def _accept_all(
    listener: trio.SocketListener,
    context: ServerContext,
    start: Callable[[Connection], None],
    parking: Parking | None,
) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener.socket)
        if context.slots.value == 0:
            context.idle.evict_one()
        await context.slots.acquire()
        try:
            accepted, address = await listener.socket.accept()
        except OSError as error:
            context.slots.release()
            if error.errno in _OUT_OF_RESOURCES:
                _log.error("cannot accept a connection: %s", os.strerror(error.errno))
                context.idle.evict_one()
                await trio.sleep(_RESOURCES_RETRY_S)
            elif error.errno not in _CLIENT_IS_GONE:
                raise
            continue
        sock = socket.socket(
            accepted.family, accepted.type, accepted.proto, fileno=accepted.detach()
        )
        timed = TimedSocket(sock)
        if parking is not None:
            parking.park(timed, address[0])
        else:
            start(Connection(context, timed, address[0]))
