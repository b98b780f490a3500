"""What a daemon counts, and how Prometheus reads it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..rest.exposition import machine, runtime
from .content import FROM_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from .served import Served

_PREFIX: Final = "dragonfly_dfdaemon_"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"})


class DaemonMetrics:
    """The counters of one daemon; ``build_info`` is that of dfdaemon 1.0.6, the rest is ours."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        build = {
            "version": version,
            "revision": "",
            "os": platform.system().lower(),
            "arch": machine(),
            "goversion": runtime(),
        }
        what = "Always 1, with what this daemon is as labels"
        Gauge(_PREFIX + "build_info", what, tuple(build), registry=registry).labels(**build).set(1)
        self._requests = Counter(
            _PREFIX + "requests",
            "Requests that ended, by how they came, where the answer came from, and how they ended",
            ("entry", "method", "code", "source", "outcome"),
            registry=registry,
        )
        self._bytes = Counter(
            _PREFIX + "sent_bytes",
            "Bytes of bodies sent to clients, by where they came from",
            ("source",),
            registry=registry,
        )
        self._fallbacks = Counter(
            _PREFIX + "fallbacks",
            "Answers that came from the origin where the rules want the swarm",
            registry=registry,
        )
        self._first_byte = Histogram(
            _PREFIX + "first_byte_seconds",
            "Time from a request to the first byte of the answer's body",
            ("source",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._seconds = Histogram(
            _PREFIX + "request_seconds",
            "Time from a request to the end of its answer",
            ("source",),
            buckets=_SECONDS,
            registry=registry,
        )

    def served(self, served: Served) -> None:
        """Count one request."""
        source = served.source or "none"
        method = served.method if served.method in _METHODS else "other"
        self._requests.labels(
            served.entry.value, method, str(served.status), source, served.outcome.value
        ).inc()
        self._bytes.labels(source).inc(served.sent_bytes)
        if served.source == FROM_ORIGIN and (served.task or served.reason):
            self._fallbacks.inc()
        self._seconds.labels(source).observe(served.seconds)
        if served.first_byte_s is not None:
            self._first_byte.labels(source).observe(served.first_byte_s)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a number that ``value`` returns when somebody asks."""
        Gauge(_PREFIX + name, what, registry=self._registry).set_function(value)

    def count(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a number that only grows as ``dragonfly_dfdaemon_<name>_total``."""
        self._registry.register(_Count(_PREFIX + name, what, value))

    def text(self) -> bytes:
        """Return all of it as Prometheus scrapes it."""
        return generate_latest(self._registry)


class _Count(Collector):
    def __init__(self, name: str, what: str, value: Callable[[], float]) -> None:
        self._name, self._what, self._value = name, what, value

    def collect(self) -> Iterator[Metric]:
        """Look."""
        yield CounterMetricFamily(self._name, self._what, value=self._value())
