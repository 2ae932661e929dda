from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest

from predictors.runtime.tensors import TensorSpec
from tests.support.servers import Server, running
from tests.support.toy import Toy
from tests.support.transports import TRANSPORTS, Items, Outputs, Target


@pytest.fixture(scope="session")
def toy_server() -> Iterator[Server]:
    with running("tests.support.toy") as server:
        yield server


@contextlib.contextmanager
def target_of(server: Server, model: str, inputs: tuple[TensorSpec, ...]) -> Iterator[Target]:
    with (
        httpx.Client(base_url=server.url, timeout=30) as http,
        grpc.insecure_channel(server.grpc_target) as rpc,
    ):
        yield Target(model, inputs, http, rpc)


@pytest.fixture(scope="session")
def toy(toy_server: Server) -> Iterator[Target]:
    with target_of(toy_server, "toy", Toy.inputs) as target:
        yield target


@pytest.fixture(params=TRANSPORTS)
def call(request: pytest.FixtureRequest) -> Callable[[Target, Items], Outputs]:
    """Every transport in turn."""
    return TRANSPORTS[request.param]
