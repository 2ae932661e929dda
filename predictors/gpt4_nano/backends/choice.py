"""Which backend answers: environment variables first, then the parameters of config.pbtxt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from predictors.gpt4_nano.backends.mock import Mock
from predictors.gpt4_nano.backends.rows import Backend

BACKENDS = ("mock", "openai", "transformers")


class SettingsError(Exception):
    """A setting that cannot be used; it is named."""


def choose(parameters: Mapping[str, str], environ: Mapping[str, str], version_folder: Path) -> Backend:
    """``parameters``: of config.pbtxt; ``QUINTET_X`` in the environment comes before the parameter ``x``.

    Raises SettingsError.
    """

    def setting(name: str, default: str) -> str:
        return environ.get(f"QUINTET_{name.upper()}") or parameters.get(name) or default

    def number(name: str, default: str, least: float) -> float:
        value = setting(name, default)
        try:
            found = float(value)
        except ValueError:
            found = least - 1
        if not least <= found < float("inf"):
            raise SettingsError(f"{name} must be a number of at least {least:g}, not {value!r}.")
        return found

    kind = setting("backend", "mock")
    if kind == "mock":
        return Mock(number("mock_batch_seconds", "0", 0))
    if kind == "openai":
        # Only now, and so below: each needs libraries that the others do without.
        from predictors.gpt4_nano.backends.openai import OpenAI

        key_file = setting("openai_api_key_file", "")
        try:
            key = Path(key_file).read_text().strip() if key_file else setting("openai_api_key", "")
        except OSError as error:
            raise SettingsError(f"openai_api_key_file cannot be read: {error.strerror}.") from None
        if not key:
            raise SettingsError("The backend openai needs openai_api_key_file (or openai_api_key).")
        return OpenAI(
            base_url=setting("openai_base_url", "https://api.openai.com/v1"),
            key=key,
            model=setting("openai_model", "gpt-4.1-nano"),
            timeout=number("openai_timeout", "60", 0.001),
            attempts=int(number("openai_attempts", "4", 1)),
            moderation=setting("openai_moderation", "false").lower() in {"1", "true"},
        )
    if kind == "transformers":
        from predictors.gpt4_nano.backends.transformers import CausalLM

        return CausalLM(version_folder, threads=int(number("backend_threads", "1", 1)))
    raise SettingsError(f"backend must be one of {', '.join(BACKENDS)}, not {kind!r}.")
