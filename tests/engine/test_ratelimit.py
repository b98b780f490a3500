"""The rate limit: what is sent over a long time, who waits how long, and changes under way."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import ConfigError, LocalProtocolError
from damselfly.engine.ratelimit import TokenBucket

MIB = 1 << 20


def test_a_long_stream_keeps_to_its_rate():
    bucket = TokenBucket(20 * MIB, 1 * MIB)
    now = start = 1_000_000.0
    for _ in range(10_000):
        now += bucket.take(65_536, now)
    rate = 10_000 * 65_536 / (now - start)
    assert rate == pytest.approx(20 * MIB, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 2)), min_size=1, max_size=100))
def test_no_pattern_of_use_sends_more_than_rate_and_burst_allow(script: list[tuple[int, float]]):
    bucket = TokenBucket(1000.0, 500)
    now = sent = 0.0
    for n, pause in script:
        now += pause
        now += bucket.take(n, now)
        sent += n
        assert sent <= 500 + 1000.0 * now + 1e-3


def test_a_burst_is_free_and_comes_back_no_larger():
    bucket = TokenBucket(1000, 500)
    assert bucket.take(500, 0.0) == 0.0
    assert bucket.take(100, 0.0) == pytest.approx(0.1)
    assert bucket.take(500, 1000.0) == 0.0
    assert bucket.take(1000, 1000.0) == pytest.approx(1.0)


def test_those_who_ask_first_go_first():
    bucket = TokenBucket(1000, 0)
    waits = [bucket.take(100, 0.0) for _ in range(4)]
    assert waits == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert bucket.take(100, 0.2) == pytest.approx(0.3)


def test_more_than_the_burst_at_once_waits_instead_of_failing():
    assert TokenBucket(1000, 10).take(2010, 5.0) == pytest.approx(2.0)


@pytest.mark.parametrize("rate", [0, None, 0.0])
def test_no_limit(rate: float | None):
    bucket = TokenBucket(rate, 10)
    assert [bucket.take(10**12, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_the_rate_changes_at_run_time_and_debts_stay():
    bucket = TokenBucket(1000, 0)
    bucket.take(1000, 0.0)
    bucket.set_rate(500, 0.5)
    assert bucket.rate_bytes_per_s == 500
    assert bucket.take(0, 0.5) == pytest.approx(1.0)
    bucket.set_rate(None, 0.5)
    assert bucket.take(10**9, 0.5) == 0.0
    bucket.set_rate(1000, 2.0)
    assert bucket.take(100, 2.0) == pytest.approx(0.1)


def test_a_clock_that_runs_backwards_earns_nothing():
    bucket = TokenBucket(1000, 0)
    assert bucket.take(100, 10.0) == pytest.approx(0.1)
    assert bucket.take(100, 9.0) == pytest.approx(0.2)
    assert bucket.take(0, 10.1) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [-1.0, inf, float("nan")])
def test_impossible_rates(rate: float):
    with pytest.raises(ConfigError, match="rate of"):
        TokenBucket(rate, 10)


def test_impossible_burst_and_request():
    with pytest.raises(ConfigError, match="burst of -1"):
        TokenBucket(1000, -1)
    with pytest.raises(LocalProtocolError, match="-5 bytes"):
        TokenBucket(1000, 1).take(-5, 0.0)
