"""Traces of simulated supernodes, as real ones would have recorded them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from damselfly.engine.supernode import SupernodeEngine
from damselfly.engine.trace import TraceWriter
from damselfly.sim import supernode as simulated
from damselfly.sim.swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from random import Random

    import pytest

    from damselfly.engine.config import SupernodeConfig
    from damselfly.sim.report import Report
    from damselfly.sim.scenario import Scenario

SEED = 5


def record(
    scenario: Scenario,
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    records_per_file: int = 1 << 30,
    **header: object,
) -> Report:
    """Run a scenario of one supernode, and write what its engine was told to ``folder``."""
    writers: list[_Writer] = []

    class Recorded(SupernodeEngine):
        def __init__(self, config: SupernodeConfig, rng: Random) -> None:
            rng.seed(SEED)
            super().__init__(config, rng)
            about = {"engine": "supernode", "config": config, "seed": SEED, **header}
            writers.append(_Writer(folder, about, records_per_file))
            self._depth = 0

        def handle(self, event: Any, now: float) -> Any:
            self._depth += 1
            effects = super().handle(event, now)
            self._depth -= 1
            writers[-1].record(now, event, effects)
            return effects

        def tick(self, now: float) -> Any:
            effects = super().tick(now)
            if not self._depth:
                writers[-1].record(now, None, effects)
            return effects

    folder.mkdir(exist_ok=True)
    with patch.context() as inside:
        inside.setattr(simulated, "SupernodeEngine", Recorded)
        return Swarm(scenario).run()


class _Writer:
    def __init__(self, folder: Path, header: Mapping[str, object], records_per_file: int) -> None:
        self._folder, self._most = folder, records_per_file
        self._records = 0
        self._writer = TraceWriter(self._write, {"recording": "sim", **header})

    def record(self, now: float, event: object | None, effects: Sequence[object]) -> None:
        if self._records and self._records % self._most == 0:
            part = self._records // self._most + 1
            self._writer.begin({"part": part, "first_record": self._records + 1})
        self._writer.record(now, event, effects)
        self._records += 1

    def _write(self, data: bytes) -> None:
        path = self._folder / f"sim-{self._records // self._most + 1:06d}.trace"
        with path.open("ab") as file:
            file.write(data)
