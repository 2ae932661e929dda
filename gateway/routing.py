"""The route table in Envoy's words: what matches, where it goes, how long it may take, who may use it."""

from __future__ import annotations

from gateway.clusters import cluster_name
from gateway.config import Config, Kind, Timeouts
from gateway.limits import counted_as, limited, wait_seconds
from gateway.policy import JWT, allow_on_route, has_scope, no_token, requires_audience
from gateway.proto import Json, overwrite, seconds, typed
from gateway.replies import MAX_BODY, METADATA, NEEDS, WAIT
from gateway.routes import PORTAL, Route, refused_methods, route_table

MODEL_METADATA = "quintet-model"
#: What the portal is told of a token, and nobody else.
PORTAL_HEADERS = {"x-quintet-scope": "scope", "x-quintet-scp": "scp", "x-quintet-audience": "aud"}

TOKEN_RBAC = "quintet.token"
SCOPE_RBAC = "quintet.scope"

STREAM_IDLE = 300
#: How the names of stream routes begin; the log of ended streams goes by it.
STREAM = "stream "
SEGMENT = "[A-Za-z0-9._~-]+"


def routes(config: Config) -> list[Json]:
    table = route_table(config)
    built = [_route(route, config) for route in table]
    for route, methods in refused_methods(table).items():
        built.append(
            {
                "name": f"405 {route.path}",
                "match": _path_match(route),
                "direct_response": {"status": 405},
                "response_headers_to_add": [overwrite("allow", ", ".join(methods))],
                **_any_good_token(config),
            }
        )
    if config.cors:
        built.insert(0, _preflight(config))
    # The last one denies: 401 without a good token, 404 with one.
    last: Json = {"name": "404", "match": {"prefix": "/"}, "direct_response": {"status": 404}}
    return [*built, last | _any_good_token(config)]


def _route(route: Route, config: Config) -> Json:
    match = _path_match(route)
    headers = [_method_match(route)]
    if route.grpc:
        match["grpc"] = {}
        headers.append({"name": MODEL_METADATA, "string_match": {"exact": route.model}})
    name = f"{route.method} {route.path}" + (f" {route.model}" if route.grpc else "")
    built: Json = {
        "name": STREAM + name if route.kind is Kind.STREAM else name,
        "match": match | {"headers": headers},
        "route": _action(route, config),
        **(_open(route, config) if route.scope is None else _scoped(route, route.scope, config)),
    }
    if route.grpc:
        # Sent twice, the first one decides; the predictor shall see no other than the one that was judged.
        built["request_headers_to_add"] = [overwrite(MODEL_METADATA, str(route.model))]
    elif route.model is None and route.scope is not None:
        built["request_headers_to_add"] = [
            overwrite(header, f"%DYNAMIC_METADATA({JWT}:payload:{claim})%")
            for header, claim in PORTAL_HEADERS.items()
        ]
    return built


def _preflight(config: Config) -> Json:
    """The CORS filter answers only where a route leads somewhere; what it does not answer goes nowhere."""
    asked = [{"name": name, "present_match": True} for name in ("origin", "access-control-request-method")]
    method = {"name": ":method", "string_match": {"exact": "OPTIONS"}}
    nobody = allow_on_route("nobody", {"not_id": {"any": True}})
    return {
        "name": "preflight",
        "match": {"prefix": "/", "headers": [method, *asked]},
        "route": {"cluster": PORTAL},
        **_policy(config, None, "nothing a page may have", nobody, requires_audience(config, None)),
    }


def _path_match(route: Route) -> Json:
    if not route.is_template:
        return {"path": route.path}
    parts = [SEGMENT if p.startswith("{") else p.replace(".", r"\.") for p in route.path.split("/")]
    return {"safe_regex": {"regex": "/".join(parts)}}


def _method_match(route: Route) -> Json:
    one, *more = route.methods
    match = {"safe_regex": {"regex": "|".join(route.methods)}} if more else {"exact": one}
    return {"name": ":method", "string_match": match}


def _action(route: Route, config: Config) -> Json:
    action: Json = {"cluster": cluster_name(route)}
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    timeouts = config.models[route.model].timeouts if route.model else Timeouts(unary=5)
    action |= _timeouts(route.kind, timeouts)
    if route.model is not None and route.scope is not None:
        action |= counted_as(config, route.model)
    if route.method == "GET" and not route.grpc:
        action["retry_policy"] = retries("reset")
    return action


def _timeouts(kind: Kind, timeouts: Timeouts) -> Json:
    if kind is Kind.STREAM:
        # `timeout` counts to the last byte and would cut a stream that is in good health.
        return {
            "timeout": "0s",
            "idle_timeout": seconds(timeouts.stream_idle),
            "max_stream_duration": {"max_stream_duration": seconds(timeouts.stream)},
        }
    limit = timeouts.job if kind is Kind.JOB else timeouts.unary
    action = {"timeout": seconds(limit)}
    if limit >= STREAM_IDLE:
        # The idle timer also runs while a model thinks: it must not be what ends the call.
        action["idle_timeout"] = seconds(limit + 30)
    return action


def retries(*also: str) -> Json:
    """Only what certainly never reached the model, so that no work is ever done twice; a GET does none, so
    it is sent again after a reset as well."""
    return {
        "retry_on": ",".join(["connect-failure,refused-stream,reset-before-request", *also]),
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.025s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


# --- who may use it -------------------------------------------------------------------------------


def _open(route: Route, config: Config) -> Json:
    anyone = allow_on_route("open", {"any": True})
    return _policy(config, route.model, "nothing", anyone, no_token() | {TOKEN_RBAC: anyone})


def _scoped(route: Route, scope: str, config: Config) -> Json:
    asked = requires_audience(config, route.model) | limited(config, route)
    return _policy(config, route.model, f"the scope {scope}", allow_on_route(scope, has_scope(scope)), asked)


def _any_good_token(config: Config) -> Json:
    """For answers that are the same to every caller with a token; TOKEN_RBAC has judged that already."""
    any_scope = allow_on_route("any", {"any": True})
    return _policy(config, None, "nothing more", any_scope, requires_audience(config, None))


def _policy(config: Config, model: str | None, needs: str, scope_rbac: Json, per_filter: Json) -> Json:
    """The metadata is what the gateway's own answers quote; see `replies`."""
    metadata: Json = {
        NEEDS: needs,
        MAX_BODY: str(config.max_body_bytes(model)),
        WAIT: str(wait_seconds(config, model)),
    }
    if model:
        metadata["model"] = model
    return {
        "metadata": {"filter_metadata": {METADATA: metadata}},
        "typed_per_filter_config": {SCOPE_RBAC: scope_rbac, **per_filter},
    }
