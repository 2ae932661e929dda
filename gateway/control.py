"""What Envoy asks of this process, over a socket that nobody else can open: keys, and leave for streams."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.keystore import KeyStore
from gateway.policy import ISSUER_HEADER, SUBJECT_HEADER
from gateway.streams import OpenStreams


def create_control(keys: KeyStore, streams: OpenStreams) -> Starlette:
    def jwks(request: Request) -> Response:  # not async: it reads files, in a thread
        found = keys.jwks(request.path_params["issuer"])
        return Response(found or b"", 404 if found is None else 200, media_type="application/json")

    async def may_open(request: Request) -> Response:
        """What is sent to the caller instead of a stream is in the gateway's replies, not here."""
        caller = request.headers[ISSUER_HEADER], request.headers[SUBJECT_HEADER]
        opens = streams.opens(request.path_params["model"], caller, request.headers["x-request-id"])
        return Response(status_code=200 if opens else 429)

    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(
        routes=[
            Route("/keys/{issuer}", jwks),
            Route("/streams/{model}/{path:path}", may_open, methods=every),
        ]
    )
