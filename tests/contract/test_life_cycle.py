"""The life of a predictor process, seen from outside."""

from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from tests.support.servers import Server, running

TOY = "tests.support.toy"
V1 = "/v1/models/toy:predict"


def predict(server: Server, text: str, timeout: float = 30) -> httpx.Response:
    return httpx.post(server.url + V1, json={"instances": [text]}, timeout=timeout)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """The toy loads until something is written to it."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_while_loading_it_is_live_and_not_ready(pipe: Path) -> None:
    with running(TOY, {"TOY_LOAD_PIPE": str(pipe)}, ready=False) as server:
        server.wait_until_listening()
        assert httpx.get(server.url + "/v2/health/live").status_code == 200
        assert httpx.get(server.url + "/v2/health/ready").status_code == 503
        assert httpx.get(server.url + "/v2/models/toy/ready").status_code == 503
        assert httpx.get(server.url + "/v1/models/toy").status_code == 503
        assert httpx.get(server.url + "/health").json()["status"] == "unhealthy"
        assert httpx.get(server.url + "/health/detailed").json()["state"] == "loading"
        refused = predict(server, "a")
        assert refused.status_code == 503
        assert refused.json()["code"] == "unavailable"
        assert int(refused.headers["retry-after"]) >= 1
        pipe.write_text("go on")
        server.wait_until_ready()
        assert httpx.get(server.url + "/v2/health/ready").status_code == 200
        assert predict(server, "a").status_code == 200


def test_grpc_while_loading_is_unavailable_and_loads_nothing_twice(pipe: Path) -> None:
    with running(TOY, {"TOY_LOAD_PIPE": str(pipe)}, ready=False) as server:
        server.wait_until_listening()
        with grpc.insecure_channel(server.grpc_target) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            request = pb.ModelInferRequest(model_name="toy")
            request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"a")
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
            assert not stub.ModelReady(pb.ModelReadyRequest(name="toy")).ready
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            pipe.write_text("go on")
            server.wait_until_ready()
            assert stub.ModelInfer(request, timeout=5).outputs
        assert [line["message"] for line in server.lines].count("Loading: toy weights.") == 1


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"TOY_LOAD_ERROR": "model.bin lacks layer 3."}, "model.bin lacks layer 3."),
        ({"TOY_SELF_TEST_ERROR": "1"}, "The self-test gave a wrong answer."),
    ],
)
def test_a_load_that_fails_is_shown_and_ends_the_process(environment: dict[str, str], sentence: str) -> None:
    with running(TOY, {**environment, "QUINTET_LOAD_FAILURE_DELAY": "1.5"}, ready=False) as server:
        line = server.wait_for(f"The model was not loaded: {sentence}")
        assert line["level"] == "ERROR"
        detailed = httpx.get(server.url + "/health/detailed")
        assert detailed.status_code == 503
        assert (detailed.json()["state"], detailed.json()["error"]) == ("failed", sentence)
        assert httpx.get(server.url + "/v2/health/ready").status_code == 503
        assert predict(server, "a").status_code == 503
        assert server.wait() == 3


def test_engine_work_never_holds_up_the_event_loop() -> None:
    with running(TOY) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(predict, server, "!sleep:2")
        with httpx.Client(base_url=server.url) as client:
            client.get("/v2/health/live")  # the connection is open
            times = []
            while not slow.done():
                started = time.perf_counter()
                assert client.get("/v2/health/live").status_code == 200
                times.append(time.perf_counter() - started)
        assert slow.result().status_code == 200
        assert len(times) > 20
        # A neighbour on the machine may hold up one; an engine on the loop would hold up them all.
        assert statistics.quantiles(times, n=20)[-1] < 0.05


def test_sigterm_under_load_loses_no_accepted_request() -> None:
    """Ready goes false first, work goes on for drain_delay, then 503; the exit code is 0."""
    with running(TOY, {"QUINTET_DRAIN_DELAY": "1", "QUINTET_MAX_BATCH_ITEMS": "4"}) as server:
        answers: list[tuple[int, float]] = []
        not_ready_at: list[float] = []
        stop = threading.Event()

        def caller() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while not stop.is_set():
                    try:
                        response = client.post(V1, json={"instances": ["!sleep:0.02"]})
                    except httpx.ConnectError:
                        return  # the port has closed: nothing was accepted
                    except httpx.TransportError as error:
                        answers.append((0, time.monotonic()))  # fails the test below
                        raise AssertionError(f"a connection was cut: {error!r}") from None
                    answers.append((response.status_code, time.monotonic()))
                    if response.status_code != 200:
                        return

        def watcher() -> None:
            with httpx.Client(base_url=server.url) as client:
                while not stop.is_set():
                    try:
                        if client.get("/v2/health/ready").status_code == 503:
                            not_ready_at.append(time.monotonic())
                            return
                    except httpx.TransportError:
                        return

        threads = [threading.Thread(target=caller) for _ in range(8)] + [threading.Thread(target=watcher)]
        for thread in threads:
            thread.start()
        while len(answers) < 20:
            time.sleep(0.01)
        terminated = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        stop.set()
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} <= {200, 503}
        assert not_ready_at
        assert not_ready_at[0] - terminated < 0.5
        served_while_draining = [at for status, at in answers if status == 200 and at > not_ready_at[0]]
        assert served_while_draining, "work is still taken while endpoints learn that we are not ready"
        assert all(at - terminated >= 0.9 for status, at in answers if status == 503)


def test_sigterm_lets_grpc_calls_end() -> None:
    with running(TOY) as server, grpc.insecure_channel(server.grpc_target) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        request = pb.ModelInferRequest(model_name="toy")
        request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
            b"!sleep:1.5"
        )
        call = stub.ModelInfer.future(request)
        while (
            'quintet_requests_in_flight{transport="grpc"} 1.0' not in httpx.get(server.url + "/metrics").text
        ):
            pass
        server.terminate()
        assert call.result(timeout=10).outputs
        assert server.wait() == 0


def test_a_body_that_does_not_come_is_given_up() -> None:
    start = f"POST {V1} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{{"
    with (
        running(TOY, {"QUINTET_REQUEST_TIMEOUT": "0.5"}) as server,
        socket.create_connection(("127.0.0.1", server.http_port)) as connection,
    ):
        connection.sendall(start.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_sigterm_waits_for_the_work_under_way() -> None:
    with running(TOY) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(predict, server, "!sleep:1.5")
        with httpx.Client(base_url=server.url) as client:
            while 'quintet_requests_in_flight{transport="rest"} 2.0' not in client.get("/metrics").text:
                pass
        server.terminate()
        assert slow.result().status_code == 200
        assert server.wait() == 0


def test_a_second_sigterm_cuts_nothing_short() -> None:
    with running(TOY) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(predict, server, "!sleep:1.5")
        with httpx.Client(base_url=server.url) as client:
            while 'quintet_requests_in_flight{transport="rest"} 2.0' not in client.get("/metrics").text:
                pass
        server.terminate()
        server.wait_for("Draining.")
        server.terminate()
        assert slow.result().status_code == 200
        assert server.wait() == 0


def test_sigterm_while_loading_ends_at_once(pipe: Path) -> None:
    with running(TOY, {"TOY_LOAD_PIPE": str(pipe)}, ready=False) as server:
        server.wait_until_listening()
        started = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - started < 5


def test_work_beyond_the_grace_period_is_given_up() -> None:
    environment = {"QUINTET_GRACE_PERIOD": "4"}
    with running(TOY, environment) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(predict, server, "!sleep:20")
        with httpx.Client(base_url=server.url) as client:
            while 'quintet_requests_in_flight{transport="rest"} 2.0' not in client.get("/metrics").text:
                pass
        started = time.monotonic()
        server.terminate()
        assert server.wait() == 0
        assert time.monotonic() - started < 4.5
        try:
            assert slow.result().status_code == 503
        except httpx.RemoteProtocolError:
            pytest.fail("the caller must hear of it")


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for variable in ("QUINTET_HTTP_PORT", "QUINTET_GRPC_PORT"):
            port = str(taken.getsockname()[1])
            with running(TOY, {variable: port}, ready=False) as server:
                assert server.wait() == 1
            assert server.lines[-1]["message"] == f"Port {port} on 127.0.0.1 cannot be opened: it is in use."


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("QUINTET_HTP_PORT", "9000", "QUINTET_HTTP_PORT"),
        ("QUINTET_MODELDIR", "x", "QUINTET_MODEL_DIR"),
        ("QUINTET_HTTP_PORT", "http", "QUINTET_HTTP_PORT"),
        ("QUINTET_DRAIN_DELAY", "-1", "QUINTET_DRAIN_DELAY"),
        ("QUINTET_DRAIN_DELAY", "60", "QUINTET_GRACE_PERIOD"),
        ("QUINTET_REQUEST_TIMEOUT", "inf", "QUINTET_REQUEST_TIMEOUT"),
    ],
)
def test_a_wrong_setting_keeps_it_from_starting(variable: str, value: str, named: str) -> None:
    with running(TOY, {variable: value}, ready=False) as server:
        assert server.wait() == 2
    assert named in server.lines[-1]["message"]
    assert variable in server.lines[-1]["message"]


def test_arguments_are_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-m", TOY, "--http_port", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "--http_port" in run.stderr


def test_a_caller_that_hangs_up_costs_the_engine_nothing() -> None:
    with (
        running(TOY, {"QUINTET_MAX_BATCH_ITEMS": "1"}) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        slow = pool.submit(predict, server, "!sleep:1")
        with httpx.Client(base_url=server.url) as client:
            while 'quintet_requests_in_flight{transport="rest"} 2.0' not in client.get("/metrics").text:
                pass
            with pytest.raises(httpx.ReadTimeout):
                predict(server, "!sleep:30", timeout=0.2)
            gone = server.wait_for("request")
            while gone["code"] != 499:
                gone = server.wait_for("request")
            assert "quintet_queue_items 0.0" in client.get("/metrics").text
        assert slow.result().status_code == 200
        assert predict(server, "a", timeout=5).status_code == 200


def test_the_metrics_are_what_prometheus_takes(promtool: str) -> None:
    with running(TOY) as server:
        predict(server, "a")
        predict(server, "!bad")
        httpx.get(server.url + "/nope/with/anything")
        text = httpx.get(server.url + "/metrics").text
    run = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
    assert 'api_requests_total{endpoint="/v1/models/{model}:predict",method="POST",status="200"} 1.0' in text
    assert 'api_requests_total{endpoint="/v1/models/{model}:predict",method="POST",status="422"} 1.0' in text
    assert 'api_requests_total{endpoint="other",method="GET",status="404"} 1.0' in text
    assert 'api_request_latency_seconds_bucket{endpoint="/v1/models/{model}:predict"' in text
    for name in (
        "quintet_requests_total",
        "quintet_requests_in_flight",
        "quintet_queue_items",
        "quintet_queue_tokens",
        "quintet_queue_seconds_bucket",
        "quintet_tokenize_seconds_bucket",
        "quintet_infer_seconds_bucket",
        "quintet_total_seconds_bucket",
        "quintet_batch_items_bucket",
        "quintet_batch_tokens_bucket",
        "quintet_batch_padding_ratio_bucket",
        "quintet_load_seconds",
        "quintet_ready 1.0",
        'quintet_model_info{checksum="",device="cpu",dtype="none",engine="toy",model="toy"} 1.0',
    ):
        assert name in text
    assert "anything" not in text, "no label value comes from a client"


def test_rejections_are_counted_by_their_reason(pipe: Path) -> None:
    environment = {
        "TOY_LOAD_PIPE": str(pipe),
        "QUINTET_MAX_BATCH_ITEMS": "1",
        "QUINTET_MAX_QUEUE_ITEMS": "1",
        "QUINTET_MAX_QUEUE_BYTES": "1000",
        "QUINTET_REQUEST_TIMEOUT": "2",
    }
    with running(TOY, environment, ready=False) as server, concurrent.futures.ThreadPoolExecutor() as pool:
        server.wait_until_listening()
        assert predict(server, "a").json()["code"] == "unavailable"
        pipe.write_text("go on")
        server.wait_until_ready()
        with httpx.Client(base_url=server.url) as client:
            running_one = pool.submit(predict, server, "!sleep:3")
            while 'quintet_requests_in_flight{transport="rest"} 2.0' not in client.get("/metrics").text:
                pass
            waiting_one = pool.submit(predict, server, "b")
            while "quintet_queue_items 1.0" not in client.get("/metrics").text:
                pass
            assert predict(server, "c").status_code == 429
            assert predict(server, "d" * 1000).status_code == 429
            assert {running_one.result().status_code, waiting_one.result().status_code} == {504}
            text = client.get("/metrics").text
    found = dict(re.findall(r'quintet_rejections_total\{reason="(\w+)"\} ([\d.]+)', text))
    assert found == {"not_ready": "1.0", "queue_items": "1.0", "queue_bytes": "1.0", "deadline": "2.0"}


def test_sigint_ends_it_like_sigterm() -> None:
    with running(TOY) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 0
