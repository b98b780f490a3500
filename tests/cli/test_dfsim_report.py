from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfsim import main
from damselfly.sim.swarm import Swarm
from damselfly.sim.world import World

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["--peers", "6", "--size", "4MB", "--seed", "4"]


def test_a_page_and_the_command_that_makes_it_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.html"
    assert main(["report", str(out), *SMALL]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"dfsim report {out} --peers 6 --size 4MB ")
    assert "6 of 6 peers have the file" in said[3]
    first = out.read_text()
    assert said[0] in first
    assert main(shlex.split(said[0])[1:]) == 0
    assert out.read_text() == first


def test_policies_over_several_seeds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    words = ["report", str(out), "churn", *SMALL, "--policies", "damselfly,random", "--seeds", "2"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    text = out.read_text()
    assert "churn: swarm report" in text
    assert "Over several seeds" in text
    assert "±" in text
    for slug in ("sources-random", "arrivals-random", "fairness"):
        assert f'id="{slug}"' in text
    assert main(shlex.split(said[0])[1:]) == 0
    assert out.read_text() == text


def test_images_beside_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    images = tmp_path / "images"
    assert main(["report", str(tmp_path / "out.html"), *SMALL, "--png", str(images)]) == 0
    assert f"wrote {images / 'completion.png'}" in capsys.readouterr().out
    assert len(list(images.iterdir())) == 5


def test_bad_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> None:
        assert name == "matplotlib"

    monkeypatch.setattr("damselfly.sim.pages.png.find_spec", find_spec)
    out = str(tmp_path / "out.html")
    for words, says in (
        (["/nowhere/out.html"], "OUT.html /nowhere/out.html: cannot be written"),
        ([out, "--policies", "random,best"], "'best'"),
        ([out, "--policies", "random", "--policy", "random"], "--policy: expected it among"),
        ([out, "--png", str(tmp_path)], "pip install 'damselfly[plots]'"),
        ([out, "flash-crwd"], "did you mean flash-crowd?"),
    ):
        try:
            status: object = main(["report", *words])
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr().err
        assert status == 2
        assert says in said
        assert len(said.splitlines()) == 1


def test_an_interrupt_leaves_a_partial_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, runs = World.run, [0]

    def interrupted(world: World, until: float) -> bool:
        runs[0] += 1
        if runs[0] == 1:
            return run(world, until)
        run(world, 0.125)
        raise KeyboardInterrupt

    monkeypatch.setattr(World, "run", interrupted)
    out = tmp_path / "out.html"
    words = ["report", str(out), *SMALL, "--policies", "damselfly,random,rarest", "--seeds", "9"]
    assert main(words) == 130
    text = out.read_text()
    assert "Partial: interrupted at 0.125 s of the run of random." in text
    assert "random (partial)" in text
    assert "rarest" not in re.sub(r"<pre>.*?</pre>", "", text)
    assert "the page is partial: interrupted at 0.125 s" in capsys.readouterr().err


def test_an_interrupt_in_later_seeds_keeps_those_that_are_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, runs = Swarm.run, [0]

    def interrupted(swarm: Swarm) -> object:
        runs[0] += 1
        if runs[0] == 4:
            raise KeyboardInterrupt
        return run(swarm)

    monkeypatch.setattr(Swarm, "run", interrupted)
    out = tmp_path / "out.html"
    words = ["report", str(out), *SMALL, "--policies", "damselfly,random", "--seeds", "3"]
    assert main(words) == 130
    assert "Partial: interrupted after 1 of 4 runs with other seeds." in out.read_text()


def test_ctrl_c_leaves_a_page_about_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    command = [sys.executable, "-u", "-m", "damselfly.cli.dfsim", "report", str(out)]
    command += [
        "--peers",
        "20",
        "--size",
        "20MB",
        "--policies",
        "damselfly,random,rarest,sequential",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("trace"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("dfsim: the page is partial: interrupted")
    assert len(err.splitlines()) == 1
    assert "Partial: interrupted" in out.read_text()
