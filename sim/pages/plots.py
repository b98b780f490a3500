"""The charts that show how runs went."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from .charts import Axis, Band, Chart, HeatChart, Line, Mark, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..recorder import Record, Sample
    from ..report import Report
    from .charts import Point

_MOST_POINTS: Final = 500
_ROOM: Final = 1.03
"""What an axis goes on beyond the last value."""
_SOURCES: Final[tuple[tuple[str, int, Callable[[Sample], int]], ...]] = (
    ("origin", 1, lambda sample: sample.origin_bytes),
    ("supernode", 2, lambda sample: sample.supernode_bytes),
    ("peers", 0, lambda sample: sample.peer_bytes),
    ("own disk", 3, lambda sample: sample.own_bytes),
)


class Run(NamedTuple):
    """A run that was recorded; ``name`` is its policy's."""

    name: str
    report: Report
    record: Record


def charts(runs: Sequence[Run]) -> list[Chart | HeatChart]:
    """Return all charts of at least one run, in the order in which they are best read."""
    return [
        completion(runs),
        progress(runs),
        *(sources(run, runs) for run in runs),
        fairness(runs),
        *(arrivals(run, runs) for run in runs),
    ]


def completion(runs: Sequence[Run]) -> Chart:
    """Return how many peers had the file how long after their start."""
    bound_mean_s, bound_max_s = runs[0].report.scenario.bounds
    last_s = max(run.report.max_s or 0.0 for run in runs)
    return Chart(
        slug="completion",
        title="Completion",
        note=(
            "Share of all peers that had everything so long after their own start. No peer can"
            " be earlier than its links allow: the dotted marks are lower bounds on the mean"
            " and on the last completion."
        ),
        x=Axis("time since the peer's start (s)", 0.0, max(last_s, bound_max_s, 1e-9) * _ROOM),
        y=Axis("peers that have the file (%)", 0.0, 100.0, unit="%"),
        lines=tuple(
            Line(run.name, _cdf(run.report.completions_s, run.report.scenario.peers), number)
            for number, run in enumerate(runs)
        ),
        marks=(Mark("bound on the mean", bound_mean_s), Mark("bound on the last", bound_max_s)),
    )


def progress(runs: Sequence[Run]) -> Chart:
    """Return how much of the file the peers held as time went on."""
    lines: list[Line] = []
    for number, run in enumerate(runs):
        median = tuple((one.at_s, 100 * one.median) for one in run.record.samples)
        done = tuple((one.at_s, 100 * one.done) for one in run.record.samples)
        name = _prefix(run, runs)
        lines.append(Line(f"{name}median peer", median, number))
        lines.append(Line(f"{name}finished peers", done, number, dashed=True))
    return Chart(
        slug="progress",
        title="Progress of the swarm",
        note=(
            "Pieces held and verified, as a share of what a peer wants: the median peer, and as"
            " an area all but the slowest and the fastest tenth. Dashed: the share of peers that"
            " are done. Peers that are still to come, or are gone, count with what they held."
        ),
        x=_time(runs),
        y=Axis("share (%)", 0.0, 100.0, unit="%"),
        lines=tuple(lines),
        bands=tuple(
            Band(
                f"{_prefix(run, runs)}middle 80 % of peers",
                tuple((one.at_s, 100 * one.low, 100 * one.high) for one in run.record.samples),
                number,
            )
            for number, run in enumerate(runs)
        ),
    )


def sources(run: Run, runs: Sequence[Run]) -> Chart:
    """Return who had sent how many bytes as time went on, on axes that all runs share."""
    totals = [read(one.record.samples[-1]) for one in runs for _, _, read in _SOURCES]
    piece = max(1, runs[0].report.scenario.layout.content_size)
    return Chart(
        slug=f"sources-{run.name}",
        title=f"Bytes by source: {run.name}",
        note=(
            "Content sent up to each moment, on a logarithmic axis. What the origin sends goes to"
            " the supernode, or to peers that have none; own disk is what peers found on their"
            " own disks after a restart."
        ),
        x=_time(runs),
        y=Axis("content sent in all (bytes)", piece / 2, max([piece, *totals]) * 2, Scale.LOG, "B"),
        lines=tuple(
            Line(name, tuple((one.at_s, float(read(one))) for one in samples), colour)
            for samples in [run.record.samples]
            for name, colour, read in _SOURCES
            if read(samples[-1])
        ),
    )


def fairness(runs: Sequence[Run]) -> Chart:
    """Return how evenly peers share the work: a Lorenz curve."""
    lines = [
        Line(
            f"{run.name} (Gini {run.record.gini:.2f})",
            _lorenz(run.record.uploaded_bytes),
            number,
        )
        for number, run in enumerate(runs)
    ]
    return Chart(
        slug="fairness",
        title="Fairness of uploads",
        note=(
            "The part of all bytes between peers that the least busy peers uploaded (Lorenz"
            " curve). On the dashed diagonal all give alike (Gini 0); the further below it, the"
            " more a few peers carry the rest."
        ),
        x=Axis("peers, least busy first (%)", 0.0, 100.0, unit="%"),
        y=Axis("share of bytes uploaded by peers (%)", 0.0, 100.0, unit="%"),
        lines=(Line("all alike", ((0.0, 0.0), (100.0, 100.0)), -1, dashed=True), *lines),
    )


def arrivals(run: Run, runs: Sequence[Run]) -> HeatChart:
    """Return when which pieces came to which peers, in colours that mean the same in all runs."""
    heat = run.record.heat
    shared = heat.rows < heat.peers or heat.columns < heat.pieces
    return HeatChart(
        slug=f"arrivals-{run.name}",
        title=f"Arrival of pieces: {run.name}",
        note=(
            "When each piece came to each peer, from the start of the run; what stayed blank never"
            " came." + (" Each cell is a mean over neighbours." if shared else "")
        ),
        heat=heat,
        latest_s=max(run.record.samples[-1].at_s for run in runs),
    )


def percentile_rows(run: Run) -> list[tuple[str, str]]:
    """Return how many bytes peers uploaded, as text, in files' worth."""
    uploads, size = sorted(run.record.uploaded_bytes), max(1, run.report.scenario.file_bytes)
    at = {"least": 0.0, "10th percentile": 0.1, "median": 0.5, "90th percentile": 0.9, "most": 1.0}
    return [
        (name, f"{uploads[max(0, ceil(len(uploads) * share) - 1)] / size:.2f}")
        for name, share in at.items()
    ]


def _prefix(run: Run, runs: Sequence[Run]) -> str:
    return f"{run.name}: " if len(runs) > 1 else ""


def _time(runs: Sequence[Run]) -> Axis:
    last_s = max(run.record.samples[-1].at_s for run in runs)
    return Axis("time since the start of the run (s)", 0.0, max(last_s, 1e-9))


def _cdf(times_s: Sequence[float], peers: int) -> tuple[Point, ...]:
    """Return a staircase through some of the ascending times, the first and last among them."""
    ranks = sorted({ceil(len(times_s) * n / _MOST_POINTS) for n in range(1, _MOST_POINTS + 1)})
    points, share = [(0.0, 0.0)], 0.0
    for rank in ranks if times_s else ():
        points.append((times_s[rank - 1], share))
        share = 100 * rank / peers
        points.append((times_s[rank - 1], share))
    return tuple(points)


def _lorenz(amounts: Sequence[int]) -> tuple[Point, ...]:
    ascending, total = sorted(amounts), max(1, sum(amounts))
    every = max(1, len(ascending) // _MOST_POINTS)
    points, upto = [(0.0, 0.0)], 0
    for rank, one in enumerate(ascending, 1):
        upto += one
        if rank % every == 0 or rank == len(ascending):
            points.append((100 * rank / len(ascending), 100 * upto / total))
    return tuple(points)
