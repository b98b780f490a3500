"""Many runs over a space of settings: which there are to make, and what each came to."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from math import exp, log
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..engine.errors import ConfigError, DamselflyError
from .report import percentile
from .scenario_file import plain
from .swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .scenario import Scenario

_FOLDERS: Final = ("engine", "sim")
"""What decides how a run goes."""


class RunFailed(DamselflyError):
    """A run ended in an error; the message names its settings."""


class Choice(NamedTuple):
    """Values of which a random search draws one."""

    values: tuple[Any, ...]

    def draw(self, rng: Random) -> Any:
        """Return one of them."""
        return rng.choice(self.values)


class Range(NamedTuple):
    """Numbers between two ends, both included; ``is_log``: all orders of magnitude alike."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    def draw(self, rng: Random) -> float:
        """Return one of them."""
        if self.is_whole and not self.is_log:
            return rng.randint(int(self.low), int(self.high))
        if self.is_log:
            value = exp(rng.uniform(log(self.low), log(self.high)))
        else:
            value = rng.uniform(self.low, self.high)
        value = min(self.high, max(self.low, value))
        return round(value) if self.is_whole else value


Drawn: TypeAlias = "Choice | Range"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A space of settings around one scenario.

    Every combination of the values in ``grid`` is run with every one of ``draws`` random picks
    from ``ranges``, under each seed.  Settings are named as in scenario files, those within others
    with a dot: ``supernode_config.hold_s``.
    """

    name: str
    scenario: Scenario
    grid: Mapping[str, tuple[Any, ...]]
    ranges: Mapping[str, Drawn]
    draws: int
    draw_seed: int
    seeds: tuple[int, ...]

    def points(self) -> list[Point]:
        """Return all runs; a draw more, or a value more, leaves the others as they were.

        Raises:
            ConfigError: some settings do not go together; says what is wrong.

        """
        return [
            self._point({**dict(zip(self.grid, values, strict=True)), **drawn}, seed)
            for drawn in self._drawn()
            for values in product(*self.grid.values())
            for seed in self.seeds
        ]

    def _drawn(self) -> Iterator[dict[str, Any]]:
        for number in range(self.draws if self.ranges else 1):
            yield {
                key: drawn.draw(Random(f"{self.draw_seed}/{number}/{key}"))
                for key, drawn in self.ranges.items()
            }

    def _point(self, settings: dict[str, Any], seed: int) -> Point:
        scenario = replace(turned(self.scenario, settings), seed=seed)
        parameters = {key: plain(value) for key, value in settings.items()}
        text = f"{code_version()}\n{json.dumps(plain(scenario), sort_keys=True)}"
        key = blake2b(text.encode(), digest_size=8).hexdigest()
        return Point(key, code_version(), self.name, parameters, scenario)


class Point(NamedTuple):
    """One run to be made; ``key`` is the same as long as neither settings nor code change."""

    key: str
    version: str
    name: str
    parameters: dict[str, Any]
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Result:
    """A row: what a run came to, in seconds and bytes.

    ``mean_s`` to ``max_s`` are ``None`` if nobody got the file; ``unfinished`` peers live and did
    not.
    """

    key: str
    version: str
    scenario: str
    seed: int
    parameters: dict[str, Any]
    peers: int
    file_bytes: int
    mean_s: float | None
    p50_s: float | None
    p99_s: float | None
    max_s: float | None
    bound_mean_s: float
    bound_max_s: float
    ratio_mean: float | None
    ratio_max: float | None
    origin_bytes: int
    supernode_bytes: int
    peer_bytes: int
    unfinished: int
    simulated_s: float
    wall_s: float
    trace_digest: str


def play(point: Point) -> Result:
    """Make one run; may be called in any process that has the same version of this package.

    Raises:
        RunFailed: it is another version, or the simulation failed.

    """
    settings = ", ".join(f"{key} {value}" for key, value in point.parameters.items())
    said = f"{point.name}, {settings or 'as it is'}, seed {point.scenario.seed}"
    if point.version != code_version():
        here, there = code_version(), point.version
        raise RunFailed(f"{said}: the worker has damselfly {here}: expected {there}; install that")
    try:
        report = Swarm(point.scenario).run()
    except Exception as error:
        raise RunFailed(f"{said}: {type(error).__name__}: {error}") from error
    bound_mean_s, bound_max_s = point.scenario.bounds
    return Result(
        key=point.key,
        version=point.version,
        scenario=point.name,
        seed=point.scenario.seed,
        parameters=point.parameters,
        peers=point.scenario.peers,
        file_bytes=point.scenario.file_bytes,
        mean_s=report.mean_s,
        p50_s=percentile(report.completions_s, 50),
        p99_s=percentile(report.completions_s, 99),
        max_s=report.max_s,
        bound_mean_s=bound_mean_s,
        bound_max_s=bound_max_s,
        ratio_mean=report.ratio_mean,
        ratio_max=report.ratio_max,
        origin_bytes=report.origin_bytes,
        supernode_bytes=report.supernode_bytes,
        peer_bytes=report.peer_bytes,
        unfinished=report.unfinished,
        simulated_s=report.simulated_s,
        wall_s=report.wall_s,
        trace_digest=report.trace_digest,
    )


def turned(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """Return a scenario with some settings changed, all at once.

    Raises:
        ConfigError: it cannot be used; names the setting if it is one.

    """
    return _turned(scenario, settings, "")


def _turned(record: Any, settings: Mapping[str, Any], within: str) -> Any:
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        name, _, rest = key.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = value
        else:
            own[name] = value
    for name, values in inner.items():
        inside = getattr(record, name)
        if not dataclasses.is_dataclass(inside):
            key = f"{within}{name}.{next(iter(values))}"
            raise ConfigError(f"{key} is given: expected a scenario that has {within}{name}")
        own[name] = _turned(inside, values, f"{within}{name}.")
    return replace(record, **own)


@cache
def code_version() -> str:
    """Return the version of this package with a hash of all code that decides how a run goes."""
    root = Path(__file__).parent.parent
    digest = blake2b(digest_size=4)
    for path in sorted(path for folder in _FOLDERS for path in (root / folder).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    try:
        number = version("damselfly")
    except PackageNotFoundError:
        number = "0"
    return f"{number}+{digest.hexdigest()}"
