"""Record what an engine was told and answered; replay it, and see whether it answers the same.

A trace is a sequence of msgpack objects: a header ``{"schema": 1, ...}``, then one record
``[now, event, [effect, ...]]`` for each call of the engine, the event ``None`` for a ``tick``.
Values are those of ``vocabulary``; secrets never reach a trace (``redact``).

A recording in several files has a header in each, which says ``recording``, the name that they
share, ``part``, from 1, and ``first_record``, the number of the first record in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from .errors import DamselflyError, RemoteProtocolError
from .records import dataclass
from .redact import Redactor
from .vocabulary import VOCABULARY, Plain, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .engine import Engine

_msgpack: Final = cast("Any", msgpack)  # has no types: used in _pack and _unpack alone

SCHEMA: Final = 1
_SCHEMA_KEY: Final = "schema"
_FEED_BYTES: Final = 1 << 16
_MAX_RECORD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One call of an engine; ``event`` is ``None`` for a ``tick``."""

    now: float
    event: object | None
    effects: tuple[object, ...]


class TraceCutOff(RemoteProtocolError):
    """The trace ends inside a record, as after a crash; the records before it are good."""


class ReplayMismatch(DamselflyError):
    """An engine answered otherwise than it did when the trace was recorded.

    ``number`` counts records from 1.  ``actual`` and ``expected`` are whole answers, redacted.
    """

    def __init__(self, number: int, record: TraceRecord, actual: tuple[object, ...]) -> None:
        expected = record.effects
        index = next(
            (i for i, pair in enumerate(zip(expected, actual, strict=False)) if pair[0] != pair[1]),
            min(len(expected), len(actual)),
        )
        super().__init__(
            f"record {number} at {record.now!r} s, after {record.event or 'a tick'}: effect "
            f"{index + 1} differs\n  expected {_nth(expected, index)}\n  actual   "
            f"{_nth(actual, index)}"
        )
        self.number = number
        self.now = record.now
        self.event = record.event
        self.expected = expected
        self.actual = actual


class TraceWriter:
    """Writes a trace to ``write``, one call for each header and one for each record.

    ``header`` says what a reader needs to build the same engine: plain values, or dataclasses of
    the vocabulary such as configurations.  Raises ``LocalProtocolError`` for other values.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        header: Mapping[str, object],
        vocabulary: Vocabulary = VOCABULARY,
    ) -> None:
        self._write = write
        self._vocabulary = vocabulary
        self._redactor = Redactor()
        self._header = header
        self.begin({})

    def begin(self, more: Mapping[str, object]) -> None:
        """Write the header again, with ``more`` in it, for another file of the same recording."""
        self._put({**self._header, **more, _SCHEMA_KEY: SCHEMA})

    def record(self, now: float, event: object | None, effects: Sequence[object]) -> None:
        """Write down one call of the engine."""
        self._put((now, event, tuple(effects)))

    def _put(self, value: object) -> None:
        self._write(_pack(self._vocabulary.encode(value, self._redactor)))


def read_trace(
    chunks: Iterable[bytes], vocabulary: Vocabulary = VOCABULARY
) -> tuple[dict[str, object], Iterator[TraceRecord]]:
    """Return the header of a trace and its records, which are read as they are asked for.

    Raises ``RemoteProtocolError`` for what is no trace of this schema, at once or on reaching a
    bad record; and ``TraceCutOff`` after the last whole record if the trace ends inside one.
    """
    found = _unpack(chunks)
    plain = next(found, None)
    if not isinstance(plain, dict) or plain.get(_SCHEMA_KEY) != SCHEMA:
        raise RemoteProtocolError(f"not a trace of schema {SCHEMA}: it begins {plain!r:.100}")
    header = cast("dict[str, object]", _decoded(plain, vocabulary, 0))
    return header, _records(found, vocabulary)


def replay(
    engine: Engine[Any, object],
    records: Iterable[TraceRecord],
    vocabulary: Vocabulary = VOCABULARY,
    *,
    check: bool = True,
) -> int:
    """Tell a fresh ``engine`` all that ``records`` say, and return how many they were.

    With ``check`` the engine recounts its state after each call.  Raises ``ReplayMismatch`` at the
    first answer that differs from the recorded one, and whatever ``records`` and ``engine`` raise.
    """
    redactor = Redactor()
    number = 0
    for number, record in enumerate(records, start=1):
        if record.event is None:
            effects = engine.tick(record.now)
        else:
            vocabulary.encode(record.event, redactor)  # secrets are numbered as they were seen
            effects = engine.handle(record.event, record.now)
        if check:
            engine.check()
        actual = vocabulary.decode(vocabulary.encode(tuple(effects), redactor))
        if actual != record.effects:
            raise ReplayMismatch(number, record, cast("tuple[object, ...]", actual))
    return number


def _records(found: Iterator[Plain], vocabulary: Vocabulary) -> Iterator[TraceRecord]:
    for number, plain in enumerate(found, start=1):
        match cast("tuple[object, ...]", _decoded(plain, vocabulary, number)):
            case (int() | float() as now, event, effects) if isinstance(effects, tuple):
                yield TraceRecord(float(now), event, cast("tuple[object, ...]", effects))
            case _:
                raise RemoteProtocolError(f"trace record {number}: expected time, event, effects")


def _decoded(plain: Plain, vocabulary: Vocabulary, number: int) -> object:
    try:
        return vocabulary.decode(plain)
    except (RemoteProtocolError, RecursionError) as error:
        raise RemoteProtocolError(f"trace record {number}: {error}") from None


def _nth(effects: tuple[object, ...], index: int) -> object:
    return effects[index] if index < len(effects) else "nothing"


def _pack(value: Plain) -> bytes:
    return cast("bytes", _msgpack.packb(value, unicode_errors="surrogatepass"))


def _unpack(chunks: Iterable[bytes]) -> Iterator[Plain]:
    unpacker = _msgpack.Unpacker(
        unicode_errors="surrogatepass", max_buffer_size=_MAX_RECORD_BYTES + _FEED_BYTES
    )
    fed = done = number = 0
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _FEED_BYTES):
                part = chunk[start : start + _FEED_BYTES]
                unpacker.feed(part)
                fed += len(part)
                for found in unpacker:
                    done, number = unpacker.tell(), number + 1
                    yield found
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"trace: bad bytes after {done}: {error!r}") from None
    if fed != done:
        raise TraceCutOff(
            f"trace: cut off after {number - 1} records, {fed - done} bytes left over"
        )
