"""The client of text_evaluator: every outcome once, also over a process that is killed meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from predictors.text_evaluator.client import EvaluationFailed, evaluate, evaluate_async
from tests.contract.test_text_evaluator import MODULE, item
from tests.support.gemma import write_tokenizer
from tests.support.rule import rule
from tests.support.servers import ROOT, running

TEXTS = [f"{'paraula ' * (n % 9)}text {n}" for n in range(60)]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    write_tokenizer(tmp_path / "model")
    return {
        "QUINTET_MODEL_DIR": str(tmp_path / "model"),
        "QUINTET_STORE": f"sqlite:{tmp_path}/jobs.db",
        "QUINTET_MAX_NUM_SEQS": "2",
        "QUINTET_BATCH_SIZE": "5",
        "RULE_SECONDS": "0.02",
    }


async def test_outcomes_come_once_over_a_killed_process(settings: dict[str, str]) -> None:
    found = []
    with running(MODULE, settings) as first:
        ports = {"QUINTET_HTTP_PORT": str(first.http_port)}
        rows = evaluate_async([item(text) for text in TEXTS], first.url)
        async for row in rows:
            found.append(row)
            if len(found) == 12:
                first.process.send_signal(signal.SIGKILL)
                first.wait()
                break
        with running(MODULE, {**settings, **ports}):
            async for row in rows:
                found.append(row)
    assert sorted(row["index"] for row in found) == list(range(60))
    assert {row["index"]: row["nota"] for row in found} == {n: rule(t).nota for n, t in enumerate(TEXTS)}


def test_the_command_writes_every_outcome(settings: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(item(text)) + "\n" for text in [*TEXTS[:9], "!length"]))
    with running(MODULE, settings) as server:
        command = [sys.executable, "-m", "predictors.text_evaluator.client", str(file), "--url", server.url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "10 texts, 1 without a mark" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "texts.marks.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(10))
    assert rows[9]["code"] == "length"


@pytest.mark.parametrize("way", ["cancelled", "interrupted"])
def test_what_was_received_is_kept_and_the_same_command_goes_on(
    settings: dict[str, str], tmp_path: Path, way: str
) -> None:
    file, out = tmp_path / "texts.jsonl", tmp_path / "texts.marks.jsonl"
    file.write_text("".join(json.dumps(item(text)) + "\n" for text in [*TEXTS[:9], "!wait"]))
    with running(MODULE, settings) as server, httpx.Client(base_url=server.url) as http:
        command = [sys.executable, "-m", "predictors.text_evaluator.client", str(file), "--url", server.url]
        client = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while not out.exists() or len(out.read_text().splitlines()) < 9:
            assert time.monotonic() < end
            time.sleep(0.05)
        (job,) = http.get("/jobs").json()["jobs"]
        if way == "cancelled":
            http.delete(f"/jobs/{job['job_id']}")
        else:
            client.send_signal(signal.SIGINT)
        _, said = client.communicate(timeout=30)
        assert client.returncode == (1 if way == "cancelled" else 130)
        assert "9 of 10 texts written" in said
        assert sorted(json.loads(line)["index"] for line in out.read_text().splitlines()) == list(range(9))
        if way == "interrupted":
            again = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            while http.get("/metrics").text.count("quintet_sse_readers 1.0") == 0:
                assert again.poll() is None
                time.sleep(0.05)
            assert len(http.get("/jobs").json()["jobs"]) == 1, "the same job"
            again.kill()
            again.wait()


def test_who_breaks_off_leaves_no_thread_and_no_connection(settings: dict[str, str]) -> None:
    with running(MODULE, settings) as server:
        rows = evaluate([item("a"), item("!wait")], server.url)
        assert next(rows)["index"] == 0
        rows.close()  # type: ignore[attr-defined]
    assert "evaluate" not in [thread.name for thread in threading.enumerate()]


def test_a_refusal_is_said_in_the_services_words(settings: dict[str, str]) -> None:
    with running(MODULE, settings) as server, pytest.raises(EvaluationFailed, match="consigna"):
        list(evaluate([{"id_alumno": "a", "curso": "c", "respuesta": "r"}], server.url))
