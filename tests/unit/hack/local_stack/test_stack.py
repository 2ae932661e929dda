"""``make run`` as a person meets it: up, used, down, and every way it can go wrong."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
from collections.abc import Callable

import psutil
import yaml

from tests.unit.hack.local_stack.conftest import Clone, Run

Start = Callable[..., Run]


def test_all_comes_up_says_how_to_use_it_and_goes_down_in_order(clone: Clone, start: Start) -> None:
    run = start().ready()
    run.ctrl_c()
    code, output, said = run.end()

    assert code == 0
    address = f"http://127.0.0.1:{clone.ports['gateway']}"
    assert f"The gateway listens on {address}" in output
    assert "TOKEN=token-for-infer:*+read:models" in output
    lines = [shlex.split(line) for line in output.splitlines() if line.startswith("curl ")]
    paths = [
        "/alpha",
        "/v1/models/alpha:predict",
        "/v2/models/alpha/infer",
        "/beta",
        "/v1/models/beta:predict",
        "/v2/models/beta/infer",
    ]
    assert [line[2] for line in lines] == [address + path for path in paths]
    assert lines[0][-1] == '{"prompts": ["It\'s a test."]}'
    for name in ("alpha", "beta", "gateway"):
        assert f"{name}: ready after" in said
    assert next(line for line in clone.trace if line.endswith("ended")) == "gateway ended"
    assert {"alpha ended", "beta ended"} < set(clone.trace)
    clone.assert_nothing_left()


def test_secret_and_token_are_private_and_the_secret_stays(clone: Clone, start: Start) -> None:
    secrets = set[str]()
    for _ in range(2):
        run = start("alpha").ready()
        run.ctrl_c()
        assert run.end()[0] == 0
        local = clone.root / ".local"
        secrets.add((local / "jwt-secret").read_text())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (local, *local.iterdir())}
        assert (modes[".local"], modes["jwt-secret"], modes["token"]) == (0o700, 0o600, 0o600)
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32


def test_a_subset_is_all_that_the_gateway_knows(clone: Clone, start: Start) -> None:
    run = start("beta").ready()
    run.ctrl_c()
    _, output, _ = run.end()
    config = yaml.safe_load((clone.root / ".local" / "gateway.yaml").read_text())
    assert list(config["models"]) == ["beta"]
    assert clone.pids("alpha") == []
    assert "/alpha" not in output


def test_unknown_model_gets_the_nearest_name(start: Start) -> None:
    code, _, said = start("alhpa").end()
    assert code == 1
    assert said == "make run: alhpa is not a model in gateway/local.yaml; did you mean alpha?\n"


def test_settings_of_one_model_reach_that_process_alone(clone: Clone, start: Start) -> None:
    environ = {"ALPHA_MODEL_DIR": "/weights", "QUINTET_LOG_LEVEL": "DEBUG", "QUINTET_CACHE": "/elsewhere"}
    run = start(**environ).ready()
    run.ctrl_c()
    run.end()
    assert clone.settings("alpha") == {
        "QUINTET_MODEL_DIR": "/weights",
        "QUINTET_HOST": "127.0.0.1",
        "QUINTET_HTTP_PORT": str(clone.ports["alpha"]),
        "QUINTET_GRPC_PORT": str(clone.ports["alpha-grpc"]),
        "QUINTET_LOG_LEVEL": "DEBUG",
        "QUINTET_DRAIN_DELAY": "0",
    }
    assert clone.settings("beta")["QUINTET_MODEL_DIR"] == "demo/beta"


def test_port_in_use_is_said_before_anything_starts(clone: Clone, start: Start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", clone.ports["beta-grpc"]))
        other.listen()
        code, _, said = start().end()
    assert code == 1
    assert said == (
        f"make run: port {clone.ports['beta-grpc']}, which beta (gRPC) needs, cannot be used: "
        f"process {os.getpid()} ({psutil.Process().name()}) is listening on it\n"
    )
    assert clone.trace == []


def test_checkpoint_that_does_not_load(clone: Clone, start: Start) -> None:
    code, output, said = start(ALPHA_BEHAVIOUR="broken checkpoint", ALPHA_MODEL_DIR="/weights").end()
    assert code == 1
    assert output == ""
    assert "make run: alpha could not load the checkpoint in /weights: config.json is missing.\n" in said
    assert f"The last lines of {clone.root}/.local/logs/alpha.log:\n  reading\n  " in said
    clone.assert_nothing_left()


def test_process_that_dies_later_takes_the_rest_down(clone: Clone, start: Start) -> None:
    run = start().ready()
    os.kill(clone.pids("beta")[0], signal.SIGKILL)
    code, _, said = run.end()
    assert code == 1
    assert "make run: beta was ended by SIGKILL (out of memory?)\n" in said
    clone.assert_nothing_left()


def test_gateway_that_refuses_its_config(clone: Clone, start: Start) -> None:
    (clone.root / "gateway-refuses").touch()
    code, _, said = start().end()
    assert code == 1
    assert "make run: gateway ended with exit code 1\n" in said
    assert said.endswith("  the config is not liked\n")
    clone.assert_nothing_left()


def test_killed_gateway_leaves_no_child_of_its_own(clone: Clone, start: Start) -> None:
    run = start().ready()
    os.kill(clone.pids("gateway")[0], signal.SIGKILL)
    assert run.end()[0] == 1
    clone.assert_nothing_left()


def test_stop_while_a_model_loads(clone: Clone, start: Start) -> None:
    run = start(ALPHA_BEHAVIOUR="loads for ever")
    run.wait_for("alpha: loading: reading weights")
    run.process.terminate()
    code, output, _ = run.end()
    assert (code, output) == (0, "")
    clone.assert_nothing_left()


def test_second_ctrl_c_does_not_wait_for_the_deaf(clone: Clone, start: Start) -> None:
    run = start("alpha", ALPHA_BEHAVIOUR="deaf").ready()
    run.ctrl_c()
    run.wait_for("Stopping")
    run.ctrl_c()
    assert run.end()[0] == 0
    clone.assert_nothing_left()


def test_killed_without_a_word_still_leaves_no_process(clone: Clone, start: Start) -> None:
    run = start("alpha").ready()
    children = [psutil.Process(pid) for name in ("alpha", "gateway") for pid in clone.pids(name)[:1]]
    run.process.kill()
    _, still_there = psutil.wait_procs(children, timeout=10)
    assert still_there == []


def test_one_stack_a_clone(start: Start) -> None:
    first = start("alpha").ready()
    code, _, said = start("alpha").end()
    assert code == 1
    assert said == "make run: the local stack of this clone is already running; stop that one first\n"
    first.ctrl_c()
    assert first.end()[0] == 0


def test_demo_checkpoint_that_cannot_be_made(clone: Clone, start: Start) -> None:
    (clone.root / "demo-fails").touch()
    code, _, said = start().end()
    assert code == 1
    assert "make run: alpha's demo checkpoint was not made: ended with exit code 1\n" in said
    assert said.endswith("  error: no space left on device\n")
    assert clone.trace == []


def test_weights_in_a_registry_need_no_demo_checkpoint(clone: Clone, start: Start) -> None:
    (clone.root / "demo-fails").touch()
    run = start("alpha", ALPHA_MODEL_URI="models:/alpha@champion").ready()
    run.ctrl_c()
    run.end()
    assert clone.settings("alpha")["QUINTET_MODEL_URI"] == "models:/alpha@champion"
    assert "QUINTET_MODEL_DIR" not in clone.settings("alpha")


def test_ctrl_c_while_the_demo_checkpoint_is_made(clone: Clone, start: Start) -> None:
    (clone.root / "demo-takes-long").touch()
    run = start()
    run.wait_for("alpha: epoch 1 of 9")
    run.ctrl_c()
    assert run.end()[0] == 0
    clone.assert_nothing_left()
