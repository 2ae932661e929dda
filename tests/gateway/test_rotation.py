"""Keys change while callers call: no valid token is refused, and a withdrawn key ends within its bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import forge, running
from tests.gateway.calls import UNAVAILABLE, V2, bearer
from tests.gateway.fakes import FakeModel, Upstreams
from tests.gateway.forge import Signer
from tests.gateway.small import AUDIENCE, ISSUER, Load, new_signer, one_model, seconds_until, write_whole

#: Files are asked for once a second; the rest is room for a slow machine.
FILE_BOUND = 3.0
REFRESH, URL_BOUND = 1, 4.0


class Rotating:
    """A gateway whose issuer's keys the test changes, and calls that go on all the while."""

    def __init__(self, gateway: running.Running, current: Signer) -> None:
        self.gateway, self.current = gateway, current
        self.address = f"http://127.0.0.1:{gateway.port}"

    def passes(self, signer: Signer) -> bool:
        return V2.call(self.gateway.port, "m", bearer(signer.token("infer:m"))).status == 200

    def load(self) -> Load:
        return Load(self.address, lambda: self.current.token("infer:m"))


def test_shared_secrets(tmp_path: Path) -> None:
    """The new one beside the old, then signing with it, then the old one away; and not one 401."""
    model, old, new = FakeModel("m"), new_signer(), new_signer()
    upstreams = Upstreams(model)
    config = one_model(tmp_path, model, old)
    config["issuers"][0]["keys"]["secret_files"].append("second")
    (tmp_path / "second").write_bytes(new_signer().key)
    with upstreams.running(), running.gateway(tmp_path, config) as gateway:
        rotating = Rotating(gateway, old)
        with rotating.load().running() as load:
            load.wait_for(20)
            write_whole(tmp_path / "second", new.key)
            seconds_until(lambda: rotating.passes(new), FILE_BOUND)
            rotating.current = new
            load.wait_for(20)
            write_whole(tmp_path / "secret", new_signer().key)
            seconds_until(lambda: not rotating.passes(old), FILE_BOUND)
            load.wait_for(20)
        assert set(load.answers) == {200}
        # A mistake in the next change shuts nobody out, and is said.
        (tmp_path / "second").write_text("too short")
        seconds_until(lambda: any("stay in use" in line for line in gateway.log), FILE_BOUND)
        assert rotating.passes(new)
        assert new.key.decode() not in "".join(gateway.log)


def company(kid: str) -> Signer:
    return Signer(ISSUER, AUDIENCE, "ES256", kid, forge.make_ec())


def jwks(*signers: Signer) -> dict[str, Any]:
    return {"keys": [forge.public_jwk(signer) for signer in signers]}


def test_a_jwks_file(tmp_path: Path) -> None:
    model, old, new = FakeModel("m"), company("old"), company("new")
    upstreams = Upstreams(model)
    file = tmp_path / "jwks.json"

    def publish(*signers: Signer) -> None:
        write_whole(file, json.dumps(jwks(*signers)).encode())

    publish(old)
    config = one_model(tmp_path, model, new_signer())
    config["issuers"][0]["keys"] = {"jwks_file": "jwks.json"}
    with upstreams.running(), running.gateway(tmp_path, config) as gateway:
        rotating = Rotating(gateway, old)
        with rotating.load().running() as load:
            load.wait_for(20)
            publish(old, new)
            seconds_until(lambda: rotating.passes(new), FILE_BOUND)
            rotating.current = new
            load.wait_for(20)
            publish(new)
            seconds_until(lambda: not rotating.passes(old), FILE_BOUND)
            load.wait_for(20)
        assert set(load.answers) == {200}
        file.unlink()
        seconds_until(lambda: any("there is no file" in line for line in gateway.log), FILE_BOUND)
        assert rotating.passes(new)


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[tuple[Rotating, FakeModel, Upstreams]]:
    """The issuer's address is served by a fake of its own, which can go away."""
    model, keys, current = FakeModel("m"), FakeModel("keys"), company("old")
    keys.jwks = jwks(current)
    config = one_model(tmp_path, model, new_signer())
    url = f"http://127.0.0.1:{keys.http_port}/jwks.json"
    config["issuers"][0]["keys"] = {"jwks_url": url, "refresh": f"{REFRESH}s"}
    upstreams, publisher = Upstreams(model), Upstreams(keys)
    with upstreams.running(), publisher.running(), running.gateway(tmp_path, config) as gateway:
        yield Rotating(gateway, current), keys, publisher


def test_a_jwks_address(issuer: tuple[Rotating, FakeModel, Upstreams]) -> None:
    rotating, keys, _ = issuer
    old, new = rotating.current, company("new")
    with rotating.load().running() as load:
        load.wait_for(20)
        keys.jwks = jwks(old, new)
        seconds_until(lambda: rotating.passes(new), URL_BOUND)
        rotating.current = new
        load.wait_for(20)
        keys.jwks = jwks(new)
        seconds_until(lambda: not rotating.passes(old), URL_BOUND)
        load.wait_for(20)
    assert set(load.answers) == {200}


@pytest.mark.parametrize("answer", [None, {}, {"keys": []}, {"keys": [{"kty": "RSA", "kid": "x"}]}])
def test_an_issuer_that_answers_nonsense_for_longer_than_its_keys_are_fresh(
    issuer: tuple[Rotating, FakeModel, Upstreams], answer: dict[str, Any] | None
) -> None:
    rotating, keys, _ = issuer
    keys.jwks = answer
    asked = keys.jwks_asked
    with rotating.load().running() as load:
        seconds_until(lambda: keys.jwks_asked >= asked + 3, 3 * REFRESH + URL_BOUND)
    assert set(load.answers) == {200}


def test_an_issuer_that_is_down_for_longer_than_its_keys_are_fresh(tmp_path: Path) -> None:
    model, keys, current = FakeModel("m"), FakeModel("keys"), company("old")
    keys.jwks = jwks(current)
    config = one_model(tmp_path, model, new_signer())
    url = f"http://127.0.0.1:{keys.http_port}/jwks.json"
    config["issuers"][0]["keys"] = {"jwks_url": url, "refresh": f"{REFRESH}s"}
    publisher, again = Upstreams(keys), Upstreams(keys)
    with Upstreams(model).running(), ExitStack() as stack:
        stack.enter_context(publisher.running())
        gateway = stack.enter_context(running.gateway(tmp_path, config))
        rotating = Rotating(gateway, current)
        with rotating.load().running() as load:
            load.wait_for(10)
            publisher.stop()
            failed = gateway.metric("jwks_fetch_failed")
            seconds_until(lambda: gateway.metric("jwks_fetch_failed") >= failed + 3, 3 * REFRESH + URL_BOUND)
            load.wait_for(10)
            new = company("new")
            keys.jwks = jwks(current, new)
            with again.running():
                seconds_until(lambda: rotating.passes(new), URL_BOUND)
        assert set(load.answers) == {200}


@pytest.mark.parametrize("others", ["none", "before", "behind"])
def test_an_issuer_that_is_down_from_the_start_is_not_the_callers_fault(tmp_path: Path, others: str) -> None:
    """503 and when to come back, rather than a 401 that makes a client throw its good token away."""
    model, keys, current = FakeModel("m"), FakeModel("keys"), company("k")
    keys.jwks = jwks(current)
    config = one_model(tmp_path, model, new_signer())
    (well,) = config["issuers"]
    url = f"http://127.0.0.1:{keys.http_port}/jwks.json"
    down = well | {"name": "down", "keys": {"jwks_url": url, "refresh": f"{REFRESH}s"}}
    well["issuer"] = "https://well.test"
    config["issuers"] = {"none": [down], "before": [well, down], "behind": [down, well]}[others]
    with Upstreams(model).running(), running.gateway(tmp_path, config) as gateway:
        answer = V2.call(gateway.port, "m", bearer(current.token("infer:m")))
        answer.check(UNAVAILABLE)
        assert int(answer.headers["retry-after"]) >= 1
        with Upstreams(keys).running():
            seconds_until(lambda: Rotating(gateway, current).passes(current), URL_BOUND)
