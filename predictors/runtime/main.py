"""The entry point of every predictor: settings, then the server, then the exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from predictors.runtime.logging import configure_logging
from predictors.runtime.predictor import Predictor
from predictors.runtime.settings import PREFIX, RuntimeSettings, SettingsError

Settings = TypeVar("Settings", bound=RuntimeSettings)

EXIT_SETTINGS = 2

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """The SDK imports vLLM wherever it is installed, for routes that are not served: 20 s and 500 MB."""
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def main(settings_class: type[Settings], build: Callable[[Settings], Predictor[Any, Any, Any]]) -> NoReturn:
    """Serves ``build(settings)``. Exit codes: 0 after SIGTERM, 1 cannot listen, 2 settings, 3 not loaded."""
    configure_logging("INFO")
    try:
        if sys.argv[1:]:
            raise SettingsError([f"{sys.argv[1]} : settings are variables {PREFIX}*, not arguments."])
        settings = settings_class.from_environment()
    except SettingsError as error:
        for reason in error.reasons:
            logger.error("%s", reason)
        sys.exit(EXIT_SETTINGS)
    configure_logging(settings.log_level)
    # Only now: the SDK reads sys.argv when it is imported.
    with _hidden("vllm"):
        from predictors.runtime.server import serve

    code = serve(build(settings), settings)
    logging.shutdown()
    # A load or an engine call that never returns must not hold the process.
    os._exit(code)
