"""The client of text_evaluator: every outcome once, also over a process that is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
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
from tests.support.servers import ROOT, free_port, running

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


async def test_a_service_that_is_away_is_waited_for_and_the_wait_is_told(settings: dict[str, str]) -> None:
    port, waits = free_port(), asyncio.Queue[tuple[str, float]]()
    rows = evaluate_async(
        [item("a b")], f"http://127.0.0.1:{port}", on_wait=lambda *said: waits.put_nowait(said)
    )
    first = asyncio.ensure_future(anext(rows))
    reason, left = await waits.get()
    assert reason == "The service was not reached (ConnectError)."
    assert 800 < left <= 900
    with running(MODULE, {**settings, "QUINTET_HTTP_PORT": str(port)}):
        assert (await first)["nota"] == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", r"The service was not reached \(ConnectError\)\. So it was for 0\.2 s\."),
        ("127.0.0.1:1", "It cannot be asked for: .*missing an 'http://' or 'https://' protocol"),
    ],
)
async def test_patience_ends(url: str, said: str) -> None:
    with pytest.raises(EvaluationFailed, match=said):
        await anext(evaluate_async([item("a")], url, patience=0.2))


ODD = "a\u2028b\u2029c\u0085d"
"""With characters that end a line for Python, and for neither JSON Lines nor server-sent events."""


def test_the_command_writes_every_outcome(settings: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    texts = [*(item(text) for text in TEXTS[:9]), item("!length"), item(ODD, id_alumno=ODD)]
    file.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts), "utf-8")
    with running(MODULE, settings) as server:
        done = command(file, "--url", server.url)
        assert done.returncode == 0, done.stderr
        assert "11 texts, 1 without a mark" in done.stderr
        assert re.search(r"11/11 [\d.]+/s 0:00:00 left", done.stdout), "the bar"
    rows = [json.loads(line) for line in (tmp_path / "texts.marks.jsonl").open(encoding="utf-8")]
    assert [row["index"] for row in rows] == list(range(11))
    assert rows[9]["code"] == "length"
    assert (rows[10]["id_alumno"], rows[10]["feedback"]) == (ODD, rule(ODD).feedback)


def test_the_command_while_the_service_is_away_leaves_what_was_written(
    settings: dict[str, str], tmp_path: Path
) -> None:
    file, out = tmp_path / "texts.jsonl", tmp_path / "texts.marks.jsonl"
    file.write_text("".join(json.dumps(item(text)) + "\n" for text in TEXTS[:3]))
    with running(MODULE, settings) as server:
        assert command(file, "--url", server.url).returncode == 0
    written = out.read_bytes()
    done = command(file, "--url", server.url, "--patience", "0.1")
    assert (done.returncode, out.read_bytes()) == (1, written)
    assert "error: The service was not reached" in done.stderr
    assert "Waiting for it, 0:00:00 at most" in done.stdout


@pytest.mark.parametrize("lines", [None, ["{}"], [json.dumps(item("a")), "{"]])
def test_the_command_says_in_one_sentence_what_is_wrong_with_a_file(
    tmp_path: Path, lines: list[str] | None
) -> None:
    file = tmp_path / "texts.jsonl"
    if lines is not None:
        file.write_text("\n".join(lines))
    done = command(file, "--patience", "0")
    assert done.returncode == 1
    place = f"{file}, line {len(lines)}" if lines else str(file)
    assert done.stderr.startswith(f"error: {place}: ")
    assert done.stderr.count("\n") == 1, "and no traceback"


def command(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "predictors.text_evaluator.client", str(file), *options]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


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
