"""``/debug/pprof``: there for those who ask for it, and only then."""

from __future__ import annotations

import marshal
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from .rest_support import Caller, Got, calling

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "/debug/pprof"


async def text_of(call: Caller, target: str) -> str:
    got = await call("GET", target)
    assert (got.status, got.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    return got.body.decode()


async def test_without_being_asked_for_there_are_none(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for name in ("/", "/cmdline", "/profile?seconds=1", "/goroutine"):
            got = await call("GET", ROOT + name)
            assert (got.status, got.body) == (404, b"404 page not found\n")


async def test_what_there_is(tmp_path: Path) -> None:
    async with calling(tmp_path, profiles=True) as call:
        listed = await call.get(f"{ROOT}/")
        assert {"method": "GET", "path": "/profile"} in listed["api"]
        assert (await text_of(call, f"{ROOT}/cmdline")).split("\0") == sys.orig_argv
        tasks = await text_of(call, f"{ROOT}/goroutine?debug=2")
        assert "Host.run" in tasks
        assert "net/host.py:" in tasks
        threads = await text_of(call, f"/v1.0{ROOT}/threadcreate")
        assert "ProfileCalls._threads" in threads
        heap = await text_of(call, f"{ROOT}/heap")
        assert "builtins.dict" in heap
        for name in ("/trace", "/nosuch"):
            got = await call("GET", ROOT + name)
            assert (got.status, got.body) == (404, b"Unknown profile\n")
        assert (await call("POST", f"{ROOT}/heap")).status == 405


async def test_a_profile_covers_what_others_do_meanwhile(tmp_path: Path) -> None:
    async with calling(tmp_path, profiles=True) as call:
        got: list[Got] = []

        async def ask() -> None:
            got.append(await call("GET", f"{ROOT}/profile?seconds=1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        refused, taken = sorted(got, key=lambda one: one.status, reverse=True)
        assert (refused.status, taken.status) == (409, 200)
        assert "already" in refused.error
        assert taken.headers["content-disposition"] == 'attachment; filename="profile"'
        functions = {name for _, _, name in marshal.loads(taken.body)}
        assert "serve" in functions, "that is how the other call was refused"
        assert "function calls" in await text_of(call, f"{ROOT}/profile?seconds=1&debug=1")


@pytest.mark.parametrize("seconds", ["0", "301", "x", "-1"])
async def test_profiles_that_are_too_long_or_none(tmp_path: Path, seconds: str) -> None:
    async with calling(tmp_path, profiles=True) as call:
        got = await call("GET", f"{ROOT}/profile?seconds={seconds}")
        assert (got.status, "expected 1 to 300" in got.error) == (400, True)
