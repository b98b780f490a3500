"""What the commands of ``dfsim`` have in common: which scenario, with which knobs turned."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ...engine.errors import ConfigError
from ...engine.piece import PieceSizePolicy
from ...engine.rules import POLICY_NAMES, check_policy
from ...sim.scenario import NetworkModel, Scenario
from ..units import as_argument, parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

UNITS: Final = """\
Sizes: 200MB (powers of 1000), 200MiB (powers of 1024).  Rates: 200mbit, 2gbit (bits per second),
25MB/s.  Durations: 0.5ms, 2s.
"""


class Given(NamedTuple, Generic[T]):
    """An option's value, and how the user wrote it."""

    text: str
    value: T


class Knob(NamedTuple):
    """A flag that sets fields of the scenario; ``default`` as text, empty for none."""

    flag: str
    metavar: str
    parse: Callable[[str], Any]
    default: str
    text: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """The attribute of the parsed arguments."""
        return self.flag.removeprefix("--").replace("-", "_")


def add_scenario(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Add the choice of a scenario and all knobs to a command's parser."""
    group = parser.add_argument_group("scenario")
    chosen = "a YAML file, or the name of a scenario that comes along; knobs below override it"
    if positional:
        parser.add_argument("file", metavar="SCENARIO", nargs="?", help=chosen)
    group.add_argument("--scenario", metavar="FILE|NAME", help=chosen)
    for knob in KNOBS:
        parsed = as_argument(knob.parse)
        group.add_argument(
            knob.flag,
            metavar=knob.metavar,
            type=lambda given, parsed=parsed: Given(given, parsed(given)),
            help=f"{knob.text} (default: {knob.default})" if knob.default else knob.text,
        )
    group.add_argument(
        "--peer-servers",
        action="store_true",
        help="put every upload to the engine of the parent's peer server (a fifth slower)",
    )


def scenario_of(args: argparse.Namespace) -> Scenario:
    """Return the scenario that the arguments ask for.

    Raises:
        ConfigError: it cannot be used; says what is wrong.

    """
    name = chosen(args)
    scenario = Scenario() if name is None else _load(name)
    turned: dict[str, Any] = {}
    for knob, given in _turned(args):
        turned |= dict.fromkeys(knob.fields, given.value)
    if args.peer_servers:
        turned["peer_servers"] = True
    return replace(scenario, **turned)


def repeating(
    command: str,
    args: argparse.Namespace,
    switches: tuple[str, ...] = (),
    *,
    without: str = "",
) -> str:
    """Return the command line that repeats this one; ``switches`` are its own flags.

    ``without`` is the flag of a knob that the command has something else for.
    """
    words = ["dfsim", command]
    if (name := chosen(args)) is not None:
        words += ["--scenario", name]
    for knob, given in _turned(args):
        if knob.flag != without:
            words += [knob.flag, given.text]
    for switch in ("peer_servers", *switches):
        if getattr(args, switch):
            words.append(f"--{switch.replace('_', '-')}")
    return shlex.join(words)


def chosen(args: argparse.Namespace) -> str | None:
    """Return the scenario that was asked for, ``None``: none; ``ConfigError`` if there are two."""
    first, second = getattr(args, "file", None), args.scenario
    if first is not None and second is not None:
        raise ConfigError(f"{first} and --scenario {second}: expected one scenario")
    return second if first is None else first


def _load(name: str) -> Scenario:
    # YAML takes time to import, and most commands do without.
    from ...sim.scenario_file import find, load

    return load(find(name))


def _turned(args: argparse.Namespace) -> Iterator[tuple[Knob, Given[Any]]]:
    """Yield the knobs that were given; without a scenario all others too, at their defaults."""
    is_bare = chosen(args) is None
    for knob in KNOBS:
        given: Given[Any] | None = getattr(args, knob.name)
        if given is None and is_bare and knob.default:
            given = Given(knob.default, knob.parse(knob.default))
        if given is not None:
            yield knob, given


def check_writable(flag: str, path: Path | None) -> None:
    """Make sure, before a long run, that its result can be written.

    Raises:
        ConfigError: it cannot; names flag and path.

    """
    if path is None:
        return
    parent = path.absolute().parent
    if path.is_dir() or not os.access(path if path.exists() else parent, os.W_OK):
        raise ConfigError(f"{flag} {path}: cannot be written; name a file in a writable directory")


def parse_count(text: str) -> int:
    """Return a whole number above 0, or raise ``ConfigError``."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(f"{text!r}: expected a whole number, at least 1")
    return int(text)


def parse_seed(text: str) -> int:
    """Return a whole number from 0, or raise ``ConfigError``."""
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{text!r}: expected a whole number, at least 0")
    return int(text)


def parse_policy(text: str) -> str:
    """Return the name of a policy, or raise ``ConfigError``."""
    check_policy(text)
    return text


def parse_policies(text: str) -> tuple[str, ...]:
    """Return the names of policies, separated by commas, or raise ``ConfigError``."""
    policies = tuple(name.strip() for name in text.split(","))
    for name in policies:
        parse_policy(name)
    if len(set(policies)) < len(policies):
        raise ConfigError(f"{text!r}: expected each policy once")
    return policies


def _parse_piece_size(text: str) -> int | PieceSizePolicy:
    names = [policy.value for policy in PieceSizePolicy]
    return PieceSizePolicy(text) if text in names else parse_size(text)


def _parse_network(text: str) -> NetworkModel:
    if text not in [model.value for model in NetworkModel]:
        raise ConfigError(f"{text!r}: expected share or maxmin")
    return NetworkModel(text)


KNOBS: Final = (
    Knob("--peers", "N", parse_count, "1000", "how many download at once", ("peers",)),
    Knob("--size", "SIZE", parse_size, "200MB", "size of the file", ("file_bytes",)),
    Knob(
        "--peer-rate",
        "RATE",
        parse_rate,
        "200mbit",
        "each peer's uplink and downlink",
        ("peer_up_bytes_per_s", "peer_down_bytes_per_s"),
    ),
    Knob(
        "--supernode-rate",
        "RATE",
        parse_rate,
        "2gbit",
        "the supernode's uplink and downlink",
        ("supernode_bytes_per_s",),
    ),
    Knob(
        "--origin-rate",
        "RATE",
        parse_rate,
        "",
        "the origin's uplink (default: as the supernode's)",
        ("origin_bytes_per_s",),
    ),
    Knob(
        "--piece-size",
        "SIZE",
        _parse_piece_size,
        "adaptive",
        "a size, or adaptive, or dragonfly for v1's formula",
        ("piece_size",),
    ),
    Knob(
        "--latency",
        "TIME",
        parse_duration,
        "0.5ms",
        "one way, between any two hosts",
        ("latency_s",),
    ),
    Knob(
        "--slots",
        "N",
        parse_count,
        "2",
        "pieces a peer uploads and downloads at once",
        ("up_slots", "down_slots"),
    ),
    Knob(
        "--supernode-slots",
        "N",
        parse_count,
        "",
        "pieces of a file the supernode uploads at once (default: 20)",
        ("supernode_slots",),
    ),
    Knob(
        "--network",
        "MODEL",
        _parse_network,
        "share",
        "share: equal shares at both ends; maxmin: exact max-min fairness, slower",
        ("network",),
    ),
    Knob(
        "--policy",
        "NAME",
        parse_policy,
        "damselfly",
        f"who decides what moves next: {', '.join(POLICY_NAMES)}",
        ("policy",),
    ),
    Knob("--seed", "N", parse_seed, "0", "decides every random choice", ("seed",)),
)
