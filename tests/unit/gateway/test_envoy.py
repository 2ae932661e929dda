"""The rendered bootstrap, whole, and the rules that must hold in any of them.

``python -m tests.unit.gateway.test_envoy`` renews the golden files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config
from gateway.envoy import bootstrap
from gateway.folder import RunFolder
from gateway.policy import JWT
from gateway.render import bootstrap_text
from gateway.replies import replies
from gateway.routes import DOCS_PAGES, accepted_scopes, route_table
from gateway.routing import SCOPE_RBAC, TOKEN_RBAC

GOLDENS = Path(__file__).with_name("goldens")
LOCAL = Path(__file__).parents[3] / "gateway" / "local.yaml"
FOLDER = RunFolder(Path("/run/gateway"))


def read(file: Path) -> Config:
    return Config.model_validate(yaml.safe_load(file.read_text()))


def cases() -> dict[str, Path]:
    return {"local": LOCAL} | {f.name.split(".")[0]: f for f in sorted(GOLDENS.glob("*.in.yaml"))}


@pytest.mark.parametrize("name", cases())
def test_golden(name: str) -> None:
    golden = GOLDENS / f"{name}.out.yaml"
    assert bootstrap_text(read(cases()[name]), FOLDER) == golden.read_text(), f"{golden.name}: see {__name__}"


def routes(rendered: dict[str, Any]) -> list[dict[str, Any]]:
    listener = rendered["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"]


@pytest.fixture(params=cases())
def rendered(request: pytest.FixtureRequest) -> dict[str, Any]:
    return bootstrap(read(cases()[request.param]), FOLDER)


def test_every_route_says_who_may_use_it(rendered: dict[str, Any]) -> None:
    for route in routes(rendered):
        assert SCOPE_RBAC in route["typed_per_filter_config"], route["name"]


def test_only_health_and_the_empty_page_are_open(rendered: dict[str, Any]) -> None:
    """What switches a check off is rare enough to be listed."""
    for route in routes(rendered):
        checks = route["typed_per_filter_config"]
        opened = TOKEN_RBAC in checks or checks.get(JWT, {}).get("disabled")
        is_health = route["name"].endswith("/health") and route["name"].startswith("GET")
        assert bool(opened) == (is_health or route["name"].removeprefix("GET ") in DOCS_PAGES)


def test_the_last_route_denies(rendered: dict[str, Any]) -> None:
    last = routes(rendered)[-1]
    assert last["match"] == {"prefix": "/"}
    assert last["direct_response"] == {"status": 404}


def test_every_cluster_that_is_routed_to_is_there(rendered: dict[str, Any]) -> None:
    named = {cluster["name"] for cluster in rendered["static_resources"]["clusters"]}
    assert {route["route"]["cluster"] for route in routes(rendered) if "route" in route} <= named


def test_every_requirement_that_is_named_is_there(rendered: dict[str, Any]) -> None:
    """Envoy refuses every call of a route that names one it does not know."""
    listener = rendered["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (jwt,) = [f["typed_config"] for f in manager["http_filters"] if f["name"] == JWT]
    asked = {
        route["typed_per_filter_config"].get(JWT, {}).get("requirement_name") for route in routes(rendered)
    }
    assert asked - {None} <= set(jwt.get("requirement_map", {}))


def test_every_filter_a_route_speaks_to_is_there(rendered: dict[str, Any]) -> None:
    listener = rendered["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    there = {f["name"] for f in manager["http_filters"]}
    for route in routes(rendered):
        assert route["typed_per_filter_config"].keys() <= there, route["name"]


@pytest.mark.parametrize(
    ("host", "kind", "sni"), [("idp.test", "DNS", "idp.test"), ("10.0.0.1", "IP_ADDRESS", None)]
)
def test_whoever_gives_keys_shows_a_certificate_for_its_own_address(
    host: str, kind: str, sni: str | None
) -> None:
    raw = yaml.safe_load((GOLDENS / "full.in.yaml").read_text())
    (issuer,) = [one for one in raw["issuers"] if "jwks_url" in one["keys"]]
    issuer["keys"] = {"jwks_url": f"https://{host}/keys"}
    built = bootstrap(Config.model_validate(raw), FOLDER)["static_resources"]["clusters"]
    (cluster,) = [one for one in built if one["name"] == f"jwks-{issuer['name']}"]
    context = cluster["transport_socket"]["typed_config"]
    (san,) = context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert san == {"san_type": kind, "matcher": {"exact": host}}
    assert context.get("sni") == sni


def test_admin_is_on_loopback(rendered: dict[str, Any]) -> None:
    assert rendered["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_no_key_is_inline(rendered: dict[str, Any]) -> None:
    assert not [key for key in _keys_of(rendered) if key.startswith("inline_") and key != "inline_string"]


def _keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys_of(inner)


def test_accepted_scopes() -> None:
    assert accepted_scopes("infer:m") == ("infer:m", "infer:*")
    assert accepted_scopes("bench:m") == ("bench:m",)


def test_literal_paths_come_before_templates() -> None:
    table = route_table(read(GOLDENS / "full.in.yaml"))
    kinds = [route.is_template for route in table]
    assert kinds == sorted(kinds)


def test_one_status_has_one_code() -> None:
    """A caller branches on the code; two codes for one status are told apart by what caused them."""
    limits = read(LOCAL).limits
    unconditional = [r for r in replies(limits) if r.only_if is None and not r.and_above]
    assert len({r.on for r in unconditional}) == len(unconditional)


def renew() -> None:
    for name, file in cases().items():
        (GOLDENS / f"{name}.out.yaml").write_text(bootstrap_text(read(file), FOLDER))


if __name__ == "__main__":
    renew()
