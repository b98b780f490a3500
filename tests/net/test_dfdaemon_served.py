"""What stays of a request: its line in the access log and its part in the counters."""

from __future__ import annotations

import json
import logging

import pytest

from damselfly.net.dfdaemon.metrics import DaemonMetrics
from damselfly.net.dfdaemon.served import (
    ACCESS_LOG,
    AccessLog,
    Entry,
    Outcome,
    Served,
    access_line,
    without_secrets,
)


def served(**changes: object) -> Served:
    values: dict[str, object] = {
        "client": "127.0.0.1",
        "entry": Entry.MIRROR,
        "method": "GET",
        "url": "http://h/v2/x/blobs/sha256:00",
        "status": 200,
        "sent_bytes": 10,
        "seconds": 0.25,
        "first_byte_s": 0.125,
        "source": "p2p",
        "task": "t",
    }
    return Served(**(values | changes))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@h/f?a=1", "http://redacted-1@h/f?a=1"),
        ("https://s3/f?X-Amz-Signature=abc&x=1", "https://s3/f?X-Amz-Signature=redacted&x=1"),
        ("/f?OSSAccessKeyId=abc&token=def#t", "/f?OSSAccessKeyId=redacted&token=redacted#t"),
        ("/f?tok=en&name=key", "/f?tok=en&name=key"),
    ],
)
def test_urls_lose_their_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_a_line_is_one_object(caplog: pytest.LogCaptureFixture) -> None:
    one = served(reason="http://u:p@h\nbroke", outcome=Outcome.FAILED)
    line = access_line(one)
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("time")
    assert found == {
        "client": "127.0.0.1",
        "entry": "mirror",
        "method": "GET",
        "url": "http://h/v2/x/blobs/sha256:00",
        "status": 200,
        "sent_bytes": 10,
        "seconds": 0.25,
        "first_byte_s": 0.125,
        "outcome": "failed",
        "source": "p2p",
        "task": "t",
        "reason": "http://redacted-1@h\nbroke",
    }
    ACCESS_LOG.addHandler(caplog.handler)
    try:
        AccessLog(DaemonMetrics("1")).served(one)
        assert caplog.messages == []
        ACCESS_LOG.setLevel(logging.INFO)
        AccessLog(DaemonMetrics("1")).served(one)
        (message,) = caplog.messages
        assert json.loads(message)["task"] == "t"
    finally:
        ACCESS_LOG.setLevel(logging.NOTSET)
        ACCESS_LOG.removeHandler(caplog.handler)


def test_requests_are_counted_by_route_and_result() -> None:
    metrics = DaemonMetrics("1.2")
    metrics.watch("connections", "Now.", lambda: 3)
    metrics.count("downloads", "Ever.", lambda: 4)
    metrics.served(served())
    metrics.served(served(source="direct", entry=Entry.PROXY))
    metrics.served(served(source="direct", task="", entry=Entry.TUNNEL, method="CONNECT"))
    metrics.served(served(source="", task="", status=407, method="STRANGE", first_byte_s=None))
    lines = metrics.text().decode().splitlines()
    prefix = "dragonfly_dfdaemon_"
    labels = 'code="200",entry="mirror",method="GET",outcome="complete",source="p2p"'
    strange = 'code="407",entry="mirror",method="other",outcome="complete",source="none"'
    for line in (
        f"{prefix}requests_total{{{labels}}} 1.0",
        f"{prefix}requests_total{{{strange}}} 1.0",
        f'{prefix}sent_bytes_total{{source="direct"}} 20.0',
        f'{prefix}first_byte_seconds_count{{source="p2p"}} 1.0',
        f'{prefix}request_seconds_bucket{{le="0.25",source="p2p"}} 1.0',
        f"{prefix}fallbacks_total 1.0",
        f"{prefix}connections 3.0",
        f"{prefix}downloads_total 4.0",
    ):
        assert line in lines
    assert any(line.startswith(f"{prefix}build_info{{") and '"1.2"' in line for line in lines)
