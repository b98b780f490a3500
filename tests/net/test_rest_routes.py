"""Which paths there are, under which prefixes, and what the rest gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .rest_support import calling

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = """
GET /
POST /peer/registry
GET /peer/task
GET /peer/piece/suc
GET /peer/service/down
GET /peer/piece/error
POST /peer/network
POST /peer/heartbeat
POST /preheats
GET /preheats
GET /preheats/{id}
DELETE /preheats/{id}
GET /_ping
GET /version
GET /metrics
POST /task/metrics
"""
V1 = """
GET /
POST /peers
DELETE /peers/{id}
GET /peers/{id}
GET /peers
GET /tasks/{id}
POST /peer/network
POST /peer/heartbeat
DELETE /tasks/{id}
GET /tasks/{id}/pieces/{pieceRange}/error
POST /preheats
GET /preheats
GET /preheats/{id}
DELETE /preheats/{id}
"""
DOCUMENTED = """
POST /tasks
PUT /tasks/{id}
GET /tasks/{id}/pieces
PUT /tasks/{id}/pieces/{pieceRange}
POST /tasks/{id}/pieces/{pieceRange}/error
"""


def listed(text: str) -> list[dict[str, str]]:
    pairs = [line.split() for line in text.split("\n") if line]
    return [{"method": method, "path": path} for method, path in pairs]


async def test_the_roots_list_what_1_0_6_lists_and_then_what_it_lacks(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        root = await call.get("/")
        assert (root["category"], root["prefix"]) == ("legacy api", "")
        assert root["api"][:16] == listed(LEGACY)
        assert list(root) == ["api", "category", "prefix"]
        v1 = await call.get("/api/v1/")
        assert (v1["category"], v1["prefix"]) == ("v1 api", "/api/v1")
        assert v1["api"] == listed(V1) + listed(DOCUMENTED)
        assert await call.get("/api/ext/") == {
            "api": [{"method": "GET", "path": "/"}],
            "category": "extension api",
            "prefix": "/api/ext",
        }


async def test_every_route_that_is_listed_exists_with_and_without_a_version(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for prefix in ("", "/api/v1", "/api/ext"):
            for route in (await call.get(f"{prefix}/"))["api"]:
                path = prefix + route["path"].replace("{id}", "x").replace("{pieceRange}", "0-9")
                for version in ("", "/v1.0", "/v9", "/v.."):
                    got = await call(route["method"], version + path, b"{}")
                    assert got.status not in (405, 500), (route, version)
                    assert got.body != b"404 page not found\n", (route, version)
                    assert (await call("PATCH", version + path)).status == 405


@pytest.mark.parametrize(
    "target",
    [
        "/nosuch",
        "/api/v1",
        "/api/v1/_ping",
        "/api/ext/peers",
        "/tasks/0",
        "/peers/",
        "/api/v1/peers/",
        "/api/v1/peers/a/b",
        "/v/_ping",
        "/vx/_ping",
        "/v1.0",
        "//peers",
        "/api/v1/tasks//pieces",
        "/%5fping",
    ],
)
async def test_other_paths_are_unknown(tmp_path: Path, target: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("GET", target)
        assert (got.status, got.body) == (404, b"404 page not found\n")
        assert got.headers["content-type"] == "text/plain; charset=utf-8"
        assert got.headers["x-content-type-options"] == "nosniff"


async def test_a_wrong_method_gets_an_empty_405(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for method, target in (
            ("POST", "/_ping"),
            ("GET", "/peer/registry"),
            ("PUT", "/api/v1/peers/x"),
            ("DELETE", "/api/v1/tasks"),
        ):
            got = await call(method, target)
            assert (got.status, got.body) == (405, b"")


async def test_what_it_is(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        got = await call("GET", "/_ping")
        assert (got.status, got.body) == (200, b"OK")
        got = await call("GET", "/version")
        assert got.headers["content-type"] == "text/plain; charset=utf-8"
        assert got.body.startswith(b'{"Arch":"')
        for key in (b"BuildDate", b"GoVersion", b"OS", b"Version"):
            assert b'"%b":"' % key in got.body


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_calls_for_seeds_are_answered_with_nothing(tmp_path: Path, prefix: str) -> None:
    async with calling(tmp_path) as call:
        got = await call("POST", f"{prefix}/peer/network?start=0&limit=10", {"urls": ["a"]})
        assert (got.status, got.body) == (200, b'{"nodes":null}\n')
        got = await call("POST", f"{prefix}/peer/heartbeat", b"x")
        assert (got.status, got.body) == (200, b'{"seedTaskIDs":null}\n')
