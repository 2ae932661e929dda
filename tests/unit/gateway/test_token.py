"""Minting: pure, and on the command line alone on stdout's last line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from typer.testing import CliRunner, Result

from gateway import token
from gateway.__main__ import app
from gateway.keys import Secret

from .conftest import SECRET

Write = Callable[[dict[str, Any]], Path]

KEYS: dict[str, tuple[Any, Any]] = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["token", "--config", str(file), *arguments])


def read(
    result: Result, key: Any = SECRET, algorithm: str = "HS256", audience: str = "quintet"
) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return jwt.decode(line, key, algorithms=[algorithm], audience=audience)


def pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_minting_is_pure() -> None:
    claims = token.Claims("https://i.test", "me", ("quintet",), ("infer:a", "infer:b"), 1000, 60, "id")
    key = token.secret_key(Secret(SECRET.encode()))
    assert token.mint(claims, key) == token.mint(claims, key)
    header = jwt.get_unverified_header(token.mint(claims, key))
    assert header == {"alg": "HS256", "typ": "at+jwt", "kid": Secret(SECRET.encode()).kid}
    assert claims.as_dict()["scope"] == "infer:a infer:b"
    assert claims.as_dict()["exp"] == 1060


def test_the_token_alone_is_on_stdout(raw: dict[str, Any], write: Write) -> None:
    result = run(write(raw), "--scope", "infer:alpha")
    claims = read(result)
    assert result.stderr == ""
    assert (claims["iss"], claims["sub"], claims["scope"]) == (
        "https://local.test",
        "developer",
        "infer:alpha",
    )
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    "given",
    [["--scope", "infer:alpha", "--scope", "infer:beta_two"], ["--scope", " infer:alpha  infer:beta_two"]],
)
def test_scopes_by_repetition_or_by_spaces(raw: dict[str, Any], write: Write, given: list[str]) -> None:
    assert read(run(write(raw), *given))["scope"] == "infer:alpha infer:beta_two"


def test_without_a_scope_it_is_for_all_models_and_says_so(raw: dict[str, Any], write: Write) -> None:
    result = run(write(raw))
    assert read(result)["scope"] == "infer:*"
    assert "infer:*" in result.stderr


def test_an_unknown_scope_is_minted_with_a_warning(raw: dict[str, Any], write: Write) -> None:
    result = run(write(raw), "--scope", "infer:alhpa infer:beta_two")
    assert read(result)["scope"] == "infer:alhpa infer:beta_two"
    expected = (
        "warning: nothing behind this gateway asks for the scope infer:alhpa; did you mean infer:alpha?"
    )
    assert result.stderr.splitlines() == [expected]


def test_everything_can_be_chosen(raw: dict[str, Any], write: Write) -> None:
    options = [
        "--subject",
        "bob",
        "--audience",
        "quintet",
        "--expires-in",
        "90",
        "--kid",
        "k1",
        "--alg",
        "HS256",
    ]
    result = run(write(raw), "--scope", "infer:*", *options)
    claims = read(result)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("bob", 90)
    assert jwt.get_unverified_header(result.stdout.strip())["kid"] == "k1"


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_private_keys_find_their_own_name(
    raw: dict[str, Any], write: Write, tmp_path: Path, algorithm: str
) -> None:
    make, kind = KEYS[algorithm]
    key = make()
    other = json.loads(kind.to_jwk(make().public_key())) | {"kid": "other"}
    mine = json.loads(kind.to_jwk(key.public_key())) | {"kid": "mine"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [other, mine]}))
    (tmp_path / "key.pem").write_bytes(pem(key))
    raw["issuers"].append(raw["issuers"][0] | {"name": "company", "keys": {"jwks_file": "jwks.json"}})
    result = run(
        write(raw), "--scope", "infer:*", "--key-file", str(tmp_path / "key.pem"), "--alg", algorithm
    )
    read(result, key.public_key(), algorithm)
    assert jwt.get_unverified_header(result.stdout.strip())["kid"] == "mine"


def test_a_private_key_is_its_own_issuers(raw: dict[str, Any], write: Write, tmp_path: Path) -> None:
    """Not the first one's whose keys are public, when another publishes this very key."""
    key = KEYS["ES256"][0]()
    mine = json.loads(ECAlgorithm.to_jwk(key.public_key())) | {"kid": "mine"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [mine]}))
    (tmp_path / "key.pem").write_bytes(pem(key))
    people = {"name": "people", "issuer": "https://people.test", "keys": {"jwks_url": "https://p.test/keys"}}
    machines = {"name": "machines", "issuer": "https://machines.test", "keys": {"jwks_file": "jwks.json"}}
    raw["issuers"] = [raw["issuers"][0] | people, raw["issuers"][0] | machines]
    result = run(write(raw), "--scope", "infer:*", "--key-file", str(tmp_path / "key.pem"))
    assert read(result, key.public_key(), "ES256")["iss"] == "https://machines.test"


@pytest.mark.parametrize(
    ("scope", "audience"),
    [
        ("infer:alpha", "special"),
        ("infer:beta_two", "quintet"),
        ("infer:alpha infer:beta_two", ["special", "quintet"]),
        ("infer:*", ["special", "quintet"]),
        ("read:models", "quintet"),
        ("infer:alpha read:models", "special"),
    ],
)
def test_it_is_for_the_audiences_of_the_models_it_names(
    raw: dict[str, Any], write: Write, scope: str, audience: Any
) -> None:
    """Otherwise a token for a model with an audience of its own would be refused there."""
    raw["models"]["alpha"]["audiences"] = ["special"]
    claims = read(run(write(raw), "--scope", scope), audience=audience if scope != "infer:*" else "special")
    assert claims["aud"] == audience


def test_an_audience_that_nothing_asks_for_is_minted_with_a_warning(
    raw: dict[str, Any], write: Write
) -> None:
    result = run(write(raw), "--scope", "infer:alpha", "--audience", "quintett")
    assert read(result, audience="quintett")
    assert result.stderr.startswith("warning: nothing behind this gateway asks for the audience quintett")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--subject", ""], "--subject"),
        (["--subject", "Zoë"], "--subject"),
        (["--expires-in", "25h"], "from 1 to the issuer's max_lifetime, 3600 s"),
        (["--expires-in", "0"], "from 1 to"),
        (["--expires-in", "soon"], "--expires-in: a duration is"),
        (["--alg", "RS256"], "--alg RS256: this key is for HS256"),
        (["--alg", "none"], "none"),
        (["--issuer", "lokal"], "there is no issuer lokal; did you mean local?"),
        (["--key-file", "none.pem"], "--key-file none.pem cannot be read"),
    ],
)
def test_what_cannot_be_minted(raw: dict[str, Any], write: Write, arguments: list[str], says: str) -> None:
    result = run(write(raw), "--scope", "infer:*", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_key_without_a_name(raw: dict[str, Any], write: Write, tmp_path: Path) -> None:
    raw["issuers"][0]["keys"] = {"jwks_url": "https://idp.test/jwks"}
    key = KEYS["ES256"][0]()
    (tmp_path / "key.pem").write_bytes(pem(key))
    arguments = ["--scope", "infer:*", "--key-file", str(tmp_path / "key.pem")]
    assert "give --kid" in run(write(raw), *arguments).stderr
    read(run(write(raw), *arguments, "--kid", "k"), key.public_key(), "ES256")


def test_a_private_key_where_all_secrets_are_shared(
    raw: dict[str, Any], write: Write, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(pem(KEYS["ES256"][0]()))
    result = run(write(raw), "--scope", "infer:*", "--key-file", str(tmp_path / "key.pem"))
    assert (result.exit_code, result.stderr) == (2, "no issuer takes public keys\n")


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----"]
)
def test_a_key_file_that_is_none(raw: dict[str, Any], write: Write, tmp_path: Path, content: bytes) -> None:
    raw["issuers"][0]["keys"] = {"jwks_url": "https://idp.test/jwks"}
    (tmp_path / "key.pem").write_bytes(content)
    result = run(write(raw), "--scope", "infer:*", "--key-file", str(tmp_path / "key.pem"))
    assert (result.exit_code, result.stderr) == (
        2,
        "the key file holds no unencrypted private key in PEM form\n",
    )
