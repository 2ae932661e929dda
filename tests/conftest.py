from __future__ import annotations

import pytest

from hack.system import need


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's checker; ``make test`` installs it."""
    return str(need("promtool"))
