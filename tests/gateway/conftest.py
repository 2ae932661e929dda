"""One gateway for the whole folder, in front of fake models whose names are made to be confused.

`m1` and `m10`: one name is a prefix of the other. `slow` never answers, `down` is not there, `busy` takes one
request at a time, `capped` lets a caller ask seldom and little, `flow` open few streams, `own` has its own
audience. Four issuers: one of each kind of key source, and one that also signs what is no access token.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import forge, running
from tests.gateway.fakes import FakeModel, Upstreams, free_port
from tests.gateway.forge import Signer

#: Larger than a connection's buffer and than an HTTP/2 stream's window, so that no other limit is met.
MAX_BODY = 320 * 1024
NAMES = ("m1", "m10", "slow", "busy", "capped", "flow", "own")


@dataclass(frozen=True)
class Signers:
    """`shared` signs with the first of two secrets, `rotated` with the second."""

    shared: Signer
    rotated: Signer
    rs256: Signer
    es256: Signer
    eddsa: Signer
    remote: Signer
    typed: Signer


#: Of `capped`: a rate so low that nothing is filled up again while a test runs.
BURST, STREAMS, CAPPED_BODY = 3, 2, 2048
PAGE = "https://app.test"


@dataclass
class World:
    """Everything a test talks to."""

    gateway: running.Running
    m1: FakeModel
    m10: FakeModel
    busy: FakeModel
    slow: FakeModel
    capped: FakeModel
    flow: FakeModel
    own: FakeModel
    upstreams: Upstreams
    signers: Signers

    @property
    def port(self) -> int:
        return self.gateway.port

    def token(self, scope: Any = "infer:m1", **changes: Any) -> str:
        return self.signers.shared.token(scope, **changes)


@pytest.fixture(scope="session")
def signers() -> Signers:
    def shared() -> Signer:
        secret = secrets.token_bytes(32).hex().encode()
        return Signer("https://shared.test", "quintet", "HS256", forge.kid_of_secret(secret), secret)

    def company(algorithm: str, key: Any) -> Signer:
        return Signer("https://company.test", "quintet-company", algorithm, f"company-{algorithm}", key)

    return Signers(
        shared=shared(),
        rotated=shared(),
        rs256=company("RS256", forge.make_rsa()),
        es256=company("ES256", forge.make_ec()),
        eddsa=company("EdDSA", forge.make_ed25519()),
        remote=Signer("https://remote.test", "quintet", "RS256", "remote-1", forge.make_rsa()),
        typed=Signer("https://typed.test", "quintet", "ES256", "typed-1", forge.make_ec()),
    )


def policy(models: dict[str, FakeModel], signers: Signers, folder: Path, down: int) -> dict[str, Any]:
    """The config of the world, and the files it names."""
    for name, signer in (("secret-1", signers.shared), ("secret-2", signers.rotated)):
        (folder / name).write_bytes(signer.key + b"\n")
    company = [forge.public_jwk(s) for s in (signers.rs256, signers.es256, signers.eddsa)]
    (folder / "company.json").write_text(json.dumps({"keys": company}))
    (folder / "typed.json").write_text(json.dumps({"keys": [forge.public_jwk(signers.typed)]}))

    def model(name: str, **extra: Any) -> dict[str, Any]:
        fake = models[name]
        upstream = {"host": "127.0.0.1", "http_port": fake.http_port, "grpc_port": fake.grpc_port}
        return {"upstream": upstream, "routes": [{"path": f"/domain/{name}"}]} | extra

    m1_routes = [
        {"path": "/domain/m1"},
        {"path": "/benchmark", "scope": "bench:m1"},
        {"path": "/stream/{job_id}", "methods": ["GET"], "kind": "stream"},
        {"path": "/jobs/{job_id}", "methods": ["GET", "DELETE"], "kind": "job"},
    ]
    nobody = {"host": "127.0.0.1", "http_port": down, "grpc_port": down}
    url = f"http://127.0.0.1:{models['m1'].http_port}/jwks.json"
    return {
        "issuers": [
            {
                "name": "shared",
                "issuer": signers.shared.issuer,
                "audiences": [signers.shared.audience],
                "keys": {"secret_files": ["secret-1", "secret-2"]},
            },
            {
                "name": "company",
                "issuer": signers.rs256.issuer,
                "audiences": [signers.rs256.audience],
                "keys": {"jwks_file": "company.json"},
            },
            {
                "name": "remote",
                "issuer": signers.remote.issuer,
                "audiences": [signers.remote.audience],
                "keys": {"jwks_url": url},
                "algorithms": ["RS256"],
            },
            {
                "name": "typed",
                "issuer": signers.typed.issuer,
                "audiences": [signers.typed.audience],
                "keys": {"jwks_file": "typed.json"},
                "token_types": ["at+jwt"],
            },
        ],
        "models": {
            "m1": model("m1", routes=m1_routes, timeouts={"stream_idle": "4s", "unary": "3s", "job": "1s"}),
            "m10": model("m10", kubernetes_name="m-ten"),
            "slow": model("slow", timeouts={"unary": "300ms"}),
            "busy": model("busy", max_requests=1),
            "down": {"upstream": nobody, "routes": [{"path": "/domain/down"}]},
            "capped": model(
                "capped",
                per_caller={"rate": "2/h", "burst": BURST},
                max_body_bytes=CAPPED_BODY,
            ),
            "flow": model(
                "flow",
                routes=[{"path": "/stream-of-flow/{id}", "methods": ["GET"], "kind": "stream"}],
                per_caller={"streams": STREAMS},
            ),
            "own": model("own", audiences=["special"]),
        },
        "monitoring": {"port": free_port()},
        "cors": {"origins": [PAGE]},
        "limits": {"max_body_bytes": MAX_BODY},
    }


@pytest.fixture(scope="session")
def world(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("gateway")
    fakes = {name: FakeModel(name) for name in NAMES}
    fakes["m1"].jwks = {"keys": [forge.public_jwk(signers.remote)]}
    upstreams = Upstreams(*fakes.values())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it, and nobody answers
        config = policy(fakes, signers, folder, taken.getsockname()[1])
        with upstreams.running(), running.gateway(folder, config) as gateway:
            yield World(gateway, **fakes, upstreams=upstreams, signers=signers)


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test made the fakes do is forgotten before the next."""
    yield
    if "world" in request.fixturenames:
        world: World = request.getfixturevalue("world")
        for fake in (getattr(world, name) for name in NAMES):
            fake.seen.clear()
            fake.held.clear()
            fake.gone.clear()
            world.upstreams.do(fake.release.clear)
            fake.ready = True
