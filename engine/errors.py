"""The three kinds of trouble: ours to report to a caller, a stranger's bytes, and the world's."""


class DamselflyError(Exception):
    """Base of all errors that damselfly raises on purpose."""


class LocalProtocolError(DamselflyError):
    """The caller broke the contract of an engine; the engine's state is untouched."""


class RemoteProtocolError(DamselflyError):
    """Bytes from the network or from disk are not what the format allows.

    ``status_hint`` is the HTTP status with which a server should answer.
    """

    def __init__(self, message: str, *, status_hint: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status_hint


class ConfigError(DamselflyError):
    """A setting has a value that cannot be used; the message names the setting and the value."""
