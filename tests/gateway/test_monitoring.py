"""The monitoring port: documented metrics and probes, and nothing of Envoy's admin beside them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.gateway.calls import V2, bearer
from tests.gateway.conftest import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "gateway-metrics.md"


def get(world: World, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, f"http://127.0.0.1:{world.gateway.monitoring}{path}")


def scraped(world: World) -> set[str]:
    names = re.findall(r"^# TYPE (\S+) ", get(world, "/metrics").text, re.MULTILINE)
    return set(names)


def documented() -> set[str]:
    return set(re.findall(r"^\| `(\w+)`", DOCUMENT.read_text(), re.MULTILINE))


def test_every_metric_is_documented_and_every_documented_one_is_there(world: World) -> None:
    V2.call(world.port, "m1", bearer(world.token()))
    V2.call(world.port, "down", bearer(world.token("infer:down")))
    V2.call(world.port, "m1")
    assert scraped(world) <= documented()
    # These come with TLS.
    tls = {name for name in documented() if "ssl" in name or "sds" in name}
    assert documented() - scraped(world) <= tls


def test_refusals_are_counted_apart(world: World) -> None:
    def refused() -> tuple[float, float, float]:
        rbac = [world.gateway.metric("rbac_denied", f'"{which}"') for which in ("token", "scope")]
        return world.gateway.metric("jwt_authn_denied"), rbac[0], rbac[1]

    before = refused()
    V2.call(world.port, "m1")
    V2.call(world.port, "m1", bearer(world.token(sub="")))
    V2.call(world.port, "m1", bearer(world.token("infer:m10")))
    assert [now - then for now, then in zip(refused(), before, strict=True)] == [1, 1, 1]


def test_probes(world: World) -> None:
    """Though a model is down: a gateway is not restarted, nor taken out, for a model's sake."""
    assert httpx.get(f"http://127.0.0.1:{world.port}/health").status_code == 503
    for path in ("/live", "/ready"):
        answer = get(world, path)
        assert (answer.status_code, answer.text) == (200, "LIVE\n")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/stats",
        "/config_dump",
        "/quitquitquit",
        "/healthcheck/fail",
        "/certs",
        "/metrics/x",
        "/live/../stats",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_there(world: World, path: str, method: str) -> None:
    assert get(world, path, method).status_code == 404


@pytest.mark.parametrize("path", ["/metrics", "/ready", "/live"])
def test_nothing_can_be_changed(world: World, path: str) -> None:
    assert get(world, path, "POST").status_code == 404
