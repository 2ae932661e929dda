from __future__ import annotations

from pathlib import Path

import pytest

from predictors.gpt2.settings import Gpt2Settings
from predictors.runtime.settings import SettingsError

ORIGINAL = {
    "CKPT_PATH": "/weights/model.pth",
    "MODEL_NAME": "r50k_base",
    "MAX_CTX": "256",
    "TORCH_THREADS": "3",
    "API_KEY": "secret",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("QUINTET_") or name in ORIGINAL]:
        monkeypatch.delenv(name)


def test_the_originals_names_keep_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ORIGINAL.items():
        monkeypatch.setenv(name, value)
    settings = Gpt2Settings.from_environment()
    assert settings.checkpoint == Path("/weights/model.pth")
    assert (settings.tokenizer, settings.max_context, settings.threads) == ("r50k_base", 256, 3)
    assert settings.api_key.get_secret_value() == "secret"


def test_our_name_comes_before_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CTX", "256")
    monkeypatch.setenv("QUINTET_MAX_CONTEXT", "512")
    assert Gpt2Settings.from_environment().max_context == 512


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_CTX", "4096"), ("TORCH_THREADS", "0"), ("MODEL_NAME", "cl100k_base")]
)
def test_a_value_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        Gpt2Settings.from_environment()


def test_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    assert "secret" not in repr(Gpt2Settings.from_environment())
