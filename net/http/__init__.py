"""HTTP/1.1 on trio and h11: a server, and a client with a pool of connections."""

from .errors import BadAnswer, ConnectFailed, ConnectionLost, HttpError, ShortBody, StalledError
from .limits import ServerLimits
from .messages import FileSlice, Handler, HttpRequest, HttpResponse, text_response
from .pool import HttpPool
from .reply import HttpReply
from .server import open_listeners, serve_http

__all__ = [
    "BadAnswer",
    "ConnectFailed",
    "ConnectionLost",
    "FileSlice",
    "Handler",
    "HttpError",
    "HttpPool",
    "HttpReply",
    "HttpRequest",
    "HttpResponse",
    "ServerLimits",
    "ShortBody",
    "StalledError",
    "open_listeners",
    "serve_http",
    "text_response",
]
