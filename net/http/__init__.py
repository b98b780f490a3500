"""HTTP/1.1 on trio and h11: a server, and a client with a pool of connections."""

from .errors import BadAnswer, ConnectFailed, ConnectionLost, HttpError, ShortBody, StalledError
from .limits import ServerLimits
from .messages import (
    BodyStream,
    FileSlice,
    Handler,
    HttpRequest,
    HttpResponse,
    Part,
    Pending,
    PromptHandler,
    RequestBody,
    Response,
    StreamedRequest,
    StreamedResponse,
    SwitchToTls,
    TakeOver,
    text_response,
)
from .pool import HttpPool
from .reply import HttpReply
from .server import open_listeners, serve_http
from .transport import Transport

__all__ = [
    "BadAnswer",
    "BodyStream",
    "ConnectFailed",
    "ConnectionLost",
    "FileSlice",
    "Handler",
    "HttpError",
    "HttpPool",
    "HttpReply",
    "HttpRequest",
    "HttpResponse",
    "Part",
    "Pending",
    "PromptHandler",
    "RequestBody",
    "Response",
    "ServerLimits",
    "ShortBody",
    "StalledError",
    "StreamedRequest",
    "StreamedResponse",
    "SwitchToTls",
    "TakeOver",
    "Transport",
    "open_listeners",
    "serve_http",
    "text_response",
]
