"""Key material: secret files and JWKS files -> the JWKS that Envoy verifies with.

Envoy trusts what a JWKS says and checks little of it: a 16-byte secret, an RSA key without `alg`, a key
without `kid` all pass. So everything is checked here, and what is written for Envoy is our own copy, reduced
to the public members with `alg` pinned in every key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jwt import PyJWK, PyJWTError

from gateway.config import Algorithm, Issuer
from gateway.errors import Problem

MIN_SECRET_BYTES = 32  # RFC 7518 3.2: an HMAC key is at least as long as its hash
MIN_RSA_BITS = 2048

#: What of a public JWK is kept, and the one algorithm each kind of key is for.
_PUBLIC: dict[tuple[str, str | None], tuple[Algorithm, tuple[str, ...]]] = {
    ("RSA", None): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("crv", "x")),
}

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")

Jwks = dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Secret:
    """A shared secret; its repr never shows it."""

    value: bytes

    @property
    def kid(self) -> str:
        """Tells two secrets apart and follows from the secret alone, so that minting and verifying agree.

        Hashed under a name of its own: 32 bits of it say nothing of a random secret.
        """
        return hashlib.sha256(b"quintet-kid\0" + self.value).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Secret(kid={self.kid})"


class KeyProblem(Exception):
    """One sentence that says what is wrong with a key; never quotes the key."""


def b64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def read_secret(path: Path) -> Secret:
    return _checked(read_file(path), str(path))


def secret_of(name: str, environ: Mapping[str, str]) -> Secret:
    """The secret in an environment variable."""
    if name not in environ:
        raise KeyProblem(f"there is no environment variable {name}")
    return _checked(os.fsencode(environ[name]), name)


def _checked(value: bytes, where: str) -> Secret:
    # Editors and `echo` end a file with a newline that nobody means as part of the secret.
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) < MIN_SECRET_BYTES:
        raise KeyProblem(
            f"the secret in {where} has {len(value)} bytes and needs at least {MIN_SECRET_BYTES}"
            ' (python -c "import secrets; print(secrets.token_hex(32))" makes a good one)'
        )
    if len(set(value)) == 1:
        raise KeyProblem(f"the secret in {where} is one byte repeated")
    return Secret(value)


def issuer_secrets(issuer: Issuer, base: Path, environ: Mapping[str, str]) -> Iterator[Secret | Problem]:
    """Each secret, or what is wrong with it; the problem's `where` is within the issuer's keys."""
    sources = [
        *((f"secret_files[{i}]", partial(read_secret, resolve(base, file)))
          for i, file in enumerate(issuer.keys.secret_files)),
        *((f"secret_env[{i}]", partial(secret_of, name, environ))
          for i, name in enumerate(issuer.keys.secret_env)),
    ]  # fmt: skip
    for where, read in sources:
        try:
            yield read()
        except KeyProblem as error:
            yield Problem(where, str(error))


def read_public_jwks(path: Path, allowed: tuple[Algorithm, ...]) -> Jwks:
    """The file's keys, checked, each reduced to its public members with its one algorithm."""
    try:
        document = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise KeyProblem(f"{path} is not JSON ({error})") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise KeyProblem(f'{path} is not a JWKS: it needs {{"keys": [...]}} with at least one key')
    keys = [_public_key(entry, f"{path}: keys[{i}]", allowed) for i, entry in enumerate(entries)]
    kids = [key["kid"] for key in keys]
    if len(set(kids)) != len(kids):
        raise KeyProblem(f"{path}: two keys have the same kid")
    return {"keys": keys}


def _public_key(entry: Any, where: str, allowed: tuple[Algorithm, ...]) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise KeyProblem(f"{where} is not an object")
    if "d" in entry or "k" in entry:
        raise KeyProblem(f"{where} holds a private or symmetric key; only public keys belong in a JWKS file")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        raise KeyProblem(f"{where} has no kid")
    kind = next((kind for kind in _PUBLIC if kind == (entry.get("kty"), entry.get("crv"))), None)
    if kind is None:
        raise KeyProblem(f"{where}: only RSA, EC P-256 and OKP Ed25519 keys are supported")
    algorithm, members = _PUBLIC[kind]
    if entry.get("alg", algorithm) != algorithm:
        raise KeyProblem(f"{where} is for {entry['alg']}; such a key may only be used for {algorithm}")
    if algorithm not in allowed:
        raise KeyProblem(f"{where} is for {algorithm}, which this issuer's algorithms do not allow")
    if entry.get("use", "sig") != "sig":
        raise KeyProblem(f"{where} is not for signatures")
    if missing := [m for m in members if not isinstance(entry.get(m), str)]:
        raise KeyProblem(f"{where} lacks {', '.join(missing)}")
    key = {"kty": kind[0], "alg": algorithm, "use": "sig", "kid": kid} | {m: entry[m] for m in members}
    for member in members:
        if not _BASE64URL.fullmatch(key[member]):  # which the name of a curve is as well
            raise KeyProblem(f"{where}: {member} is not base64url")
    # Envoy takes all of a JWKS or nothing, and it sees this one as late as its first fetch.
    try:
        public = PyJWK(key).key
    except PyJWTError:
        raise KeyProblem(f"{where} is no {kind[0]} key: its numbers do not make one") from None
    if algorithm == "RS256" and public.key_size < MIN_RSA_BITS:
        raise KeyProblem(f"{where} has fewer than {MIN_RSA_BITS} bits")
    return key


def secret_jwks(secrets: list[Secret]) -> Jwks:
    return {"keys": [{"kty": "oct", "alg": "HS256", "kid": s.kid, "k": b64url(s.value)} for s in secrets]}


def issuer_jwks(
    issuer: Issuer, base: Path, where: str, environ: Mapping[str, str]
) -> tuple[Jwks | None, list[Problem]]:
    """The JWKS of an issuer (None: Envoy fetches it), with all that is wrong with its sources."""
    keys = issuer.keys
    if keys.jwks_file is not None:
        try:
            return read_public_jwks(resolve(base, keys.jwks_file), issuer.allowed_algorithms), []
        except KeyProblem as error:
            return None, [Problem(f"{where}.keys.jwks_file", str(error))]
    if not keys.symmetric:
        return None, []
    read = list(issuer_secrets(issuer, base, environ))
    problems = [Problem(f"{where}.keys.{p.where}", p.what) for p in read if isinstance(p, Problem)]
    secrets = [s for s in read if isinstance(s, Secret)]
    if len({s.kid for s in secrets}) != len(secrets):
        problems.append(Problem(f"{where}.keys.secret_files", "the same secret stands there twice"))
    return secret_jwks(secrets), problems


def resolve(base: Path, file: Path) -> Path:
    """Relative to the config's folder, and without the ``..`` that a reader would have to work out."""
    return Path(os.path.normpath(base / file))


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KeyProblem(f"there is no file {path}") from None
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read ({error.strerror})") from None
