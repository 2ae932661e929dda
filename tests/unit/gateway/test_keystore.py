"""Keys while the gateway runs: a sound change is used, an unsound one changes nothing and is said once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Secret
from gateway.keystore import KeyStore
from gateway.loading import load

from .conftest import SECRET

OTHER = "fedcba9876543210fedcba9876543210"


def kids(store: KeyStore) -> list[str]:
    return [key["kid"] for key in json.loads(store.jwks("local") or b"")["keys"]]


def kid(secret: str) -> str:
    return Secret(secret.encode()).kid


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(raw: dict[str, Any], write: Callable[[dict[str, Any]], Path], said: list[str]) -> KeyStore:
    return KeyStore(load(write(raw)), said.append)


def test_a_changed_file_is_used_and_said(store: KeyStore, tmp_path: Path, said: list[str]) -> None:
    assert kids(store) == [kid(SECRET)]
    (tmp_path / "secret").write_text(OTHER)
    assert kids(store) == [kid(OTHER)]
    assert kids(store) == [kid(OTHER)]
    assert said == [f"issuers[0]: keys changed; now {kid(OTHER)}"]
    assert OTHER not in said[0]


@pytest.mark.parametrize("content", [None, "", "too short"])
def test_an_unsound_file_changes_nothing(
    store: KeyStore, tmp_path: Path, said: list[str], content: str | None
) -> None:
    file = tmp_path / "secret"
    file.unlink() if content is None else file.write_text(content)
    for _ in range(3):
        assert kids(store) == [kid(SECRET)]
    (only,) = said
    assert only.startswith("issuers[0].keys.secret_files[0]: ")
    assert only.endswith("; the keys from before stay in use")
    file.write_text(OTHER)
    assert kids(store) == [kid(OTHER)], "and the next sound one is used"


def test_an_issuer_without_files_has_none_here(store: KeyStore) -> None:
    assert store.jwks("nobody") is None
