"""The calls of Dragonfly's legacy API: paths, methods, and the error of a call that cannot be."""

from __future__ import annotations

from typing import Final

from ..errors import RemoteProtocolError
from ..expressions import expression
from ..messages import Code

REGISTRY: Final = "/peer/registry"
PULL: Final = "/peer/task"
PIECE_SUCCESS: Final = "/peer/piece/suc"
PIECE_ERROR: Final = "/peer/piece/error"
SERVICE_DOWN: Final = "/peer/service/down"
METRICS: Final = "/task/metrics"

METHODS: Final = {
    REGISTRY: "POST",
    PULL: "GET",
    PIECE_SUCCESS: "GET",
    SERVICE_DOWN: "GET",
    PIECE_ERROR: "GET",
    METRICS: "POST",
}

DIGEST_HEADER: Final = "X-Damselfly-Digest"
"""On a registration: the piece digest that a damselfly peer asks for (``sha256``)."""

WANTED: Final = "wanted"
"""In a pull: the piece at which a damselfly peer that reads in order has arrived."""

NATIVE_HEADER: Final = "X-Damselfly-Native"
"""On a registration: the version of the native protocol that the peer would talk in."""

RELAYS_HEADER: Final = "X-Damselfly-Relays"
"""On a registration: the peer passes on pieces that it is still getting (``1``)."""

_VERSION_PREFIX: Final = expression(r"^/v[0-9.]+(?=/)")


def unversioned(path: str) -> str:
    """Return ``path`` without a prefix such as ``/v1.0``, under which every path exists, too."""
    return _VERSION_PREFIX.sub("", path)


class CallError(RemoteProtocolError):
    """A v1 call whose values cannot be; answer HTTP 200 with ``Refused(code, str(error))``."""

    def __init__(self, message: str, *, code: Code = Code.BAD_PARAMETER) -> None:
        super().__init__(message, status_hint=200)
        self.code = code
