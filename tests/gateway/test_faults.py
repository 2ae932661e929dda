"""A gateway that is killed under load and started again: only what was in flight is lost."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.gateway import running
from tests.gateway.fakes import FakeModel, Upstreams
from tests.gateway.small import Load, new_signer, one_model

#: What a caller may see of a process that is gone: no status is among them.
LOST = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}


def test_killed_under_load_and_started_again(tmp_path: Path) -> None:
    """Every answer that was given was right (`Load` looks at each), and no valid token was refused."""
    model, signer = FakeModel("m"), new_signer()
    config = running.with_free_ports(one_model(tmp_path, model, signer))
    load = Load(f"http://127.0.0.1:{config['listen']['port']}", lambda: signer.token("infer:m"))
    with Upstreams(model).running():
        with running.gateway(tmp_path, config) as gateway, load.running():
            load.wait_for(50)
            gateway.stop(signal.SIGKILL)
            load.wait_for(5)
        with running.gateway(tmp_path, config), load.running():
            load.wait_for(50)
    given = [answer for answer in load.answers if answer not in LOST]
    assert set(given) == {200}
    assert len(given) >= 100
    assert set(load.answers) - {200} <= LOST


def test_a_worker_killed_with_its_envoy_leaves_the_ports_free(tmp_path: Path) -> None:
    model, signer = FakeModel("m"), new_signer()
    config = running.with_free_ports(one_model(tmp_path, model, signer))
    with Upstreams(model).running():
        for _ in range(3):
            with running.gateway(tmp_path, config) as gateway:
                gateway.stop(signal.SIGKILL)
