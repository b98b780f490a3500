"""What became of a supernode's copy in the recordings, done to the copy of ours (protocol 7).

The recordings tell what was done in the titles of their sections, and below each what the
supernode answered and which digests it then had.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import trio

from .findings import Finding, compare
from .origin import Origin
from .recorded import Request, Response, sections
from .supernode_replay import ENGINE, json_of, offers_of, supernode_in
from .web import talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from damselfly.net.supernode import SupernodeAddress

    from .findings import Difference

CACHES: Final = ("10-cdn-cache-supernode040.txt", "10-cdn-cache-supernode106.txt")

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 20
_ORIGIN: Final = "http://127.0.0.1:9000"
_WRONG_MD5: Final = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(frozen=True, slots=True)
class _Step:
    """One section: what is registered, after what was done to the copy while nobody ran."""

    title: str
    path: str
    damage: Callable[[Path], None] | None = None
    restarts: bool = False
    more: tuple[tuple[str, object], ...] = ()


def _cut(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.truncate(5_000_000)


def _corrupt(copy: Path) -> None:
    with copy.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 0xFF]))


_STEPS: Final = (
    _Step("first", "/f/9000000"),
    _Step("same task again in same process", "/f/9000000"),
    _Step("restart, complete cache on disk", "/f/9000000", restarts=True),
    _Step(
        "restart, unfinished cache (truncate to 5000000, finish=false)",
        "/f/9000000",
        damage=_cut,
        restarts=True,
    ),
    _Step(
        "restart, finished but corrupted data byte, md5 present",
        "/f/9000000",
        damage=_corrupt,
        restarts=True,
    ),
    _Step("restart, unfinished cache no-range origin", "/norange/9000000"),
    _Step(
        "restart, unfinished cache no-range origin",
        "/norange/9000000",
        damage=_cut,
        restarts=True,
    ),
    _Step("changed origin (never 304)", "/chg/1000"),
    _Step("changed origin (never 304)", "/chg/1000", restarts=True),
    _Step("origin without validators", "/nolm/1000"),
    _Step("origin without validators", "/nolm/1000", restarts=True),
    _Step(
        "auth header passes",
        "/tok/1000",
        more=(("headers", ["Authorization: Bearer x", "X-Y: z"]),),
    ),
    _Step("md5 given", "/f/1000", more=(("md5", _WRONG_MD5),)),
    _Step("range header", "/f/5000", more=(("headers", ["Range: bytes=100-199"]),)),
)


@dataclass(frozen=True, slots=True)
class _Copy:
    """What a supernode answered, and the digests of the copy that it then had."""

    registered: object
    pieces: tuple[str, ...] = ()
    md5: str = ""


@cache
def replay_cache(name: str) -> tuple[Finding, ...]:
    """Compare the copies of one recording with ours."""
    copies, told = _our_copies(), sections(name)
    seen: dict[str, int] = {}
    findings: list[Finding] = []
    for step, ours in zip(_STEPS, copies, strict=True):
        number = seen[step.title] = seen.get(step.title, -1) + 1
        recorded = _recorded(told[step.title], number)
        label = f"{step.title}, registration {number + 1}"
        findings.append(Finding(name, label, tuple(_compare(recorded, ours))))
    return tuple(findings)


def _compare(recorded: _Copy, ours: _Copy) -> Iterator[Difference]:
    yield from compare("registered", recorded.registered, ours.registered)
    if recorded.pieces:
        yield from compare("pieces", list(recorded.pieces), list(ours.pieces))
        yield from compare("md5", recorded.md5, ours.md5)


def _recorded(told: tuple[str, ...], number: int) -> _Copy:
    answers = [line for line in told if line.startswith('{"code":200,')]
    registered = [cast("dict[str, object]", json.loads(line))["data"] for line in answers]
    text = "\n".join(told)
    found = re.search(r"((?:^[0-9a-f]{32}:\d+\n)+)([0-9a-f]{32})$", text, re.MULTILINE)
    if found is None:
        return _Copy(registered[number])
    return _Copy(registered[number], tuple(found[1].split()), found[2])


@cache
def _our_copies() -> tuple[_Copy, ...]:
    with Origin().running(), tempfile.TemporaryDirectory() as folder:
        return trio.run(_play, Path(folder))


async def _play(folder: Path) -> tuple[_Copy, ...]:
    """Go through the steps; a supernode runs until one begins with a restart."""
    copies: list[_Copy] = []
    steps = list(enumerate(_STEPS))
    while steps:
        async with supernode_in(folder, replace(ENGINE, rare_copies=len(_STEPS))) as node:
            while steps:
                number, step = steps.pop(0)
                copies.append(await _register(node, step, number))
                if steps and steps[0][1].restarts:
                    break
        if steps and (damage := steps[0][1].damage) is not None:
            task = cast("str", cast("dict[str, object]", copies[-1].registered)["taskId"])
            if steps[0][1].path != _STEPS[steps[0][0] - 1].path:
                raise AssertionError("a step damages the copy of the step before")
            damage(folder / "home" / "repo" / "download" / task[:3] / task)
    return tuple(copies)


async def _register(node: SupernodeAddress, step: _Step, number: int) -> _Copy:
    cid = f"127.0.0.1-{number}"
    wanted = {
        "superNodeIp": "127.0.0.1",
        "rawUrl": _ORIGIN + step.path,
        "taskUrl": _ORIGIN + step.path,
        "cid": cid,
        "ip": "127.0.0.1",
        "hostName": "vm",
        "port": 20000,
        "path": f"/peer/file/{number}",
        "version": "1.0.6",
        **dict(step.more),
    }
    body = json.dumps(wanted).encode()
    typed = (("Content-Type", "application/json;charset=utf-8"),)
    answer = await talk(node.port, Request("POST", "/peer/registry", typed, body))
    registered = cast("dict[str, object]", json_of(answer)["data"])
    task = cast("str", registered["taskId"])
    view = await _until(node, f"/api/v1/tasks/{task}", _is_settled)
    if view["cdnStatus"] != "SUCCESS":
        return _Copy(registered)
    pull = f"/peer/task?srcCid={cid}&dstCid=&range=&result=502&status=700&taskId={task}"
    total = cast("int", view["pieceTotal"])
    offers = await _until(node, pull, lambda answer: len(offers_of(answer)) == total)
    data = cast("list[dict[str, object]]", offers["data"])
    data.sort(key=lambda offer: cast("int", offer["pieceNum"]))
    pieces = tuple([cast("str", offer["pieceMd5"]) for offer in data])
    return _Copy(registered, pieces, cast("str", view.get("realMd5", "")))


async def _until(
    node: SupernodeAddress, target: str, is_enough: Callable[[Response], bool]
) -> dict[str, object]:
    with trio.fail_after(_PATIENCE_S):
        while True:
            answer = await talk(node.port, Request("GET", target))
            if is_enough(answer):
                return json_of(answer)
            await trio.sleep(_POLL_S)


def _is_settled(answer: Response) -> bool:
    return json_of(answer).get("cdnStatus") in ("SUCCESS", "FAILED", "SOURCE_ERROR")
