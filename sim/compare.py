"""Policies side by side: the same scenarios and seeds under each, and what they differ by.

All policies meet the same fleets: what a seed draws for one it draws for all.  So differences are
taken seed by seed, and their intervals are much narrower than those of the figures themselves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import atan, cos, inf, pi, sin, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final, NamedTuple

from .pool import each
from .report import percentile
from .swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .report import Report
    from .scenario import Scenario

METRICS: Final = ("mean", "p50", "p99", "max")
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: completions in seconds, their bounds, and copies of the file that were sent."""

    scenario: str
    policy: str
    seed: int
    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float
    bound_mean_s: float
    bound_max_s: float
    supernode_files: float
    origin_files: float
    unfinished: int
    """Peers that live and do not have what they wanted; the times do not count them."""

    def as_dict(self) -> dict[str, object]:
        """Return it as what JSON knows; what is infinite is ``null``."""
        return _finite(asdict(self))


class Interval(NamedTuple):
    """A mean, and how far from it the true one may be, with 95 % confidence; ``inf``: anywhere."""

    mean: float
    half: float

    @property
    def is_clear(self) -> bool:
        """Tell whether it leaves no doubt on which side of 0 it is."""
        return abs(self.mean) > self.half


class Job(NamedTuple):
    """One run to be made; ``name`` is the scenario's."""

    name: str
    scenario: Scenario


def jobs_for(
    scenarios: Mapping[str, Scenario], policies: Sequence[str], seeds: Iterable[int]
) -> list[Job]:
    """List the runs of a comparison, so ordered that any beginning of it can be compared."""
    return [
        Job(name, replace(scenario, policy=policy, seed=seed))
        for seed in seeds
        for name, scenario in scenarios.items()
        for policy in policies
    ]


def play(jobs: Sequence[Job], *, processes: int = 1) -> Iterator[Outcome]:
    """Make all runs, yielding each as it is done; with several processes in any order."""
    return each(play_one, jobs, processes=processes)


def play_one(job: Job) -> Outcome:
    """Make one run."""
    return outcome_of(job.name, Swarm(job.scenario, digests=False).run())


def outcome_of(name: str, report: Report) -> Outcome:
    """Return what a run of the scenario of this name came to."""
    scenario = report.scenario
    times, file_bytes = report.completions_s, max(1, scenario.file_bytes)
    bound_mean_s, bound_max_s = scenario.bounds
    return Outcome(
        scenario=name,
        policy=scenario.policy,
        seed=scenario.seed,
        mean_s=fmean(times) if times else inf,
        p50_s=percentile(times, 50) or inf,
        p99_s=percentile(times, 99) or inf,
        max_s=times[-1] if times else inf,
        bound_mean_s=bound_mean_s,
        bound_max_s=bound_max_s,
        supernode_files=report.supernode_bytes / file_bytes,
        origin_files=report.origin_bytes / file_bytes,
        unfinished=report.unfinished,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one scenario: seconds, ratios to the bound, copies; over ``runs`` seeds."""

    scenario: str
    policy: str
    runs: int
    seconds: Mapping[str, Interval]
    """By metric."""
    ratio_mean: float
    ratio_max: float
    supernode_files: float
    origin_files: float
    unfinished: int
    against: Mapping[str, Interval]
    """By metric, how much longer than the first policy it took, as a share; seed by seed."""

    def as_dict(self) -> dict[str, object]:
        """Return it as what JSON knows; what is infinite is ``null``."""
        made = _finite(asdict(self))
        for key in ("seconds", "against"):
            intervals: Mapping[str, Interval] = getattr(self, key)
            made[key] = {metric: _finite(one._asdict()) for metric, one in intervals.items()}
        return made


def tabulate(outcomes: Iterable[Outcome], policies: Sequence[str]) -> list[Row]:
    """Sum up what was run, by scenario; policies in this order, each compared with the first."""
    found: dict[str, dict[str, dict[int, Outcome]]] = {}
    for one in sorted(outcomes, key=lambda one: one.seed):
        found.setdefault(one.scenario, {}).setdefault(one.policy, {})[one.seed] = one
    return [
        _row(by_policy[policy], by_policy.get(policies[0], {}))
        for by_policy in found.values()
        for policy in policies
        if policy in by_policy
    ]


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of some values and its 95 % confidence interval, by Student's t."""
    if len(values) < 2:
        return Interval(values[0], inf)
    mean = fmean(values)
    if mean == inf:
        return Interval(inf, inf)
    return Interval(mean, student(len(values) - 1) * stdev(values) / sqrt(len(values)))


def student(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t with ``freedom`` degrees of freedom."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < _CONFIDENCE else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return the probability of at most ``t`` from 0 (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = atan(t / sqrt(freedom))
    is_odd = freedom % 2
    term = cos(angle) if is_odd else 1.0
    total = 0.0
    for step in range(1 + is_odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * step / (step + 1)
    if is_odd:
        return 2 / pi * (angle + sin(angle) * total)
    return sin(angle) * total


def _row(runs: Mapping[int, Outcome], first: Mapping[int, Outcome]) -> Row:
    outcomes = list(runs.values())
    some = outcomes[0]
    pairs = [(runs[seed], first[seed]) for seed in runs if seed in first]
    return Row(
        scenario=some.scenario,
        policy=some.policy,
        runs=len(outcomes),
        seconds={metric: interval([_time(one, metric) for one in outcomes]) for metric in METRICS},
        ratio_mean=fmean(one.mean_s / one.bound_mean_s for one in outcomes),
        ratio_max=fmean(one.max_s / one.bound_max_s for one in outcomes),
        supernode_files=fmean(one.supernode_files for one in outcomes),
        origin_files=fmean(one.origin_files for one in outcomes),
        unfinished=sum(one.unfinished for one in outcomes),
        against={
            metric: interval([_longer(_time(one, metric), _time(by, metric)) for one, by in pairs])
            for metric in METRICS
            if pairs
        },
    )


def _time(outcome: Outcome, metric: str) -> float:
    return getattr(outcome, f"{metric}_s")


def _longer(seconds: float, than: float) -> float:
    return seconds / than - 1 if 0 < than < inf else 0.0


def _finite(figures: Mapping[str, object]) -> dict[str, object]:
    return {name: None if value == inf else value for name, value in figures.items()}
