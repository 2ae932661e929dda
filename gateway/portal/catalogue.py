"""The models that a caller may use, with their routes, readiness, and state in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gateway.config import Config
from gateway.portal.caller import Caller
from gateway.portal.kubernetes import Observed
from gateway.routes import Route, infer_scope, route_table


def allowed_routes(config: Config, caller: Caller) -> dict[str, list[Route]]:
    """By model, those for which this caller's token is good; models without any are not in it."""
    found: dict[str, list[Route]] = {}
    table = route_table(config)
    for name in config.models:
        usable = [route for route in table if route.model == name and caller.may_use(route, config)]
        if any(route.scope for route in usable):
            found[name] = usable
    return found


def catalogue(
    config: Config, caller: Caller, ready: Mapping[str, bool], observed: Mapping[str, Observed]
) -> dict[str, Any]:
    """`ready` is the predictors' own word, `observed` that of Kubernetes."""
    return {
        "models": [
            _entry(config, name, routes, ready[name], observed[name])
            for name, routes in allowed_routes(config, caller).items()
        ],
        "openapi": "/openapi.json",
        "docs": "/docs",
    }


def _entry(config: Config, name: str, routes: list[Route], ready: bool, observed: Observed) -> dict[str, Any]:
    limits = config.per_caller(name)
    rate = {"requests": limits.rate.requests, "seconds": limits.rate.seconds} if limits.rate else None
    return {
        "name": name,
        "ready": ready,
        "status": observed.status,
        "reason": observed.reason,
        "replicas": asdict(observed.replicas) if observed.replicas else None,
        "node_kind": config.models[name].node_kind,
        "node_selector": observed.node_selector,
        "scope": infer_scope(name),
        "kubernetes_name": config.kubernetes_name(name),
        "routes": [
            {"method": route.method, "path": route.path, "kind": str(route.kind), "scope": route.scope}
            for route in routes
            if not route.grpc
        ],
        "grpc": [route.path for route in routes if route.grpc],
        "limits": {
            "max_body_bytes": config.max_body_bytes(name),
            "rate": rate,
            "burst": limits.burst or (limits.rate.requests if limits.rate else None),
            "streams": limits.streams,
        },
    }
