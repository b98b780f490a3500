"""The curl batteries against a supernode, put to ours: every path, bad values, bad origins."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import trio

from .findings import ABSENT, Difference, Finding, compare
from .origin import Origin
from .recorded import Exchange, Request, Response, battery
from .supernode_replay import ENGINE, compare_answers, json_of, supernode_in
from .web import talk

if TYPE_CHECKING:
    from collections.abc import Iterator

BATTERIES: Final = (
    "05-rest-battery-supernode1.0.6.txt",
    "06-rest-battery-supernode0.4.0.txt",
)

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 20
_TIMES: Final = ("created", "startTime", "finishTime", "StartTime", "FinishTime")
_UNFINISHED: Final = ("WAITING", "RUNNING")
_SLOW_ORIGIN: Final = "slow-1001"


@cache
def replay_battery(name: str) -> tuple[Finding, ...]:
    """Put the calls of a battery to a supernode of ours, in order."""
    with Origin().running(), tempfile.TemporaryDirectory() as folder:
        return trio.run(_battery, name, Path(folder))


async def _battery(name: str, folder: Path) -> tuple[Finding, ...]:
    async with supernode_in(folder, ENGINE) as node:
        battery_here = _Battery(node.port, node.download_port)
        findings: list[Finding] = []
        for number, exchange in enumerate(battery(name), 1):
            request = cast("Request", exchange.request)
            label = f"{number} {request.method} {_short(request.target)} {_short(request.body)}"
            findings.append(Finding(name, label.strip(), tuple(await battery_here.ask(exchange))))
        return tuple(findings)


def _short(text: str | bytes) -> str:
    shown = text.decode() if isinstance(text, bytes) else text
    return re.sub(r"[0-9a-f]{64}", "<id>", shown)[:160]


class _Battery:
    def __init__(self, port: int, download_port: int) -> None:
        self._port, self._download_port = port, download_port
        self._ids: dict[str, str] = {}
        """Recorded names of records that were made meanwhile, and ours."""

    async def ask(self, exchange: Exchange) -> list[Difference]:
        recorded, request = cast("Response", exchange.response), cast("Request", exchange.request)
        request = self._named(request)
        ours = await self._settled(request, recorded)
        self._learn(recorded, ours)
        if request.path == "/metrics":
            return list(_compare_metrics(recorded, ours))
        if "api" in json_of(recorded) and "api" in json_of(ours):
            return list(_compare_roots(recorded, ours))
        return list(compare_answers(self._leveled(recorded), self._leveled(ours)))

    async def _settled(self, request: Request, recorded: Response) -> Response:
        """Ask until the answer is final, as the recorded ones are, which were asked for later."""
        ours = await talk(self._port, request)
        with trio.fail_after(_PATIENCE_S):
            while _is_unfinished(ours, recorded):
                await trio.sleep(_POLL_S)
                ours = await talk(self._port, request)
        return ours

    def _named(self, request: Request) -> Request:
        target = request.target
        for theirs, mine in self._ids.items():
            target = target.replace(theirs, mine)
        return replace(request, target=target)

    def _learn(self, recorded: Response, ours: Response) -> None:
        theirs, mine = json_of(recorded).get("ID"), json_of(ours).get("ID")
        if recorded.status == 201 and isinstance(theirs, str) and isinstance(mine, str):
            self._ids[theirs] = mine

    def _leveled(self, response: Response) -> Response:
        """Return a response in which names, times and ports are the same on both sides."""
        text = cast("bytes", response.body).decode()
        for theirs, mine in self._ids.items():
            text = text.replace(theirs, "<made>").replace(mine, "<made>")
        text = text.replace(f":{self._download_port}", ":8001")
        text = text.replace(f'"{socket.gethostname()}', '"vm')
        text = re.sub(r"-[0-9]{17,19}\"", '-<nanoseconds>"', text)
        text = re.sub(rf'"({"|".join(_TIMES)})":(?:\d+|"[^"]+")', r'"\1":"<time>"', text)
        if '"GoVersion"' in text:
            text = re.sub(r'":"[^"]*"', '":"<text>"', text)
        return replace(response, body=text.encode())


def _is_unfinished(ours: Response, recorded: Response) -> bool:
    now, then = json_of(ours), json_of(recorded)
    if now.get("code") == 602 and "code" in then and then["code"] != 602:
        return True
    body = ours.body
    assert isinstance(body, bytes)
    found: object = json.loads(body) if body[:1] in (b"[", b"{") else None
    records = cast("list[object]", found) if isinstance(found, list) else [found]
    states = [
        cast("dict[str, object]", record).get(key)
        for record in records
        if isinstance(record, dict)
        for key in ("status", "Status", "cdnStatus")
    ]
    return any(state in _UNFINISHED for state in states)


def _compare_roots(recorded: Response, ours: Response) -> Iterator[Difference]:
    """Compare two lists of calls: what ours lacks, and what it has beyond."""
    then, now = json_of(recorded), json_of(ours)
    theirs, mine = (cast("list[object]", one.pop("api")) for one in (then, now))
    yield from compare("body", then, now)
    if missing := [call for call in theirs if call not in mine]:
        yield Difference("body.api", json.dumps(missing), ABSENT)
    if more := [call for call in mine if call not in theirs]:
        yield Difference("body.api", ABSENT, json.dumps(more))


def _compare_metrics(recorded: Response, ours: Response) -> Iterator[Difference]:
    """Compare names, types and labels of metrics; ours may have more."""
    yield from compare("status", recorded.status, ours.status)
    then, now = _families(recorded), _families(ours)
    for name, family in then.items():
        yield from compare(name, family, now.get(name))


def _families(response: Response) -> dict[str, object]:
    text = cast("bytes", response.body).decode()
    families: dict[str, object] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        lines = re.findall(rf"^{name}(?:_sum|_count)?(?:{{(.*)}})? ", text, re.MULTILINE)
        labels = sorted({label for line in lines for label in re.findall(r"(\w+)=\"", line)})
        families[name] = [kind, *labels]
    return families
