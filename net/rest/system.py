"""``/_ping``, ``/version``, ``/metrics``, and calls that 1.0.6 has and gives nothing for."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from ..http import HttpResponse
from .exposition import CONTENT_TYPE, machine, runtime
from .replies import JSON_TYPE, json_reply, text_reply, to_json
from .routes import Prompt, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from .exposition import Exposition
    from .routes import Call


class SystemCalls:
    """The calls about the supernode itself; ``stats`` is the body of ``/damselfly/stats``."""

    def __init__(self, exposition: Exposition, version: str, stats: Callable[[], bytes]) -> None:
        self._exposition, self._stats = exposition, stats
        about = {
            "Arch": machine(),
            "BuildDate": "unknown",
            "GoVersion": runtime(),
            "OS": platform.system().lower(),
            "Version": version,
        }
        self._version = to_json(about).decode()
        self.routes = (
            Route("GET", "/_ping", Prompt(_ping)),
            Route("GET", "/version", self._tell_version),
            Route("GET", "/metrics", self._metrics),
        )
        self.stubs = (
            Route("POST", "/peer/network", self._network),
            Route("POST", "/peer/heartbeat", self._heartbeat),
        )
        self.own = (Route("GET", "/damselfly/stats", self._tell_stats),)

    async def _tell_version(self, _: Call) -> HttpResponse:
        return text_reply(self._version)

    async def _metrics(self, _: Call) -> HttpResponse:
        return HttpResponse(200, (self._exposition.text(),), CONTENT_TYPE)

    async def _tell_stats(self, _: Call) -> HttpResponse:
        return HttpResponse(200, (self._stats(),), JSON_TYPE)

    async def _network(self, _: Call) -> HttpResponse:
        return json_reply({"nodes": None})

    async def _heartbeat(self, _: Call) -> HttpResponse:
        return json_reply({"seedTaskIDs": None})


def _ping(_call: Call, _answer: object) -> HttpResponse:
    return text_reply("OK")
