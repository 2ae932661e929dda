"""Mints tokens that this gateway accepts, for development and for machines that share its secret."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.config import Algorithm, Config, Issuer
from gateway.errors import UsageError
from gateway.keys import Jwks, Secret

_ADAPTERS: dict[Algorithm, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


@dataclass(frozen=True)
class PrivateKey:
    """With the one algorithm it is for."""

    key: RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
    algorithm: Algorithm

    def kid_in(self, jwks: Jwks | None) -> str | None:
        """The name of its public half there."""
        public = json.loads(_ADAPTERS[self.algorithm].to_jwk(self.key.public_key()))
        for entry in jwks["keys"] if jwks else ():
            if all(entry.get(member) == public.get(member) for member in ("kty", "crv", "n", "e", "x", "y")):
                return entry["kid"]
        return None


@dataclass(frozen=True)
class SigningKey:
    """A key with the one algorithm it is for and the name under which the gateway knows it."""

    key: bytes | RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
    algorithm: Algorithm
    kid: str


@dataclass(frozen=True)
class Claims:
    """What a token says; `at` is the time of minting."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    at: int
    expires_in: int
    token_id: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audiences[0] if len(self.audiences) == 1 else list(self.audiences),
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


def read_private_key(pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise UsageError("the key file holds no unencrypted private key in PEM form") from None
    match key:
        case RSAPrivateKey():
            return PrivateKey(key, "RS256")
        case EllipticCurvePrivateKey() if isinstance(key.curve, SECP256R1):
            return PrivateKey(key, "ES256")
        case Ed25519PrivateKey():
            return PrivateKey(key, "EdDSA")
        case _:
            raise UsageError("the key must be RSA, EC P-256 or Ed25519")


def private_key(key: PrivateKey, jwks: Jwks | None, kid: str | None = None) -> SigningKey:
    """`jwks`: the public keys the gateway knows, where the kid is looked up when none is given."""
    found = kid or key.kid_in(jwks)
    if found is None:
        raise UsageError("give --kid: the gateway's JWKS file has no public key that belongs to this one")
    return SigningKey(key.key, key.algorithm, found)


def split_scopes(given: Sequence[str]) -> tuple[str, ...]:
    """``--scope a --scope "b c"`` -> a, b, c."""
    return tuple(dict.fromkeys(scope for text in given for scope in text.split()))


def unknown_scopes(scopes: Sequence[str], known: Sequence[str]) -> Mapping[str, str | None]:
    """Every scope that nothing asks for, with the nearest one that something does."""
    unknown = [scope for scope in scopes if scope not in known]
    return {scope: next(iter(difflib.get_close_matches(scope, known, n=1)), None) for scope in unknown}


def audiences_for(scopes: Sequence[str], issuer: Issuer, config: Config) -> tuple[str, ...]:
    """One for each model that the scopes name, so that the token opens it."""
    named = config.models if "infer:*" in scopes else [scope.partition(":")[2] for scope in scopes]
    models = [config.models[name] for name in named if name in config.models]
    found = [(model.audiences or issuer.audiences)[0] for model in models]
    return tuple(dict.fromkeys(found)) or (issuer.audiences[0],)


def choose_issuer(
    issuers: Sequence[Issuer], name: str | None, key: PrivateKey | None, jwks: Mapping[str, Jwks]
) -> tuple[int, Issuer]:
    """The one named; otherwise the first that knows the key, or else whose keys are of its kind."""
    numbered = list(enumerate(issuers))
    if name is not None:
        for i, issuer in numbered:
            if issuer.name == name:
                return i, issuer
        near = difflib.get_close_matches(name, [issuer.name for issuer in issuers], n=1)
        raise UsageError(f"there is no issuer {name}" + (f"; did you mean {near[0]}?" if near else ""))
    fitting = [(i, issuer) for i, issuer in numbered if issuer.keys.symmetric == (key is None)]
    if not fitting:
        asked = "no issuer takes public keys" if key else "no issuer has a shared secret: give --key-file"
        raise UsageError(asked)
    known = (one for one in fitting if key and key.kid_in(jwks.get(one[1].name)))
    return next(known, fitting[0])
