"""The route table: every path the gateway answers, who may call it, where it goes. Pure policy, no Envoy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.config import Config, DomainRoute, Kind, Model, kubernetes_name

GRPC_SERVICE = "/inference.GRPCInferenceService"
GRPC_METHODS = ("ModelInfer", "ModelReady", "ModelMetadata")
PORTAL = "portal"

READ_MODELS = "read:models"

#: The page that shows it all, and its parts. Open, since a browser sends no token when it loads a page; there
#: is nothing in them but the page, which asks for a token and then fetches what that token may see.
DOCS_PAGES = {"/docs": "docs.html", "/docs/docs.js": "docs.js", "/docs/docs.css": "docs.css"}

#: First segments that belong to the protocols, to the gateway's own pages, or to what is never reachable.
RESERVED = frozenset({"v1", "v2", "health", "metrics", "docs", "openapi.json", "models", "redoc"})


@dataclass(frozen=True)
class Route:
    """One path and method."""

    path: str
    method: str
    model: str | None
    """None: the gateway's own."""
    scope: str | None
    """None: no token needed."""
    kind: Kind = Kind.UNARY
    rewrite: str | None = None
    grpc: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """What answers GET answers HEAD; but a stream has nothing to say before it begins."""
        if self.method == "GET" and self.kind is not Kind.STREAM:
            return ("GET", "HEAD")
        return (self.method,)

    @property
    def is_template(self) -> bool:
        return "{" in self.path

    @property
    def shape(self) -> str:
        """The same for two templates that match the same paths."""
        return re.sub(r"\{[a-z_]+\}", "{}", self.path)


def extension_paths(name: str) -> tuple[str, ...]:
    """The generate extension of v2, which a model may have among its own routes."""
    return (f"/v2/models/{name}/generate", f"/v2/models/{name}/generate_stream")


def infer_scope(model: str) -> str:
    return f"infer:{model}"


def accepted_scopes(scope: str) -> tuple[str, ...]:
    """The elements of a token's scope that satisfy `scope`. Only ``infer`` has a wildcard."""
    return (scope, "infer:*") if scope.startswith("infer:") else (scope,)


def domain_routes(name: str, route: DomainRoute) -> Iterator[Route]:
    for method in dict.fromkeys(route.methods):
        yield Route(route.path, method, name, route.scope or infer_scope(name), route.kind)


def standard_routes(name: str, model: Model) -> Iterator[Route]:
    """What every model answers: v1, v2, its pages under its Kubernetes name, gRPC."""
    scope, page = infer_scope(name), f"/{kubernetes_name(name, model)}"
    yield Route(f"/v1/models/{name}:predict", "POST", name, scope)
    yield Route(f"/v1/models/{name}", "GET", name, scope)
    yield Route(f"/v2/models/{name}/infer", "POST", name, scope)
    yield Route(f"/v2/models/{name}/ready", "GET", name, scope)
    yield Route(f"/v2/models/{name}", "GET", name, scope)
    yield Route(f"{page}/health", "GET", name, None, rewrite="/health")
    for own in ("/health/detailed", "/docs", "/openapi.json"):
        yield Route(page + own, "GET", name, scope, rewrite=own)
    if model.upstream.grpc_port is not None:
        for method in GRPC_METHODS:
            yield Route(f"{GRPC_SERVICE}/{method}", "POST", name, scope, grpc=True)


def route_table(config: Config) -> list[Route]:
    """All routes, in the order in which they are to be tried: literal paths before the templates they fit."""
    table = [Route(path, "GET", None, None) for path in ("/health", *DOCS_PAGES)]
    table += [Route(path, "GET", None, READ_MODELS) for path in ("/", "/models", "/openapi.json")]
    for name, model in config.models.items():
        table += standard_routes(name, model)
        for route in model.routes:
            table += domain_routes(name, route)
    return sorted(table, key=lambda route: route.is_template)  # stable


def refused_methods(table: list[Route]) -> dict[Route, tuple[str, ...]]:
    """For every path its allowed methods, so that another method is answered 405 and not 404."""
    allowed: dict[str, tuple[Route, list[str]]] = {}
    for route in table:
        if not route.grpc:
            allowed.setdefault(route.shape, (route, []))[1].extend(route.methods)
    return {replace(route, method="*", scope=None): tuple(methods) for route, methods in allowed.values()}
