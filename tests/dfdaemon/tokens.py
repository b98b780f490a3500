"""A token service as registries know it: whoever shows the password gets a bearer token."""

from __future__ import annotations

import base64
import json
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

if TYPE_CHECKING:
    from .authority import Certified

ISSUER: Final = "token service"
SERVICE: Final = "registry"
_LIFE_S: Final = 300


class TokenService:
    """Answers ``/token?scope=…`` with Basic credentials; a context manager.

    It signs with the key of ``certified``, whose authority the registry trusts.
    """

    def __init__(self, certified: Certified, user: str, password: str) -> None:
        self._certified = certified
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = service.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def realm(self) -> str:
        """Where tokens are to be had."""
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def registry_config(self) -> dict[str, str]:
        """Return what a registry must know of it."""
        root = str(self._certified.authority)
        return {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": root}

    def answer(self, target: str, authorization: str) -> tuple[int, bytes]:
        """Return status and body: a token for every scope that was asked for, or a refusal."""
        if authorization != self._expected:
            return 401, b'{"errors": [{"code": "UNAUTHORIZED"}]}'
        scopes = parse_qs(urlsplit(target).query).get("scope", [])
        return 200, json.dumps({"token": self.token(scopes), "expires_in": _LIFE_S}).encode()

    def token(self, scopes: list[str]) -> str:
        """Return a token for ``repository:NAME:ACTIONS`` and the like."""
        access: list[dict[str, Any]] = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now, der = int(time.time()), self._der()
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "",
            "access": access,
            "exp": now + _LIFE_S,
            "nbf": now - 10,
            "iat": now,
            "jti": sha256(f"{now}{scopes}".encode()).hexdigest(),
        }
        signed = ".".join([_base64(json.dumps(part).encode()) for part in (header, claims)])
        return f"{signed}.{_base64(self._signature(signed.encode()))}"

    def _der(self) -> bytes:
        certificate = x509.load_pem_x509_certificate(self._certified.certificate.read_bytes())
        return certificate.public_bytes(serialization.Encoding.DER)

    def _signature(self, data: bytes) -> bytes:
        key = serialization.load_pem_private_key(self._certified.key.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        numbers = decode_dss_signature(key.sign(data, ECDSA(hashes.SHA256())))
        return b"".join([number.to_bytes(32, "big") for number in numbers])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
