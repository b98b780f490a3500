"""What intercepted clients are shown: leaves signed by the operator's CA, or one fixed certificate.

A leaf has a key of its own, is for one host, and is good for a day within the CA's own time.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections import OrderedDict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...engine.errors import ConfigError, DamselflyError
from ...engine.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_LIFE: Final = timedelta(hours=24)
_CLOCKS_DIFFER: Final = timedelta(hours=1)
_RENEW_BEFORE_END: Final = timedelta(hours=1)
_MIN_KEPT: Final = timedelta(minutes=1)
_KEPT: Final = 1000
_MAX_COMMON_NAME: Final = 64
_PEM: Final = serialization.Encoding.PEM

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class CaExpired(DamselflyError):
    """Nothing that the CA signs would be believed."""


def now_utc() -> datetime:
    """Return the time by which certificates are dated."""
    return datetime.now(UTC)


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return what the key of a certificate may do: that of a CA also sign others, as in 1.0.6."""
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=is_ca,
        key_cert_sign=is_ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    context: ssl.SSLContext
    renew_at: datetime


class Certificates:
    """Server contexts by host, made when first wanted, kept, and made anew before they expire."""

    def __init__(self, cert: Path, key: Path, now: Callable[[], datetime] = now_utc) -> None:
        """Read both files; raises ``ConfigError`` if they are not a certificate and its key."""
        self._now = now
        self._chain = _read_chain(cert)
        self._key = _read_key(key)
        if self._key.public_key() != self._chain[0].public_key():
            raise ConfigError(f"hijack_https: {key} is not the key of {cert}")
        self._fixed = None if _is_ca(self._chain[0]) else self._context(self._chain, self._key)
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._making: dict[str, trio.Lock] = {}

    async def context(self, host: str) -> ssl.SSLContext:
        """Return what to show to clients of ``host``, a name or an address without brackets.

        Raises ``CaExpired``.
        """
        if self._fixed is not None:
            return self._fixed
        while (shown := self._current(host)) is None:
            async with self._making.setdefault(host, trio.Lock()):
                if self._current(host) is None:
                    self._keep(host, await trio.to_thread.run_sync(self._make, host))
            self._making.pop(host, None)
        return shown.context

    def _current(self, host: str) -> _Shown | None:
        shown = self._shown.get(host)
        if shown is None or shown.renew_at <= self._now():
            return None
        self._shown.move_to_end(host)
        return shown

    def _keep(self, host: str, shown: _Shown) -> None:
        self._shown[host] = shown
        if len(self._shown) > _KEPT:
            self._shown.popitem(last=False)

    def _make(self, host: str) -> _Shown:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(host, key)
        context = self._context([leaf, *self._chain], key)
        context.sni_callback = _only_for(host)
        end = leaf.not_valid_after_utc
        return _Shown(context, max(end - _RENEW_BEFORE_END, self._now() + _MIN_KEPT))

    def _leaf(self, host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        ca, now = self._chain[0], self._now()
        if ca.not_valid_after_utc <= now:
            end = ca.not_valid_after_utc.date()
            raise CaExpired(f"the CA of hijack_https.cert expired on {end}: make a new one")
        named = len(host) <= _MAX_COMMON_NAME
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, host)] if named else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - _CLOCKS_DIFFER, ca.not_valid_before_utc))
            .not_valid_after(min(now + _LIFE, ca.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_san(host)]), critical=not named)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(_issuer_key(ca), critical=False)
        )
        ed = isinstance(self._key, ed25519.Ed25519PrivateKey)
        return builder.sign(self._key, None if ed else hashes.SHA256())

    def _context(self, chain: list[x509.Certificate], key: SigningKey) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        pem = b"".join([certificate.public_bytes(_PEM) for certificate in chain])
        secret = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with _readable(secret + pem) as path:
            context.load_cert_chain(path)
        return context


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issuer_key(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(ca.public_key())  # pyright: ignore[reportArgumentType]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _only_for(host: str) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    """Return a check that a client wants the host that it had itself connected to."""

    def check(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        wrong = name is not None and name.lower().rstrip(".") != host.rstrip(".")
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if wrong else None

    return check


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"hijack_https.cert: {path} cannot be read: {error}") from error


def _read_key(path: Path) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"hijack_https.key: {path} cannot be read: {error}") from error
    if not isinstance(key, SigningKey):
        raise ConfigError(f"hijack_https.key: {path}: expected an RSA, EC or Ed25519 key")
    return key


@contextmanager
def _readable(data: bytes) -> Generator[str]:
    """Give the path of a file with ``data`` that never is on a disk: ssl reads only files."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
