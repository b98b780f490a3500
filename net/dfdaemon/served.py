"""One request after its end: what the access log and the counters are told."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from ...engine.records import dataclass
from ...engine.redact import Redactor

if TYPE_CHECKING:
    from .metrics import DaemonMetrics

ACCESS_LOG: Final = logging.getLogger("damselfly.access")
"""Every line of it is one request, as a JSON object; nothing goes there unless it has a handler."""
ACCESS_LOG.propagate = False
_SECRET_VALUE: Final = re.compile(
    r"([?&][^=&#]*(?:auth|token|secret|password|credential|signature|session|key)[^=&#]*=)[^&#]+",
    re.IGNORECASE,
)


class Entry(Enum):
    """How a request came in."""

    MIRROR = "mirror"
    PROXY = "proxy"
    INTERCEPTED = "intercepted"
    TUNNEL = "tunnel"
    LOCAL = "local"


class Outcome(Enum):
    """How a request ended."""

    COMPLETE = "complete"
    """The client has all of the answer, whatever its status."""
    ABORTED = "aborted"
    """The client left, or took nothing for too long."""
    FAILED = "failed"
    """The rest of the body could not be had; the connection was cut."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request that has ended.

    ``url`` is absolute where the request went upstream, else as it was asked.  ``status`` 0: the
    client left before there was one.  ``source`` is ``p2p``, ``direct`` or ``cache``; empty for
    what was answered here.  ``first_byte_s`` is counted from the request's head to the first byte
    of the answer's body, ``None`` without one.  ``reason`` tells why an answer did not come
    through the swarm, or why it failed, if it should have been otherwise.
    """

    client: str
    entry: Entry
    method: str
    url: str
    status: int
    sent_bytes: int
    seconds: float
    first_byte_s: float | None = None
    outcome: Outcome = Outcome.COMPLETE
    source: str = ""
    task: str = ""
    reason: str = ""


class ServedWatcher(Protocol):
    """Is told of every request once, at its end; must not raise."""

    def served(self, served: Served) -> None:
        """Take note."""
        ...


class AccessLog:
    """Writes one line for each request and counts it."""

    def __init__(self, metrics: DaemonMetrics) -> None:
        self._metrics = metrics

    def served(self, served: Served) -> None:
        """Take note."""
        self._metrics.served(served)
        if ACCESS_LOG.isEnabledFor(logging.INFO):
            ACCESS_LOG.info("%s", access_line(served))


def access_line(served: Served) -> str:
    """Return the line of one request, without secrets and without line breaks."""
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    values = asdict(served) | {
        "url": without_secrets(served.url),
        "entry": served.entry.value,
        "outcome": served.outcome.value,
        "seconds": round(served.seconds, 6),
        "reason": without_secrets(served.reason),
    }
    if served.first_byte_s is not None:
        values["first_byte_s"] = round(served.first_byte_s, 6)
    return json.dumps({"time": now} | values)


def without_secrets(url: str) -> str:
    """Return a URL without user, password, and the values of parameters that are secrets."""
    return _SECRET_VALUE.sub(r"\1redacted", Redactor().text(url))
