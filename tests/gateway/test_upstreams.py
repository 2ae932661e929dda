"""Two replicas, one of them ill: it is taken out, and no call that was safe to repeat is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.gateway import running
from tests.gateway.calls import GRPC, UNAVAILABLE, V1, V2, Transport, bearer
from tests.gateway.fakes import FakeModel, Upstreams
from tests.gateway.forge import Signer
from tests.gateway.small import Load, new_signer, one_model, seconds_until
from tests.gateway.two_addresses import SECOND


@dataclass
class Two:
    gateway: running.Running
    well: FakeModel
    ill: FakeModel
    of_well: Upstreams
    of_ill: Upstreams
    signer: Signer

    def call(self, method: str, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.signer.token('infer:m')}"}
        return httpx.request(method, f"http://127.0.0.1:{self.gateway.port}{path}", headers=headers)

    def until_ejected(self) -> list[int]:
        """What callers got until the ill one was out; from then on all goes well."""
        before: list[int] = []
        while self.gateway.metric("ejections_active", '"m"') == 0:
            before.append(self.call("POST", "/v2/models/m/infer").status_code)
            assert len(before) < 200, "it is never taken out"
        after = [self.call("POST", "/v2/models/m/infer").status_code for _ in range(20)]
        assert set(before) <= {200, 503}
        assert set(after) == {200}
        return before

    def load(self) -> Load:
        return Load(f"http://127.0.0.1:{self.gateway.port}", lambda: self.signer.token("infer:m"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    well, signer = FakeModel("m"), new_signer()
    ill = FakeModel("m", http_port=well.http_port, grpc_port=well.grpc_port, host=SECOND)
    of_well, of_ill = Upstreams(well), Upstreams(ill)
    config = one_model(tmp_path, well, signer)
    with contextlib.ExitStack() as stack:
        for upstreams in (of_well, of_ill):
            stack.enter_context(upstreams.running())
        gateway = stack.enter_context(running.gateway(tmp_path, config, "tests.gateway.two_addresses"))
        yield Two(gateway, well, ill, of_well, of_ill, signer)


def test_both_are_used(two: Two) -> None:
    for _ in range(40):
        assert two.call("GET", "/v2/models/m").status_code == 200
    assert two.well.seen
    assert two.ill.seen


def test_a_replica_that_goes_away_costs_nobody_a_call(two: Two) -> None:
    with two.load().running() as load:
        load.wait_for(50)
        two.of_ill.stop()
        load.wait_for(100)
    lost = Counter(load.answers)
    lost.pop(200)
    # What it was answering at that very moment may have been begun, and is not done twice.
    assert set(lost) <= {503}
    assert lost.total() <= 2, "one for each of the two callers at most"


async def _serve_hanging_up(host: str, port: int) -> asyncio.Server:
    """Takes a request and closes the connection without an answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    return await asyncio.start_server(answer, host, port)


def test_one_that_hangs_up_loses_no_get_and_soon_nothing(two: Two) -> None:
    """A GET is sent again to the other; a POST may have been begun, so it is not."""
    two.of_ill.stop()
    server = two.of_well.run(_serve_hanging_up(SECOND, two.ill.http_port))
    gets = [two.call("GET", "/v2/models/m").status_code for _ in range(30)]
    assert set(gets) == {200}
    two.until_ejected()
    server.close()


@pytest.mark.parametrize("transport", [V1, V2, GRPC], ids=lambda t: t.name)
def test_who_may_have_begun_is_not_told_to_come_again(tmp_path: Path, transport: Transport) -> None:
    """A Retry-After says that nothing was done, and clients send again what must not be done twice."""
    model, signer = FakeModel("m"), new_signer()
    other = Upstreams(FakeModel("other"))
    with other.running():
        ports = model.http_port, model.grpc_port
        servers = [other.run(_serve_hanging_up("127.0.0.1", port)) for port in ports]
        with running.gateway(tmp_path, one_model(tmp_path, model, signer)) as gateway:
            answer = transport.call(gateway.port, "m", bearer(signer.token("infer:m")))
            answer.check(UNAVAILABLE)
            assert "may have begun" in answer.sentence
            assert "retry-after" not in answer.headers
            for server in servers:
                other.do(server.close)
            answer = transport.call(gateway.port, "m", bearer(signer.token("infer:m")))
            answer.check(UNAVAILABLE)
            assert int(answer.headers["retry-after"]) >= 1


def test_one_that_is_not_ready_is_taken_out(two: Two) -> None:
    two.ill.status = 503
    assert 503 in two.until_ejected()


def test_when_both_are_ill_one_is_kept(two: Two) -> None:
    """An error that says why is more use than nobody to ask."""
    two.well.status = two.ill.status = 503
    answers = [two.call("POST", "/v2/models/m/infer") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[-1].json()["details"] == ["of the model"]
    two.well.status = two.ill.status = 200
    assert two.call("POST", "/v2/models/m/infer").status_code == 200


def test_one_that_flaps(two: Two) -> None:
    """Comes and goes: refused connections are tried elsewhere, so callers hear next to nothing of it."""
    two.of_ill.stop()
    with two.load().running() as load:
        for _ in range(5):
            again = Upstreams(two.ill)
            with again.running():
                load.wait_for(20)
            load.wait_for(20)
    lost = Counter(load.answers)
    lost.pop(200)
    assert set(lost) <= {503}
    assert lost.total() <= 2 * 5


def test_a_model_that_comes_back_is_used_again(two: Two) -> None:
    for upstreams in (two.of_ill, two.of_well):
        upstreams.stop()
    assert two.call("GET", "/v2/models/m").json()["code"] == "unavailable"
    with Upstreams(two.well).running():
        seconds_until(lambda: two.call("GET", "/v2/models/m").status_code == 200, 20)
