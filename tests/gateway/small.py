"""A gateway of one model and one shared secret, for tests that end it, starve it or change its keys."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.gateway import forge, running
from tests.gateway.fakes import FakeModel, Upstreams, free_port
from tests.gateway.forge import Signer

ISSUER, AUDIENCE = "https://small.test", "quintet"


def new_signer() -> Signer:
    secret = secrets.token_hex(32).encode()
    return Signer(ISSUER, AUDIENCE, "HS256", forge.kid_of_secret(secret), secret)


def write_whole(file: Path, content: bytes) -> None:
    """As a careful tool does it: never half a file."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)


def one_model(folder: Path, model: FakeModel, signer: Signer, **changes: Any) -> dict[str, Any]:
    (folder / "secret").write_bytes(signer.key)
    return {
        "issuers": [
            {
                "name": "small",
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "keys": {"secret_files": ["secret"]},
            }
        ],
        "models": {
            "m": {
                "upstream": {"host": "127.0.0.1", "http_port": model.http_port, "grpc_port": model.grpc_port},
                "routes": [{"path": "/stream/{id}", "methods": ["GET"], "kind": "stream"}, {"path": "/do"}],
            }
        },
        "monitoring": {"port": free_port()},
    } | changes


@dataclass
class Small:
    gateway: running.Running
    model: FakeModel
    upstreams: Upstreams
    signer: Signer

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def token(self) -> str:
        return self.signer.token("infer:m")


@contextmanager
def small(folder: Path, **changes: Any) -> Iterator[Small]:
    model, signer = FakeModel("m"), new_signer()
    upstreams = Upstreams(model)
    config = one_model(folder, model, signer, **changes)
    with upstreams.running(), running.gateway(folder, config) as gateway:
        yield Small(gateway, model, upstreams, signer)


@dataclass
class Load:
    """Calls without a pause until the block ends; what came of each is kept in order."""

    address: str
    token: Callable[[], str]
    answers: list[int | str] = field(default_factory=list)
    """The status, or the name of the error where there was no answer."""

    @contextmanager
    def running(self, callers: int = 2) -> Iterator[Load]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._call, args=(stop,)) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _call(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self.address, timeout=10) as client:
            while not stop.is_set():
                headers = {"authorization": f"Bearer {self.token()}"}
                try:
                    answer = client.post("/v2/models/m/infer", headers=headers, json={})
                    assert answer.status_code != 200 or answer.json()["model"] == "m"
                    self.answers.append(answer.status_code)
                except httpx.HTTPError as error:
                    self.answers.append(type(error).__name__)

    def wait_for(self, count: int) -> None:
        """Until so many more calls are through."""
        until, goal = time.monotonic() + 20, len(self.answers) + count
        while len(self.answers) < goal:
            assert time.monotonic() < until, f"only {len(self.answers)} of {goal} calls came through"
            time.sleep(0.01)


def seconds_until(condition: Callable[[], bool], at_most: float) -> float:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < at_most, f"not within {at_most} s"
        time.sleep(0.02)
    return time.monotonic() - begin
