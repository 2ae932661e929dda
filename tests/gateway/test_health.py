"""The gateway's own /health and the models', without a token, and no more than that."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.calls import PASSED, http
from tests.gateway.conftest import World

NAMES = {"m1", "m10", "slow", "busy", "down", "capped", "flow", "own"}


def test_health_names_every_model_and_nothing_more(world: World) -> None:
    answer = http(world.port, "GET", "/health")
    assert answer.status == 503, "one model is down"
    assert set(answer.body) == {"status", "models"}
    assert answer.body["status"] == "not_ready"
    assert answer.body["models"] == {name: name != "down" for name in NAMES}
    assert answer.headers["cache-control"] == "no-store"


def test_health_of_one_model_is_its_own(world: World) -> None:
    answer = http(world.port, "GET", "/m-ten/health")
    answer.check(PASSED)
    assert (answer.body["model"], answer.body["path"]) == ("m10", "/health")


def test_the_portal_and_the_admin_listen_on_loopback_alone(world: World) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    bound = {}
    for line in listening:
        address, port = line.split()[1].split(":")
        bound[int(port, 16)] = address
    for port in (world.gateway.admin, world.gateway.portal):
        assert bound[port] == "0100007F"
