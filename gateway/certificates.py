"""The certificate that callers see, and those that issuers are known by: checked before Envoy uses them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.config import Tls
from gateway.errors import Problem
from gateway.keys import KeyProblem, read_file, resolve


def certificate_problems(tls: Tls, base: Path, where: str) -> Iterator[Problem]:
    """All that is wrong with the two files."""
    cert_file, key_file = resolve(base, tls.cert_file), resolve(base, tls.key_file)
    if cert_file.parent != key_file.parent:
        yield Problem(f"{where}.key_file", f"must stand in {cert_file.parent}, the folder that is watched")
    certificate = key = None
    try:
        certificate = _leaf(cert_file)
    except KeyProblem as error:
        yield Problem(f"{where}.cert_file", str(error))
    try:
        key = _private_key(key_file)
    except KeyProblem as error:
        yield Problem(f"{where}.key_file", str(error))
    if certificate is None or key is None:
        return
    if certificate.public_key() != key.public_key():
        yield Problem(f"{where}.key_file", f"{key_file} is not the key of {cert_file}")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        ended = certificate.not_valid_after_utc.date()
        yield Problem(f"{where}.cert_file", f"the certificate in {cert_file} ended on {ended}")


def authority_problems(ca_file: Path, base: Path, where: str) -> Iterator[Problem]:
    file = resolve(base, ca_file)
    try:
        read_file(file)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except KeyProblem as error:
        yield Problem(where, str(error))
    except ssl.SSLError:
        yield Problem(where, f"{file} holds no certificate in PEM form")


def _leaf(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(read_file(file))[0]
    except ValueError:
        raise KeyProblem(f"{file} holds no certificate in PEM form") from None


def _private_key(file: Path):
    try:
        return load_pem_private_key(read_file(file), password=None)
    except (ValueError, TypeError):
        raise KeyProblem(f"{file} holds no unencrypted private key in PEM form") from None
