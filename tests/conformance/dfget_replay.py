"""Every recorded scenario played to our dfget: what it sends, what it prints, how it ends.

dfget runs in this process with its arguments as a user gives them, against scripted servers.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import parse_qsl

from damselfly.cli import dfget

from .findings import Difference, Finding, compare
from .origin import Origin, content
from .recorded import Request, Scenario, scenario, wire_log
from .scripted import PIECE_SIZE, ScriptedSwarm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION: Final = "1.0.6"
_PATIENCE_S: Final = 60
_SLOW: Final = ("pc200", "pc603", "pempty", "ph500", "rc609", "w602")
_NOT_BACK: Final = ("--notbs",)
_IMPATIENT: Final = ("-e", "1")
_AS_OFTEN_AS_YOU_LIKE: Final = ("GET /peer/task", "GET /peer/piece/suc", "POST /task/metrics")
_TWO_NODES: Final = ("-n", "127.0.0.1:{port},127.0.0.2:{port}")
_FLAGS: Final[dict[str, tuple[str, ...]]] = {
    "badmd5": ("-m", "0" * 32),
    "c601": ("-e", "20"),
    "c601n": ("-e", "20"),
    "c601z": ("-e", "20"),
    "cdnpat": ("-p", "cdn"),
    "hdr": (
        *("-i", "ident", "--callsystem", "cs", "--dfdaemon"),
        *("--header", "a:b", "--header", "X-Foo:1,2"),
    ),
    "hdr2": ("-m", hashlib.md5(content(100000), usedforsecurity=False).hexdigest(), "-i", "x"),
    "host": ("-n", "localhost:{port}"),
    "lim": ("-s", "20M", "--totallimit", "30M"),
    "mig": _TWO_NODES,
    "mig3": _TWO_NODES,
    "nodedown": ("-n", "127.0.0.3:{port}"),
    "noreach": ("-n", "127.0.0.3:{port}"),
    "noreachnb": ("-n", "127.0.0.3:{port}", *_NOT_BACK),
    "pc200": (*_NOT_BACK, *_IMPATIENT),
    "pc603": (*_NOT_BACK, *_IMPATIENT),
    "pempty": _NOT_BACK,
    "ph500": _NOT_BACK,
    "srcpat": ("-p", "source"),
    "srcpatnb": ("-p", "source", *_NOT_BACK),
}
"""What the recorded dfgets were told beyond URL and output; ``rc...`` and ``pc...``: --notbs."""


@dataclass(frozen=True, slots=True)
class Run:
    """What our dfget did in a scenario; ``seen`` as ``ScriptedSwarm.seen``."""

    stdout: tuple[str, ...]
    exit_status: int
    seen: tuple[tuple[str, Request], ...]
    """Which server, and the request."""
    files: tuple[str, ...]
    is_right: bool
    """No file, or one with the right content."""


@cache
def run(name: str) -> Run:
    """Play a scenario to our dfget."""
    if name in _SLOW:
        return _slow_runs()[name]
    with Origin().running(), _Stage(name) as stage:
        return stage.run_of(*run_dfget(stage.arguments))


@cache
def _slow_runs() -> dict[str, Run]:
    """Play the scenarios in which dfget waits, all at once, each to a process of its own."""
    with Origin().running(), contextlib.ExitStack() as closing:
        stages = {name: closing.enter_context(_Stage(name)) for name in _SLOW}
        command = [sys.executable, "-m", "damselfly.cli.dfget"]
        processes = {
            name: subprocess.Popen(
                [*command, *stage.arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for name, stage in stages.items()
        }
        printed = {
            name: process.communicate(timeout=_PATIENCE_S)[0] for name, process in processes.items()
        }
        return {
            name: stage.run_of(printed[name].splitlines(), processes[name].returncode)
            for name, stage in stages.items()
        }


class _Stage:
    """The servers and folders of one run, and the command line for it."""

    def __init__(self, name: str) -> None:
        self._told = scenario(name, "106")
        self._folder = tempfile.TemporaryDirectory()
        self._home, self._out = Path(self._folder.name) / "home", Path(self._folder.name) / "out"
        self._swarm = ScriptedSwarm(self._told.script, VERSION)
        self._url = re.sub(r"^--.*--  ", "", self._told.stdout[0])
        flags = _FLAGS.get(name, _NOT_BACK if name.startswith(("rc", "pc")) else ())
        if "-n" not in flags:
            flags = ("-n", "127.0.0.1:{port}", *flags)
        self.arguments = [
            *("-u", self._url, "-o", str(self._out / "o"), "--home", str(self._home)),
            *("--compat-version", VERSION),
            *[flag.replace("{port}", str(self._swarm.port)) for flag in flags],
        ]

    def __enter__(self) -> Self:
        meta = self._home / "meta" / "host.meta"
        meta.parent.mkdir(parents=True)
        meta.write_text(f'{{"servicePort":{self._swarm.peer_port}}}')
        self._out.mkdir()
        self._swarm.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._swarm.__exit__(*error)
        self._folder.cleanup()

    def run_of(self, printed: list[str], exit_status: int) -> Run:
        """Return what came of it."""
        size = cast("int", self._told.script.get("size", 100000))
        expected = (content(size), content(int(self._url.rpartition("/")[2])))
        files = sorted(self._out.iterdir())
        ports = ((self._swarm.port, 8002), (self._swarm.cdn_port, 8001))
        lines = [line.replace(str(self._home), "/root/.small-dragonfly") for line in printed]
        for port, recorded in ports:
            lines = [line.replace(f":{port}", f":{recorded}") for line in lines]
        return Run(
            stdout=tuple(lines),
            exit_status=exit_status,
            seen=tuple([(to, seen.request) for to, seen in self._swarm.seen]),
            files=tuple([file.name for file in files]),
            is_right=all(file.read_bytes() in expected for file in files),
        )


def run_dfget(arguments: list[str]) -> tuple[list[str], int]:
    """Run our dfget in this process; gives the lines on stdout and the exit status."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = dfget.main(arguments)
        except SystemExit as left:  # --help
            status = cast("int", left.code)
    return out.getvalue().splitlines(), status


@cache
def replay_scenario(name: str) -> Finding:
    """Compare a run of ours with the recorded one of dfget 1.0.6."""
    told, ours = scenario(name, "106"), run(name)
    differences = [
        *compare("exit status", told.exit_status, ours.exit_status),
        *compare("a file", _names(told.files), _names(ours.files)),
        *([] if ours.is_right else [Difference("content", '"right"', '"wrong"')]),
        *_compare_lines(told, ours),
        *_compare_stories(told, ours),
    ]
    return Finding(f"scenarios/{name}.106.txt", name, tuple(differences))


def _names(files: Iterable[str]) -> list[str]:
    return [name for name in files if not name.startswith("dfget-")]


# --- what it prints -------------------------------------------------------------------------------


def _compare_lines(told: Scenario, ours: Run) -> Iterator[Difference]:
    then = level_lines(told.stdout, _nodes_of(_recorded(told)))
    now = level_lines(ours.stdout, _nodes_of(_sent(ours)))
    if len(then) == len(now):
        for one, other in zip(then, now, strict=True):
            yield from compare("stdout", one, other)
    else:
        yield Difference("stdout", json.dumps(then), json.dumps(now))


def level_lines(lines: Iterable[str], nodes: list[str]) -> list[str]:
    """Return lines of dfget without times, signs, texts for people, and the order of ``nodes``."""
    found = [re.sub(r"^--[\d-]+ [\d:]+--", "--<time>--", line) for line in lines]
    found = [re.sub(r"\b\d+-\d{10}\.\d{3}\b", "<sign>", line) for line in found]
    found = [re.sub(r"cost:\d+\.\d{3}s", "cost:<time>", line) for line in found]
    found = [re.sub(r'"Msg":.*', '"Msg":<text>', line) for line in found]
    found = [re.sub(r"by dragonfly: .*, and", "by dragonfly: <text>, and", line) for line in found]
    return [_number_nodes(line, nodes) for line in found]


def _number_nodes(text: str, nodes: list[str]) -> str:
    """Put the order in which supernodes were asked for their addresses: it is random."""
    for number, node in enumerate(nodes if len(nodes) > 1 else [], 1):
        pattern = rf'(to node:|superNodeIp":"){re.escape(node)}\b'
        text = re.sub(pattern, rf"\g<1><node {number}>", text)
    return text


# --- what it sends --------------------------------------------------------------------------------


def _compare_stories(told: Scenario, ours: Run) -> Iterator[Difference]:
    """Compare what was sent, registration by registration."""
    has_one_piece = told.script.get("size", 100000) == 100000
    then = _chapters(_recorded(told), exact=has_one_piece)
    now = _chapters(_sent(ours), exact=has_one_piece)
    yield from compare("registrations", len(then) - 1, len(now) - 1)
    for number, (chapter, other) in enumerate(zip(then, now, strict=False)):
        for token in sorted({*chapter} | {*other}):
            counts = chapter[token], other[token]
            if token.startswith(_AS_OFTEN_AS_YOU_LIKE):
                counts = min(counts[0], 1), min(counts[1], 1)
            yield from compare(f"sent after registration {number}: {token}", *counts)


def _recorded(told: Scenario) -> list[tuple[str, Request]]:
    return [(one.to, cast("Request", one.request)) for one in told.calls]


def _sent(ours: Run) -> list[tuple[str, Request]]:
    return [(to, request) for to, request in ours.seen if to != "peer"]


def _chapters(story: list[tuple[str, Request]], *, exact: bool) -> list[Counter[str]]:
    nodes = _nodes_of(story)
    chapters: list[Counter[str]] = [Counter()]
    for _to, request in story:
        if request.path == "/peer/service/down":
            continue  # it is the peer server that says so, later
        if request.path == "/peer/registry":
            chapters.append(Counter())
        chapters[-1][_number_nodes(token_of(request, exact=exact), nodes)] += 1
    return chapters


def _nodes_of(story: list[tuple[str, Request]]) -> list[str]:
    bodies = [request.body.decode() for _, request in story if request.path == "/peer/registry"]
    return list(dict.fromkeys(re.findall(r'superNodeIp":"(127\.0\.0\.[12])', "\n".join(bodies))))


def token_of(request: Request, *, exact: bool = True) -> str:
    """Return a request as text in which what may differ is the same."""
    text = f"{request.method} {request.target} {request.body.decode()}".strip()
    text = re.sub(r"\b\d+-\d{10}\.\d{3}\b", "<sign>", text)
    text = re.sub(r'"port":[1-9]\d*', '"port":<port>', text)
    text = re.sub(r"realMd5=\w+", "realMd5=<md5>", text)
    text = re.sub(r'"duration":[\d.e+-]+', '"duration":<seconds>', text)
    text = text.replace(f'"hostName":"{socket.gethostname()}"', '"hostName":"vm"')
    if not exact and "result=503" in text:  # with several pieces in hand any may be named
        text = re.sub(r"dstCid=[^&]*&range=\d+-\d+", "dstCid=<provider>&range=<piece>", text)
    headers = {name.lower(): value for name, value in request.headers}
    names = ("piecenum", "piecesize", "range", "cdnsource")
    return text + "".join([f" | {name}: {headers[name]}" for name in names if name in headers])


def in_order(run: Run) -> bool:
    """Tell whether nothing was sent before what it depends on."""
    pulled, fetched = False, set[int]()
    for _, request in run.seen:
        match request.path:
            case "/peer/registry":
                pulled = False
            case "/peer/task":
                pulled = True
            case "/peer/piece/suc":
                first = cast("re.Match[str]", re.search(r"pieceRange=(\d+)", request.target))[1]
                if int(first) // PIECE_SIZE not in fetched:
                    return False
            case path if path.startswith("/qtdown/"):
                headers = {name.lower(): value for name, value in request.headers}
                fetched.add(int(headers["piecenum"]))
                if not pulled:
                    return False
            case _:
                pass
    return True


@cache
def replay_peer_calls(recorded_in: str) -> tuple[Finding, ...]:
    """Compare what dfget 1.0.6 and ours tell their own peer server during a download."""
    recorded = [
        one.request
        for one in wire_log(recorded_in)
        if one.to == "peer" and one.request and not one.request.path.startswith("/peer/file")
    ][:3]  # those of the first client
    ours = [request for to, request in run("ok").seen if to == "peer"]
    findings: list[Finding] = []
    for then in recorded:
        kind = then.path.split("/")[1]
        now = next((request for request in ours if request.path.split("/")[1] == kind), None)
        told = _told(now) if now is not None else "(not sent)"
        differences = tuple(compare("sent", _told(then), told))
        findings.append(Finding(recorded_in, f"dfget to its own peer server: /{kind}", differences))
    return tuple(findings)


def _told(request: Request) -> dict[str, object]:
    """Return a call to a peer server in which only names of this run and its folders are left."""
    path, _, query = request.target.partition("?")
    values = dict(parse_qsl(query, keep_blank_values=True))
    told = {
        "path": re.sub(r"\w+-\d+-\d{10}\.\d{3}", "<name>", path),
        "query": [(name, _nameless(value)) for name, value in values.items()],
        "headers": sorted(
            (name.lower(), _nameless(value))
            for name, value in request.headers
            if name.lower() not in ("host", "user-agent")
        ),
    }
    return cast("dict[str, object]", json.loads(json.dumps(told)))


def _nameless(value: str) -> str:
    value = re.sub(r"\d+-\d{10}\.\d{3}", "<sign>", value)
    value = re.sub(r"^[AB]-<sign>|^o-<sign>", "<name>", value)
    value = re.sub(r"^[0-9a-f]{64}$", "<task>", value)
    value = re.sub(r"^127.0.0.1:\d+$", "<node>", value)
    return re.sub(r"^/.*/data$", "<data>", value)
