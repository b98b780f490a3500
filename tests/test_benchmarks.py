"""Each benchmark runs, in its smallest size; how fast anything is, is not looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from damselfly.sim.scenario_file import find, load

ROOT = Path(__file__).parent.parent
README = ROOT / "benchmarks" / "README.md"


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("fetch", "small", "dfdaemon", "rpc", "engine", "sim", "hosts", "supernodes"),
        "published",
    ],
)
def test_a_benchmark_runs_and_keeps_its_results(name: str, tmp_path: Path) -> None:
    kept = tmp_path / "README.md"
    before = README.read_text()
    kept.write_text(before)
    said = run("--quick", "--into", str(tmp_path), name)
    if f"{name}: skipped" in said:
        pytest.skip(said.partition(f"{name}: skipped: ")[2].strip())
    table = [line for line in said.splitlines() if line.startswith("|")]
    assert len(table) >= 4
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    head, _, rest = kept.read_text().partition(begin)
    part, _, tail = rest.partition(end)
    assert [line for line in part.splitlines() if line.startswith("|")] == table
    assert f"`python -m benchmarks {name}`" in part
    assert head == before.partition(begin)[0]
    assert tail == before.partition(end)[2]
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    assert set(result) == {"date", "commit", "machine", "figures"}
    assert set(result["figures"]) == {name}
    assert any(value > 0 for value in result["figures"][name].values())
    shown = [line for line in part.splitlines() if line.startswith("![")]
    drawn = sorted(path.name for path in tmp_path.glob("plots/*"))
    assert drawn == [f"{name}.svg" for _ in shown]
    assert all(line.endswith(f"(plots/{name}.svg)") for line in shown)
    assert all(value >= 0 for value in result["figures"][name].values())


def test_the_readme_points_to_sections_that_exist() -> None:
    headings = re.findall(r"^## (.+)$", README.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    points = re.findall(r"benchmarks/README\.md#(\S+)", (ROOT / "README.md").read_text())
    assert len(points) >= 8
    assert set(points) <= anchors


def test_a_quick_run_keeps_nothing() -> None:
    before = README.read_text()
    run("--quick", "engine")
    assert README.read_text() == before


def test_calibration_measures_what_scenarios_can_be_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.calibrate", "--quick", "--disk", str(tmp_path)]
    file = tmp_path / "calibration.json"
    done = subprocess.run(
        [*command, "--into", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())["scenario"]
    kept = json.loads((ROOT / "benchmarks" / "calibration.json").read_text())["scenario"]
    assert set(found) == set(kept)
    assert all(value > 0 for value in found.values())
    (tmp_path / "measured.yml").write_text(done.stdout)
    measured = load(tmp_path / "measured.yml")
    assert found == {name: getattr(measured, name) for name in found}


def test_the_scenario_of_calibrated_machines_is_what_was_measured() -> None:
    kept = json.loads((ROOT / "benchmarks" / "calibration.json").read_text())
    calibrated = load(find("calibrated"))
    assert {name: getattr(calibrated, name) for name in kept["scenario"]} == kept["scenario"]
    assert kept["command"] == "python -m benchmarks.calibrate"


def test_an_unknown_name_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "fetsch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no benchmark 'fetsch': expected fetch, small, dfdaemon, rpc, engine, sim" in done.stderr


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = run("--quick", "fetch")
    assert "fetch: skipped: curl is missing (Debian package curl)" in said


def test_the_soak_runs_for_a_moment() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.05", "--per-minute", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "soak: skipped: " in done.stdout:
        pytest.skip(done.stdout.partition("soak: skipped: ")[2].strip())
    assert "downloads: " in done.stdout
    assert done.stdout.endswith("flat\n")


@pytest.mark.parametrize("grows", ["open_files", "memory_bytes", "threads", "disk_bytes", ""])
def test_what_grows_is_named(grows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.flatness import Sample, Series

    series = Series("a server")
    for number in range(40):
        level = {"open_files": 10, "memory_bytes": 40 << 20, "threads": 2, "disk_bytes": 10 << 20}
        if grows:
            level[grows] *= 1 + number // 4
        series.add(Sample(at_s=number, pid=1, **level))
    assert series.is_flat == (not grows)
    if grows:
        what = grows.removesuffix("_bytes").replace("_", " ")
        assert f"GROWS: {what}" in series.summary()
