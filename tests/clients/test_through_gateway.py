"""Both clients against the real gateway: good answers, refusals, limits, and a gateway that goes away."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from quintet_client import AsyncClient, Call, Client, Event, Retries, Tensor, calls, errors

from tests.gateway import running
from tests.gateway.fakes import FakeModel, Upstreams
from tests.gateway.small import Small, new_signer, one_model, small

Send = Callable[..., Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    limits = {"per_caller": {"rate": "1/s", "burst": 3}}
    with small(tmp_path_factory.mktemp("client"), limits=limits) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "served" in request.fixturenames:
        model: FakeModel = request.getfixturevalue("served").model
        model.status = 200
        model.seen.clear()
        model.answers.clear()


def somebody(served: Small, scope: str = "infer:m read:models") -> Callable[[], str]:
    """A caller of its own, so that no test meets another's rate."""
    name = f"caller-{next(_numbers)}"
    return lambda: served.signer.token(scope, sub=name)


_numbers = iter(range(1_000_000))


def by_thread(served: Small, call: Call[Any], **options: Any) -> Any:
    with Client(served.address, somebody(served), **options) as client:
        return client.send(call)


def by_task(served: Small, call: Call[Any], **options: Any) -> Any:
    async def send() -> Any:
        async with AsyncClient(served.address, somebody(served), **options) as client:
            return await client.send(call)

    return asyncio.run(send())


BOTH = pytest.mark.parametrize("send", [by_thread, by_task])


@BOTH
def test_v1_v2_and_a_route_of_the_models_own(served: Small, send: Send) -> None:
    served.model.answers = [{"predictions": [1, 2]}]
    assert send(served, calls.predict("m", ["a", "b"])) == [1, 2]
    served.model.answers = [
        {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}]},
    ]
    outputs = send(served, calls.infer("m", [Tensor("x", "BYTES", [1], ["a"])], ["y"]))
    assert outputs["y"].data == [0.5]
    assert send(served, calls.request("POST", "/do", {"a": 1}))["path"] == "/do"
    bodies = [seen.body for seen in served.model.seen]
    assert bodies[0] == b'{"instances":["a","b"]}'
    assert b'"outputs":[{"name":"y"}]' in bodies[1]
    assert "authorization" not in served.model.seen[0].headers


@BOTH
def test_the_catalogue(served: Small, send: Send) -> None:
    (entry,) = send(served, calls.models())
    assert (entry["name"], entry["ready"]) == ("m", True)


@BOTH
def test_errors_have_their_class(served: Small, send: Send) -> None:
    with pytest.raises(errors.NotFound) as raised:
        send(served, calls.request("POST", "/nowhere", {}))
    assert raised.value.code == "not_found"
    assert raised.value.request_id
    served.model.status = 422
    with pytest.raises(errors.InvalidValue):
        send(served, calls.predict("m", ["a"]))
    assert len(served.model.seen) == 1


def test_a_token_without_the_right(served: Small) -> None:
    other = somebody(served, "infer:other")
    with Client(served.address, other) as client, pytest.raises(errors.Forbidden, match="the scope infer:m"):
        client.send(calls.metadata("m"))
    with Client(served.address, "garbage") as client, pytest.raises(errors.Unauthenticated):
        client.send(calls.metadata("m"))


@BOTH
def test_a_model_that_is_not_ready_is_asked_again(served: Small, send: Send) -> None:
    served.model.statuses = [503, 503]
    served.model.answers = [{"predictions": [1]}]
    assert send(served, calls.predict("m", ["a"]), retries=Retries(base=0.01)) == [1]
    assert len(served.model.seen) == 3


def test_the_rate_is_kept_by_waiting(served: Small) -> None:
    """Three at once and one a second: five calls come through, the last ones after a pause."""
    with Client(served.address, somebody(served)) as client:
        for _ in range(5):
            client.send(calls.metadata("m"))
    assert len(served.model.seen) == 5


def test_a_stream_event_by_event(served: Small) -> None:
    events: list[Event] = []
    with Client(served.address, somebody(served)) as client:
        for event in client.stream(calls.Call("GET", "/stream/1?events=3", lambda x: x)):
            events.append(event)
            served.upstreams.do(served.model.release.set)
    assert [event.data for event in events] == [0, 1, 2]


def test_a_gateway_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The calls of a client that waits for it are all answered; none is answered twice."""
    model, signer = FakeModel("m"), new_signer()
    config = running.with_free_ports(one_model(tmp_path, model, signer))
    address = f"http://127.0.0.1:{config['listen']['port']}"
    patient = Retries(attempts=60, base=0.1, longest=0.5, total=60)
    with (
        Upstreams(model).running(),
        Client(address, lambda: signer.token("infer:m"), retries=patient) as client,
    ):
        with running.gateway(tmp_path, config) as gateway:
            client.send(calls.metadata("m"))
            gateway.stop(signal.SIGKILL)
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(client.send(calls.metadata("m"))))
        waiting.start()
        with running.gateway(tmp_path, config):
            waiting.join(30)
    assert [answer["model"] for answer in answers] == ["m"]


async def test_many_at_once(served: Small) -> None:
    async with AsyncClient(served.address, lambda: served.signer.token("infer:m", sub="many")) as client:
        answers = await asyncio.gather(*(client.send(calls.metadata("m")) for _ in range(3)))
    assert [answer["model"] for answer in answers] == ["m"] * 3
