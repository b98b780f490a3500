from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfsim import main
from damselfly.engine.swarm import Swarm
from damselfly.sim.fuzz import examine, examine_seed
from damselfly.sim.scenario_file import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from damselfly.sim.fuzz import Trial

FUZZ = ["fuzz", "--seeds", "4", "--first", "2"]


def test_seeds_that_do_not_fail_are_only_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FUZZ) == 0
    command, summary = capsys.readouterr().out.splitlines()
    assert command == "dfsim fuzz --first 2 --seeds 4"
    assert summary.startswith("4 seeds, 0 failed, ")


def test_what_fails_comes_with_the_command_that_repeats_it_and_a_small_scenario(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        Swarm, "cdn_is_free", property(lambda self: self.cdn_uploads <= self.slots.cdn_up)
    )
    assert main(FUZZ) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("4 seeds, ")
    failing = next(line for line in out.splitlines() if line.startswith("seed "))
    seed, checker, _ = failing.removeprefix("seed ").split(": ", 2)
    assert checker == "Slots"
    command = f"dfsim fuzz --first {seed} --seeds 1"
    assert f"  {command}\n" in out
    file = tmp_path / "small.yml"
    file.write_text(out.partition("--paranoid:\n\n")[2].partition("\n\n")[0].rpartition("\n")[0])
    again = examine(load(file)).objection
    assert again is not None
    assert again.checker == "Slots"
    assert main([*shlex.split(command)[1:], "--no-shrink"]) == 1
    assert "--paranoid" not in capsys.readouterr().out


def test_an_interrupt_leaves_a_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seeds: Sequence[int], *, jobs: int) -> Iterator[Trial]:
        yield examine_seed(seeds[0])
        yield examine_seed(seeds[1])
        raise KeyboardInterrupt

    monkeypatch.setattr("damselfly.sim.fuzz.fuzz", interrupted)
    assert main(FUZZ) == 130
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 of 4 seeds, 0 failed, ")


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--seeds", "0"], "--seeds"), (["--first", "-1"], "--first"), (["--jobs", "x"], "--jobs")],
)
def test_bad_usage_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fuzz", *words])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
