"""The catalogue, the merged document and the page, through the real gateway."""

from __future__ import annotations

import re

import pytest

from tests.gateway.calls import FORBIDDEN, PASSED, UNAUTHENTICATED, bearer, http
from tests.gateway.conftest import World


def names(world: World, scope: object, path: str = "/models", **claims: object) -> set[str]:
    answer = http(world.port, "GET", path, bearer(world.token(scope, **claims)))
    answer.check(PASSED)
    assert answer.headers["cache-control"] == "no-store"
    return {model["name"] for model in answer.body["models"]}


@pytest.mark.parametrize("path", ["/", "/models"])
def test_a_token_sees_the_models_it_may_use(world: World, path: str) -> None:
    assert names(world, "read:models infer:m1", path) == {"m1"}
    assert names(world, "read:models infer:m1 infer:own", path, aud=["quintet", "special"]) == {"m1", "own"}
    assert names(world, ["read:models", "infer:m10"], path) == {"m10"}
    assert names(world, "read:models", path) == set()
    everything = names(world, "read:models infer:*", path)
    assert everything == {"m1", "m10", "slow", "busy", "down", "capped", "flow"}, "own asks for its audience"


def test_scp_counts_as_well(world: World) -> None:
    assert names(world, "read:models", scp="infer:m1") == {"m1"}


def test_readiness_is_live(world: World) -> None:
    headers = bearer(world.token("read:models infer:*"))
    answer = http(world.port, "GET", "/models", headers)
    ready = {model["name"]: model["ready"] for model in answer.body["models"]}
    assert (ready["m1"], ready["down"]) == (True, False)
    assert {model["status"] for model in answer.body["models"]} == {"unknown"}, "there is no cluster to ask"


@pytest.mark.parametrize("path", ["/", "/models", "/openapi.json"])
def test_they_need_their_scope(world: World, path: str) -> None:
    http(world.port, "GET", path).check(UNAUTHENTICATED)
    answer = http(world.port, "GET", path, bearer(world.token("infer:*")))
    answer.check(FORBIDDEN)
    assert "read:models" in str(answer.body)


def test_nobody_says_themselves_what_they_may_use(world: World) -> None:
    spoofed = [
        ("x-quintet-scope", "infer:*"),
        ("x-quintet-scp", "infer:*"),
        ("x-quintet-audience", "special"),
    ]
    headers = [*spoofed, *bearer(world.token("read:models infer:m1"))]
    answer = http(world.port, "GET", "/models", headers)
    assert [model["name"] for model in answer.body["models"]] == ["m1"]


def test_what_the_portal_is_told_no_model_hears(world: World) -> None:
    http(world.port, "GET", "/v2/models/m1", bearer(world.token())).check(PASSED)
    own = {name for name in world.m1.seen[0].headers if name.startswith("x-quintet")}
    assert own == {"x-quintet-subject", "x-quintet-issuer"}


def test_the_document_has_the_callers_routes_and_no_others(world: World) -> None:
    answer = http(world.port, "GET", "/openapi.json", bearer(world.token("read:models infer:m1")))
    answer.check(PASSED)
    paths = answer.body["paths"]
    assert {"/v2/models/m1/infer", "/domain/m1", "/jobs/{job_id}", "/m1/health"} <= paths.keys()
    assert not [path for path in paths if "m10" in path or path in ("/benchmark", "/metrics")]
    assert paths["/jobs/{job_id}"].keys() == {"get", "delete"}


def test_the_page_is_whole_and_its_own(world: World) -> None:
    """It loads without a token, from nowhere else, and says nothing of any model."""
    page = http(world.port, "GET", "/docs")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.body)
    assert sorted(parts) == ["/docs/docs.css", "/docs/docs.js"]
    for part in parts:
        answer = http(world.port, "GET", part)
        assert answer.status == 200
        assert "http" not in re.sub(r"https?://www\.w3\.org\S*", "", answer.body)
    for name in ("m1", "busy", "capped"):
        assert name not in page.body
