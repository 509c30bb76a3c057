"""Certificates of a private authority, with which a Dask scheduler, its workers and the service know each other."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

AUTHORITY: Final = "ptyxas-ca.pem"
CERTIFICATE: Final = "ptyxas-certificate.pem"
KEY: Final = "ptyxas-key.pem"


def write_certificates(folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Write an authority's certificate, and one certificate with its private key that it has signed, as PEM files.

    The authority's own key is forgotten, so nothing else can ever be signed by it. All parties present the same
    certificate: Dask asks that it is signed by the authority, and for no name in it.

    Parameters
    ----------
    folder : Path
        It is created where it is missing. The files are `AUTHORITY`, `CERTIFICATE` and, readable by its owner only, `KEY`.
    hosts : tuple of str
        Names and IP addresses that the certificate states.
    days : int
        How long the certificates are valid.

    Raises
    ------
    FileExistsError
        One of the files is there: what uses it would no longer be understood.
    """
    there = [name for name in (AUTHORITY, CERTIFICATE, KEY) if (folder / name).exists()]
    if there:
        raise FileExistsError(f"{folder} has {', '.join(there)} already: remove all three first, or choose another folder")
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ptyxas private authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ptyxas")])
    authority = _unsigned(issuer, issuer, authority_key, days).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    certificate = _unsigned(subject, issuer, key, days).add_extension(names, critical=False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(folder / AUTHORITY, _pem(authority.sign(authority_key, hashes.SHA256())), 0o644)
    _write(folder / CERTIFICATE, _pem(certificate.sign(authority_key, hashes.SHA256())), 0o644)
    private = serialization.PrivateFormat.PKCS8
    _write(folder / KEY, key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()), 0o600)


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of a cluster differ
        .not_valid_after(now + timedelta(days=days))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
