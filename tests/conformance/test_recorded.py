"""That the recordings are read whole, and that comparisons find what there is to find."""

from __future__ import annotations

import hashlib
import re

import pytest

from . import battery_replay, peer_replay, supernode_replay
from .findings import ABSENT, Change, Difference, Finding, compare, judge
from .origin import LENGTH, content
from .recorded import DATA, Digested, battery, commands, scenario, scenario_names, wire_log

BATTERIES = (*battery_replay.BATTERIES, *peer_replay.BATTERIES)


@pytest.mark.parametrize("name", supernode_replay.LIVES)
def test_no_exchange_of_a_wire_log_is_lost(name: str) -> None:
    text, exchanges = (DATA / name).read_text(), wire_log(name)
    assert len(exchanges) == text.count("] REQUEST\n") + text.count("] TCP connect")
    assert sum(one.response is not None for one in exchanges) == text.count("] RESPONSE\n")


@pytest.mark.parametrize("name", BATTERIES)
def test_no_call_of_a_battery_is_lost(name: str) -> None:
    assert len(battery(name)) == (DATA / name).read_text().count(">>> curl ")


@pytest.mark.parametrize("name", [*supernode_replay.LIVES, *BATTERIES])
def test_bodies_are_whole(name: str) -> None:
    for one in battery(name) if name in BATTERIES else wire_log(name):
        response = one.response
        if response is not None and (length := response.header("content-length")):
            body = response.body
            assert body is not None
            size = body.length if isinstance(body, Digested) else len(body)
            assert size == int(length)


@pytest.mark.parametrize("version", ["030", "040", "106"])
def test_scenarios_are_read_whole(version: str) -> None:
    names = scenario_names(version)
    assert len(names) == 51
    for name in names:
        text = (DATA / "scenarios" / f"{name}.{version}.txt").read_text()
        told = scenario(name, version)
        assert len(told.calls) == len(re.findall(r"^\[ *[\d.]+\]", text, re.MULTILINE))
        answered = sum(one.response is not None for one in told.calls)
        assert answered == text.count("           -> ")
        assert f"exit={told.exit_status}\n" in text


def test_all_command_lines_are_read() -> None:
    name = "08-cli-battery.txt"
    assert len(commands(name)) == (DATA / name).read_text().count(">>> dfget")


def test_the_origin_has_the_recorded_content() -> None:
    whole = content(LENGTH)
    assert hashlib.md5(whole).hexdigest() == "f1a7f8cfecd53569f792336ffae98c42"
    last = whole[2 * (4194304 - 5) :]
    wrapped = (len(last) | 4194304 << 4).to_bytes(4, "big") + last + b"\x7f"
    recorded = [
        one.response.body
        for one in wire_log("03-full-dfget1.0.6-supernode1.0.6.txt")
        if one.response and isinstance(one.response.body, Digested)
    ]
    assert hashlib.md5(wrapped).hexdigest() in [body.md5 for body in recorded]


def test_differences_are_found_wherever_they_are() -> None:
    then = {"a": [1, {"b": "x"}], "only then": 1, "same": None}
    now = {"a": [1, {"b": "y"}], "only now": 2, "same": None}
    assert compare("", then, now) == [
        Difference("a[1].b", '"x"', '"y"'),
        Difference("only now", ABSENT, "2"),
        Difference("only then", "1", ABSENT),
    ]
    assert compare("list", [1], [1, 2]) == [Difference("list", "[1]", "[1, 2]")]
    assert compare("kind", 1, True) == [Difference("kind", "1", "true")]


def test_a_difference_needs_an_explanation_that_fits() -> None:
    found = Finding("05", "GET /x", (Difference("status", "500", "404"),))
    fits = Change("k", "because", where="^status$", recorded="500", ours="404")
    other = Change("o", "because", where="^status$", recorded="500", ours="400")
    assert judge(found, [other]).unexplained == found.differences
    assert judge(found, [other, fits]).changes == (fits,)
    assert judge(found, [other, fits]).unexplained == ()
