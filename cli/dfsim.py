"""``dfsim``: what would a swarm do?  Production engines over simulated links."""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from ..engine.errors import ConfigError, DamselflyError
from ..engine.piece import PieceSizePolicy
from ..sim.scenario import NetworkModel, Scenario
from .units import as_argument, parse_duration, parse_rate, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..sim.report import Report

T = TypeVar("T")

_EPILOG: Final = """\
Sizes: 200MB (powers of 1000), 200MiB (powers of 1024).  Rates: 200mbit, 2gbit (bits per second),
25MB/s.  Durations: 0.5ms, 2s.

The first line printed is the command that repeats the run exactly.  Exit status: 0 all live peers
have the file, 1 some do not or a check failed, 2 bad usage, 130 interrupted.
"""


class ExitStatus(IntEnum):
    """How dfsim ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run dfsim and return its exit status; ``argv`` without the program's name."""
    try:
        args = _parser().parse_args(argv)
        return args.command(args)
    except ConfigError as error:
        return _complain(str(error), ExitStatus.USAGE)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    except (DamselflyError, OSError) as error:
        return _complain(str(error), ExitStatus.FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", ExitStatus.INTERRUPTED)


class _Given(NamedTuple, Generic[T]):
    """An option's value, and how the user wrote it."""

    text: str
    value: T


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ExitStatus.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dfsim",
        description="Simulate the distribution of a file to many peers with the real engines.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="one swarm, one file, one supernode",
        description="Simulate one swarm and compare it with the fastest that is possible.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.set_defaults(command=_run)
    _add_knobs(run.add_argument_group("scenario"))
    run.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE")
    run.add_argument("--check", action="store_true", help="run the checkers between nodes")
    run.add_argument(
        "--paranoid",
        action="store_true",
        help="as --check, and recount every engine's state after every call (slow)",
    )
    run.add_argument(
        "--peer-servers",
        action="store_true",
        help="put every upload to the engine of the parent's peer server (a fifth slower)",
    )
    run.add_argument(
        "--trace-digest",
        action="store_true",
        help="print nothing but the digest of all that happened",
    )
    return parser


def _add_knobs(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    def add(flag: str, metavar: str, parse: Callable[[str], Any], default: str, text: str) -> None:
        parsed = as_argument(parse)
        group.add_argument(
            flag,
            metavar=metavar,
            type=lambda given: _Given(given, parsed(given)),
            default=default or None,
            help=f"{text} (default: {default})" if default else text,
        )

    add("--peers", "N", _parse_count, "1000", "how many download at once")
    add("--size", "SIZE", parse_size, "200MB", "size of the file")
    add("--peer-rate", "RATE", parse_rate, "200mbit", "each peer's uplink and downlink")
    add("--supernode-rate", "RATE", parse_rate, "2gbit", "the supernode's uplink and downlink")
    add(
        "--origin-rate", "RATE", parse_rate, "", "the origin's uplink (default: as the supernode's)"
    )
    add(
        "--piece-size",
        "SIZE",
        _parse_piece_size,
        "adaptive",
        "a size, or adaptive, or dragonfly for v1's formula",
    )
    add("--latency", "TIME", parse_duration, "0.5ms", "one way, between any two hosts")
    add("--slots", "N", _parse_count, "2", "pieces a peer uploads and downloads at once")
    add(
        "--supernode-slots",
        "N",
        _parse_count,
        "",
        "pieces the supernode uploads at once (default: as its rate allows)",
    )
    add(
        "--network",
        "MODEL",
        _parse_network,
        "share",
        "share: equal shares at both ends; maxmin: exact max-min fairness, slower",
    )
    add("--seed", "N", _parse_seed, "0", "decides every random choice")


def _run(args: argparse.Namespace) -> int:
    from ..sim.swarm import NotFinished, Swarm

    _check_json(args.json)
    # A run makes millions of objects and next to no cycles: looking for them costs 8 % by default.
    gc.set_threshold(100_000, 20, 100)
    scenario = _scenario(args)
    quiet: bool = args.trace_digest
    if not quiet:
        print(_repeating(args), flush=True)
    with _progress(hidden=quiet) as moved:
        swarm = Swarm(scenario, check=args.check, paranoid=args.paranoid, progress=moved)
        try:
            report = swarm.run()
        except (KeyboardInterrupt, NotFinished) as error:
            report = swarm.report()
            interrupted = isinstance(error, KeyboardInterrupt)
            failure = "interrupted; the figures so far:" if interrupted else str(error)
            status = ExitStatus.INTERRUPTED if interrupted else ExitStatus.FAILED
        else:
            failure, status = "", ExitStatus.FAILED if report.unfinished else ExitStatus.OK
    if failure:
        _complain(failure, status)
    if not quiet:
        print(report.text())
    elif status is ExitStatus.OK:
        print(report.trace_digest)
    if args.json is not None and status is not ExitStatus.INTERRUPTED:
        _write(args.json, report)
    return status


def _scenario(args: argparse.Namespace) -> Scenario:
    return Scenario(
        peers=args.peers.value,
        file_bytes=args.size.value,
        peer_up_bytes_per_s=args.peer_rate.value,
        peer_down_bytes_per_s=args.peer_rate.value,
        supernode_bytes_per_s=args.supernode_rate.value,
        origin_bytes_per_s=args.origin_rate and args.origin_rate.value,
        piece_size=args.piece_size.value,
        latency_s=args.latency.value,
        up_slots=args.slots.value,
        down_slots=args.slots.value,
        supernode_slots=args.supernode_slots and args.supernode_slots.value,
        network=args.network.value,
        peer_servers=args.peer_servers,
        seed=args.seed.value,
    )


def _repeating(args: argparse.Namespace) -> str:
    words = ["dfsim", "run"]
    for name, given in vars(args).items():
        if isinstance(given, _Given):
            words += [f"--{name.replace('_', '-')}", given.text]
    switches = ("peer_servers", "check", "paranoid")
    words += [f"--{name.replace('_', '-')}" for name in switches if getattr(args, name)]
    return shlex.join(words)


@contextmanager
def _progress(*, hidden: bool) -> Generator[Callable[[float], None] | None]:
    """Draw a bar on stderr if that is a terminal; yields what to call with the share done."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("simulating", total=1.0)
        yield lambda share: bars.update(bar, completed=share)


def _check_json(path: Path | None) -> None:
    if path is None:
        return
    parent = path.absolute().parent
    if path.is_dir() or not os.access(path if path.exists() else parent, os.W_OK):
        raise ConfigError(f"--json {path}: cannot be written; name a file in a writable directory")


def _write(path: Path, report: Report) -> None:
    path.write_text(f"{report.json()}\n", encoding="utf-8")


def _complain(message: str, status: ExitStatus) -> ExitStatus:
    print(f"dfsim: {message}", file=sys.stderr)
    return status


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(f"{text!r}: expected a whole number, at least 1")
    return int(text)


def _parse_seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{text!r}: expected a whole number, at least 0")
    return int(text)


def _parse_piece_size(text: str) -> int | PieceSizePolicy:
    names = [policy.value for policy in PieceSizePolicy]
    return PieceSizePolicy(text) if text in names else parse_size(text)


def _parse_network(text: str) -> NetworkModel:
    if text not in [model.value for model in NetworkModel]:
        raise ConfigError(f"{text!r}: expected share or maxmin")
    return NetworkModel(text)


if __name__ == "__main__":
    sys.exit(main())
