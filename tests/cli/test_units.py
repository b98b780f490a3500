from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.cli.units import (
    as_argument,
    parse_duration,
    parse_rate,
    parse_size,
    parse_v1_rate,
)
from damselfly.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1500", 1500),
        ("7B", 7),
        ("200MB", 200_000_000),
        ("200mb", 200_000_000),
        ("200MiB", 209_715_200),
        ("1.5 GB", 1_500_000_000),
        (".5KiB", 512),
        ("3kB", 3000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e6", "20M", "20 Mbit", "1,5GB", "٣", "1.2.3MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match=f"size '{text}': expected a number and B, kB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("200mbit", 25e6),
        ("2gbit", 250e6),
        ("2Gbit/s", 250e6),
        ("8bit", 1.0),
        ("25MB/s", 25e6),
        ("24MiB/s", 24 * 1024**2),
        ("1000/s", 1000),
        ("0.5kbit", 62.5),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "200", "25MB", "200mbit/m", "25MB/m", "fast", "-1mbit", "/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ConfigError, match=f"rate '{text}': expected for example 200mbit"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0", 0),
        ("20", 20),
        ("20B", 20),
        ("20k", 20 << 10),
        ("20K", 20 << 10),
        ("20KB", 20 << 10),
        ("20m", 20 << 20),
        ("20M", 20 << 20),
        ("20MB", 20 << 20),
        ("20g", 20 << 30),
        ("20G", 20 << 30),
        ("20GB", 20 << 30),
    ],
)
def test_rates_of_dfget(text: str, rate: int) -> None:
    assert parse_v1_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5M", "20kb", "20mB", "20MiB", "20T", " 20", "٣M"]
)
def test_what_dfget_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match=f"rate '{text}': expected a whole number"):
        parse_v1_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.5ms", 0.0005), ("100us", 0.0001), ("2s", 2), ("5m", 300), ("1h", 3600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "-1s", "1d", "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match=f"duration '{text}': expected"):
        parse_duration(text)


@pytest.mark.parametrize("parse", [parse_size, parse_rate, parse_v1_rate, parse_duration])
@given(text=st.text(max_size=12) | st.from_regex(r"[0-9.]{1,5} ?[kKmMgGiIbBstu/]{0,4}"))
def test_any_text_is_a_value_or_an_error(parse: Callable[[str], float], text: str) -> None:
    try:
        value = parse(text)
    except ConfigError:
        return
    assert value >= 0


def test_argparse_shows_the_message() -> None:
    assert as_argument(parse_size)("5") == 5
    with pytest.raises(argparse.ArgumentTypeError, match="size 'x': expected"):
        as_argument(parse_size)("x")
