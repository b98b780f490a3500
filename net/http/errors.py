"""What can go wrong when this host asks another one over HTTP."""

from __future__ import annotations

from ...engine.errors import DamselflyError


class HttpError(DamselflyError):
    """An exchange failed; the message is ``peer`` (``host:port``) and ``what`` happened."""

    def __init__(self, peer: str, what: str) -> None:
        super().__init__(f"{peer}: {what}")
        self.peer = peer
        self.what = what


class ConnectFailed(HttpError):
    """No connection: unknown name, refused, no route, or no answer to the SYN in time."""


class ConnectionLost(HttpError):
    """The connection broke before the first byte of the answer, or was reset later."""


class StalledError(HttpError):
    """No byte moved for the time allowed."""


class ShortBody(HttpError):
    """The other side closed the connection before the end of the body."""


class BadAnswer(HttpError):
    """The answer is not HTTP/1.x, contradicts itself, or is larger than the caller takes."""
