"""The head of an answer: status, headers and how the body ends.

h11 reads any; the plain ones, which are nearly all, are recognised by one regular expression that
takes a strict subset of what h11 takes.  h11 is imported with the first answer that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ...engine.expressions import expression
from .errors import BadAnswer

if TYPE_CHECKING:
    import h11

_PLAIN: Final = expression(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t -~\x80-\xff]*\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_LENGTH: Final = expression(r"[0-9]{1,18}")
_MAX_INTERIM: Final = 8

Headers: TypeAlias = tuple[tuple[str, str], ...]


class ReplyHead(NamedTuple):
    """``headers`` have lower-case names; ``ahead`` came behind the head.

    ``chunks`` reads the rest of an answer whose body is in chunks, ``ahead`` included.
    """

    status: int
    headers: Headers
    is_http_1_1: bool
    ahead: bytes
    chunks: h11.Connection | None


def plain_head(data: bytes) -> ReplyHead | None:
    """Return the head at the start of ``data``; ``None``: not all there, or one for h11."""
    match = _PLAIN.match(data)
    if match is None:
        return None
    lines = match[2].decode("latin-1").split("\r\n")[:-1]
    headers = tuple(
        [
            (name.lower(), value.strip(" \t"))
            for name, _, value in [line.partition(":") for line in lines]
        ]
    )
    lengths = [value for name, value in headers if name == "content-length"]
    if any(name == "transfer-encoding" for name, _ in headers) or len(lengths) > 1:
        return None
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return None
    return ReplyHead(int(match[1]), headers, True, data[match.end() :], None)


class AnyHead:
    """Reads whatever HTTP/1 allows as its bytes come, in answer to a request with ``method``."""

    def __init__(self, peer: str, method: str) -> None:
        import h11

        self._peer = peer
        self._parser = h11.Connection(h11.CLIENT)
        self._parser.send(h11.Request(method=method, target="/", headers=[("Host", "-")]))
        self._interim = 0

    def feed(self, data: bytes) -> ReplyHead | None:
        """Take bytes, none at the stream's end; return the head once it is there.

        Raises ``BadAnswer``.
        """
        import h11

        self._parser.receive_data(data)
        while self._interim <= _MAX_INTERIM:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                raise BadAnswer(self._peer, f"not an HTTP/1.1 answer: {error}") from error
            match event:
                case h11.Response():
                    return self._head(event)
                case h11.InformationalResponse():
                    self._interim += 1
                case _:
                    return None
        raise BadAnswer(self._peer, f"more than {_MAX_INTERIM} interim answers (1xx)")

    def _head(self, event: h11.Response) -> ReplyHead:
        headers = tuple(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
        )
        return ReplyHead(
            event.status_code,
            headers,
            event.http_version == b"1.1",
            self._parser.trailing_data[0],
            self._parser,
        )
