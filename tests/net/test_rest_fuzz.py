"""Whatever strangers send to the control port: an answer, never a 5xx without a cause."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from damselfly.engine.ids import task_id

from .rest_support import Caller, Got, calling

if TYPE_CHECKING:
    import pytest

Sent: TypeAlias = tuple[str, str, bytes]

NOWHERE = "http://127.0.0.1:1/v2/a/manifests/b"
TASK = task_id(NOWHERE)
ROUTES = [
    ("POST", "/peers"),
    ("GET", "/peers"),
    ("GET", "/peers/{}"),
    ("DELETE", "/peers/{}"),
    ("POST", "/tasks"),
    ("GET", "/tasks/{}"),
    ("PUT", "/tasks/{}"),
    ("DELETE", "/tasks/{}"),
    ("GET", "/tasks/{}/pieces"),
    ("PUT", "/tasks/{}/pieces/{}"),
    ("GET", "/tasks/{}/pieces/{}/error"),
    ("POST", "/tasks/{}/pieces/{}/error"),
    ("POST", "/preheats"),
    ("GET", "/preheats"),
    ("GET", "/preheats/{}"),
    ("DELETE", "/preheats/{}"),
    ("POST", "/peer/network"),
    ("POST", "/peer/heartbeat"),
    ("POST", "/peer/registry"),
    ("POST", "/task/metrics"),
    ("GET", "/peer/task"),
    ("GET", "/peer/piece/suc"),
    ("GET", "/peer/piece/error"),
    ("GET", "/peer/service/down"),
]
KEYS = (
    "IP", "hostName", "port", "version", "cID", "rawURL", "taskURL", "md5", "identifier", "path",
    "headers", "dfdaemon", "callSystem", "filter", "taskId", "fileLength", "peerID", "supernodeIP",
    "dstPID", "dfgetTaskStatus", "pieceResult", "pieceRange", "clientID", "pieceStatus", "srcCid",
    "dstIp", "realMd5", "expectedMd5", "errorType", "type", "url", "TYPE", "Url", "rootCAs",
    "superNodeIp", "duration", "success",
)  # fmt: skip
WORDS = (
    "", "10.0.0.1", "h", "a b", "/p", "image", "file", "SUCCESS", "FAILED", "SEMISUC", "INVALID",
    "STARTED", "RUNNING", "FINISHED", "FILE_NOT_EXIST", "0-4194303", "0-1048575", "9-0", NOWHERE,
    "http://", "http://[", "http://\u2603/", "https://127.0.0.1:1/", "http://127.0.0.1:99999/x", "http://a..b/",
    "http://a\r\nb/", "x\r\nY: z", "\x00", "\U0001f600", "0" * 64, TASK, "u" * 17000,
)  # fmt: skip
NAMES = st.sampled_from(("x", TASK, "0-4194303", "..", "%", "a/b", "\x00", "\u00fc", "9" * 400))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(allow_nan=False),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from(("Authorization", "Range", "a b", "", "X\n")), SCALARS),
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8)
QUERIES = st.dictionaries(
    st.sampled_from(
        (
            "pageNum",
            "pageSize",
            "sortDirect",
            "full",
            "num",
            "clientID",
            "x",
            "taskId",
            "srcCid",
            "cid",
            "dstCid",
            "range",
            "pieceRange",
            "status",
            "result",
            "digest",
        )
    ),
    st.one_of(
        st.integers(-1, 1 << 70).map(str),
        st.sampled_from(("", "x", "ASC", "true", "\n", TASK, "0-1048575", "700", "701", "503")),
    ),
    max_size=3,
)


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


BODIES = st.one_of(OBJECTS.map(to_json), VALUES.map(to_json), st.binary(max_size=20))


@st.composite
def calls(draw: st.DrawFn) -> Sent:
    method, path = draw(st.sampled_from(ROUTES))
    names = [quote(draw(NAMES), safe=draw(st.sampled_from(("", "/%")))) for _ in range(2)]
    query = "&".join(f"{key}={quote(value)}" for key, value in draw(QUERIES).items())
    prefix = draw(st.sampled_from(("/api/v1", "", "/v1.0/api/v1", "/api/ext")))
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(("GET", "PUT", "HEAD", "OPTIONS", "X")))
    return method, f"{prefix}{path.format(*names)}?{query}", draw(BODIES)


def check(sent: Sent, got: Got) -> None:
    assert got.status in (200, 201, 208, 400, 404, 405, 409, 502, 503), (sent, got)
    if got.status in (208, 400, 409, 502, 503):
        assert got.error, sent
    if got.headers.get("content-type") == "application/json" and got.body:
        json.loads(got.body)


async def send(call: Caller, sent: list[Sent]) -> None:
    for one in sent:
        if one[0] != "HEAD":  # a pool reads no body of one, as it should
            check(one, await call(*one))
        else:
            await call(*one)
    assert (await call("GET", "/_ping")).body == b"OK"
    assert (await call("GET", "/metrics")).status == 200


@settings(deadline=None, max_examples=50)
@given(st.lists(calls(), min_size=1, max_size=12))
@example([("POST", "/preheats", b'{"type":"file","url":"http://\\ud800/"}')])
@example([("POST", "/preheats", b'{"type":"image","url":"http://x:-1/v2/a/manifests/b"}')])
@example([("GET", "/api/v1/peers/%ff%fe%00", b"")])
@example([("POST", "/api/v1/peers", b"[" * 100_000)])
def test_every_call_is_answered(tmp_path_factory: pytest.TempPathFactory, sent: list[Sent]) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with calling(tmp_path_factory.mktemp("fuzz"), origin_retries=0) as call:
                await send(call, sent)

    trio.run(main)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(OBJECTS, OBJECTS), min_size=1, max_size=6))
def test_bodies_that_are_nearly_right(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[Any, Any]]
) -> None:
    async def main() -> None:
        peer = {"IP": "10.0.0.1", "hostName": "h"}
        task = {"rawURL": NOWHERE, "cID": "c", "path": "/p"}
        async with calling(tmp_path_factory.mktemp("fuzz"), origin_retries=0) as call:
            name = (await call("POST", "/api/v1/peers", peer)).json["ID"]
            sent: list[Sent] = []
            for one, other in changes:
                made = to_json({**task, "peerID": name, **one})
                sent.append(("POST", "/api/v1/tasks", made))
                body = to_json({"clientID": "c", "pieceStatus": "SUCCESS", **other})
                sent.append(("PUT", f"/api/v1/tasks/{TASK}/pieces/0-1048575", body))
                sent.append(("PUT", f"/api/v1/tasks/{TASK}", to_json({"peerID": name, **other})))
                sent.append(("GET", f"/api/v1/tasks/{TASK}/pieces?clientID=c", to_json(other)))
                heated = {"type": "image", "url": NOWHERE, **one}
                sent.append(("POST", "/preheats", to_json(heated)))
            with trio.fail_after(30):
                await send(call, sent)

    trio.run(main)
