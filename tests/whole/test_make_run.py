"""The whole way once, as a user goes it: start the stack, paste the lines it prints, stop it with Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from quintet_client import Client, Tensor, calls, errors

from hack.demo_models import demo_checkpoint
from predictors.runtime.tensors import TensorSpec
from tests.support.servers import ROOT, free_port
from tests.support.transports import TRANSPORTS, Refusal, Target

pytestmark = pytest.mark.timeout(900)

PROMPT = "Write a Python function that reverses a list."


@dataclass
class Running:
    process: subprocess.Popen[str]
    address: str
    folder: Path
    lines: list[str]
    ports: list[int]
    models: list[str]

    def token(self, *scopes: str) -> str:
        command = [
            sys.executable,
            "-m",
            "gateway",
            "token",
            "--config",
            self.folder / ".local" / "gateway.yaml",
        ]
        scoped = [argument for scope in scopes for argument in ("--scope", scope)]
        run = subprocess.run([*command, *scoped], cwd=ROOT, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()[-1]


@contextlib.contextmanager
def made_run(folder: Path, *models: str, prelude: str = "pass", **environ: str) -> Iterator[Running]:
    """``make run`` in a folder of its own, so that its ports and keys are the test's own.

    ``prelude``: Python that runs before it.
    """
    for name in ("predictors", "hack", "requirements"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "gateway", folder / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    config = yaml.safe_load((folder / "gateway" / "local.yaml").read_text())
    known: dict[str, dict] = config["models"]
    ports = [free_port() for _ in range(3 + 2 * len(known))]
    config["listen"]["port"], config["admin"]["port"], config["portal"]["port"] = ports[:3]
    for model, http_port, grpc_port in zip(known.values(), ports[3::2], ports[4::2], strict=True):
        model["upstream"].update(http_port=http_port, grpc_port=grpc_port)
    (folder / "gateway" / "local.yaml").write_text(yaml.safe_dump(config))
    names = list(models or known)
    for name in names:
        demo_checkpoint(name)
    program = f"{prelude}; import sys; from hack.local_stack.__main__ import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--root", str(folder), *models],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if sum(1 for said in lines if said.startswith("curl ")) == 3 * len(names):
            break
    else:
        pytest.fail(f"ended with {process.wait()}: {lines}")
    try:
        yield Running(process, f"http://127.0.0.1:{ports[0]}", folder, lines, ports, names)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with made_run(tmp_path_factory.mktemp("clone")) as running:
        yield running


def test_the_lines_it_prints_can_be_pasted(stack: Running) -> None:
    """Three for each model: its own route, v1 and v2."""
    answers: dict[str, list[dict]] = {model: [] for model in stack.models}
    model = ""
    for line in stack.lines:
        if line.startswith("# "):
            model = line.removeprefix("# ")
        elif line.startswith("curl "):
            said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
            answers[model].append(json.loads(said))
    for domain, v1, v2 in answers.values():
        assert "error" not in domain
        assert v1["predictions"]
        assert v2["outputs"]
    domain, v1, v2 = answers["prompt_classifier"]
    assert domain["task_type_1"] == ["Code Generation"]
    assert v1["predictions"][0]["task_type_1"] == "Code Generation"
    assert v2["outputs"][0] == {
        "name": "task_type_1",
        "datatype": "BYTES",
        "shape": [1],
        "data": ["Code Generation"],
    }
    assert answers["gpt2"][0]["completion"] == "spam"


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_transport_passes_the_gateway_with_a_token_and_not_without(stack: Running, name: str) -> None:
    call = TRANSPORTS[name]
    inputs = (TensorSpec("prompt", "BYTES"),)

    def asked_with(token: str | None) -> list[dict[str, object]]:
        authorization = {} if token is None else {"authorization": f"Bearer {token}"}
        metadata = (("quintet-model", "prompt_classifier"), *authorization.items())
        with (
            httpx.Client(base_url=stack.address, headers=authorization, timeout=30) as http,
            grpc.insecure_channel(stack.address.removeprefix("http://")) as channel,
        ):
            return call(Target("prompt_classifier", inputs, http, channel, metadata), [{"prompt": PROMPT}])

    assert asked_with(stack.token("infer:prompt_classifier"))[0]["task_type_1"] == "Code Generation"
    for token, status in (
        (None, {401, "UNAUTHENTICATED"}),
        (stack.token("infer:other"), {403, "PERMISSION_DENIED"}),
    ):
        with pytest.raises(Refusal) as refused:
            asked_with(token)
        assert refused.value.status in status


def test_the_benchmark_needs_its_own_scope(stack: Running) -> None:
    body = {"prompts": [PROMPT], "requests": 2}

    def status(scope: str) -> int:
        headers = {"authorization": f"Bearer {stack.token(scope)}"}
        return httpx.post(f"{stack.address}/benchmark", json=body, headers=headers, timeout=30).status_code

    assert status("infer:prompt_classifier") == 403
    assert status("bench:prompt_classifier") == 200


def test_health_is_open_and_details_are_not(stack: Running) -> None:
    assert httpx.get(f"{stack.address}/health").json()["models"] == dict.fromkeys(stack.models, True)
    assert httpx.get(f"{stack.address}/prompt-classifier/health").json()["status"] == "healthy"
    assert httpx.get(f"{stack.address}/prompt-classifier/health/detailed").status_code == 401
    headers = {"authorization": f"Bearer {stack.token('infer:prompt_classifier')}"}
    detailed = httpx.get(f"{stack.address}/prompt-classifier/health/detailed", headers=headers)
    assert detailed.json()["state"] == "ready"
    assert httpx.get(f"{stack.address}/metrics", headers=headers).status_code == 404


def test_the_document_says_what_the_model_takes(stack: Running) -> None:
    """What stands in it as an example is a call that is answered."""
    token = stack.token("read:models", "infer:prompt_classifier")
    with httpx.Client(base_url=stack.address, headers={"authorization": f"Bearer {token}"}) as http:
        (model,) = http.get("/models").json()["models"]
        assert (model["name"], model["ready"]) == ("prompt_classifier", True)
        document = http.get("/openapi.json").json()
        infer = document["paths"]["/v2/models/prompt_classifier/infer"]["post"]
        example = infer["requestBody"]["content"]["application/json"]["example"]
        assert http.post("/v2/models/prompt_classifier/infer", json=example, timeout=30).status_code == 200
    classify = document["paths"]["/classify"]["post"]
    schema = classify["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    assert schema.startswith("prompt_classifier.")
    assert "prompts" in document["components"]["schemas"][schema]["properties"]
    assert "/benchmark" not in document["paths"], "this token may not call it"


def test_the_client_calls_it_by_its_own_names(stack: Running) -> None:
    with Client(stack.address, lambda: stack.token("infer:prompt_classifier")) as client:
        assert client.send(calls.classify([PROMPT]))["task_type_1"] == ["Code Generation"]
        assert client.send(calls.classify_single(PROMPT))["task_type_1"] == ["Code Generation"]
        (prediction,) = client.send(calls.predict("prompt_classifier", [PROMPT]))
        assert prediction["task_type_1"] == "Code Generation"
        outputs = client.send(calls.infer("prompt_classifier", [Tensor("prompt", "BYTES", [1], [PROMPT])]))
        assert outputs["task_type_1"].data == ["Code Generation"]
        with pytest.raises(errors.InvalidValue) as raised:
            client.send(calls.classify([]))
        assert raised.value.details[0]["field"] == "prompts"


def test_ctrl_c_leaves_nothing_behind(stack: Running) -> None:
    """Runs last: it stops the stack of this module."""
    group = _descendants(stack.process.pid)
    assert len(group) >= 2
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(30) == 0
    assert [pid for pid in group if _alive(pid)] == []
    for port in stack.ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_with_kafka_a_request_is_answered_over_its_topics(tmp_path: Path) -> None:
    """``make run MODELS=gpt4_nano KAFKA=1``: a broker and the consumer too, all gone after Ctrl-C."""
    names = ("BROKER_PORT", "CONTROLLER_PORT", "TRITON_PORT", "MONITORING_PORT")
    ports = "; ".join(f"companions.{name} = {free_port()}" for name in names)
    prelude = f"from hack.local_stack import companions; {ports}"
    with made_run(tmp_path, "gpt4_nano", prelude=prelude, KAFKA="1") as stack:
        group = _descendants(stack.process.pid)
        headers = {"authorization": f"Bearer {stack.token('infer:gpt4_nano')}"}
        with httpx.Client(base_url=stack.address, headers=headers, timeout=60) as http:
            request = {"request_id": "one", "payload": {"prompt": "What is Triton?"}}
            posted = http.post("/infer", json=request)
            assert posted.status_code == 202, posted.text
            while (answer := http.get("/result/one")).status_code == 202:
                time.sleep(0.1)  # another process answers; there is nothing to wait for but the answer
            assert answer.json()["output"]["response_text"].startswith("Triton Inference Server is")
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(60) == 0
        assert [pid for pid in group if _alive(pid)] == []


def _descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return not re.search(r"^State:\s+Z", status, re.M) and os.path.exists(f"/proc/{pid}")
