"""``dfsim replay``: a supernode's recorded decisions, made again by the engine of this version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...engine.errors import RemoteProtocolError
from .progress import counting
from .status import ExitStatus, complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ...engine.trace import ReplayMismatch, TraceRecord
    from ...sim.traces import Recording
    from . import Commands

_EPILOG: Final = """\
Traces come from supernode --record DIR.  Files of one recording are put in order; of a directory
all recordings are replayed, one after the other.  A replay begins with the first file of a
recording: once that has been rotated away, dfsim from-trace still has use for the rest.

Exit status: 0 every answer is the recorded one, 1 one is not, or the engine broke, 2 bad usage,
3 no difference, but a trace is cut off, damaged, or of another schema: what could be read of it
was replayed; 130 interrupted.
"""


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "replay",
        help="a production trace, through the engine",
        description="Tell the engine what a supernode recorded, and find the first difference.",
        epilog=_EPILOG,
    )
    parser.set_defaults(command=run)
    parser.add_argument("traces", metavar="TRACE", nargs="+", type=Path, help="a file or directory")
    parser.add_argument(
        "--paranoid",
        action="store_true",
        help="have the engine recount its state after every call (slow)",
    )


def run(args: argparse.Namespace) -> int:
    """Replay everything, print what was found, return the exit status."""
    from ...sim.traces import find

    recordings, unreadable = find(args.traces)
    statuses = [ExitStatus.OK]
    for path, why in unreadable:
        statuses.append(complain(f"{path}: nothing can be replayed: {why}", ExitStatus.INCOMPLETE))
    for recording in recordings:
        if recording.missing:
            why = f"{recording.missing} records before {recording.parts[0].path.name} are gone"
            says = f"{recording.name}: cannot be replayed: {why}; dfsim from-trace can use the rest"
            statuses.append(complain(says, ExitStatus.INCOMPLETE))
        else:
            statuses.append(_replay(recording, check=args.paranoid))
    return ExitStatus.FAILED if ExitStatus.FAILED in statuses else max(statuses)


def _replay(recording: Recording, *, check: bool) -> ExitStatus:
    from ...engine.trace import ReplayMismatch

    with counting("MiB", recording.chunks) as advance:
        records = _Counted(recording.records(advance))
        trouble = _first_trouble(recording, records, check=check)
    match trouble:
        case None:
            print(f"{recording.name}: {records}: every answer is the recorded one")
            return ExitStatus.OK
        case RemoteProtocolError():
            print(f"{recording.name}: {records}, then no more can be read")
            return complain(str(trouble), ExitStatus.INCOMPLETE)
        case ReplayMismatch():
            difference = _difference(records, trouble)
            print(f"{recording.name}: {difference}{_by_another_version(recording)}")
        case _:
            broke = f"{type(trouble).__name__}: {trouble}"
            print(f"{recording.name}: {_place(records)}: the engine broke: {broke}")
    return ExitStatus.FAILED


def _first_trouble(recording: Recording, records: _Counted, *, check: bool) -> Exception | None:
    from ...engine.trace import replay

    try:
        replay(recording.engine(), records, check=check)
    except OSError:
        raise
    except Exception as error:
        # Also what the engine asserts, and where it stumbles over a trace that makes no sense.
        return error
    return None


class _Counted:
    """Records on their way to the engine; as text: how many there were."""

    def __init__(self, records: Iterator[TraceRecord]) -> None:
        self._records = records
        self.count = 0
        self.first_s = 0.0
        self.latest: TraceRecord | None = None

    def __iter__(self) -> Iterator[TraceRecord]:
        for record in self._records:
            if self.latest is None:
                self.first_s = record.now
            self.count += 1
            self.latest = record
            yield record

    def __str__(self) -> str:
        over_s = self.latest.now - self.first_s if self.latest is not None else 0.0
        return f"{self.count} records over {over_s:.3f} s replayed"


def _place(records: _Counted) -> str:
    if records.latest is None:
        return "before the first record"
    after_s = records.latest.now - records.first_s
    return f"record {records.count}, {after_s:.6f} s after the first"


def _difference(records: _Counted, found: ReplayMismatch) -> str:
    """Describe the first record that was answered otherwise; ``!`` marks effects that differ."""
    lines = [f"{_place(records)}, is answered otherwise"]
    lines.append(f"  event     {found.event or 'a tick'}")
    lines += _listed("expected", found.expected, found.actual)
    lines += _listed("actual", found.actual, found.expected)
    lines.append(f"  {records.count - 1} records before it were answered as recorded")
    return "\n".join(lines)


def _listed(name: str, effects: Sequence[object], others: Sequence[object]) -> list[str]:
    if not effects:
        return [f"  {name:<9} nothing"]
    lines: list[str] = []
    for number, effect in enumerate(effects):
        mark = " " if number < len(others) and others[number] == effect else "!"
        lines.append(f"  {name if not number else '':<9}{mark}{effect}")
    return lines


def _by_another_version(recording: Recording) -> str:
    from ..values import version

    if recording.version in ("", version()):
        return ""
    return f"\n  recorded by damselfly {recording.version}, this is {version()}: it may be meant so"
