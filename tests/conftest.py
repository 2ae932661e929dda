from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from hack.system import need


def pytest_configure() -> None:
    # Where a shell started this in its background Ctrl-C is ignored, and would be by all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A property says what is true, not how fast: a busy neighbour must not fail it.
    settings.register_profile("quintet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("quintet")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's checker; ``make test`` installs it."""
    return str(need("promtool"))
