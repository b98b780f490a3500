from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfsim import main
from damselfly.engine.piece import Digest
from damselfly.sim.host import Content
from damselfly.sim.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from damselfly.engine.ids import PieceIndex

SMALL = ["run", "--peers", "8", "--size", "8MB", "--seed", "4"]
KEYS = {
    *("peers", "file_bytes", "mean_s", "p50_s", "p99_s", "max_s", "bound_mean_s", "bound_max_s"),
    *("ratio_mean", "ratio_max", "origin_bytes", "supernode_bytes", "peer_bytes", "wall_s"),
    *("transfers_per_s", "trace_digest", "seed", "partial", "spread_mean", "spread_max"),
    "partial",
}


def test_a_run_prints_its_figures_and_the_command_that_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*SMALL, "--check"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("dfsim run --peers 8 --size 8MB --peer-rate 200mbit ")
    assert first[0].endswith("--seed 4 --check")
    assert "8 of 8 peers have the file" in first[1]
    assert main(shlex.split(first[0])[1:]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0] == first[0]
    assert again[-1] == first[-1]


def test_every_knob_reaches_the_scenario(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    knobs = "--peer-rate 100mbit --supernode-rate 1gbit --origin-rate 50mbit --piece-size 500kB"
    knobs += " --latency 2ms --slots 3 --supernode-slots 4 --network maxmin"
    knobs += " --peer-servers --paranoid"
    assert main([*SMALL, *knobs.split(), "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("dfsim run --peers 8 --size 8MB ")
    for option in shlex.split(knobs):
        assert option in out.splitlines()[0]
    assert "17 pieces of 500000 bytes" in out
    figures = json.loads(file.read_text())
    assert set(figures) == KEYS
    assert figures["peers"] == 8
    assert figures["file_bytes"] == figures["origin_bytes"] == 8_000_000
    assert figures["supernode_bytes"] + figures["peer_bytes"] == 8 * 8_000_000
    assert figures["max_s"] > 8e6 / 6.25e6  # the origin's 50 mbit
    assert figures["seed"] == 4
    assert figures["partial"] is False
    assert figures["trace_digest"] in out


def test_a_scenario_file_is_run_with_some_knobs_turned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("peers: 500\nfile_bytes: 3MB\nseed: 9\nclasses: [{share: 0.5, up: 2}]\n")
    assert main(["run", str(file), "--peers", "6", "--peer-servers", "--check"]) == 0
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"dfsim run --scenario {file} --peers 6 --peer-servers --check"
    assert "6 of 6 peers have the file; 3 pieces of 1048576 bytes" in second
    assert main(shlex.split(first)[1:]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_scenarios_that_come_along_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "two-supernodes", "--peers", "5", "--size", "5MB", "--check"]
    assert main(words) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "dfsim run --scenario two-supernodes --peers 5 --size 5MB --check"
    assert "5 of 5" in second


def test_the_digest_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--trace-digest"]) == 0
    digest = capsys.readouterr().out.strip()
    assert len(digest) == 32
    assert int(digest, 16) > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["walk"], "invalid choice: 'walk'"),
        (["run", "--peers", "0"], "--peers: '0': expected a whole number, at least 1"),
        (["run", "--peers", "many"], "--peers: 'many'"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--size", "20M"], "--size: size '20M': expected"),
        (["run", "--peer-rate", "200"], "--peer-rate: rate '200': expected"),
        (["run", "--peer-rate", "0mbit"], "peer_up_bytes_per_s is 0.0"),
        (["run", "--latency", "5"], "--latency: duration '5': expected"),
        (["run", "--piece-size", "16MiB"], "piece_size is 16777216: expected 6 to 15728640"),
        (["run", "--network", "token-ring"], "--network: 'token-ring': expected share or maxmin"),
        (["run", "--jsno", "x"], "unrecognized arguments: --jsno"),
        (["run", "--json", "/nowhere/x.json"], "--json /nowhere/x.json: cannot be written"),
        (["run", "--json", "/"], "--json /: cannot be written"),
        (["run", "flesh-crowd"], "scenario flesh-crowd: there is no such file; did you mean flash"),
        (["run", "churn", "--scenario", "nat"], "churn and --scenario nat: expected one scenario"),
        (["run", "churn", "--seed", "x"], "--seed"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = main(words)
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("dfsim")


def test_help_says_how_to_write_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "--help"])
    assert end.value.code == 0
    assert "200mbit" in capsys.readouterr().out


def test_an_interrupt_leaves_the_figures_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = World.run

    def interrupted(world: World, until: float) -> bool:
        run(world, 0.25)
        raise KeyboardInterrupt

    monkeypatch.setattr(World, "run", interrupted)
    assert main([*SMALL, "--json", str(tmp_path / "out.json")]) == 130
    said = capsys.readouterr()
    assert said.err == "dfsim: interrupted; the figures so far:\n"
    assert "PARTIAL, up to 0.250 s: 0 of 8 peers have the file, 8 DO NOT" in said.out
    assert "simulated    0.250 s" in said.out
    assert json.loads((tmp_path / "out.json").read_text())["partial"] is True


def test_ctrl_c_ends_the_process_without_a_traceback() -> None:
    command = [sys.executable, "-u", "-m", "damselfly.cli.dfsim", "run", "--peers", "2000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("dfsim run")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("dfsim: interrupted")
    assert len(err.splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error_message() -> None:
    command = [sys.executable, "-m", "damselfly.cli.dfsim", *SMALL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == b""


def test_a_terminal_gets_a_progress_bar_and_the_figures_stay_clean() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "damselfly.cli.dfsim", *SMALL]
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            check=True,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(theirs)
        assert b"simulating" in terminal.read(65536)
    assert "simulating" not in done.stdout
    assert "8 of 8 peers have the file" in done.stdout


def test_a_check_that_fails_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(content: Content, piece: PieceIndex) -> Digest:
        return Digest("sha256:00")

    monkeypatch.setattr(Content, "sha256", wrong)
    assert main([*SMALL, "--check"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dfsim: at ")
    assert len(said.splitlines()) == 1


def test_peers_left_without_the_file_make_the_run_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = World.run

    def cut_short(world: World, until: float) -> bool:
        return run(world, min(until, 0.25))

    monkeypatch.setattr(World, "run", cut_short)
    assert main(SMALL) == 1
    assert main([*SMALL, "--check"]) == 1
    said = capsys.readouterr()
    assert "8 DO NOT" in said.out
    assert said.err.startswith("dfsim: at the end, 0.25 s: 8 downloads have not ended: 10.0.0.0-")
