"""``/metrics`` after things have happened, read as Prometheus reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from damselfly.engine.ids import PeerId, TaskId
from damselfly.engine.messages import ReportMetrics
from damselfly.net.rest.metrics import Histogram, Metrics, Series, Sum

from ..origin_server import OriginServer
from .rest_support import Caller, calling, registration
from .swarm_support import get, request

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"x" * 2_000_000
REPORT = {
    "IP": "127.0.0.1",
    "port": 20000,
    "cID": "x",
    "taskId": "t",
    "duration": 1.5,
    "success": True,
    "backsourceReason": "0",
    "fileLength": 10,
    "callSystem": "cs",
}


class Scraped:
    """The samples of one scrape by name and labels."""

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            self.kinds[family.name] = family.type
            assert family.documentation
            for name, labels, value, *_ in family.samples:
                self._samples[name, frozenset(labels.items())] = value

    def of(self, name: str, **labels: str) -> float | None:
        return self._samples.get((f"dragonfly_{name}", frozenset(labels.items())))

    def names(self) -> set[str]:
        return {name for name, _ in self._samples}


async def scrape(call: Caller) -> Scraped:
    got = await call("GET", "/metrics")
    assert got.status == 200
    assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scraped(got.body.decode())


async def test_what_has_not_happened_is_not_there(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        found = await scrape(call)
        assert found.names() == {"dragonfly_supernode_build_info", "dragonfly_supernode_peers"}
        assert found.of("supernode_peers", peer="127.0.0.1") == 1


async def test_calls_are_counted_by_route(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for target in ("/_ping", "/v1.0/_ping", "/nosuch", "/api/v1/peers/a", "/api/v1/peers/b"):
            await call("GET", target)
        await call("POST", "/_ping")
        await call("POST", "/api/v1/peers", b"garbage")
        found = await scrape(call)
        total = "supernode_http_requests_total"
        assert found.of(total, code="200", handler="/_ping") == 2
        assert found.of(total, code="404", handler="/api/v1/peers/{id}") == 2
        assert found.of(total, code="400", handler="/api/v1/peers") == 1
        for name in ("request_duration_seconds", "request_size_bytes", "response_size_bytes"):
            name = f"supernode_http_{name}"
            assert found.kinds[f"dragonfly_{name}"] == "histogram"
            assert found.of(f"{name}_count", handler="/_ping") == 2
            assert found.of(f"{name}_bucket", handler="/_ping", le="+Inf") == 2
        assert found.of("supernode_http_response_size_bytes_sum", handler="/_ping") == 4
        size = found.of("supernode_http_request_size_bytes_sum", handler="/api/v1/peers")
        assert size is not None
        assert len("garbage") < size < 200


async def test_a_download_leaves_its_marks(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        origin.put("/bad", DATA, status=403)
        async with calling(tmp_path / "sn") as call:
            wanted = request(tmp_path, origin.url("/f"), "a", call.node, call_system="cs")
            outcome = await get(wanted)
            await call("POST", "/peer/registry", registration(origin.url("/bad"), "b"))
            found = await scrape(call)
            node = "supernode_"
            assert found.of(f"{node}peers", peer="127.0.0.1") == 2
            assert found.of(f"{node}tasks", cdnstatus="SUCCESS") == 1
            assert found.of(f"{node}tasks", cdnstatus="FAILED") == 1
            assert found.of(f"{node}tasks_registered_total") == 1
            assert found.of(f"{node}dfgettasks_registered_total", callsystem="cs") == 1
            assert found.of(f"{node}dfgettasks", callsystem="cs", status="SUCCESS") == 1
            assert found.of(f"{node}cdn_trigger_total") == 2
            assert found.of(f"{node}cdn_trigger_failed_total") == 1
            assert found.of(f"{node}cdn_download_total") == 2
            assert found.of(f"{node}cdn_download_failed_total") == 1
            given = found.of(f"{node}pieces_downloaded_size_bytes_total")
            assert given == len(DATA) + 2 * 5
            scheduled = found.of(f"{node}schedule_duration_milliseconds_count", peer="127.0.0.1")
            assert scheduled
            await call("DELETE", f"/api/v1/tasks/{outcome.task}?full=true")
            found = await scrape(call)
            assert found.of(f"{node}gc_tasks_total") == 1
            assert found.of(f"{node}gc_peers_total") == 1
            assert found.of(f"{node}gc_disks_total") == 1
            stamp = found.of(f"{node}last_gc_disks_timestamp_seconds")
            assert stamp
            assert stamp > 1.7e9


async def test_reports_of_dfgets(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        for _ in range(2):  # as 1.0.6 sends them
            got = await call("POST", "/task/metrics", REPORT)
            assert (got.status, got.body) == (200, b"null\n")
        failed = REPORT | {"cID": "y", "success": False, "backsourceReason": "3"}
        await call("POST", "/task/metrics", failed)
        found = await scrape(call)
        of = {"callsystem": "cs", "peer": "127.0.0.1"}
        assert found.of("dfget_download_total", **of) == 2
        assert found.of("dfget_download_size_bytes_total", **of) == 10
        assert found.of("dfget_download_duration_seconds_sum", **of) == 1.5
        assert found.of("dfget_download_duration_seconds_bucket", **of, le="10.0") == 1
        assert found.of("dfget_download_failed_total", **of, reason="3") == 1
        assert found.of("supernode_dfgettasks_failed_total", callsystem="cs") == 1


async def test_a_caller_cannot_break_the_format(tmp_path: Path) -> None:
    async with calling(tmp_path) as call:
        label = 'a"b\\c{}=,é'
        await call("POST", "/task/metrics", REPORT | {"callSystem": label})
        found = await scrape(call)
        assert found.of("dfget_download_total", callsystem=label, peer="127.0.0.1") == 1


async def test_a_restarted_supernode_counts_what_it_finds_on_disk(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with calling(tmp_path / "sn") as call:
            await get(request(tmp_path, origin.url("/f"), "a", call.node))
            assert (await scrape(call)).of("supernode_cdn_cache_hit_total") is None
        async with calling(tmp_path / "sn") as call:
            await get(request(tmp_path, origin.url("/f"), "b", call.node))
            assert (await scrape(call)).of("supernode_cdn_cache_hit_total") == 1


def test_values_on_the_bound_count_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 14.0


def test_labels_of_strangers_are_bounded() -> None:
    series = Series(Sum)
    for number in range(5000):
        series.of(str(number), "x").add()
    found = dict(series)
    assert len(found) == 2001
    assert sum(one.value for one in found.values()) == 5000
    assert found["others", "others"].value == 3000


def test_a_report_is_remembered_only_for_a_while() -> None:
    metrics = Metrics()

    def report(number: int) -> None:
        said = ReportMetrics(TaskId("t"), PeerId(str(number)), "ip", 0, True, 1.0, 1)
        metrics.downloaded(said)

    for number in (*range(5000), 4999, 0):
        report(number)
    assert dict(metrics.downloads)["", "ip"].value == 5001


def test_the_library_is_not_imported_before_somebody_asks() -> None:
    code = (
        "import sys, damselfly.net.supernode\n"
        "print(sorted({'prometheus_client', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
