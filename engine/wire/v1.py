"""Dragonfly's legacy API, both ways: the four functions that a client and a server need.

A client calls ``encode_request``, sends the ``V1Call`` and gives status and body to
``decode_reply``; a server gives a request line, headers and body to ``decode_request`` and sends
what ``encode_reply`` returns.  A ``CallError`` is answered with ``Refused(error.code, ...)``.
"""

from .v1_calls import decode_request
from .v1_paths import CallError
from .v1_replies import decode_reply, encode_reply
from .v1_requests import V1Call, encode_request

__all__ = [
    "CallError",
    "V1Call",
    "decode_reply",
    "decode_request",
    "encode_reply",
    "encode_request",
]
