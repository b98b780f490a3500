"""What a peer asks a supernode, as HTTP calls: in Dragonfly's form, or in our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import RemoteProtocolError
from ..messages import Update
from .native import CONTENT_TYPE, UPDATE, decode_orders, encode_update
from .v1 import V1Call, decode_reply, encode_request

if TYPE_CHECKING:
    from ..messages import Reply, Request

_OK: Final = 200


def encode_call(request: Request) -> V1Call:
    """Return the call that asks ``request``; raises ``LocalProtocolError`` for unsendable text."""
    if isinstance(request, Update):
        return V1Call("POST", UPDATE, (("Content-Type", CONTENT_TYPE),), encode_update(request))
    return encode_request(request)


def decode_answer(request: Request, status: int, body: bytes) -> Reply:
    """Return what a supernode answered to ``request``; raises ``RemoteProtocolError``."""
    if not isinstance(request, Update):
        return decode_reply(request, status, body)
    if status != _OK:
        raise RemoteProtocolError(f"an update was answered with {status}: expected 200")
    return decode_orders(body)
