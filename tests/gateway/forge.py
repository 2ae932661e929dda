"""Tokens good and bad. Independent of gateway.token: what is under test must not make its own evidence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm


def b64(value: bytes | dict[str, Any]) -> str:
    if isinstance(value, dict):
        value = json.dumps(value).encode()
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@dataclass(frozen=True)
class Signer:
    """A key with what belongs to it. `key` is bytes for HS256."""

    issuer: str
    audience: str
    algorithm: str
    kid: str
    key: Any

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A good token's claims; a change to None leaves the claim out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.audience, "sub": "alice", "exp": now + 600, "iat": now}
        return {key: value for key, value in (claims | changes).items() if value is not None}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """`header` changes the JOSE header; None leaves a member out."""
        if isinstance(self.key, bytes):
            return self._hmac(claims, header)
        header = {"kid": self.kid} | header
        if header.get("typ", "") is not None:  # PyJWT leaves it out only when it is told so with None
            header = {key: value for key, value in header.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm=header.pop("alg", self.algorithm), headers=header)

    def token(self, scope: Any = None, **changes: Any) -> str:
        return self.sign(self.claims(scope=scope, **changes))

    def _hmac(self, claims: dict[str, Any], header: dict[str, Any]) -> str:
        """By hand, because PyJWT would refuse half of what an attacker sends."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | header
        signed = f"{b64({k: v for k, v in head.items() if v is not None})}.{b64(claims)}"
        return f"{signed}.{b64(hmac_of(self.key, signed, head['alg']))}"


def hmac_of(key: bytes, signed: str, algorithm: str = "HS256") -> bytes:
    digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(algorithm, hashlib.sha256)
    return hmac.new(key, signed.encode(), digest).digest()


def kid_of_secret(secret: bytes) -> str:
    return hashlib.sha256(b"quintet-kid\0" + secret).hexdigest()[:8]


def make_rsa() -> Any:
    return rsa.generate_private_key(65537, 2048)


def make_ec() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def make_ed25519() -> Any:
    return ed25519.Ed25519PrivateKey.generate()


_KINDS = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def public_jwk(signer: Signer) -> dict[str, Any]:
    jwk = json.loads(_KINDS[signer.algorithm].to_jwk(signer.key.public_key()))
    jwk.pop("key_ops", None)
    return jwk | {"kid": signer.kid}


def public_pem(signer: Signer) -> bytes:
    return signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
