"""How much one caller may ask of one model: the rate, the streams open at once, the size of a body.

Rate and streams are counted by issuer and subject, so they stand behind the checks of the token.
"""

from __future__ import annotations

import math

from gateway.clusters import CONTROL
from gateway.config import Config, Kind
from gateway.policy import ISSUER_HEADER, JWT, SUBJECT_HEADER
from gateway.proto import Json, seconds, typed
from gateway.routes import Route
from gateway.values import Rate

RATE_LIMIT = "envoy.filters.http.local_ratelimit"
STREAM_LIMIT = "envoy.filters.http.ext_authz"
BUFFER = "envoy.filters.http.buffer"

#: Callers whose buckets are kept; beyond it the one that was longest unused is forgotten, and full again.
MAX_CALLERS = 20_000

_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3"
_ALL_OF_THEM = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_NO_LIMIT = {"max_tokens": 1 << 31, "tokens_per_fill": 1 << 31, "fill_interval": "1s"}


def limit_filters(config: Config) -> list[Json]:
    """In their order. Those that only some routes need are off where a route says nothing of them."""
    filters: list[Json] = []
    if rates := {name: rate for name in config.models if (rate := config.per_caller(name).rate)}:
        kind = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
        descriptors = [_descriptor(name, rate, config.per_caller(name).burst) for name, rate in rates.items()]
        limits = typed(
            kind,
            stat_prefix="caller",
            token_bucket=_NO_LIMIT,
            filter_enabled=_ALL_OF_THEM,
            filter_enforced=_ALL_OF_THEM,
            descriptors=descriptors,
            max_dynamic_descriptors=MAX_CALLERS,
            always_consume_default_token_bucket=False,
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
            rate_limited_as_resource_exhausted=True,
        )
        filters.append({"name": RATE_LIMIT, "disabled": True, "typed_config": limits})
    if any(config.per_caller(name).streams for name in config.models):
        limits = typed(
            f"{_AUTHZ}.ExtAuthz",
            transport_api_version="V3",
            stat_prefix="streams",
            allowed_headers={"patterns": [{"exact": name} for name in _WHOSE]},
            status_on_error={"code": "ServiceUnavailable"},
            http_service=_ask("-"),
        )
        filters.append({"name": STREAM_LIMIT, "disabled": True, "typed_config": limits})
    kind = "envoy.extensions.filters.http.buffer.v3.Buffer"
    body = typed(kind, max_request_bytes=config.limits.max_body_bytes)
    return [*filters, {"name": BUFFER, "typed_config": body}]


_WHOSE = (ISSUER_HEADER, SUBJECT_HEADER, "x-request-id")


def _descriptor(model: str, rate: Rate, burst: int | None) -> Json:
    """A value that is left out means: a bucket for each value there is."""
    bucket = {
        "max_tokens": burst or rate.requests,
        "tokens_per_fill": rate.requests,
        "fill_interval": seconds(rate.seconds),
    }
    return {
        "entries": [{"key": "model", "value": model}, {"key": "iss"}, {"key": "sub"}],
        "token_bucket": bucket,
    }


def counted_as(config: Config, model: str) -> Json:
    """The route action's part of the rate limit: whose request it is, and of which model."""
    if config.per_caller(model).rate is None:
        return {}
    metadata = [
        {
            "metadata": {
                "descriptor_key": claim,
                "source": "DYNAMIC",
                "metadata_key": {"key": JWT, "path": [{"key": "payload"}, {"key": claim}]},
            }
        }
        for claim in ("iss", "sub")
    ]
    named = {"generic_key": {"descriptor_key": "model", "descriptor_value": model}}
    return {"rate_limits": [{"actions": [named, *metadata]}]}


def limited(config: Config, route: Route) -> Json:
    """What a route with a token says to the filters."""
    if route.model is None:
        return {}
    caller, per_filter = config.per_caller(route.model), {}
    if caller.rate:
        per_filter[RATE_LIMIT] = {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {},
        }
    if caller.streams and route.kind is Kind.STREAM:
        settings = {"http_service": _ask(route.model)}
        per_filter[STREAM_LIMIT] = typed(f"{_AUTHZ}.ExtAuthzPerRoute", check_settings=settings)
    if config.models[route.model].max_body_bytes:
        buffer = {"max_request_bytes": config.max_body_bytes(route.model)}
        kind = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
        per_filter[BUFFER] = typed(kind, buffer=buffer)
    return per_filter


def _ask(model: str) -> Json:
    uri = {"uri": f"http://{CONTROL}", "cluster": CONTROL, "timeout": "5s"}
    return {"server_uri": uri, "path_prefix": f"/streams/{model}"}


def wait_seconds(config: Config, model: str | None) -> int:
    """Retry-After of a caller that is over its rate: by then one request at least is allowed again."""
    rate = config.per_caller(model).rate if model else None
    return max(1, math.ceil(rate.seconds / rate.requests)) if rate else 1
