"""Recorded exchanges with Dragonfly v1 programs, replayed: see README.md."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .changes import CHANGES
from .checks import CHECKS, Check, verdicts
from .dfget_replay import VERSION, in_order, replay_scenario, run, run_dfget, token_of
from .findings import judge, unexplained
from .origin import Origin
from .recorded import scenario, scenario_names
from .scripted import ScriptedSwarm
from .table import README, page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", scenario_names("106"))
def test_dfget_in_a_scenario(name: str) -> None:
    verdict = judge(replay_scenario(name), CHANGES)
    assert not verdict.unexplained, str(verdict)
    assert in_order(run(name))


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_what_is_different_is_so_on_purpose(check: Check) -> None:
    found = verdicts(check)
    assert found
    assert not unexplained(found), unexplained(found)


def test_every_change_is_seen() -> None:
    used = {change.key for check in CHECKS for one in verdicts(check) for change in one.changes}
    assert [change.key for change in CHANGES if change.key not in used] == []


def test_the_table_is_what_was_found() -> None:
    assert README.read_text() == page(), "run: python -m tests.conformance.table"


def test_a_peer_server_announces_itself_and_takes_leave(tmp_path: Path) -> None:
    told = scenario("ok", "106")
    recorded = [one.request for one in told.calls if one.request and "/down" in one.request.path]
    home = tmp_path / "home"
    common = ("--home", str(home), "--compat-version", VERSION)
    command = [sys.executable, "-m", "damselfly.cli.dfget", "server", "--ip", "127.0.0.1", *common]
    with Origin().running(), ScriptedSwarm(told.script, VERSION) as swarm:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            said, _, port = server.stdout.readline().rpartition(" ")
            assert said == "dfget uploader server port is"
            meta = home / "meta" / "host.meta"
            assert json.loads(meta.read_text()) == {"servicePort": int(port)}
            node = f"127.0.0.1:{swarm.port}"
            wanted = ("-u", "http://127.0.0.1:9000/f/9000000", "-o", str(tmp_path / "o"))
            assert run_dfget([*wanted, "-n", node, *common])[1] == 0
            server.terminate()
            assert server.wait(20) == 0
        calls = [seen.request for _, seen in swarm.seen if "/down" in seen.request.path]
        assert meta.read_text() == '{"servicePort":0}'
    assert [token_of(call) for call in calls] == [token_of(call) for call in recorded]
