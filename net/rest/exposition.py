"""The counts as Prometheus reads them: names, labels and help of Dragonfly's ``/metrics``."""

from __future__ import annotations

import platform
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeAlias

from ...engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric
    from prometheus_client.registry import CollectorRegistry

    from ...engine.views import Census
    from .metrics import Histogram, Metrics, Series, Sum

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NODE: Final = "dragonfly_supernode_"
_DFGET: Final = "dragonfly_dfget_"
_HANDLER: Final = ("handler",)
_DOWNLOAD: Final = ("callsystem", "peer")

_Value: TypeAlias = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Sources:
    """What is looked at when somebody asks, instead of being counted all the time.

    ``census`` counts tasks and downloads, ``peers`` records by address.  Of the supernode's own
    copies ``copies_failed`` have failed, ``cache_hits`` needed no read, and all of them gave
    ``uploaded_bytes``.
    """

    census: Callable[[], Census]
    peers: Callable[[], Mapping[str, int]]
    copies_failed: Callable[[], int]
    uploaded_bytes: Callable[[], int]
    cache_hits: Callable[[], int]
    version: str


class Exposition:
    """Writes all that is known about one supernode."""

    def __init__(self, metrics: Metrics, sources: Sources) -> None:
        self._metrics, self._sources = metrics, sources
        self._registry: CollectorRegistry | None = None

    def text(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        from prometheus_client import CollectorRegistry, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Return each metric that has a value; the registry calls this."""
        yield from self._of_downloads()
        yield from self._of_calls()
        yield from self._of_swarms()
        yield from self._of_copies()

    def _of_downloads(self) -> Iterator[Metric]:
        found = self._metrics
        name, labels = _DFGET + "download", _DOWNLOAD
        yield from _histogram(
            f"{name}_duration_seconds", "Time that downloads took", labels, found.download_s
        )
        yield from _counter(
            f"{name}_size_bytes", "Bytes of downloaded files", labels, _of(found.download_bytes)
        )
        yield from _counter(name, "Downloads that ended", labels, _of(found.downloads))
        yield from _counter(
            f"{name}_failed",
            "Downloads that failed",
            (*labels, "reason"),
            _of(found.downloads_failed),
        )

    def _of_calls(self) -> Iterator[Metric]:
        calls = [stats for stats in self._metrics.calls if stats.statuses]
        statuses = [
            ((str(status), stats.name), count)
            for stats in calls
            for status, count in stats.statuses.items()
        ]
        name = _NODE + "http_request"
        yield from _counter(f"{name}s", "HTTP requests", ("code", *_HANDLER), statuses)
        durations = [((stats.name,), stats.duration_s) for stats in calls]
        yield from _histogram(
            f"{name}_duration_seconds", "Time until the answer", _HANDLER, durations
        )
        sizes = [((stats.name,), stats.request_bytes) for stats in calls]
        yield from _histogram(f"{name}_size_bytes", "Bytes of requests", _HANDLER, sizes)
        sizes = [((stats.name,), stats.response_bytes) for stats in calls]
        name = _NODE + "http_response_size_bytes"
        yield from _histogram(name, "Bytes of answers", _HANDLER, sizes)

    def _of_swarms(self) -> Iterator[Metric]:
        found, census = self._metrics, self._sources.census()
        peers = [((ip,), count) for ip, count in self._sources.peers().items()]
        yield from _gauge(_NODE + "peers", "Registered peers", ("peer",), peers)
        tasks = [((status.value,), count) for status, count in census.tasks.items()]
        yield from _gauge(_NODE + "tasks", "Tasks in memory", ("cdnstatus",), tasks)
        name = _NODE + "dfgettasks"
        downloads = [
            ((system, status.value), count) for (system, status), count in census.downloads.items()
        ]
        yield from _gauge(name, "Downloads by state", ("callsystem", "status"), downloads)
        yield from _counter(
            f"{name}_registered", "Downloads registered", ("callsystem",), _of(found.registered)
        )
        yield from _counter(
            f"{name}_failed", "Downloads that failed", ("callsystem",), _of(found.failed)
        )
        yield from _histogram(
            _NODE + "schedule_duration_milliseconds",
            "Time to find work for a peer",
            ("peer",),
            found.schedule_ms,
        )

    def _of_copies(self) -> Iterator[Metric]:
        found, sources = self._metrics, self._sources
        for name, what, value in (
            ("tasks_registered", "Registrations for tasks", found.tasks_registered.value),
            ("cdn_trigger", "Copies begun", found.copies_begun.value),
            ("cdn_trigger_failed", "Copies that failed", sources.copies_failed()),
            ("cdn_cache_hit", "Copies found on disk", sources.cache_hits()),
            ("cdn_download", "Reads of origins", found.reads.value),
            ("cdn_download_failed", "Reads of origins that failed", found.reads_failed.value),
            ("pieces_downloaded_size_bytes", "Bytes of pieces given", sources.uploaded_bytes()),
            ("gc_tasks", "Tasks forgotten", found.tasks_collected.value),
            ("gc_peers", "Peers forgotten", found.peers_collected.value),
            ("gc_disks", "Copies deleted from disk", found.copies_deleted.value),
        ):
            yield from _counter(_NODE + name, what, (), [((), value)] if value else ())
        if found.copy_deleted_at:
            name = _NODE + "last_gc_disks_timestamp_seconds"
            yield from _gauge(name, "Last deletion of a copy", (), [((), found.copy_deleted_at)])
        build = {
            "version": sources.version,
            "revision": "",
            "os": platform.system().lower(),
            "arch": machine(),
            "goversion": runtime(),
        }
        what = "Always 1, with what this supernode is as labels"
        yield from _gauge(_NODE + "build_info", what, tuple(build), [(tuple(build.values()), 1)])


def machine() -> str:
    """Return this machine's architecture as Go calls it."""
    name = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)


def runtime() -> str:
    """Return what runs this program, where Dragonfly names its version of Go."""
    return f"python{platform.python_version()}"


def _of(found: Series[Sum]) -> list[_Value]:
    return [(labels, one.value) for labels, one in found]


def _counter(
    name: str, what: str, labels: Sequence[str], values: Iterable[_Value]
) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, what, labels=labels)
    for found, value in values:
        family.add_metric(found, value)
    if family.samples:
        yield family


def _gauge(
    name: str, what: str, labels: Sequence[str], values: Iterable[_Value]
) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, what, labels=labels)
    for found, value in values:
        family.add_metric(found, value)
    if family.samples:
        yield family


def _histogram(
    name: str,
    what: str,
    labels: Sequence[str],
    values: Iterable[tuple[tuple[str, ...], Histogram]],
) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, what, labels=labels)
    for found, one in values:
        bounds = [*map(str, one.bounds), "+Inf"]
        family.add_metric(found, list(zip(bounds, accumulate(one.counts), strict=True)), one.total)
    if family.samples:
        yield family
