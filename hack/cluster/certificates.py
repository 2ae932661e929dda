"""The cluster's certificates and kubeconfigs: one authority, and one for the API server's front proxy."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hack.cluster.places import API, API_SERVICE_IP, CONFIG, KUBECONFIG, NODE, NODE_IP, PKI

DAYS = 365


def write_all() -> None:
    PKI.mkdir(parents=True, exist_ok=True)
    CONFIG.mkdir(parents=True, exist_ok=True)
    authority("ca")
    authority("front-proxy-ca")
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    service.append("kubernetes.default.svc.cluster.local")
    certificate(
        "apiserver",
        "kube-apiserver",
        names=[*service, "localhost", NODE, "127.0.0.1", NODE_IP, API_SERVICE_IP],
    )
    certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    certificate("front-proxy-client", "front-proxy-client", by="front-proxy-ca")
    certificate("kubelet-server", f"system:node:{NODE}", "system:nodes", [NODE, NODE_IP])
    for name, user, group in (
        ("admin", "admin", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("kubelet", f"system:node:{NODE}", "system:nodes"),
        ("kube-proxy", "system:kube-proxy", "system:node-proxier"),
    ):
        certificate(name, user, group)
        _kubeconfig(KUBECONFIG if name == "admin" else CONFIG / f"{name}.kubeconfig", name)
    if not (PKI / "service-accounts.key").exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        _write(PKI / "service-accounts.key", _private(key))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(PKI / "service-accounts.pub", public)


def authority(name: str) -> None:
    if (PKI / f"{name}.crt").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"quintet-{name}")
    usage = _usage(sign=True)
    made = _builder(subject, subject, key).add_extension(x509.BasicConstraints(True, None), True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = made.add_extension(usage, True).add_extension(identifier, False)
    _write(PKI / f"{name}.key", _private(key))
    _write(PKI / f"{name}.crt", made.sign(key, SHA256()).public_bytes(Encoding.PEM))


def certificate(
    name: str, user: str, group: str | None = None, names: Iterable[str] = (), by: str = "ca"
) -> None:
    """For a client and a server; ``names`` are those of the server."""
    if (PKI / f"{name}.crt").exists():
        return
    issuer = x509.load_pem_x509_certificate((PKI / f"{by}.crt").read_bytes())
    issuer_key = load_pem_private_key((PKI / f"{by}.key").read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    made = _builder(_name(user, group), issuer.subject, key)
    made = made.add_extension(x509.BasicConstraints(False, None), True).add_extension(
        _usage(sign=False), True
    )
    made = made.add_extension(both, False)
    if alternatives := [_alternative(one) for one in names]:
        made = made.add_extension(x509.SubjectAlternativeName(alternatives), False)
    _write(PKI / f"{name}.key", _private(key))
    _write(PKI / f"{name}.crt", made.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM))


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _kubeconfig(path: Path, name: str) -> None:
    cluster = {"server": API, "certificate-authority-data": encoded(PKI / "ca.crt")}
    user = {
        "client-certificate-data": encoded(PKI / f"{name}.crt"),
        "client-key-data": encoded(PKI / f"{name}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "quintet",
        "clusters": [{"name": "quintet", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "quintet", "context": {"cluster": "quintet", "user": name}}],
    }
    _write(path, json.dumps(config, indent=1).encode())


def _name(user: str, group: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    return made.not_valid_after(now + timedelta(days=DAYS))


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Only what has changed: some daemons end when a file of theirs is written again."""
    if not path.exists() or path.read_bytes() != content:
        path.touch(mode=0o600)
        path.write_bytes(content)
