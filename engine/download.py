"""One file on one peer: register, ask, fetch, verify, report; migrate, go back to the source.

``LIFE`` is the whole of it; the drawing in this folder's README is made from it.  The swarm's
part is ``swarm_client``, the origin's part is ``source``.
"""

from __future__ import annotations

from enum import Enum, auto
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, assert_never

from .effects import DownloadEffect, Finish, LayOut, Publish, Send, Tell
from .errors import LocalProtocolError
from .events import (
    ExchangeFailed,
    OriginEnded,
    OriginFailed,
    OriginFailure,
    OriginOpened,
    OriginPieceStored,
    PieceFailed,
    PieceFetched,
    Published,
    PublishFailed,
    Replied,
    Started,
    Wanted,
)
from .holdings import Holdings
from .ids import ExchangeId, TaskId
from .introductions import metrics_of, registration_of
from .messages import Code, Refused, Registered
from .native_client import NativeClient
from .outcomes import BackSourceReason, FailCode, Milestone
from .prospects import FORBIDDEN, doom_of, reason_without_nodes
from .source import SourceReader
from .swarm_client import AllHeld, HostFailed, NodeLost, SwarmClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from .config import DownloadConfig
    from .events import DownloadEvent, OriginEvent
    from .ids import NodeAddress
    from .messages import Reply
    from .piece import PieceLayout
    from .swarm_client import Verdict

_WAIT_AUTH_TRIES: Final = 3
_REJOINS: Final = 3
_REJOIN_PAUSE_S: Final = 0.5
_UNKNOWN_LENGTH_LIMIT_S: Final = 300.0
_LIMIT_MARGIN_S: Final = 10.0


class Phase(Enum):
    """Where a download stands."""

    STARTING = auto()
    REGISTERING = auto()
    SWARMING = auto()
    SOURCING = auto()
    PUBLISHING = auto()
    REPORTING = auto()
    """All is done or lost; the supernode is still to hear of the last pieces and how it went."""
    DONE = auto()


class Trigger(Enum):
    """What moves a download from phase to phase."""

    REGISTER = auto()
    REGISTERED = auto()
    SOURCE = auto()
    ALL_HELD = auto()
    PUBLISHED = auto()
    FAILED = auto()
    END = auto()


LIFE: Final[Mapping[Phase, Mapping[Trigger, Phase]]] = {
    Phase.STARTING: {
        Trigger.REGISTER: Phase.REGISTERING,
        Trigger.SOURCE: Phase.SOURCING,
        Trigger.END: Phase.DONE,
    },
    Phase.REGISTERING: {
        Trigger.REGISTERED: Phase.SWARMING,
        Trigger.SOURCE: Phase.SOURCING,
        Trigger.END: Phase.DONE,
    },
    Phase.SWARMING: {
        Trigger.REGISTER: Phase.REGISTERING,
        Trigger.SOURCE: Phase.SOURCING,
        Trigger.ALL_HELD: Phase.PUBLISHING,
        Trigger.FAILED: Phase.REPORTING,
    },
    Phase.SOURCING: {Trigger.ALL_HELD: Phase.PUBLISHING, Trigger.FAILED: Phase.REPORTING},
    Phase.PUBLISHING: {Trigger.PUBLISHED: Phase.REPORTING, Trigger.FAILED: Phase.REPORTING},
    Phase.REPORTING: {Trigger.END: Phase.DONE},
    Phase.DONE: {},
}


class DownloadEngine:
    """The download of one file; see ``engine.Engine`` for the contract.

    The first event is ``Started``, the last effect ``Finish``.  ``rng`` spreads pauses.
    """

    def __init__(self, config: DownloadConfig, rng: Random) -> None:
        self._config, self._rng = config, rng
        self._now = -inf
        self._phase = Phase.STARTING
        self._holdings = Holdings()
        self._ids = count(1)
        self._task = config.task
        self._node = 0
        self._registering: ExchangeId | None = None
        self._register_at = inf
        self._auth_waits = 0
        self._rejoins = 0
        self._patient_until = -inf
        self._client: SwarmClient | None = None
        self._source: SourceReader | None = None
        self._joined: NodeAddress | None = None
        self._limited_from = -inf
        self._phase_until = inf
        self._reason = BackSourceReason.NONE
        self._md5 = config.md5
        self._began = -inf
        self._measuring: ExchangeId | None = None
        self._end: Finish | None = None

    @property
    def finished(self) -> bool:
        """Tell whether ``Finish`` was given."""
        return self._phase is Phase.DONE

    @property
    def phase(self) -> Phase:
        """Where the download stands."""
        return self._phase

    @property
    def node(self) -> NodeAddress | None:
        """The supernode that last took a registration."""
        return self._joined

    @property
    def task(self) -> TaskId:
        """The task as the supernode that last took a registration calls it."""
        return self._task

    @property
    def layout(self) -> PieceLayout | None:
        """How the file is cut, once that is known."""
        return self._holdings.layout

    @property
    def held_bytes(self) -> int:
        """Content bytes verified on disk."""
        return self._holdings.size

    def handle(self, event: DownloadEvent, now: float) -> list[DownloadEffect]:
        """Take in one event."""
        self._now = now = max(self._now, now)
        out: list[DownloadEffect] = []
        if self._began == -inf and not isinstance(event, Started):
            raise LocalProtocolError("the first event of a download is Started")
        match event:
            case Started():
                self._start(event, out)
            case Replied(exchange, reply):
                self._replied(exchange, reply, out)
            case ExchangeFailed(exchange, reason):
                if exchange == self._measuring:
                    self._measuring = None
                elif exchange == self._registering:
                    self._next_node(reason, out)
                elif self._client is not None:
                    self._heed(self._client.exchange_failed(exchange, reason), out)
            case PieceFetched():
                if self._client is not None:
                    self._heed(self._client.fetched(event, now, out), out)
            case PieceFailed():
                if self._client is not None:
                    self._heed(self._client.fetch_failed(event, now, out), out)
            case OriginOpened() | OriginPieceStored() | OriginEnded() | OriginFailed():
                self._origin(event, out)
            case Wanted(offset):
                self._holdings.wanted_from = offset
            case Published():
                if self._phase is Phase.PUBLISHING:
                    self._finish(FailCode.SUCCESS, int(self._reason), "", out)
            case PublishFailed():
                if self._phase is Phase.PUBLISHING:
                    self._publish_failed(event, out)
            case _:
                assert_never(event)
        return self._go_on(now, out)

    def tick(self, now: float) -> list[DownloadEffect]:
        """Send what is to be sent, ask again what was put off, end what took too long."""
        self._now = now = max(self._now, now)
        return self._go_on(now, [])

    def deadline(self) -> float:
        """Return when ``tick`` is next needed."""
        phase, due = self._phase, self._phase_until
        if self._client is not None and phase is Phase.SWARMING:
            return min(due, self._client.deadline())
        if phase is Phase.REGISTERING:
            return min(due, self._register_at)
        if self._source is not None and phase is Phase.SOURCING:
            return min(due, self._source.deadline() or inf)
        return inf if phase is Phase.DONE else due

    def check(self) -> None:
        """Assert what holds between phase and parts."""
        self._holdings.check()
        if self._client is not None and self._phase is Phase.SWARMING:
            self._client.check()
        if self._phase is Phase.SOURCING:
            assert self._source is not None
            self._source.check()
        if self._phase is Phase.REGISTERING:
            assert (self._registering is not None) != (self._register_at < inf)
        if self._phase is Phase.PUBLISHING:
            assert self._holdings.is_complete
        assert (self._end is not None) == (self._phase in (Phase.REPORTING, Phase.DONE))

    def _go_on(self, now: float, out: list[DownloadEffect]) -> list[DownloadEffect]:
        # This runs after every event: what rarely holds and costs least to see is looked at first.
        if self._register_at <= now and self._phase is Phase.REGISTERING:
            self._register(out)
        if self._client is not None and self._phase in _CLIENT_PHASES:
            self._heed(self._client.tick(now, out), out)
        if self._source is not None and self._phase is Phase.SOURCING:
            self._source.tick(now, out)
        if self._phase_until <= now:
            self._out_of_time(out)
        if self._end is not None and self._phase is Phase.REPORTING and not self._has_to_say:
            self._close(out)
        return out

    # --- supernodes ---

    def _start(self, event: Started, out: list[DownloadEffect]) -> None:
        if self._phase is not Phase.STARTING:
            raise LocalProtocolError("a download is started once")
        self._began = self._now
        if event.held:
            size, plain = event.piece_size, event.plain
            self._holdings.lay_out(event.length, size, event.validator, plain=plain)
            for held in event.held:
                self._holdings.keep(held.piece, held.size, held.digest)
            text = f"{len(event.held)} pieces, {self._holdings.size} bytes of an earlier run"
            out.append(Tell(Milestone.RESUMED, text))
        self._limit_phase()
        if (doom := doom_of(self._config)) is not None:
            self._finish(FailCode.DOWNLOAD_FAILED, *doom, out)
        elif self._config.nodes:
            self._move(Trigger.REGISTER)
            self._register(out)
        else:
            self._reason = reason_without_nodes(self._config)
            self._go_to_source(out)

    def _register(self, out: list[DownloadEffect]) -> None:
        config, node = self._config, self._config.nodes[self._node]
        self._register_at = inf
        self._registering = ExchangeId(next(self._ids))
        wanted = registration_of(config, node)
        out.append(Send(self._registering, node, wanted, config.exchange_timeout_s))

    def _replied(self, exchange: ExchangeId, reply: Reply, out: list[DownloadEffect]) -> None:
        if exchange == self._measuring:
            self._measuring = None
            return
        if exchange != self._registering:
            if self._client is not None:
                self._heed(self._client.replied(exchange, reply, self._now, out), out)
            return
        self._registering = None
        node = self._config.nodes[self._node]
        match reply:
            case Registered():
                self._join(reply, out)
            case Refused(Code.NEED_AUTH, message):
                text = f"{node} says the origin wants authentication: {message}"
                self._finish(FailCode.NEED_AUTH, int(BackSourceReason.NONE), text, out)
            case Refused(Code.WAIT_AUTH) if self._auth_waits < _WAIT_AUTH_TRIES:
                self._auth_waits += 1
                self._register_at = self._now + self._config.wait_auth_s
            case Refused(Code.URL_UNREACHABLE, message):
                self._no_swarm(f"{node} cannot read the origin: {message}", out)
            case Refused(code, message):
                self._next_node(f"{node} answered {code.value}: {message}", out)
            case _:
                self._next_node(f"{node} gave an answer that is none to a registration", out)

    def _join(self, registered: Registered, out: list[DownloadEffect]) -> None:
        node = self._config.nodes[self._node]
        self._move(Trigger.REGISTERED)
        migrated, self._joined = self._joined is not None, node
        self._task = registered.task
        length, size = registered.length, registered.piece_size
        validator, plain = registered.validator, registered.cdn_source == "source"
        fits = self._holdings.lay_out(length, size, validator, plain=plain)
        out.append(LayOut(self._task, length, size, validator, keep=fits, plain=plain))
        milestone = Milestone.MIGRATED if migrated else Milestone.CONNECTED
        out.append(Tell(milestone, str(node)))
        talk = NativeClient if registered.native else SwarmClient
        self._client = talk(self._config, node, registered, self._holdings, self._ids, self._rng)
        self._client.begin(self._now)
        self._set_limit()
        if self._holdings.is_complete:
            self._publish(out)

    def _heed(self, verdict: Verdict, out: list[DownloadEffect]) -> None:
        """Act on what the conversation with the supernode has come to."""
        if verdict is None or self._phase is not Phase.SWARMING:
            return
        match verdict:
            case AllHeld(md5):
                self._md5 = self._config.md5 or md5
                self._publish(out)
            case HostFailed(reason, text):
                self._stop_parts(out)
                self._finish(FailCode.DOWNLOAD_FAILED, FORBIDDEN + reason, text, out)
            case NodeLost(reason, forgot, silent):
                self._stop_parts(out)
                self._client = None
                self._move(Trigger.REGISTER)
                again = (forgot or silent) and self._rejoins < _REJOINS
                self._rejoins += again
                patience_s = self._config.rejoin_s if again and silent else 0.0
                self._patient_until = self._now + patience_s
                if again and forgot:
                    self._register(out)
                else:
                    self._next_node(reason, out)
            case _:
                assert_never(verdict)

    def _next_node(self, reason: str, out: list[DownloadEffect]) -> None:
        self._registering = None
        self._node += 1
        self._auth_waits = 0
        if self._node < len(self._config.nodes):
            self._register(out)
        elif self._now < self._patient_until:
            self._node = 0
            self._register_at = self._now + _REJOIN_PAUSE_S
        else:
            self._no_swarm(reason, out)

    def _no_swarm(self, reason: str, out: list[DownloadEffect], *, is_late: bool = False) -> None:
        if self._joined is None:
            code = BackSourceReason.REGISTER_FAILED
        else:  # that it took too long is no reason of its own (protocol 8.5)
            code = BackSourceReason.NONE if is_late else BackSourceReason.DOWNLOAD_FAILED
        if not self._config.back_to_source:
            text = f"{reason}; going back to the source is forbidden"
            self._finish(FailCode.DOWNLOAD_FAILED, FORBIDDEN + code, text, out)
            return
        self._reason = code
        out.append(Tell(Milestone.BACK_TO_SOURCE, reason))
        self._limit_phase()
        self._go_to_source(out)

    # --- origin ---

    def _go_to_source(self, out: list[DownloadEffect]) -> None:
        self._move(Trigger.SOURCE)
        self._client = None
        self._source = SourceReader(self._config, TaskId(self._task), self._holdings, self._ids)
        layout = self._holdings.layout
        if layout is not None and layout.length < 0:
            self._holdings.clear()
        if self._holdings.is_complete:
            self._publish(out)
        else:
            self._source.begin(out)

    def _origin(self, event: OriginEvent, out: list[DownloadEffect]) -> None:
        if self._phase is not Phase.SOURCING or self._source is None:
            return
        failure = self._source.handle(event, self._now, out)
        if failure is not None:
            full = failure.failure is OriginFailure.STORE_FULL
            reason = FORBIDDEN + BackSourceReason.NO_SPACE if full else int(self._reason)
            self._finish(FailCode.DOWNLOAD_FAILED, reason, failure.reason, out)
        elif self._holdings.is_complete:
            self._publish(out)
        elif isinstance(event, OriginOpened):
            self._set_limit()

    # --- the end ---

    def _publish(self, out: list[DownloadEffect]) -> None:
        self._move(Trigger.ALL_HELD)
        self._phase_until = inf
        self._stop_parts(out)
        layout = self._holdings.layout
        assert layout is not None
        out.append(Publish(layout.length, self._md5))

    def _publish_failed(self, event: PublishFailed, out: list[DownloadEffect]) -> None:
        reason = int(self._reason)
        if event.mismatch and self._client is not None:
            self._client.doubt_whole(out)
        if not event.mismatch:
            code = BackSourceReason.NO_SPACE if event.no_space else BackSourceReason.WRITE_FAILED
            reason = FORBIDDEN + code
        self._finish(FailCode.DOWNLOAD_FAILED, reason, event.reason, out)

    def _out_of_time(self, out: list[DownloadEffect]) -> None:
        self._phase_until = inf
        limit = f"not done after {self._limit_s:g} s"
        match self._phase:
            case Phase.REPORTING:
                self._close(out)
            case Phase.REGISTERING | Phase.SWARMING:
                self._stop_parts(out)
                self._no_swarm(limit, out, is_late=True)
            case Phase.SOURCING:
                self._stop_parts(out)
                self._finish(FailCode.DOWNLOAD_FAILED, int(self._reason), limit, out)
            case _:
                raise AssertionError(f"no time limit in phase {self._phase}")

    def _finish(self, code: FailCode, reason: int, message: str, out: list[DownloadEffect]) -> None:
        layout = self._holdings.layout
        length = layout.length if layout is not None else -1
        self._end = Finish(code, reason, message, length)
        if self._phase in (Phase.STARTING, Phase.REGISTERING):
            self._close(out)
            return
        self._move(Trigger.PUBLISHED if code is FailCode.SUCCESS else Trigger.FAILED)
        self._phase_until = self._now + self._config.exchange_timeout_s
        if self._joined is not None and self._node < len(self._config.nodes):
            self._measuring = ExchangeId(next(self._ids))
            said = metrics_of(self._config, self._task, self._end, self._now - self._began)
            out.append(Send(self._measuring, self._joined, said, self._config.exchange_timeout_s))

    @property
    def _has_to_say(self) -> bool:
        """Tell whether the supernode has yet to hear what it should."""
        assert self._end is not None
        if self._measuring is not None:
            return True
        client, has_pieces = self._client, self._end.code is FailCode.SUCCESS
        return has_pieces and client is not None and client.reports_under_way

    def _close(self, out: list[DownloadEffect]) -> None:
        assert self._end is not None
        self._move(Trigger.END)
        out.append(self._end)

    def _stop_parts(self, out: list[DownloadEffect]) -> None:
        if self._client is not None:
            self._client.cancel(out)
        if self._source is not None:
            self._source.cancel(out)

    def _limit_phase(self) -> None:
        self._limited_from = self._now
        self._set_limit()

    def _set_limit(self) -> None:
        self._phase_until = self._limited_from + self._limit_s

    @property
    def _limit_s(self) -> float:
        config, layout = self._config, self._holdings.layout
        if config.timeout_s or not config.min_rate_bytes_per_s:
            return config.timeout_s or inf
        if layout is None or layout.length < 0:
            return _UNKNOWN_LENGTH_LIMIT_S
        return layout.length / config.min_rate_bytes_per_s + _LIMIT_MARGIN_S

    def _move(self, trigger: Trigger) -> None:
        self._phase = LIFE[self._phase][trigger]


_CLIENT_PHASES: Final = (Phase.SWARMING, Phase.PUBLISHING, Phase.REPORTING)
