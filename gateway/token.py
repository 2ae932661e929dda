"""Mints tokens that this gateway accepts, for development and for machines that share its secret."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.config import Algorithm, Issuer
from gateway.errors import UsageError
from gateway.keys import Jwks, Secret

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

_ADAPTERS = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


@dataclass(frozen=True)
class SigningKey:
    """A key with the one algorithm it is for and the name under which the gateway knows it."""

    key: bytes | PrivateKey
    algorithm: Algorithm
    kid: str


@dataclass(frozen=True)
class Claims:
    """What a token says; `at` is the time of minting."""

    issuer: str
    subject: str
    audience: str
    scopes: tuple[str, ...]
    at: int
    expires_in: int
    token_id: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "iat": self.at,
            "exp": self.at + self.expires_in,
            "jti": self.token_id,
            "scope": " ".join(self.scopes),
        }


def mint(claims: Claims, key: SigningKey) -> str:
    headers = {"kid": key.kid, "typ": "at+jwt"}
    return jwt.encode(claims.as_dict(), key.key, algorithm=key.algorithm, headers=headers)


def secret_key(secret: Secret, kid: str | None = None) -> SigningKey:
    return SigningKey(secret.value, "HS256", kid or secret.kid)


def private_key(pem: bytes, jwks: Jwks | None, kid: str | None = None) -> SigningKey:
    """`jwks`: the public keys the gateway knows, where the kid is looked up when none is given."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise UsageError("the key file holds no unencrypted private key in PEM form") from None
    algorithm = _algorithm_of(key)
    if algorithm is None or not isinstance(key, get_args(PrivateKey)):
        raise UsageError("the key must be RSA, EC P-256 or Ed25519")
    found = kid or _kid_of(key, algorithm, jwks)
    if found is None:
        raise UsageError("give --kid: the gateway's JWKS file has no public key that belongs to this one")
    return SigningKey(key, algorithm, found)  # pyright: ignore[reportArgumentType] (narrowed by get_args)


def _algorithm_of(key: object) -> Algorithm | None:
    match key:
        case RSAPrivateKey():
            return "RS256"
        case EllipticCurvePrivateKey() if isinstance(key.curve, SECP256R1):
            return "ES256"
        case Ed25519PrivateKey():
            return "EdDSA"
        case _:
            return None


def _kid_of(key: Any, algorithm: Algorithm, jwks: Jwks | None) -> str | None:
    public = json.loads(_ADAPTERS[algorithm].to_jwk(key.public_key()))
    for entry in jwks["keys"] if jwks else ():
        if all(entry.get(member) == public.get(member) for member in ("kty", "crv", "n", "e", "x", "y")):
            return entry["kid"]
    return None


def split_scopes(given: Sequence[str]) -> tuple[str, ...]:
    """``--scope a --scope "b c"`` -> a, b, c."""
    return tuple(dict.fromkeys(scope for text in given for scope in text.split()))


def unknown_scopes(scopes: Sequence[str], known: Sequence[str]) -> Mapping[str, str | None]:
    """Every scope that nothing asks for, with the nearest one that something does."""
    unknown = [scope for scope in scopes if scope not in known]
    return {scope: next(iter(difflib.get_close_matches(scope, known, n=1)), None) for scope in unknown}


def choose_issuer(issuers: Sequence[Issuer], name: str | None, with_key_file: bool) -> tuple[int, Issuer]:
    """The one named; otherwise the first whose kind of keys fits what we can sign with."""
    if name is not None:
        for i, issuer in enumerate(issuers):
            if issuer.name == name:
                return i, issuer
        near = difflib.get_close_matches(name, [issuer.name for issuer in issuers], n=1)
        raise UsageError(f"there is no issuer {name}" + (f"; did you mean {near[0]}?" if near else ""))
    for i, issuer in enumerate(issuers):
        if issuer.keys.symmetric != with_key_file:
            return i, issuer
    if with_key_file:
        raise UsageError("no issuer takes public keys")
    raise UsageError("no issuer has a shared secret: give --key-file")
