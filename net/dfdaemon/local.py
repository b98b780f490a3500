"""What a daemon tells about itself, on the paths that dfdaemon 1.0.6 has for it."""

from __future__ import annotations

import json
import platform
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ...engine.redact import Redactor
from ..http import HttpResponse
from ..rest.exposition import CONTENT_TYPE, machine, runtime
from .served import without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..http import HttpRequest
    from .metrics import DaemonMetrics
    from .settings import DaemonSettings

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json; charset=utf-8"
_V1_NAMES: Final = {
    "host": "hostip",
    "cert_pem": "certpem",
    "key_pem": "keypem",
    "local_repo": "localrepo",
    "work_home": "workhome",
    "local_ip": "localip",
    "peer_port": "peerport",
    "rate_bytes_per_s": "ratelimit",
}
"""Keys of ``/env`` that 1.0.6 has under another name than our settings."""


class LocalEndpoints:
    """Answers ``/args``, ``/env``, ``/debug/version`` and ``/metrics``."""

    def __init__(
        self,
        arguments: Sequence[str],
        settings: DaemonSettings,
        metrics: DaemonMetrics,
        version: str,
    ) -> None:
        self._metrics, self._version = metrics, version
        self._answers = {
            "/args": (_TEXT, "".join([f"{shown_argument(one)} " for one in arguments])),
            "/env": (_JSON, json.dumps(shown(settings), indent=1)),
            "/debug/version": (_JSON, json.dumps(self._build())),
        }

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Return the answer to an origin-form request, ``None`` if it is for the registry."""
        path = request.target.partition("?")[0]
        if path == "/metrics":
            return HttpResponse(200, (self._metrics.text(),), CONTENT_TYPE)
        if (found := self._answers.get(path)) is None:
            return None
        kind, text = found
        return HttpResponse(200, (text.encode(),), kind)

    def _build(self) -> dict[str, str]:
        return {
            "Arch": machine(),
            "GoVersion": runtime(),
            "OS": platform.system().lower(),
            "Version": self._version,
        }


def shown(value: object) -> Any:
    """Return settings as JSON has them, names in lower case as 1.0.6 prints them, no secrets."""
    match value:
        case Path():
            return str(value)
        case Enum():
            return value.value
        case str():
            return shown_argument(value)
        case tuple():
            return [shown(one) for one in cast("tuple[object, ...]", value)]
        case _ if is_dataclass(value):
            found = {one.name: getattr(value, one.name) for one in fields(value) if one.repr}
            return {_V1_NAMES.get(name, name): shown(one) for name, one in found.items()}
        case _:
            return value


def shown_argument(argument: str) -> str:
    """Return an argument of the command line without secrets."""
    flag, equals, value = argument.partition("=")
    if equals and flag.startswith("-"):
        return f"{flag}={shown_argument(value)}"
    return Redactor().header_line(without_secrets(argument))
