"""What the exceptions of httpx mean, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..engine.events import OriginFailure
from .origin_head import OriginError

if TYPE_CHECKING:
    import httpx


def explain(
    error: httpx.HTTPError | httpx.InvalidURL,
    broken: OriginFailure,
    connect_timeout_s: float,
    stall_timeout_s: float,
) -> OriginError:
    """Say what an exception of httpx means; ``broken`` is what a lost connection means here."""
    import ssl

    import h11
    import httpx

    garbled = (h11.RemoteProtocolError, httpx.InvalidURL)
    cause = _root_cause(error)
    text = cause.strerror or str(cause) if isinstance(cause, OSError) else str(cause)
    match error:
        case httpx.ConnectTimeout():
            text = f"got no connection within {connect_timeout_s:g} s"
            return OriginError(OriginFailure.UNREACHABLE, text)
        case httpx.TimeoutException():
            text = f"stalled: no byte for {stall_timeout_s:g} s"
            return OriginError(OriginFailure.STALLED, text)
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return OriginError(OriginFailure.BAD_ANSWER, f"cannot be sent: {text}")
        case _ if isinstance(cause, ssl.SSLCertVerificationError):
            text = (
                f"has a certificate that is not trusted: {cause.verify_message}; have this"
                " machine trust its issuer, or allow insecure reads"
            )
            return OriginError(OriginFailure.UNREACHABLE, text)
        case _ if broken is OriginFailure.SHORT:
            return OriginError(broken, f"broke off: {text}")
        case httpx.RemoteProtocolError() if isinstance(cause, garbled):
            return OriginError(OriginFailure.BAD_ANSWER, f"answered no valid HTTP: {text}")
        case _:
            return OriginError(broken, f"failed: {text}")


def _root_cause(error: BaseException) -> BaseException:
    """Return what began it: of use to people, unlike the way it took through the libraries."""
    import httpx

    while (cause := error.__cause__ or error.__context__) is not None:
        if isinstance(error, httpx.InvalidURL):
            break
        if isinstance(cause, BaseExceptionGroup):
            cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
        error = cause
    return error
