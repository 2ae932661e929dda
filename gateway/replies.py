"""Every error that the gateway itself answers, in one shape: {"error": ..., "code": ..., "details": [...]}.

A caller of gRPC gets the same sentence as grpc-message with the gRPC status that fits; Envoy alone would send
the JSON there, and UNAVAILABLE (which clients retry) for nearly everything.

Texts are fixed, save for what the route says of itself; nothing of a request is ever quoted, so there is
nothing to escape and nothing to leak.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from gateway.config import Limits
from gateway.proto import Json, overwrite, typed

#: Under this name a route says of itself what the answers quote.
METADATA = "quintet"
NEEDS = "needs"
MAX_BODY = "max_body"
WAIT = "wait"

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 3, 4, 5, 7, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16

_CHALLENGE = {"www-authenticate": 'Bearer realm="quintet"'}
#: Only where nothing was done yet: clients take it for leave to send the call again.
_RETRY = {"retry-after": "1"}
_BROKEN_OFF = "response.code_details.matches('connection_termination|remote_reset')"


def _of_route(what: str) -> str:
    return f"%METADATA(ROUTE:{METADATA}:{what})%"


@dataclass(frozen=True)
class Reply:
    """What to answer when Envoy is about to answer `on` (and `only_if` holds)."""

    on: int
    code: str
    sentence: str
    grpc: int
    details: tuple[dict[str, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    only_if: str | None = None
    """A CEL expression over Envoy's attributes."""
    and_above: bool = False
    """Every status from `on`."""
    status: int | None = None
    """Answer this instead of `on`."""


def _token_fault(finding: str) -> str:
    """What jwt_authn found wrong, for the access log, where it stays even though its own reply is stripped.

    Not its failed_status_in_metadata: with several issuers that is what the last of them said, and of a
    missing token it says nothing.
    """
    return f"response.code_details == 'jwt_authn_access_denied{{{finding}}}'"


def replies(limits: Limits) -> list[Reply]:
    """The first that fits is used."""
    return [
        Reply(
            401,
            "unavailable",
            "The issuer's keys cannot be fetched now.",
            UNAVAILABLE,
            headers={"retry-after": "5"},
            only_if=_token_fault("Jwks_remote_fetch_is_failed"),
            status=503,
        ),
        Reply(
            401,
            "unauthenticated",
            "The token has expired.",
            UNAUTHENTICATED,
            headers={"www-authenticate": 'Bearer realm="quintet", error="invalid_token"'},
            only_if=_token_fault("Jwt_is_expired"),
        ),
        Reply(
            401,
            "unauthenticated",
            "This needs a token: Authorization: Bearer <token>.",
            UNAUTHENTICATED,
            headers=_CHALLENGE,
            only_if=_token_fault("Jwt_is_missing"),
        ),
        Reply(
            401,
            "unauthenticated",
            "The token is not valid here.",
            UNAUTHENTICATED,
            headers={"www-authenticate": 'Bearer realm="quintet", error="invalid_token"'},
        ),
        Reply(
            403,
            "malformed",
            "Neither CONNECT nor an upgrade is answered here.",
            INVALID_ARGUMENT,
            only_if="response.code_details == 'upgrade_failed' || request.method == 'CONNECT'",
            status=400,
        ),
        Reply(
            403,
            "forbidden",
            "The token is for somebody else: its audience is neither this gateway nor this model.",
            PERMISSION_DENIED,
            only_if=_token_fault("Audiences_in_Jwt_are_not_allowed"),
        ),
        Reply(
            403,
            "forbidden",
            "The token does not permit this.",
            PERMISSION_DENIED,
            details=({"field": "token", "message": f"It needs a subject, a key id and {_of_route(NEEDS)}."},),
        ),
        Reply(
            404,
            "not_found",
            "Name the model in the metadata key quintet-model; there is none of that name.",
            NOT_FOUND,
            only_if="request.path.startsWith('/inference.GRPCInferenceService/Model')",
        ),
        Reply(404, "not_found", "There is nothing at this path.", UNIMPLEMENTED),
        Reply(405, "method_not_allowed", "This path does not answer that method.", UNIMPLEMENTED),
        Reply(408, "request_timeout", "The request took too long to arrive.", DEADLINE_EXCEEDED),
        Reply(
            413,
            "body_too_large",
            f"The body is larger than {_of_route(MAX_BODY)} bytes.",
            RESOURCE_EXHAUSTED,
        ),
        Reply(
            429,
            "rate_limited",
            "As many streams of this model are open for this caller as it may have.",
            RESOURCE_EXHAUSTED,
            headers=_RETRY,
            only_if="response.code_details == 'ext_authz_denied'",
        ),
        Reply(
            429,
            "rate_limited",
            "This caller asks more often than it may of this model.",
            RESOURCE_EXHAUSTED,
            headers={"retry-after": _of_route(WAIT)},
        ),
        Reply(
            431,
            "headers_too_large",
            f"The headers are more than {limits.max_headers} or larger than {limits.max_headers_kib} KiB.",
            RESOURCE_EXHAUSTED,
        ),
        Reply(
            503,
            "overloaded",
            "The model has as many requests as it can take.",
            RESOURCE_EXHAUSTED,
            headers=_RETRY,
            only_if="response.code_details.contains('overflow')",
            status=429,
        ),
        Reply(
            503,
            "unavailable",
            "The model broke off before it answered; it may have begun.",
            UNAVAILABLE,
            only_if=_BROKEN_OFF,
        ),
        Reply(503, "unavailable", "The model cannot be reached now.", UNAVAILABLE, headers=_RETRY),
        Reply(504, "deadline_exceeded", "The model did not answer in time.", DEADLINE_EXCEEDED),
        Reply(400, "malformed", "The request is malformed.", INVALID_ARGUMENT),
        Reply(426, "malformed", "HTTP/1.1 or HTTP/2 is needed.", INVALID_ARGUMENT),
        Reply(501, "malformed", "The transfer-encoding is not known.", INVALID_ARGUMENT, status=400),
        Reply(502, "bad_gateway", "The model's answer could not be read.", INTERNAL),
        # What is left is rare, and must still have the shape.
        Reply(400, "internal", "The gateway could not answer.", INTERNAL, and_above=True),
    ]


def local_reply_config(limits: Limits) -> Json:
    return {"mappers": [mapper for reply in replies(limits) for mapper in (_grpc(reply), _http(reply))]}


def _grpc(reply: Reply) -> Json:
    sentence = " ".join([reply.sentence, *(d["message"] for d in reply.details)])
    return {
        "filter": _when(reply, "request.headers['content-type'].matches('^application/grpc([+].*)?$')"),
        "body_format_override": {"text_format_source": {"inline_string": _literal(sentence)}},
        "headers_to_add": _headers(reply.headers | {"grpc-status": str(reply.grpc)}),
    }


def _http(reply: Reply) -> Json:
    body = {"error": reply.sentence, "code": reply.code, "details": list(reply.details)}
    mapper: Json = {
        "filter": _when(reply),
        "body_format_override": {
            "content_type": "application/json",
            "text_format_source": {"inline_string": _literal(json.dumps(body))},
        },
    }
    if reply.headers:
        mapper["headers_to_add"] = _headers(reply.headers)
    if reply.status is not None:
        mapper["status_code"] = reply.status
    return mapper


def _when(reply: Reply, *also: str) -> Json:
    """One expression says it all; what it asks for and is not there makes it false."""
    status = f"response.code {'>=' if reply.and_above else '=='} {reply.on}"
    expression = " && ".join([status, *also, *([f"({reply.only_if})"] if reply.only_if else [])])
    kind = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    name = "envoy.access_loggers.extension_filters.cel"
    return {"extension_filter": {"name": name, "typed_config": typed(kind, expression=expression)}}


def _literal(text: str) -> str:
    """A lone percent sign would start one of Envoy's commands."""
    assert text.replace("%METADATA(", "").replace(")%", "").count("%") == 0, text
    return text


def _headers(headers: dict[str, str]) -> list[Json]:
    return [overwrite(key, value) for key, value in headers.items()]
