"""How a download ended, in words and as an exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.outcomes import BackSourceReason, FailCode
from ..engine.prospects import FORBIDDEN
from .status import ExitStatus

if TYPE_CHECKING:
    from ..net.request import Outcome


def status_of(outcome: Outcome) -> ExitStatus:
    """Return the exit status of a dfget that downloads this one file (protocol 8.4)."""
    return ExitStatus(outcome.code % 256)


def failure(code: FailCode, reason: int, message: str, seconds: float) -> Outcome:
    """Return the outcome of a download that did not get so far as to have one."""
    from ..net.request import Outcome, Progress

    return Outcome(code, reason, message, -1, seconds, Progress(), task="", peer="")


def not_prepared(error: Exception, seconds: float) -> Outcome:
    """Return the outcome of a download that could not begin."""
    reason = BackSourceReason.INIT_FAILED
    return failure(FailCode.PREPARE_FAILED, reason, str(error), seconds)


def next_step(outcome: Outcome) -> str:
    """Return what to do about a failure whose message does not say so itself."""
    if outcome.code is FailCode.PREPARE_FAILED:
        return ""
    if outcome.code is FailCode.NEED_AUTH:
        return "; give the credentials with --header"
    is_forbidden = outcome.reason >= FORBIDDEN
    match BackSourceReason(outcome.reason % FORBIDDEN):
        case BackSourceReason.NO_SPACE:
            return "; free some space, then run the same command again"
        case BackSourceReason.WRITE_FAILED | BackSourceReason.MD5_NOT_MATCH:
            return ""
        case BackSourceReason.USER_ASKED if is_forbidden:
            return "; leave out --notbs, or choose another --pattern"
        case _ if is_forbidden:
            return "; see that the supernodes run and are named right, or leave out --notbs"
        case _ if outcome.message.startswith(("md5 not match", "sha256 not match")):
            return ""
        case _ if outcome.message.startswith("not done after"):
            return "; allow more with --timeout or --minrate and run again: what came is kept"
        case _:
            return "; check the URL and the origin, then run again: what came is kept"
