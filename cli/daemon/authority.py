"""``dfdaemon gen-ca``: a certificate authority in the files that dfdaemon 1.0.6 makes."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..status import ExitError, ExitStatus

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from .options import CaFlags

_KEY_BITS: Final = 2048
_SKEW: Final = timedelta(hours=1)


def generate_ca(flags: CaFlags) -> tuple[Path, Path]:
    """Write certificate and private key; return their paths.

    Raises ``ExitError`` if a file exists and is not to be replaced, before anything is written,
    or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    certificate_path, key_path = Path(flags.cert_output), Path(flags.key_output)
    if not flags.overwrite:
        for path in (certificate_path, key_path):
            if path.exists():
                raise _failed(f"{path} exists: name another file, or replace it with --overwrite")
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    name = flags.common_name or socket.gethostname()
    _write(key_path, pem, 0o600)
    _write(certificate_path, _certificate(key, name, flags.expire_duration), 0o644)
    return certificate_path, key_path


def _certificate(key: RSAPrivateKey, common_name: str, life_s: float) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    from ...net.dfdaemon.certificates import key_usage

    try:
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dragonfly"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        begins = datetime.now(UTC) - _SKEW
        ends = begins + _SKEW + timedelta(seconds=life_s)
    except (ValueError, OverflowError) as error:
        raise _failed(f"--common-name or --expire-duration cannot be used: {error}") from error
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Put a file in its place at once, with ``mode`` from its first byte on."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise _failed(f"cannot write {path}: {error.strerror}") from error


def _failed(message: str) -> ExitError:
    return ExitError(message, ExitStatus.FAILED)
