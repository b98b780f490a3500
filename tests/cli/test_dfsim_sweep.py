from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfsim import main
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = """\
set: {peers: 4, file_bytes: 3MB}
grid: {policy: [damselfly, random], up_slots: [1, 2]}
seeds: 2
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "slots.yml"
    path.write_text(SWEEP)
    return path


def test_a_row_a_run_and_none_twice(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(sweep)]) == 0
    out = sweep.with_suffix(".jsonl")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 8
    assert {json.dumps(row["parameters"]) for row in rows} == {
        json.dumps({"policy": policy, "up_slots": slots})
        for policy in ("damselfly", "random")
        for slots in (1, 2)
    }
    assert all(row["mean_s"] >= row["bound_mean_s"] > 0 for row in rows)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"8 runs, 0 of them in {out} already"
    assert "bound mean" in said[1]
    assert len(said) == 6

    sweep.write_text(SWEEP.replace("seeds: 2", "seeds: 3"))
    assert main(["sweep", str(sweep), "--jobs", "2"]) == 0
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert again[:8] == rows
    assert [row["seed"] for row in again[8:]] == [2] * 4
    assert "12 runs, 8 of them in" in capsys.readouterr().out


def test_the_summary_runs_nothing(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["sweep", str(sweep), "--summary"]) == 0
    assert "no results" in capsys.readouterr().out
    assert main(["sweep", str(sweep)]) == 0
    capsys.readouterr()
    monkeypatch.delattr(Swarm, "run")
    assert main(["sweep", str(sweep), "--summary", "--best", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert said[3] == "and 3 settings more; --best 4 shows all"


def test_an_interrupt_keeps_what_is_done(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runs = Swarm.run, [0]

    def interrupted(swarm: Swarm) -> object:
        runs[0] += 1
        if runs[0] == 4:
            raise KeyboardInterrupt
        return run(swarm)

    monkeypatch.setattr(Swarm, "run", interrupted)
    out = sweep.with_suffix(".jsonl")
    assert main(["sweep", str(sweep)]) == 130
    said = capsys.readouterr()
    assert said.err == "dfsim: interrupted; 5 runs are left, which the same command makes\n"
    assert len(out.read_text().splitlines()) == 3
    assert main(["sweep", str(sweep)]) == 0
    assert len(out.read_text().splitlines()) == 8


def test_ctrl_c_ends_all_processes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "long.yml"
    path.write_text("set: {peers: 3}\ngrid: {peer_up_bytes_per_s: [25e6, 26e6]}\nseeds: 500\n")
    command = [sys.executable, "-u", "-m", "damselfly.cli.dfsim", "sweep", str(path), "--jobs", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("1000 runs, 0 of them")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("dfsim: interrupted; ")
    assert len(err.splitlines()) == 1
    rows = path.with_suffix(".jsonl")
    assert rows.exists() == ("no results" not in out)


def test_the_same_on_a_dask_cluster(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    local = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**local, processes=False) as cluster:
        assert main(["sweep", str(sweep), "--dask", cluster.scheduler_address]) == 0
    assert "8 runs, 0 of them" in capsys.readouterr().out
    assert main(["sweep", str(sweep)]) == 0
    assert "8 runs, 8 of them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.yml"], "sweep none.yml: cannot be read"),
        (["SWEEP", "--out", "/nowhere/x.jsonl"], "--out /nowhere/x.jsonl: cannot be written"),
        (["SWEEP", "--out", "SWEEP"], "slots.yml:1: "),
        (["SWEEP", "--jobs", "0"], "--jobs: '0'"),
        (["SWEEP", "--jobs", "2", "--dask", "x:1"], "not allowed with"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    words: list[str], says: str, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(sweep) if word == "SWEEP" else word for word in words]
    try:
        status: object = main(["sweep", *words])
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert status == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert sweep.read_text() == SWEEP
