"""What the flags and keys of dfdaemon take, and the exit status that each kind of mistake has."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ...engine.errors import ConfigError
from ..status import ExitError, ExitStatus
from ..units import parse_v1_rate
from ..values import parse_port, suggestion

if TYPE_CHECKING:
    from ...net.dfdaemon.settings import AuthCheck


class CodedError(ConfigError):
    """A mistake for which Dragonfly has an exit status of its own."""

    def __init__(self, message: str, status: ExitStatus) -> None:
        super().__init__(message)
        self.status = status


def with_status(error: ConfigError, usual: ExitStatus) -> ExitError:
    """Return what ends the program for ``error``: its own status, or that of what caused it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CodedError):
            return ExitError(str(error), cause.status)
        cause = cause.__cause__ or cause.__context__
    return ExitError(f"{error}; see --help", usual)


def parse_daemon_port(text: str) -> int:
    """Return a port to listen on; raises ``CodedError``."""
    try:
        return parse_port(text)
    except ConfigError as error:
        raise CodedError(str(error), ExitStatus.BAD_PORT) from error


def parse_daemon_rate(text: str) -> int:
    """Return bytes per second; raises ``CodedError``."""
    try:
        return parse_v1_rate(text)
    except ConfigError as error:
        raise CodedError(str(error), ExitStatus.BAD_RATE) from error


def parse_auth_check(text: str) -> AuthCheck:
    """Return who is let to content that is here; raises ``ConfigError``."""
    from ...net.dfdaemon.settings import AuthCheck

    known = [mode.value for mode in AuthCheck]
    if text not in known:
        raise ConfigError(f"unknown mode {text!r}{suggestion(text, known)}")
    return AuthCheck(text)


def parse_words(text: str) -> tuple[str, ...]:
    """Return words as a shell reads them; raises ``ConfigError``."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from error


def parse_ports(text: str) -> tuple[int, ...]:
    """Return the ports of ``a,b``; raises ``ConfigError``."""
    return tuple([parse_port(part.strip()) for part in text.split(",")])
