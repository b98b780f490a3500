"""A dfdaemon on loopback with upstreams that remember what they were asked."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from damselfly.net.dfdaemon.content import ContentFailed, ContentRequest, OriginAnswered
from damselfly.net.dfdaemon.front import serve_daemon
from damselfly.net.dfdaemon.settings import DaemonSettings, Mirror
from damselfly.net.http import (
    HttpRequest,
    HttpResponse,
    Part,
    Response,
    StreamedRequest,
    open_listeners,
    serve_http,
    text_response,
)

from .http_support import RawClient, port_of

if TYPE_CHECKING:
    from damselfly.net.dfdaemon.served import Served

HERE = Path("/nowhere")  # nothing here is read or written
BLOB = "/v2/library/x/blobs/sha256:" + "ab" * 32
_CA_USAGE = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
LOOPBACK = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"))
Answer = Callable[[HttpRequest], Awaitable[Response]]


@dataclass
class Origin:
    """An upstream that answers what it is told to, and keeps the requests and their bodies."""

    port: int
    requests: list[HttpRequest] = field(default_factory=list[HttpRequest])
    bodies: list[bytes] = field(default_factory=list[bytes])

    @property
    def seen(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.requests]


@asynccontextmanager
async def origin(
    answer: Answer | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Origin]:
    async def handler(request: HttpRequest) -> Response:
        body = request.body
        if isinstance(request, StreamedRequest):
            while data := await request.stream.receive():
                body += data
        server.requests.append(request)
        server.bodies.append(body)
        if answer is not None:
            return await answer(request)
        return HttpResponse(200, (request.target.encode(),), "text/plain")

    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)
        server = Origin(port_of(listeners[0]))

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            await serve_http(
                handler, listeners, tls=tls, stream_bodies=True, task_status=task_status
            )

        await nursery.start(serve)
        yield server
        nursery.cancel_scope.cancel()


class FakeContent:
    """A content whose bytes come in bits, each after its gate, if it has one, was opened."""

    def __init__(self, data: bytes, bit: int = 1000, **headers: str) -> None:
        self.data = data
        self.bit = bit
        self.length: int | None = len(data)
        self.headers = tuple([(name.replace("_", "-"), value) for name, value in headers.items()])
        self.task = "t" * 64
        self.source = "p2p"
        self.gates: dict[int, trio.Event] = {}
        self.fails_at: int | None = None
        self.users = 0

    def read(self, first: int = 0, last: int | None = None) -> AsyncIterator[Part]:
        return _Reading(self, first, len(self.data) if last is None else last + 1)

    async def aclose(self) -> None:
        self.users -= 1


class _Reading:
    def __init__(self, content: FakeContent, offset: int, end: int) -> None:
        self._content = content
        self._offset = offset
        self._end = end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content, start = self._content, self._offset
        if start >= self._end:
            raise StopAsyncIteration
        for at, gate in content.gates.items():
            if start <= at < start + content.bit:
                await gate.wait()
        if content.fails_at is not None and start >= content.fails_at:
            raise ContentFailed("the rest is nowhere")
        self._offset = min(self._end, start + content.bit)
        return content.data[start : self._offset]


class FakeContents:
    """Gives what it was told to; ``requests`` are those that came to it."""

    def __init__(self) -> None:
        self.requests: list[ContentRequest] = []
        self.contents: dict[str, FakeContent | Exception] = {}

    async def open(self, request: ContentRequest) -> FakeContent:
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        content = self.contents.get(request.url)
        if content is None:
            raise OriginAnswered(404, "Not Found", (), b"none")
        if isinstance(content, Exception):
            raise content
        content.users += 1
        return content


class Requests(list["Served"]):
    """What the daemon told of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.grew = trio.Event()

    def served(self, served: Served) -> None:
        self.append(served)
        self.grew.set()
        self.grew = trio.Event()


class Daemon:
    def __init__(self, port: int, served: Requests, contents: FakeContents | None = None) -> None:
        self.port = port
        self.served = served
        self.contents = contents or FakeContents()

    async def told(self, count: int) -> None:
        """Wait until so many requests have ended."""
        with trio.fail_after(5):
            while len(self.served) < count:
                await self.served.grew.wait()

    async def ask(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, bytes, bytes]:
        """Put one request on a connection of its own; return status, lower-case head, body."""
        async with await RawClient.connect(self.port) as client:
            lines = [f"{method} {target} HTTP/1.1", *headers]
            if not any(header.lower().startswith("host:") for header in headers):
                lines.append("Host: daemon")
            await client.send("\r\n".join([*lines, "", ""]).encode() + body)
            return await client.answer(head_only=method == "HEAD")


@asynccontextmanager
async def daemon(
    remote: str = "http://127.0.0.1:1", *, contents: FakeContents | None = None, **settings: Any
) -> AsyncGenerator[Daemon]:
    """Run a daemon whose mirror is of ``remote``, with ``settings``."""
    settings.setdefault("registry_mirror", Mirror(remote))
    settings.setdefault("port", 0)
    told = DaemonSettings(HERE, HERE, **settings)
    contents, served = contents or FakeContents(), Requests()
    async with trio.open_nursery() as nursery:
        _, port = await nursery.start(serve_daemon, told, contents, served)
        yield Daemon(port, served, contents)
        nursery.cancel_scope.cancel()


@dataclass
class Pem:
    """A certificate and its key, in files."""

    cert: Path
    key: Path
    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    @classmethod
    def make(
        cls,
        folder: Path,
        name: str,
        *,
        ca: bool = False,
        issuer: Self | None = None,
        sans: tuple[x509.GeneralName, ...] = (),
        days: float = 3,
    ) -> Self:
        """Make a certificate, signed by ``issuer`` or itself, good for ``days`` from yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        began = datetime.now(UTC) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if ca:
            builder = builder.add_extension(_CA_USAGE, critical=True)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        certificate = builder.sign(issuer.private if issuer else key, hashes.SHA256())
        made = cls(folder / f"{name}.pem", folder / f"{name}.key", certificate, key)
        made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made


def refusal(status: int, text: str) -> Answer:
    async def answer(_: HttpRequest) -> Response:
        return text_response(status, text)

    return answer


def server_context(pem: Pem) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem.cert, pem.key)
    return context


def trusting(*pems: Pem) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for pem in pems:
        context.load_verify_locations(pem.cert)
    return context


async def connect(client: RawClient, target: str, *headers: str) -> tuple[int, bytes]:
    """Ask for a connection to ``target``; return the status and the head."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *headers, "", ""]
    await client.send("\r\n".join(lines).encode())
    status, head, _ = await client.answer()
    return status, head


class TlsClient:
    """Requests inside an intercepted connection."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self._raw = RawClient(stream)  # type: ignore[arg-type]

    async def ask(self, target: str, host: str, *headers: str) -> tuple[int, bytes, bytes]:
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]
        await self._raw.send("\r\n".join(lines).encode())
        return await self._raw.answer()

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.stream.getpeercert(binary_form=True))


@asynccontextmanager
async def intercepted(
    port: int, target: str, context: ssl.SSLContext, name: str = ""
) -> AsyncGenerator[TlsClient]:
    async with await RawClient.connect(port) as client:
        status, head = await connect(client, target)
        assert status == 200, head
        name = name or target.rpartition(":")[0].strip("[]")
        stream = trio.SSLStream(client.stream, context, server_hostname=name)
        with trio.fail_after(5):
            await stream.do_handshake()
        yield TlsClient(stream)
