"""The same call over every transport, and one way to say what came of it.

A new transport is one entry of TRANSPORTS, and every table of this folder runs over it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, cast

import grpc

Header = tuple[str, str]

GRPC_SERVICE = "/inference.GRPCInferenceService"


@dataclass(frozen=True)
class Verdict:
    """What the gateway decided, whatever the transport."""

    code: str
    http: int
    grpc: int


PASSED = Verdict("", 200, 0)
UNAUTHENTICATED = Verdict("unauthenticated", 401, 16)
FORBIDDEN = Verdict("forbidden", 403, 7)
MALFORMED = Verdict("malformed", 400, 3)
NOT_FOUND = Verdict("not_found", 404, 5)
TOO_LARGE = Verdict("body_too_large", 413, 8)
HEADERS_TOO_LARGE = Verdict("headers_too_large", 431, 8)
OVERLOADED = Verdict("overloaded", 429, 8)
RATE_LIMITED = Verdict("rate_limited", 429, 8)
UNAVAILABLE = Verdict("unavailable", 503, 14)
DEADLINE = Verdict("deadline_exceeded", 504, 4)


@dataclass(frozen=True)
class Answer:
    """HTTP status or gRPC status, the sentence and what the upstream said it saw."""

    status: int
    headers: dict[str, str]
    body: Any
    is_grpc: bool = False

    @property
    def sentence(self) -> str:
        return self.body if self.is_grpc else self.body["error"]

    def check(self, expected: Verdict) -> None:
        assert self.status == (expected.grpc if self.is_grpc else expected.http), self
        if expected is PASSED:
            return
        if self.is_grpc:
            assert self.body, "an error has a sentence"
            assert not self.body.startswith("{"), "the sentence, not the JSON of the HTTP answer"
            return
        assert self.headers["content-type"] == "application/json"
        assert set(self.body) == {"error", "code", "details"}
        assert self.body["code"] == expected.code
        assert isinstance(self.body["error"], str)
        assert isinstance(self.body["details"], list)


@dataclass(frozen=True)
class Transport:
    name: str

    def call(
        self, port: int, model: str, headers: Sequence[Header] = (), body: bytes = b"{}", query: str = ""
    ) -> Answer:
        raise NotImplementedError


@dataclass(frozen=True)
class Http(Transport):
    path: str

    def call(
        self, port: int, model: str, headers: Sequence[Header] = (), body: bytes = b"{}", query: str = ""
    ) -> Answer:
        return http(port, "POST", self.path.format(model=model) + query, headers, body)


@dataclass(frozen=True)
class Grpc(Transport):
    def call(
        self, port: int, model: str, headers: Sequence[Header] = (), body: bytes = b"{}", query: str = ""
    ) -> Answer:
        return rpc(port, f"{GRPC_SERVICE}/ModelInfer", [("quintet-model", model), *headers], body)


#: A domain route has the model's name in it here, so that one table serves all models.
V1, V2 = Http("v1", "/v1/models/{model}:predict"), Http("v2", "/v2/models/{model}/infer")
DOMAIN, GRPC = Http("domain", "/domain/{model}"), Grpc("grpc")
TRANSPORTS = [V1, V2, DOMAIN, GRPC]


def http(
    port: int,
    method: str,
    path: str,
    headers: Sequence[Header] = (),
    body: bytes | None = None,
    *,
    length: bool = True,
) -> Answer:
    """By http.client, which sends the path as it is written; others tidy it up and hide the trick."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None and length:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        text = response.read().decode()
        heads = {name.lower(): value for name, value in response.getheaders()}
        is_json = bool(text) and heads.get("content-type") == "application/json"
    return Answer(response.status, heads, json.loads(text) if is_json else text)


def rpc(port: int, method: str, metadata: Sequence[Header], body: bytes = b"{}") -> Answer:
    options = [("grpc.enable_retries", 0), ("grpc.max_metadata_size", 1 << 20)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        stub = channel.unary_unary(method)
        lower = tuple((name.lower(), value) for name, value in metadata)
        try:
            reply, call = stub.with_call(body, metadata=lower, timeout=10)
        except grpc.RpcError as raised:
            error = cast("Any", raised)  # it is also the call; the stubs do not say so
            heads = {
                k: str(v) for k, v in [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
            }
            return Answer(error.code().value[0], heads, error.details(), is_grpc=True)
        return Answer(0, {k: str(v) for k, v in call.initial_metadata()}, json.loads(reply), is_grpc=True)


def bearer(token: str) -> list[Header]:
    return [("Authorization", f"Bearer {token}")]
