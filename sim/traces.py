"""Recordings of production on disk: which files belong together, and their records in order."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.config import SupernodeConfig
from ..engine.errors import ConfigError, RemoteProtocolError
from ..engine.supernode import SupernodeEngine
from ..engine.trace import read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from ..engine.trace import TraceRecord

_CHUNK_BYTES: Final = 1 << 20
_SUFFIX: Final = ".trace"


class Part(NamedTuple):
    """One file; ``first_record`` is the number that its first record has in the recording."""

    path: Path
    number: int
    first_record: int


class Unreadable(NamedTuple):
    """A file that is no trace of ours, and why."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What one process of a supernode recorded, or the part of it that is there.

    ``version`` is that of the program which recorded it, empty if it did not say.
    """

    name: str
    config: SupernodeConfig
    seed: int
    version: str
    parts: tuple[Part, ...]

    @property
    def missing(self) -> int:
        """How many records were in files before the first one that is there."""
        return self.parts[0].first_record - 1

    def engine(self) -> SupernodeEngine:
        """Return the engine as it was when the recording began."""
        return SupernodeEngine(self.config, Random(self.seed))

    @property
    def chunks(self) -> int:
        """How many chunks of at most one MiB there are to read."""
        return sum(-(-part.path.stat().st_size // _CHUNK_BYTES) for part in self.parts)

    def records(self, advance: Callable[[], None] = lambda: None) -> Iterator[TraceRecord]:
        """Yield all records; calls ``advance`` after each chunk.

        Raises:
            RemoteProtocolError: after the last good one, if a file is cut off, damaged or missing.
            OSError: a file cannot be read any more.

        """
        due = self.parts[0].first_record
        for part in self.parts:
            if part.first_record != due:
                begins = f"begins with record {part.first_record}, expected {due}"
                raise RemoteProtocolError(f"{part.path.name} {begins}: a file is missing, or twice")
            with _reading(part.path, advance) as chunks:
                try:
                    for record in read_trace(chunks)[1]:
                        yield record
                        due += 1
                except RemoteProtocolError as error:
                    raise RemoteProtocolError(f"{part.path.name}: {error}") from error


def find(paths: Sequence[Path]) -> tuple[list[Recording], list[Unreadable]]:
    """Return the recordings in files and folders, by name, and what is not a trace.

    Raises:
        ConfigError: a path does not exist, or a folder has no traces.

    """
    found: dict[str, list[tuple[Part, dict[str, object]]]] = {}
    unreadable: list[Unreadable] = []
    for path in _files(paths):
        try:
            name, part, header = _open(path)
        except RemoteProtocolError as error:
            unreadable.append(Unreadable(path, str(error)))
        except OSError as error:
            unreadable.append(Unreadable(path, error.strerror or str(error)))
        else:
            found.setdefault(name, []).append((part, header))
    recordings: list[Recording] = []
    for name in sorted(found):
        headed = sorted(found[name], key=lambda one: one[0].number)
        header = headed[0][1]
        config, seed = header["config"], header["seed"]
        assert isinstance(config, SupernodeConfig)
        assert isinstance(seed, int)
        parts = tuple(part for part, _ in headed)
        recordings.append(Recording(name, config, seed, str(header.get("version", "")), parts))
    return recordings, unreadable


def _files(paths: Sequence[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob(f"*{_SUFFIX}"))
            if not inside:
                raise ConfigError(f"{path}: there are no files *{_SUFFIX} in this directory")
            files |= dict.fromkeys(inside)
        elif path.exists():
            files[path] = None
        else:
            raise ConfigError(f"{path}: there is no such file; expected a trace or a directory")
    return list(files)


def _open(path: Path) -> tuple[str, Part, dict[str, object]]:
    """Return what the header says of a file, and the header."""
    with _reading(path) as chunks:
        header, _ = read_trace(chunks)
    name, number = header.get("recording", path.name), header.get("part", 1)
    first_record = header.get("first_record", 1)
    match header:
        case {"engine": "supernode", "config": SupernodeConfig(), "seed": int()}:
            pass
        case _:
            raise RemoteProtocolError("it does not say how to build the supernode's engine again")
    if not (isinstance(name, str) and isinstance(number, int) and isinstance(first_record, int)):
        raise RemoteProtocolError("its header does not say which part of a recording it is")
    return name, Part(path, number, first_record), header


@contextmanager
def _reading(path: Path, advance: Callable[[], None] = lambda: None) -> Generator[Iterator[bytes]]:
    """Open a file; yields its bytes in chunks."""

    def chunks() -> Iterator[bytes]:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            advance()

    with path.open("rb") as file:
        yield chunks()
