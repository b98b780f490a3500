"""The curl batteries against a peer server, put to ours, and its life told in fast motion."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import trio

from damselfly.engine.ids import ExchangeId, NodeAddress, PeerId, TaskId
from damselfly.engine.peer_server import PeerServerEngine, ServerPhase
from damselfly.engine.uploads import (
    CheckRequested,
    DataSurveyed,
    DeleteDownload,
    FinishReported,
    FoundFile,
    LeaveSwarm,
    SurveyData,
    UploadPolicy,
)

from .findings import Difference, Finding, compare
from .recorded import Request, Response, battery, lines
from .supernode_replay import compare_answers, peer_server_in
from .web import talk

if TYPE_CHECKING:
    from damselfly.engine.uploads import PeerServerEffect

BATTERIES: Final = {
    "07-peer-server-battery-dfget030.txt": "0.3.0",
    "07-peer-server-battery-dfget040.txt": "0.4.0",
    "07-peer-server-battery-dfget106.txt": "1.0.6",
}
LIFETIMES: Final = {
    "11-expire-alive-dfget030.txt": "0.3.0",
    "11-expire-alive-dfget040.txt": "0.4.0",
    "11-expire-alive-dfget106.txt": "1.0.6",
}
_DATA_DIR: Final = "/root/.small-dragonfly/data"
_FILES: Final = {"T0": b"", "T1": bytes(range(256)) * 40}
"""What lay in the recorded data directory; TX and TY were announced and never came."""


@cache
def replay_battery(name: str) -> tuple[Finding, ...]:
    """Put the calls of a battery to a peer server of ours, in order."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(_battery, name, Path(folder))


async def _battery(name: str, folder: Path) -> tuple[Finding, ...]:
    data = folder / "data"
    data.mkdir()
    for served, content in _FILES.items():
        (data / f"{served}.service").write_bytes(content)
    findings: list[Finding] = []
    async with peer_server_in(folder, BATTERIES[name]) as port:
        for number, exchange in enumerate(battery(name), 1):
            recorded, asked = cast("Response", exchange.response), cast("Request", exchange.request)
            request = _in_folder(asked, str(data))
            ours = await talk(port, request)
            label = f"{number} {_told(asked)}"
            findings.append(Finding(name, label, tuple(_compare(recorded, ours))))
    return tuple(findings)


def _compare(recorded: Response, ours: Response) -> list[Difference]:
    """Compare two answers; the text of an error is for people."""
    if min(recorded.status, ours.status) >= 400:
        recorded = replace(recorded, body=b"error" if recorded.body else b"")
        ours = replace(ours, body=b"error" if ours.body else b"")
    return list(compare_answers(recorded, ours))


def _told(request: Request) -> str:
    headers = [f"{name}: {value}" for name, value in request.headers]
    return " | ".join([f"{request.method} {request.target}", *headers])


def _in_folder(request: Request, data_dir: str) -> Request:
    headers = [(name, data_dir if value == _DATA_DIR else value) for name, value in request.headers]
    return replace(request, headers=tuple(headers))


# --- --expiretime 5s --alivetime 30s --------------------------------------------------------------

_STEP_S: Final = 0.5
_LIMIT_S: Final = 100.0


@cache
def replay_lifetime(name: str) -> tuple[Finding, ...]:
    """Compare when the file goes and when the server ends, after a download of a moment."""
    text = "\n".join(lines(name))
    began = int(cast("re.Match[str]", re.search(r"^exit=0 t=(\d+)", text, re.MULTILINE))[1])
    states = re.findall(r"^t=(\d+) data=\[(.*)\] servers=(\d)", text, re.MULTILINE)
    gone = next(int(second) for second, files, _ in states if not files)
    ended = next(int(second) for second, _, servers in states if servers == "0")
    deleted_s, left_s, closed_s, told = _lifetime(LIFETIMES[name])
    facts = (
        ("the file is there at first", gone - began >= 5.0, deleted_s >= 5.0),
        ("seconds until the file goes, within its clock", gone - began <= 20.0, deleted_s <= 20.0),
        ("the server ends after 30 s without use", 25 <= ended <= 40, 25 <= closed_s <= 40),
        ("the file goes before the server", gone < ended, deleted_s < closed_s),
        ("the supernode is told once", text.count("GET /peer/service/down") == 1, told == 1),
        ("it is told no later than the file goes", True, left_s <= deleted_s),
    )
    return tuple(
        [Finding(name, label, tuple(compare("", then, now))) for label, then, now in facts]
    )


def _lifetime(version: str) -> tuple[float, float, float, int]:
    """Run the engine of a peer server on a clock of its own.

    Gives when it deleted the file, when it told the supernode, when it ended, and how often it
    told.
    """
    engine = PeerServerEngine(UploadPolicy("/data", version, expire_s=5.0, alive_s=30.0))
    now, deleted_s, left_s, told = 0.0, inf, inf, 0
    node = str(NodeAddress("127.0.0.1"))
    effects: list[PeerServerEffect] = [
        *engine.handle(CheckRequested(ExchangeId(1), "A", "/data", "0"), now),
        *engine.handle(
            FinishReported(ExchangeId(2), "A", TaskId("t"), PeerId("p"), node), now + 0.5
        ),
    ]
    while engine.phase is not ServerPhase.CLOSED and now < _LIMIT_S:
        now += _STEP_S
        effects = [*effects, *engine.tick(now)]
        while effects:
            match effects.pop(0):
                case SurveyData():
                    found = (FoundFile("A", now, False, True),) if deleted_s == inf else ()
                    effects += engine.handle(DataSurveyed(found), now)
                case DeleteDownload():
                    deleted_s = now
                case LeaveSwarm():
                    left_s, told = now, told + 1
                case _:
                    pass
    return deleted_s, left_s, now, told
