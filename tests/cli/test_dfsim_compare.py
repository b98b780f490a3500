from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli.dfsim import main
from damselfly.sim import compare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = ["compare", "--peers", "10", "--size", "6MB", "--policies", "damselfly,dragonfly-v1"]


def test_a_table_with_verdicts_and_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    assert main([*SMALL, "--seeds", "3", "--json", str(file)]) == 0
    first = capsys.readouterr().out
    command, _, title, head, ours, v1, verdict = first.splitlines()
    assert command.startswith("dfsim compare --peers 10 --size 6MB ")
    assert title.startswith("flash crowd: 10 peers, 3 seeds; bound mean ")
    assert head.split()[:3] == ["policy", "mean", "s"]
    assert (ours.split()[0], v1.split()[0]) == ("damselfly", "dragonfly-v1")
    assert verdict.startswith("dragonfly-v1 against damselfly: mean +")
    assert "max +" in verdict
    assert "(slower)" in verdict
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == first
    written = json.loads(file.read_text())
    assert len(written["runs"]) == 6
    assert [row["policy"] for row in written["rows"]] == ["damselfly", "dragonfly-v1"]
    assert written["rows"][1]["against"]["max"]["mean"] > 0


def test_several_scenarios_with_the_same_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    knobs = ["--scenario", "nat,slow-nodes", "--seeds", "1", "--seed", "7"]
    assert main([*SMALL, *knobs]) == 0
    out = capsys.readouterr().out
    assert "--scenario nat,slow-nodes" in out
    assert "\nnat: 10 peers, 1 seed; bound" in out
    assert "\nslow-nodes: 10 peers, 1 seed; bound" in out
    assert "one seed: no telling" in out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--policies", "damselfly,fifo"], "policy is 'fifo': expected damselfly, dragonfly-v1"),
        (["--policies", "damselfly-no-fun"], "expected one of the rules rates, hopeless"),
        (["--policies", "rarest,rarest"], "expected each policy once"),
        (["--policy", "rarest"], "--policy: expected --policies"),
        (["--scenario", "nat,nat"], "expected each scenario once"),
        (["--scenario", "nat,nit"], "scenario nit: there is no such file; did you mean nat?"),
        (["--json", "/nowhere/x.json"], "cannot be written"),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], wrong: list[str], says: str) -> None:
    try:
        status = main([*SMALL, *wrong])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert says in capsys.readouterr().err


def test_an_interrupt_leaves_the_table_of_what_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play = compare.play

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[compare.Outcome]:
        for number, outcome in enumerate(play(*args, **kwargs)):
            if number == 3:
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(compare, "play", interrupted)
    assert main([*SMALL, "--seeds", "9"]) == 130
    captured = capsys.readouterr()
    assert "interrupted after 3 of 18 runs" in captured.err
    assert "dragonfly-v1 against damselfly" in captured.out


def test_peers_without_the_file_are_told_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "short.yml"
    file.write_text("peers: 4\nuntil_s: 0.1\n")
    written = tmp_path / "out.json"
    argv = ["compare", "--scenario", str(file), "--policies", "rarest", "--seeds", "2"]
    assert main([*argv, "--json", str(written)]) == 1
    assert "rarest: 8 peers in all did not get their files" in capsys.readouterr().out
    assert json.loads(written.read_text())["runs"][0]["max_s"] is None
