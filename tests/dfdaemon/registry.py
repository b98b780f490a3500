"""Debian's docker-registry as the upstream: plain, with passwords or tokens, with TLS."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from .processes import PATIENCE_S, Running

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .authority import Certified
    from .tokens import TokenService

USER: Final = "somebody"
PASSWORD: Final = "open sesame"
_HTPASSWD: Final = "somebody:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that the registry has answered, with ``sent_bytes`` of body."""

    method: str
    uri: str
    status: int
    sent_bytes: int

    @property
    def is_blob(self) -> bool:
        """Whether it gave bytes of a blob away."""
        return self.method == "GET" and "/blobs/" in self.uri and self.status in (200, 206)


class Registry:
    """A docker-registry; runs within ``with``, on the port it had if it ran before.

    ``passwords``: Basic authentication of ``USER``.  ``tokens``: bearer tokens of that service.
    ``certified``: TLS with that certificate.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        passwords: bool = False,
        tokens: TokenService | None = None,
        certified: Certified | None = None,
    ) -> None:
        self.host, self.port = host, 0
        self._folder, self._certified = folder, certified
        self._running: Running | None = None
        self._marks = 0
        self._auth: dict[str, object] = {}
        if passwords:
            self._auth = {"htpasswd": {"realm": "registry", "path": str(folder / "htpasswd")}}
        elif tokens is not None:
            self._auth = {"token": tokens.registry_config()}

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"{'http' if self._certified is None else 'https'}://{self.address}"

    def __enter__(self) -> Self:
        """Start it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "htpasswd").write_text(_HTPASSWD)
        config = self._folder / "registry.yml"
        config.write_text(json.dumps(self._configuration()))  # JSON is YAML
        self._running = Running(["docker-registry", "serve", str(config)])
        self._running.__enter__()
        line = self._running.wait_for(lambda text: '"listening on ' in text, "a port")
        self.port = int(json.loads(line)["msg"].partition(",")[0].rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        assert self._running is not None
        self._running.__exit__()

    def calls(self) -> list[Call]:
        """Return all that it has answered."""
        assert self._running is not None
        self._marks += 1
        mark = f"/v2/?mark={self._marks}"
        self._ask(mark)
        self._running.wait_for(lambda text: f'"{mark}"' in text and _STATUS in text, "an answer")
        lines = [json.loads(line) for line in self._running.lines if _STATUS in line]
        return [_call(line) for line in lines]

    def blob_reads(self) -> list[Call]:
        """Return the answers by which it gave bytes of blobs away."""
        return [call for call in self.calls() if call.is_blob]

    def _ask(self, path: str) -> None:
        trust = None
        if self._certified is not None:
            trust = ssl.create_default_context(cafile=str(self._certified.authority))
        try:
            urlopen(self.url + path, timeout=PATIENCE_S, context=trust).close()
        except HTTPError as error:
            error.close()

    def _configuration(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": self.address, "secret": "shared by nobody"}
        if self._certified is not None:
            files = {"certificate": self._certified.certificate, "key": self._certified.key}
            http["tls"] = {name: str(path) for name, path in files.items()}
        return {
            "version": 0.1,
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "data")}},
            "http": http,
            **({"auth": self._auth} if self._auth else {}),
        }


_STATUS: Final = '"http.response.status"'


def _call(line: Mapping[str, Any]) -> Call:
    return Call(
        line["http.request.method"],
        line["http.request.uri"],
        int(line["http.response.status"]),
        int(line["http.response.written"]),
    )
