"""Key material is checked before Envoy sees it, and no message quotes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.config import Algorithm
from gateway.keys import KeyProblem, Secret, read_public_jwks, read_secret, secret_jwks, secret_of

ALL: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")


def rsa_jwk(bits: int = 2048) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, bits).public_key()
    return json.loads(RSAAlgorithm.to_jwk(key)) | {"kid": "r"}


def ec_jwk(curve: ec.EllipticCurve | None = None) -> dict[str, Any]:
    key = ec.generate_private_key(curve or ec.SECP256R1()).public_key()
    return json.loads(ECAlgorithm.to_jwk(key)) | {"kid": "e"}


def okp_jwk(private: bool = False) -> dict[str, Any]:
    key = ed25519.Ed25519PrivateKey.generate()
    return json.loads(OKPAlgorithm.to_jwk(key if private else key.public_key())) | {"kid": "o"}


def write(tmp_path: Path, *keys: Any) -> Path:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": list(keys)}))
    return file


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"a1" * 16, b"a1" * 16),
        (b"a1" * 16 + b"\n", b"a1" * 16),
        (b"a1" * 16 + b"\r\n", b"a1" * 16),
        (bytes(range(32)), bytes(range(32))),
        (b"a1" * 16 + b"\n\n", b"a1" * 16 + b"\n"),
    ],
)
def test_a_secret_is_the_file_without_its_last_newline(tmp_path: Path, content: bytes, value: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert read_secret(file).value == value


@pytest.mark.parametrize("content", [b"", b"short", b"a1" * 15 + b"a\n", b"a" * 64])
def test_a_weak_secret_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s"
    file.write_bytes(content)
    with pytest.raises(KeyProblem) as raised:
        read_secret(file)
    assert not content.strip() or content.decode().strip() not in str(raised.value)


def test_a_secret_from_the_environment_is_held_to_the_same() -> None:
    assert secret_of("S", {"S": "a1" * 16}).value == b"a1" * 16
    for environ, says in (
        ({}, "there is no environment variable S"),
        ({"S": "short"}, "the secret in S has 5"),
    ):
        with pytest.raises(KeyProblem, match=says):
            secret_of("S", environ)


def test_a_secret_does_not_show(tmp_path: Path) -> None:
    secret = Secret(b"0123456789abcdef0123456789abcdef")
    assert repr(secret) == f"Secret(kid={secret.kid})"
    assert len(secret.kid) == 8
    assert secret.kid == Secret(secret.value).kid != Secret(secret.value + b"x").kid


def test_the_jwks_of_secrets(tmp_path: Path) -> None:
    secret = Secret(bytes(range(32)))
    (key,) = secret_jwks([secret])["keys"]
    assert key == {
        "kty": "oct",
        "alg": "HS256",
        "kid": secret.kid,
        "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    }


def test_public_keys_are_reduced_and_pinned(tmp_path: Path) -> None:
    file = write(tmp_path, rsa_jwk() | {"x5u": "https://evil.test", "note": 1}, ec_jwk(), okp_jwk())
    keys = read_public_jwks(file, ALL)["keys"]
    assert [(key["alg"], key["use"]) for key in keys] == [
        ("RS256", "sig"),
        ("ES256", "sig"),
        ("EdDSA", "sig"),
    ]
    assert set(keys[0]) == {"kty", "alg", "use", "kid", "n", "e"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: "x", "is not an object"),
        (lambda: {"kty": "oct", "kid": "a", "k": "c2VjcmV0"}, "private or symmetric"),
        (lambda: okp_jwk(private=True), "private or symmetric"),
        (lambda: {k: v for k, v in rsa_jwk().items() if k != "kid"}, "has no kid"),
        (lambda: rsa_jwk(1024), "fewer than 2048 bits"),
        (lambda: rsa_jwk() | {"n": "%%%"}, "n is not base64url"),
        (lambda: rsa_jwk() | {"alg": "RS512"}, "may only be used for RS256"),
        (lambda: rsa_jwk() | {"alg": "HS256"}, "may only be used for RS256"),
        (lambda: rsa_jwk() | {"use": "enc"}, "not for signatures"),
        (lambda: ec_jwk(ec.SECP384R1()), "only RSA, EC P-256 and OKP Ed25519"),
        (lambda: {"kty": "EC", "crv": "P-256", "kid": "a"}, "lacks x, y"),
        (lambda: {"kty": ["RSA"], "kid": "a"}, "only RSA, EC P-256 and OKP Ed25519"),
        (lambda: ec_jwk() | {"crv": {}}, "only RSA, EC P-256 and OKP Ed25519"),
        # What Envoy would refuse as late as its first fetch, and with it every other key of the issuer.
        (lambda: ec_jwk() | {"x": ec_jwk()["x"]}, "is no EC key"),
        (lambda: ec_jwk() | {"x": "AAAA"}, "is no EC key"),
        (lambda: okp_jwk() | {"x": "AA"}, "is no OKP key"),
        (lambda: rsa_jwk() | {"e": "AQ"}, "is no RSA key"),
        (lambda: rsa_jwk() | {"e": "%"}, "e is not base64url"),
    ],
)
def test_a_bad_public_key(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(KeyProblem, match=says):
        read_public_jwks(write(tmp_path, make()), ALL)


def test_a_key_for_an_algorithm_that_the_issuer_does_not_allow(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="algorithms do not allow"):
        read_public_jwks(write(tmp_path, ec_jwk()), ("RS256",))


def test_two_keys_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="same kid"):
        read_public_jwks(write(tmp_path, ec_jwk(), ec_jwk()), ALL)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": []}', "{", '{"keys": 1}', "[" * 100_000])
def test_a_file_that_is_no_jwks(tmp_path: Path, text: str) -> None:
    file = tmp_path / "j"
    file.write_text(text)
    with pytest.raises(KeyProblem):
        read_public_jwks(file, ALL)
