"""The gateway's rendered config, and what it would be without one of its parts: what that part costs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.clusters import LOOPBACK
from gateway.config import Config
from gateway.envoy import bootstrap
from gateway.folder import RunFolder
from gateway.limits import BUFFER
from gateway.policy import JWT
from gateway.proto import address, typed
from gateway.routing import SCOPE_RBAC, TOKEN_RBAC

Json = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    name: str
    algorithm: str = "RS256"
    change: Callable[[Json], None] = lambda _: None
    """Of the HTTP connection manager."""
    limits: tuple[tuple[str, Any], ...] = ()


def manager_of(built: Json) -> Json:
    return built["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def without_filters(*names: str) -> Callable[[Json], None]:
    """And without what routes say to them."""

    def change(manager: Json) -> None:
        manager["http_filters"] = [f for f in manager["http_filters"] if f["name"] not in names]
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            per_filter = route["typed_per_filter_config"]
            route["typed_per_filter_config"] = {k: v for k, v in per_filter.items() if k not in names}

    return change


def without_keys(*names: str) -> Callable[[Json], None]:
    def change(manager: Json) -> None:
        for name in names:
            manager.pop(name)

    return change


def with_token_cache(manager: Json) -> None:
    (jwt,) = [f["typed_config"] for f in manager["http_filters"] if f["name"] == JWT]
    for provider in jwt["providers"].values():
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}


def bare(manager: Json) -> None:
    """A proxy that checks nothing and says nothing: the floor."""
    without_filters(JWT, TOKEN_RBAC, SCOPE_RBAC, BUFFER)(manager)
    without_keys(
        "normalize_path",
        "merge_slashes",
        "path_with_escaped_slashes_action",
        "early_header_mutation_extensions",
        "local_reply_config",
        "access_log",
        "request_headers_timeout",
        "request_timeout",
    )(manager)
    manager["generate_request_id"] = False
    manager["route_config"].pop("request_headers_to_remove")


BARE, OURS = "Envoy, nothing checked", "ours, RS256"
VARIANTS = (
    Variant(BARE, change=bare),
    Variant(OURS),
    Variant("ours, ES256", "ES256"),
    Variant("ours, HS256", "HS256"),
    Variant("- with a rate a caller", limits=(("per_caller", {"rate": "1000000/s"}),)),
    Variant("- with Envoy's token cache", change=with_token_cache),
    Variant("- without token and scope", change=without_filters(JWT, TOKEN_RBAC, SCOPE_RBAC)),
    Variant("- without the scope's RBAC", change=without_filters(SCOPE_RBAC)),
    Variant("- without the body limit", change=without_filters(BUFFER)),
    Variant("- without the access log", change=without_keys("access_log")),
    Variant(
        "- without path hardening",
        change=without_keys("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"),
    ),
    Variant("- without header stripping", change=without_keys("early_header_mutation_extensions")),
)


def render(
    variant: Variant, ports: tuple[int, int, int], upstream: int, jwks: Json, folder: RunFolder
) -> Json:
    """`ports`: listen, admin, portal. The keys are inline: no process beside this Envoy gives them to it."""
    config = Config.model_validate(
        {
            "listen": {"port": ports[0]},
            "admin": {"port": ports[1]},
            "portal": {"port": ports[2]},
            "issuers": [
                {
                    "name": "bench",
                    "issuer": "https://bench.test",
                    "audiences": ["quintet"],
                    "keys": {"secret_files": ["x"]} if variant.algorithm == "HS256" else {"jwks_file": "x"},
                    "max_lifetime": "24h",
                }
            ],
            "models": {
                "empty": {"upstream": {"host": "127.0.0.1", "http_port": upstream, "grpc_port": None}}
            },
            "limits": dict(variant.limits) | {"max_connections": 20_000},
        }
    )
    built = copy.deepcopy(bootstrap(config, folder))
    manager = manager_of(built)
    for one in manager["http_filters"]:
        for provider in one["typed_config"].get("providers", {}).values():
            provider.pop("remote_jwks")
            provider["local_jwks"] = {"inline_string": json.dumps(jwks)}
    variant.change(manager)
    return built


def empty_upstream(port: int, admin: int) -> Json:
    """An Envoy that answers by itself: faster than what is measured."""
    reply = {"status": 200, "body": {"inline_string": '{"outputs":[]}'}}
    route = {"match": {"prefix": "/"}, "direct_response": reply}
    router = typed("envoy.extensions.filters.http.router.v3.Router")
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="empty",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"address": address(LOOPBACK, port), "filter_chains": [chain]}
    return {
        "admin": {"address": address(LOOPBACK, admin)},
        "static_resources": {"listeners": [listener]},
    }
