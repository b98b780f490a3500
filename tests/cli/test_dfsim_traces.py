"""``dfsim replay`` and ``dfsim from-trace`` as a user meets them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from damselfly.cli.dfsim import main
from damselfly.engine.config import SupernodeConfig
from damselfly.engine.supernode import SupernodeEngine
from damselfly.engine.trace import TraceWriter, read_trace
from damselfly.sim.scenario import Scenario
from damselfly.sim.scenario_file import load

from ..sim.recorded import record

SMALL = Scenario(peers=6, file_bytes=5_000_000, arrivals_s=(0, 0, 0, 0.1, 0.1, 0.2))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording in files of 30 records each."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        record(SMALL, folder, patch, records_per_file=30, version="0.0.1")
    return folder


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(recorded, tmp_path / "copy"))


def spoil(folder: Path, number: int) -> None:
    """Change one effect of a record in the first file."""
    path = min(folder.iterdir())
    header, found = read_trace([path.read_bytes()])
    records = list(found)
    with path.open("wb") as file:
        writer = TraceWriter(file.write, header)
        for index, one in enumerate(records, start=1):
            effects = one.effects[1:] if index == number else one.effects
            writer.record(one.now, one.event, effects)


# --- replay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("paranoid", [[], ["--paranoid"]])
def test_a_recording_replays(
    paranoid: list[str], recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recorded), *paranoid]) == 0
    by_folder = capsys.readouterr().out
    assert main(["replay", *map(str, recorded.iterdir()), *paranoid]) == 0
    assert capsys.readouterr().out == by_folder
    assert by_folder.startswith("sim: ")
    assert by_folder.endswith("s replayed: every answer is the recorded one\n")


def test_the_first_difference_is_told_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(copy, 1)
    assert main(["replay", str(copy)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "sim: record 1, 0.000000 s after the first, is answered otherwise"
    assert out[1].startswith("  event     Requested(exchange=1, request=Register(")
    assert out[2] == "  expected  nothing"
    assert out[3].startswith("  actual   !ReadOrigin(fetch=")
    assert out[-2] == "  0 records before it were answered as recorded"
    assert out[-1].startswith("  recorded by damselfly 0.0.1, this is ")


def test_an_engine_that_breaks_is_a_difference(
    recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("slots do not add up")

    monkeypatch.setattr(SupernodeEngine, "check", broken)
    assert main(["replay", str(recorded), "--paranoid"]) == 1
    said = capsys.readouterr()
    assert (
        "record 1, 0.000000 s after the first: the engine broke: AssertionError: slots" in said.out
    )
    assert said.err == ""


def test_a_trace_cut_off_is_replayed_as_far_as_it_goes(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(copy.iterdir())
    for file in files[2:]:
        file.unlink()
    with files[1].open("r+b") as torn:
        torn.truncate(files[1].stat().st_size - 1)
    assert main(["replay", str(copy)]) == 3
    said = capsys.readouterr()
    assert said.out.startswith("sim: 59 records over ")
    assert said.out.endswith(" replayed, then no more can be read\n")
    assert said.err.startswith("dfsim: sim-000002.trace: trace: cut off after 29 records, ")
    assert said.err.count("\n") == 1
    spoil(copy, 1)
    assert main(["replay", str(copy)]) == 1, "a difference is worse than an end"


def test_a_trace_of_another_schema(
    copy: Path, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alien = copy / "alien.trace"
    alien.write_bytes(b"\x81\xa6schema\x63")
    assert main(["replay", str(alien)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing can be replayed: not a trace of schema 1: it begins {'schema': 99}" in said.err
    assert main(["replay", str(alien), str(recorded)]) == 3
    assert "every answer is the recorded one" in capsys.readouterr().out


def test_a_recording_whose_beginning_is_gone(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    min(copy.iterdir()).unlink()
    assert main(["replay", str(copy)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    gone = "sim: cannot be replayed: 30 records before sim-000002.trace are gone"
    assert said.err == f"dfsim: {gone}; dfsim from-trace can use the rest\n"


def test_a_trace_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("replay", "from-trace"):
        assert main([command, "/nowhere/x.trace"]) == 2
        assert "there is no such file" in capsys.readouterr().err


# --- from-trace -----------------------------------------------------------------------------------


def test_a_scenario_goes_to_the_output_or_a_file(
    recorded: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["from-trace", str(recorded), "--policy", "random"]) == 0
    printed, file = tmp_path / "printed.yml", tmp_path / "out.yml"
    printed.write_text(capsys.readouterr().out)
    scenario = load(printed)
    assert (scenario.peers, scenario.file_bytes, scenario.policy) == (6, 5_000_000, "random")
    assert main(["from-trace", str(recorded), "--out", str(file)]) == 0
    assert load(file) == replace(scenario, policy="damselfly")
    said = capsys.readouterr().out
    assert said.startswith("sim, task ")
    assert "6 peers within 0.200 s, 5 pieces of 1048576 bytes" in said


def test_what_was_recorded_stands_beside_what_would_be(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["from-trace", str(recorded), "--policy", "sequential", "--run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(index for index, line in enumerate(lines) if "mean s" in line)
    table = [line.rsplit(maxsplit=4) for line in lines[head + 1 :]]
    assert [row[0] for row in table] == [
        "recorded",
        "simulated, damselfly",
        "simulated, sequential",
    ]
    for _, mean_s, max_s, files, unfinished in table:
        assert 0 < float(mean_s) <= float(max_s)
        assert 1 <= float(files) <= 6
        assert unfinished == "0"
    assert main(["from-trace", str(recorded), "--run", "--seed", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(lines) - 1


def test_a_part_of_a_trace_is_used(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(copy.iterdir())
    with files[-1].open("r+b") as torn:
        torn.truncate(files[-1].stat().st_size - 1)
    assert main(["from-trace", str(copy)]) == 3
    said = capsys.readouterr()
    assert "peers: 6" in said.out
    assert "cut off after" in said.err
    assert "records before that are used" in said.err
    files[0].unlink()
    assert main(["from-trace", str(copy)]) in (2, 3)
    assert "the first 30 records are gone; the rest is used" in capsys.readouterr().err


def test_one_recording_at_a_time(
    recorded: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.trace"
    with other.open("wb") as file:
        TraceWriter(file.write, {"engine": "supernode", "config": SupernodeConfig(), "seed": 1})
    assert main(["from-trace", str(other), str(recorded)]) == 2
    assert "found other.trace, sim: expected one recording" in capsys.readouterr().err
    assert main(["from-trace", str(other)]) == 2
    assert "tells of no peer" in capsys.readouterr().err
    other.write_bytes(b"")
    assert main(["from-trace", str(other)]) == 2
    said = capsys.readouterr().err
    assert "left out: not a trace" in said
    assert "found none: expected one recording" in said
