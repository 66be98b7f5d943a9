"""Certificates that are made for one run and thrown away with it: the client's, and clusters' own."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clusterproof.lab.core.known_secrets import register

NAME = "clusterproof"
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def make_certificate(folder: Path, name: str = NAME) -> tuple[Path, Path]:
    """Return (certificate, key) as PEM files in ``folder``, made if they are missing; valid for a week.

    All workers of a run share the pair, so that only one of them may make it.
    """
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    with _locked(folder):
        if not (cert_path.exists() and key_path.exists()):
            _make(cert_path, key_path, name)
    register(key_path.read_text())
    return cert_path, key_path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on ``folder`` that ends with the process at the latest and leaves no file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def cluster_certificate(name: str, address: str, *, lasts: timedelta = WEEK) -> tuple[str, str]:
    """Return (certificate, key) in PEM for a cluster whose member ``name`` is at ``address``.

    The certificate became valid a day ago and will be for ``lasts`` from now; less than nothing makes one that
    has expired.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address(address))])
    now = datetime.now(UTC)
    certificate = _signed(key, _called(name), now - DAY, now + lasts, ExtendedKeyUsageOID.SERVER_AUTH, names)
    return certificate.decode(), register(_pem(key).decode())


def renewed_certificate(certificate: bytes, key: bytes) -> tuple[str, str]:
    """Return (certificate, key) in PEM: ``certificate`` made anew for the same names and the same ``key``.

    It is valid from a second after the old one, so that it is the newer one and valid everywhere.
    """
    old = x509.load_pem_x509_certificate(certificate)
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    begins = old.not_valid_before_utc + timedelta(seconds=1)
    renewed = _signed(private, old.subject, begins, begins + WEEK, ExtendedKeyUsageOID.SERVER_AUTH, names)
    return renewed.decode(), register(key.decode())


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _make(cert_path: Path, key_path: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    now = datetime.now(UTC)
    key_path.touch(mode=0o600)
    key_path.write_bytes(_pem(key))
    # Members' clocks may be behind the clock here.
    cert_path.write_bytes(_signed(key, _called(name), now - DAY, now + WEEK, ExtendedKeyUsageOID.CLIENT_AUTH))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _signed(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    begins: datetime,
    ends: datetime,
    usage: x509.ObjectIdentifier,
    *more: x509.ExtensionType,
) -> bytes:
    """Return a certificate for ``subject`` in PEM, signed with its own ``key``."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
