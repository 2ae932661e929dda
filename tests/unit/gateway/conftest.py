"""A config that is sound, to be spoilt by each test in its own way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SECRET = "0123456789abcdef0123456789abcdef"

SOUND: dict[str, Any] = {
    "issuers": [
        {
            "name": "local",
            "issuer": "https://local.test",
            "audiences": ["quintet"],
            "keys": {"secret_files": ["secret"]},
        }
    ],
    "models": {
        "alpha": {
            "upstream": {"host": "127.0.0.1", "http_port": 9001, "grpc_port": 9101},
            "routes": [{"path": "/classify"}],
        },
        "beta_two": {"upstream": {"host": "beta", "grpc_port": None}},
    },
}


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(SOUND)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a config beside its secret and returns the file."""

    def writer(config: dict[str, Any]) -> Path:
        (tmp_path / "secret").write_text(SECRET)
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    return writer
