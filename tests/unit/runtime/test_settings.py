from __future__ import annotations

from pathlib import Path

import pytest

from predictors.runtime.settings import RuntimeSettings, SettingsError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("QUINTET_")]:
        monkeypatch.delenv(name)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_MODEL_DIR", "/weights")
    monkeypatch.setenv("QUINTET_MAX_ITEMS", "7")
    settings = RuntimeSettings.from_environment()
    assert (settings.model_dir, settings.max_items) == (Path("/weights"), 7)


def test_every_mistake_is_said_at_once_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_MODELDIR", "/weights")
    monkeypatch.setenv("QUINTET_HTTP_PORT", "80000")
    monkeypatch.setenv("QUINTET_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError) as error:
        RuntimeSettings.from_environment()
    text = "\n".join(error.value.reasons)
    assert "QUINTET_MODELDIR is not a setting; the nearest one is QUINTET_MODEL_DIR." in text
    assert "QUINTET_HTTP_PORT" in text
    assert "QUINTET_LOG_LEVEL" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUINTET_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("QUINTET_GATEWAY_SERVICE_PORT", "80"),
        ("QUINTET_GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("QUINTET_GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("QUINTET_GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("QUINTET_GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_says_of_a_service_named_quintet_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    RuntimeSettings.from_environment()


def test_a_misspelt_port_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_HTP_PORT", "9000")
    with pytest.raises(SettingsError, match="QUINTET_HTTP_PORT"):
        RuntimeSettings.from_environment()
