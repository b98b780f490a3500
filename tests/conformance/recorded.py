"""The recorded exchanges in ``data/`` as objects: wire logs, curl batteries, scenarios, commands.

All were recorded with Dragonfly v1 programs.  Each form is plain text; bodies are there byte for
byte, long binary ones as length, ends and MD5.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, cast

DATA: Final = Path(__file__).parent / "data"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Digested:
    """A body that was too long to be written down: its length and what else is known of it.

    ``head`` and ``tail`` are hex, ``md5`` is empty where nobody computed it.
    """

    length: int
    head: str
    tail: str
    md5: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was sent; ``target`` is as it stood in the request line."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Response:
    """One response; ``body`` is ``None`` where only its size was written down."""

    status: int
    headers: Headers = ()
    body: bytes | Digested | None = b""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response.  ``to`` is who was asked: supernode, cdn, peer.

    ``request`` ``None``: a connection that was closed without a byte.
    """

    to: str
    request: Request | None
    response: Response | None


# --- wire logs: "=== [supernode:8002 conn 2 16:21:38.042] REQUEST" --------------------------------

_MARK: Final = re.compile(
    r"^(?:===|---) \[(\w+):\d+ conn (\d+) [\d:.]+\] (REQUEST|RESPONSE|TCP connect).*\n",
    re.MULTILINE,
)
_DIGESTED: Final = re.compile(
    r"<binary body: (\d+) bytes, first 12 = ([\da-f ]+), last 6 = ([\da-f ]+), "
    r"md5\(all bytes\) = (\w{32})>"
)


@cache
def wire_log(name: str) -> tuple[Exchange, ...]:
    """Return the exchanges of one wire log in the order in which the requests were sent."""
    text = _read(name)
    marks = list(_MARK.finditer(text))
    asked: list[tuple[str, str, Request | None, Response | None]] = []
    for mark, end in zip(marks, [*(m.start() for m in marks[1:]), len(text)], strict=True):
        to, connection, kind = mark.groups()
        if kind == "REQUEST":
            asked.append((to, connection, _request(text[mark.end() : end]), None))
        elif kind == "RESPONSE":
            response = _response(text[mark.end() : end])
            for i, (other, same, request, answer) in enumerate(asked):
                if (other, same) == (to, connection) and request and answer is None:
                    asked[i] = to, connection, request, response
                    break
        else:
            asked.append((to, connection, None, None))
    return tuple([Exchange(to, request, response) for to, _, request, response in asked])


def _request(text: str) -> Request:
    first, headers, rest = _head(text)
    method, target, _ = first.split(" ")
    return Request(method, target, headers, rest.encode()[: _length(headers)])


def _response(text: str) -> Response:
    first, headers, rest = _head(text)
    status = int(first.split(" ")[1])
    if found := _DIGESTED.search(rest):
        size, head, tail, md5 = found.groups()
        body = Digested(int(size), head.replace(" ", ""), tail.replace(" ", ""), md5)
        return Response(status, headers, body)
    return Response(status, headers, rest.encode()[: _length(headers)])


def _head(text: str) -> tuple[str, Headers, str]:
    head, _, rest = text.partition("\n\n")
    first, *lines = head.split("\n")
    fields = [line.partition(":") for line in lines]
    return first, tuple([(name, value.strip()) for name, _, value in fields]), rest


def _length(headers: Headers) -> int:
    return int(dict(headers).get("Content-Length", "0"))


# --- curl batteries: ">>> curl -X POST -H name: value /path -d body" ------------------------------

_SUMMARY: Final = re.compile(r"^body len=(\d+) hex head=(\w*) tail=(\w*)$", re.MULTILINE)


@cache
def battery(name: str) -> tuple[Exchange, ...]:
    """Return the exchanges of a battery of curl calls, in order."""
    exchanges: list[Exchange] = []
    for part in re.split(r"^>>> curl ", _read(name), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        exchanges.append(Exchange("", _curl_request(command), _curl_response(output)))
    return tuple(exchanges)


def _curl_request(command: str) -> Request:
    """Read a command line whose quotes are gone: the target is the last word before the body."""
    command, has_body, body = command.partition(" -d ")
    options, _, target = command.rpartition(" ")
    method = "POST" if has_body else "GET"
    headers: list[tuple[str, str]] = []
    for option in re.split(r"\s(?=-[XHI]\b)", options) if options else []:
        flag, _, value = option.partition(" ")
        if flag == "-H":
            key, _, text = value.partition(":")
            headers.append((key, text.strip()))
        else:
            method = "HEAD" if flag == "-I" else value
    is_typed = any(key.lower() == "content-type" for key, _ in headers)
    if has_body and not is_typed:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    return Request(method, target, tuple(headers), body.encode())


def _curl_response(output: str) -> Response:
    if not output.startswith("HTTP/"):  # a body alone
        return Response(200, (), output.encode())
    first, headers, rest = _head(output)
    status = int(first.split(" ")[1])
    if found := _SUMMARY.search(rest):
        return Response(status, headers, Digested(int(found[1]), found[2], found[3]))
    return Response(status, headers, rest.encode()[: _length(headers)])


# --- scenarios: a scripted supernode and what a real dfget did ------------------------------------

_LOGGED: Final = re.compile(r"^\[ *[\d.]+\] [\d.]+:(\d+) (\S+) (\S+) ?(.*)$")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run of a real dfget against a scripted supernode.

    ``script`` is what the supernode was told to answer.  ``calls`` went to its control port, to
    ``8002``, or its download port, to ``8001``; a body that was not written down is ``None``.
    """

    name: str
    version: str
    script: dict[str, object]
    stdout: tuple[str, ...]
    exit_status: int
    calls: tuple[Exchange, ...]
    files: tuple[str, ...]
    """Names in the target's directory afterwards."""


def scenario_names(version: str) -> list[str]:
    """Return the scenarios that were run with dfget ``030``, ``040`` or ``106``."""
    return sorted(path.name.partition(".")[0] for path in DATA.glob(f"scenarios/*.{version}.txt"))


@cache
def scenario(name: str, version: str) -> Scenario:
    """Return one scenario."""
    parts = re.split(r"^==== (.+)\n", _read(f"scenarios/{name}.{version}.txt"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    *stdout, last = sections["stdout"].strip("\n").split("\n")
    listing = sections["ls"].partition("/out:\n")[2].split("\n")
    return Scenario(
        name=name,
        version=version,
        script=cast("dict[str, object]", json.loads(sections["sc.json"])),
        stdout=tuple(stdout),
        exit_status=int(last.removeprefix("exit=")),
        calls=tuple(_logged(sections.get("fake.log", ""))),
        files=tuple([line.split()[-1] for line in listing if line.startswith("-")]),
    )


def _logged(text: str) -> list[Exchange]:
    """Return the exchanges in the order of the requests; an answer goes to the oldest without."""
    found: list[Exchange] = []
    for line in text.split("\n"):
        if logged := _LOGGED.match(line):
            port, method, target, body = logged.groups()
            found.append(Exchange(port, Request(method, target, (), body.encode()), None))
        elif line.startswith("           headers: "):
            headers = cast("dict[str, str]", ast.literal_eval(line.partition(": ")[2]))
            last = cast("Request", found[-1].request)
            request = Request(last.method, last.target, tuple(headers.items()))
            found[-1] = Exchange(found[-1].to, request, None)
        elif line.startswith("           -> "):
            status, _, said = line.removeprefix("           -> ").partition(" ")
            waiting = [i for i, one in enumerate(found) if one.response is None]
            i = next((i for i in waiting if _suits(found[i], status, said)), waiting[0])
            body = None if re.fullmatch(r"<\d+ bytes>", said) else said.encode()
            found[i] = Exchange(found[i].to, found[i].request, Response(int(status), (), body))
    return found


def _suits(asked: Exchange, status: str, said: str) -> bool:
    """Tell whether an answer is likely to be that to ``asked``, where several were under way."""
    if status == "206":
        return asked.to == "8001"
    is_pull = asked.request is not None and asked.request.path == "/peer/task"
    return asked.to == "8002" and is_pull == (said.startswith("<") or '"code": 60' in said)


# --- command lines: ">>> dfget106 -u http://... " and what came of them ---------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a real dfget, what it printed (both streams) and its exit status."""

    version: str
    arguments: tuple[str, ...]
    output: tuple[str, ...]
    exit_status: int


@cache
def commands(name: str) -> tuple[Command, ...]:
    """Return the command lines of a battery, in order."""
    found: list[Command] = []
    for part in re.split(r"^>>> dfget", _read(name), flags=re.MULTILINE)[1:]:
        line, _, rest = part.partition("\n")
        version, *arguments = line.split()
        output, _, status = rest.partition("\nexit=") if "\nexit=" in rest else ("", "", rest[5:])
        lines = tuple(output.split("\n")) if output else ()
        found.append(Command(version, tuple(arguments), lines, int(status.split("\n")[0])))
    return tuple(found)


# --- free form ------------------------------------------------------------------------------------


@cache
def sections(name: str) -> dict[str, tuple[str, ...]]:
    """Return the lines below each ``######## title``; a title that comes twice is joined."""
    found: dict[str, tuple[str, ...]] = {}
    for part in re.split(r"^######## ", _read(name), flags=re.MULTILINE)[1:]:
        title, *lines = part.strip("\n").split("\n")
        found[title] = (*found.get(title, ()), *lines)
    return found


def lines(name: str) -> list[str]:
    """Return the lines of one file."""
    return _read(name).split("\n")


def _read(name: str) -> str:
    return (DATA / name).read_text(errors="surrogateescape")
