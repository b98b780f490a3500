"""A private certificate authority, as companies have them, for upstreams of tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certified:
    """PEM files: a server's certificate and key, and the authority that vouches for it."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """Signs certificates for servers; its own certificate is ``path``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("private authority")
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.path = folder / "authority.crt"
        self._certificate = self._signed(self._name, self._key.public_key(), [(basic, True)])
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, *hosts: str) -> Certified:
        """Return a certificate for servers under these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        signed = self._signed(_name(hosts[0]), key.public_key(), [(names, False)])
        certificate, key_path = self._folder / f"{hosts[0]}.crt", self._folder / f"{hosts[0]}.key"
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(key_pem(key))
        return Certified(certificate, key_path, self.path)

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as a PEM file has it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
