"""text_evaluator's routes over HTTP, with a rule for an engine: what a caller sees, and what is refused."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from predictors.text_evaluator.predictor import TextEvaluator
from tests.contract.conftest import target_of
from tests.support.evaluator import CACHED, GENERATED
from tests.support.gemma import write_tokenizer
from tests.support.rule import rule
from tests.support.servers import Server, running
from tests.support.transports import TRANSPORTS

MODULE = "tests.support.evaluator"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def settings(folder: Path) -> dict[str, str]:
    return {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{folder}/jobs.db",
        "QUINTET_HEARTBEAT": "0.3",
        "QUINTET_MAX_CALLER_ITEMS": "3000",
        "RULE_LOG": str(folder / "engine.log"),
    }


@pytest.fixture(scope="module")
def server(settings: dict[str, str]) -> Iterator[Server]:
    with running(MODULE, settings) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def item(text: str = "dues paraules", **other: Any) -> dict[str, Any]:
    return {"id_alumno": "A1", "curso": "3r ESO", "consigna": "Tema", "respuesta": text, **other}


def caller(name: str = "ada") -> dict[str, str]:
    return {"x-quintet-subject": name, "x-quintet-issuer": "https://school.example"}


def post(http: httpx.Client, texts: list[str], headers: dict[str, str] | None = None) -> str:
    answer = http.post("/evaluate", json={"items": [item(text) for text in texts]}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


def events(http: httpx.Client, job: str, last: int | None = None, **headers: str) -> list[dict[str, Any]]:
    """All events of a job's stream up to its end."""
    if last is not None:
        headers["last-event-id"] = str(last)
    found: list[dict[str, Any]] = []
    with http.stream("GET", f"/stream/{job}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, Any] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            elif fields:
                found.append(fields)
                fields = {}
    return [one | {"data": json.loads(one["data"])} for one in found if "data" in one]


def test_a_job_is_taken_at_once_and_told_to_its_end(http: httpx.Client) -> None:
    answer = http.post("/evaluate", json={"items": [item("a b c"), item("!length"), item("d")]})
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["location"] == f"/jobs/{accepted['job_id']}"
    assert accepted["total_items"] == 3
    assert accepted["status"] in ("queued", "processing")
    assert accepted["stream_url"] == f"/stream/{accepted['job_id']}"
    # As published: 2, not 2.0, which typed clients do not take for an integer.
    assert isinstance(accepted["estimated_time_seconds"], int)
    assert accepted["estimated_time_seconds"] > 0
    told = events(http, accepted["job_id"])
    assert told[0]["event"] == "progress"
    assert told[-1]["event"] == "complete"
    batches = [one["data"] for one in told if one["event"] == "batch_complete"]
    assert all(batch["event"] == "batch_complete" for batch in batches)  # as old clients read it
    results = [row for batch in batches for row in batch["data"]["results"]]
    assert sorted((row["index"], row["nota"], row["feedback"]) for row in results) == [
        (0, 3, rule("a b c").feedback),
        (2, 1, rule("d").feedback),
    ]
    errors = [row for batch in batches for row in batch["data"]["errors"]]
    assert [(row["index"], row["code"]) for row in errors] == [(1, "length")]
    assert set(batches[-1]["data"]["progress"]) == {
        "completed",
        "total",
        "percentage",
        "elapsed_seconds",
        "estimated_remaining_seconds",
        "avg_time_per_item",
    }
    assert told[-1]["data"]["data"]["status"] == "completed"
    assert [int(one["id"]) for one in told if "id" in one] == list(range(1, len(told)))


def test_the_estimate_follows_the_rate_that_was_measured(http: httpx.Client) -> None:
    events(http, post(http, [f"text {n}" for n in range(100)]))
    accepted = http.post("/evaluate", json={"items": [item()] * 50}).json()
    assert 0 < accepted["estimated_time_seconds"] < 50 * 2.0, "two seconds a text are for want of a rate"


def test_a_stream_resumes_behind_the_last_event_with_no_gap_and_no_repeat(http: httpx.Client) -> None:
    job = post(http, [f"text {n}" for n in range(45)])
    whole = [one for one in events(http, job) if "id" in one]
    assert len(whole) >= 6
    for last in range(len(whole) + 1):
        again = [one for one in events(http, job, last) if "id" in one]
        assert again == whole[last:]


def test_a_reader_hears_nothing_new_as_a_heartbeat(http: httpx.Client) -> None:
    job = post(http, ["!wait"])
    with http.stream("GET", f"/stream/{job}") as answer:
        lines = iter(answer.iter_lines())
        assert next(lines) == "retry: 2000"
        assert next(line for line in lines if line.startswith(":")) == ": alive"
    http.delete(f"/jobs/{job}")


def test_a_reader_who_is_ahead_of_the_log_is_told_all_of_it(http: httpx.Client) -> None:
    """The store has lost what it read last."""
    job = post(http, ["a", "a b"])
    assert events(http, job, 7)[1:] == events(http, job)[1:]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 12, "1-0"])
def test_a_last_event_id_that_is_none_is_refused(http: httpx.Client, last: str) -> None:
    job = post(http, ["a"])
    answer = http.get(f"/stream/{job}", headers={"last-event-id": last})
    assert answer.status_code == 422
    assert answer.json()["details"][0]["field"] == "Last-Event-ID"


def test_results_come_in_pages(http: httpx.Client) -> None:
    job = post(http, [f"text {n}" for n in range(25)])
    events(http, job)
    rows: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        page = http.get(f"/jobs/{job}/results", params={"after": after, "limit": 10}).json()
        rows, after, more = rows + page["results"], page["next"], page["more"]
    assert sorted(row["index"] for row in rows) == list(range(25))
    status = http.get(f"/jobs/{job}").json()
    assert (status["status"], status["total_items"], status["progress"]["percentage"]) == (
        "completed",
        25,
        100.0,
    )


def test_the_same_pupil_twice_is_two_texts(http: httpx.Client) -> None:
    job = post(http, ["a", "a b"])
    events(http, job)
    rows = http.get(f"/jobs/{job}/results").json()["results"]
    assert sorted((row["index"], row["id_alumno"], row["nota"]) for row in rows) == [
        (0, "A1", 1),
        (1, "A1", 2),
    ]


def test_an_idempotency_key_is_one_job(http: httpx.Client) -> None:
    headers = {**caller(), "idempotency-key": str(uuid.uuid4())}
    first = post(http, ["a"], headers)
    assert post(http, ["a"], headers) == first
    conflict = http.post("/evaluate", json={"items": [item("other")]}, headers=headers)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "conflict")
    assert post(http, ["other"], {**headers, **caller("bob")}) != first


def test_a_repeated_post_is_told_what_is_left_to_do(http: httpx.Client) -> None:
    def estimate(texts: list[str], key: str) -> int:
        body = {"items": [item(text) for text in texts]}
        answer = http.post("/evaluate", json=body, headers={"idempotency-key": key})
        seconds = answer.json()["estimated_time_seconds"]
        assert isinstance(seconds, int)
        return seconds

    done, waiting = str(uuid.uuid4()), str(uuid.uuid4())
    assert estimate(["a"] * 50, done) > 0
    events(http, post(http, ["a"] * 50, {"idempotency-key": done}))
    assert estimate(["a"] * 50, done) == 0
    assert estimate(["!wait"], waiting) > 0
    assert estimate(["!wait"], waiting) > 0
    http.delete(f"/jobs/{post(http, ['!wait'], {'idempotency-key': waiting})}")


def test_an_empty_idempotency_key_is_refused(http: httpx.Client) -> None:
    answer = http.post("/evaluate", json={"items": [item()]}, headers={"idempotency-key": ""})
    assert answer.status_code == 422
    assert answer.json()["details"][0]["field"] == "idempotency-key"


def test_a_job_is_its_callers_alone(http: httpx.Client) -> None:
    job = post(http, ["a"], caller())
    for stranger in (caller("bob"), {}, {**caller(), "x-quintet-issuer": "https://other.example"}):
        for method, path in (
            ("GET", f"/jobs/{job}"),
            ("GET", f"/jobs/{job}/results"),
            ("GET", f"/stream/{job}"),
            ("DELETE", f"/jobs/{job}"),
        ):
            answer = http.request(method, path, headers=stranger)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert job not in http.get("/jobs", headers=stranger).text
    assert job in http.get("/jobs", headers=caller()).text


def test_operators_see_whose_job_it_is_and_nothing_of_its_texts(http: httpx.Client) -> None:
    job = post(http, ["secret words"], caller("eve"))
    events(http, job, None, **caller("eve"))
    listed = http.get("/admin/jobs", headers=caller("operator")).json()["jobs"]
    (found,) = (one for one in listed if one["job_id"] == job)
    assert (found["owner"], found["status"]) == ("https://school.example eve", "completed")
    answer = http.get(f"/admin/jobs/{job}", headers=caller("operator"))
    assert answer.json() == found
    assert "secret" not in answer.text
    assert http.get("/admin/jobs/00000000-0000-0000-0000-000000000000").status_code == 404
    for path in (f"/admin/jobs/{job}/results", f"/admin/stream/{job}"):
        assert http.get(path).status_code == 404
    assert http.delete(f"/admin/jobs/{job}").status_code == 405


def test_cancelling_takes_the_texts_from_the_engine(http: httpx.Client, settings: dict[str, str]) -> None:
    log = Path(settings["RULE_LOG"])
    before = log.read_text().count("cancelled !wait")
    job = post(http, ["!wait"] * 5)
    with http.stream("GET", f"/stream/{job}") as answer:
        lines = iter(answer.iter_lines())
        next(line for line in lines if line.startswith(":"))  # it runs, and nothing comes
        assert http.delete(f"/jobs/{job}").json()["status"] == "cancelled"
        assert "event: error" in list(lines)
    assert http.get(f"/jobs/{job}").json()["status"] == "cancelled"
    assert http.get(f"/jobs/{job}/results").status_code == 404
    other = post(http, ["a"])
    assert events(http, other)[-1]["event"] == "complete"
    assert log.read_text().count("cancelled !wait") - before == 5


def test_deleting_a_finished_job_leaves_nothing(http: httpx.Client, settings: dict[str, str]) -> None:
    secret = f"secret{uuid.uuid4().hex}"
    job = post(http, [secret])
    events(http, job)
    files = Path(settings["QUINTET_STORE"].removeprefix("sqlite:")).parent
    assert any(secret.encode() in file.read_bytes() for file in files.glob("jobs.db*")), "its feedback"
    assert http.delete(f"/jobs/{job}").status_code == 200
    assert http.get(f"/jobs/{job}").status_code == 404
    assert http.get(f"/stream/{job}").status_code == 404
    assert not any(secret.encode() in file.read_bytes() for file in files.glob("jobs.db*"))


BAD: dict[str, tuple[Any, int, str]] = {
    "no items": ({"items": []}, 422, "items"),
    "no list": ({"items": "x"}, 422, "items"),
    "nothing": ({}, 422, "items"),
    "2001 items": ({"items": [item("a")] * 2001}, 422, "items"),
    "a field lacks": ({"items": [item(), {"id_alumno": "", "curso": "c"}]}, 422, "items[1].consigna"),
    "a wrong type": ({"items": [item(curso=3)]}, 422, "items[0].curso"),
    "null": ({"items": [item(respuesta=None)]}, 422, "items[0].respuesta"),
    "a megabyte": ({"items": [item("x" * 1_000_000)]}, 422, "items[0].respuesta"),
    "an endless course": ({"items": [item(curso="x" * 201)]}, 422, "items[0].curso"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_names_its_field_and_queues_nothing(http: httpx.Client, name: str) -> None:
    body, status, field = BAD[name]
    who = caller(f"bad {name}")
    answer = http.post("/evaluate", json=body, headers=who)
    assert answer.status_code == status
    assert answer.json()["details"][0]["field"] == field
    assert http.get("/jobs", headers=who).json() == {"jobs": []}


def test_what_the_original_took_is_taken(http: httpx.Client) -> None:
    """Fields that nobody asked for, no course, no task, and nothing written."""
    texts = [item("a b", nota=5), item("a b", curso="", consigna=""), item("")]
    answer = http.post("/evaluate", json={"items": texts, "priority": 1})
    assert answer.status_code == 202
    job = answer.json()["job_id"]
    events(http, job)
    rows = http.get(f"/jobs/{job}/results").json()["results"]
    assert sorted((row["index"], row["nota"]) for row in rows) == [(0, 2), (1, 2), (2, 0)]


def test_a_lone_surrogate_is_refused(http: httpx.Client) -> None:
    body = json.dumps({"items": [item("SURROGATE")]}).replace("SURROGATE", "\\ud800")
    answer = http.post("/evaluate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["details"][0]["field"] == "items[0].respuesta"


def test_a_caller_with_too_many_texts_waiting_is_told_when_to_come_back(http: httpx.Client) -> None:
    who = caller("many")
    jobs = [post(http, ["!wait"] * 1500, who), post(http, ["!wait"] * 1500, who)]
    refused = http.post("/evaluate", json={"items": [item()]}, headers=who)
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    other = post(http, ["a"], caller("few"))
    assert other
    for job in jobs:
        http.delete(f"/jobs/{job}", headers=who)


@pytest.mark.parametrize("job", ["x", "00000000-0000-0000-0000-000000000000", "..%2F..", "a" * 500])
def test_an_unknown_job_is_not_found(http: httpx.Client, job: str) -> None:
    assert http.get(f"/jobs/{job}").status_code == 404
    assert http.get(f"/stream/{job}").status_code == 404


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_synchronous_texts_have_their_own_errors(server: Server, transport: str) -> None:
    with target_of(server, "text_evaluator", TextEvaluator.inputs) as target:
        texts = [item("un dos tres"), item("!length"), item("!boom")]
        good, *bad = TRANSPORTS[transport](target, texts)
    assert (good["nota"], good["feedback"]) == (3, rule("un dos tres").feedback)
    # No transport's way to say nothing may look like a mark.
    assert [one.get("nota", -1) for one in bad] == [-1, -1]
    assert [one["code"] for one in bad] == ["length", "engine"]


def test_health_has_the_published_fields(http: httpx.Client) -> None:
    said = http.get("/health").json()
    assert said["status"] == "healthy"
    assert said["model_loaded"] is True
    assert said["gpu_available"] is False
    assert isinstance(said["active_jobs"], int)


def metrics(http: httpx.Client) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines if name.startswith("quintet_")}


def test_metrics_say_what_became_of_texts_and_jobs(http: httpx.Client) -> None:
    before = metrics(http)
    job = post(http, ["a <end_of_turn> <bos>", "b", "!length", "<eos>" + "paraula " * 2000])
    events(http, job)
    events(http, job, 1)
    events(http, job, 2)
    now = metrics(http)
    grown = {name: value - before.get(name, 0.0) for name, value in now.items()}
    assert grown['quintet_items_total{outcome="marked"}'] == 2
    assert grown['quintet_items_total{outcome="length"}'] == 1
    assert grown['quintet_items_total{outcome="too_long"}'] == 1
    assert grown["quintet_neutralised_tokens_total"] == 3, "those of a text that is refused too"
    assert grown["quintet_sse_resumes_total"] == 2
    assert grown["quintet_cached_prompt_tokens_total"] == 3 * CACHED
    assert grown["quintet_generated_tokens_total"] == 3 * GENERATED
    lengths = [now["quintet_mark_seconds_count"] - before.get("quintet_mark_seconds_count", 0)]
    assert lengths == [3]
    # The instruction alone is a hundred tokens and more; the rule's tokenizer gives nearly each letter one.
    assert 3 * 100 < grown["quintet_prompt_tokens_total"] < 3 * 1000
    assert now["quintet_sse_readers"] == 0
    for name in ('quintet_jobs{state="completed"}', "quintet_oldest_job_seconds", "quintet_waiting_items"):
        assert name in now, name


def test_replicas_are_scaled_by_texts_of_jobs_too(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        job = post(http, ["!wait"] * 200)
        # The engine has 34, two more than it can mark at a time, and as many are read for it.
        while metrics(http)["quintet_queue_items"] != 200 - 2 * 34:
            time.sleep(0.05)
        http.delete(f"/jobs/{job}")
        while metrics(http)["quintet_queue_items"]:
            time.sleep(0.05)


def test_jobs_beyond_their_number_are_told_when_to_come_back(folder: Path, tmp_path: Path) -> None:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path}/jobs.db",
        "MAX_CONCURRENT_JOBS": "2",
    }
    with running(MODULE, settings) as server, httpx.Client(base_url=server.url, timeout=30) as http:
        jobs = [post(http, ["!wait"], caller(name)) for name in ("ada", "bob")]
        refused = http.post("/evaluate", json={"items": [item()]}, headers=caller("eve"))
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.json()["error"] == "There are too many jobs under way."
        assert int(refused.headers["retry-after"]) >= 1
        http.delete(f"/jobs/{jobs[0]}", headers=caller("ada"))
        assert (
            events(http, post(http, ["a"], caller("eve")), None, **caller("eve"))[-1]["event"] == "complete"
        )


def test_a_job_whose_time_is_up_is_known_and_nothing_of_it_is_left(folder: Path, tmp_path: Path) -> None:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path}/jobs.db",
        "JOB_TTL_SECONDS": "2",
        "CLEANUP_INTERVAL_SECONDS": "0.1",
    }
    with running(MODULE, settings) as server, httpx.Client(base_url=server.url, timeout=30) as http:
        key = {"idempotency-key": str(uuid.uuid4())}
        secret = f"secret{uuid.uuid4().hex}"
        job = post(http, [secret], key)
        assert events(http, job)[-1]["event"] == "complete"
        while (status := http.get(f"/jobs/{job}").json()["status"]) == "completed":
            time.sleep(0.05)
        assert status == "expired"
        for path in (f"/jobs/{job}/results", f"/stream/{job}"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert "is expired" in answer.json()["error"]
        assert not any(secret.encode() in file.read_bytes() for file in tmp_path.glob("jobs.db*"))
        assert post(http, [secret], key) != job, "its key is free again"
        while http.get(f"/jobs/{job}").status_code == 200:
            time.sleep(0.05)
        assert http.get(f"/jobs/{job}").status_code == 404, "its state is kept as long again"


@pytest.fixture(scope="module")
def truncating(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path_factory.mktemp('jobs')}/jobs.db",
        "QUINTET_ON_TOO_LONG": "truncate",
    }
    with running(MODULE, settings) as server:
        yield server


def test_a_text_that_was_read_in_part_is_said_to_be_in_results_and_stream(truncating: Server) -> None:
    with httpx.Client(base_url=truncating.url, timeout=30) as http:
        job = post(http, ["short", "paraula " * 2000])
        told = events(http, job)
        rows = http.get(f"/jobs/{job}/results").json()["results"]
    streamed = [row for one in told for row in one["data"]["data"].get("results", [])]
    for found in (rows, streamed):
        assert {row["index"]: row.get("truncated") for row in found} == {0: None, 1: True}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_text_that_was_read_in_part_is_said_to_be_in_every_transport(
    truncating: Server, transport: str
) -> None:
    with target_of(truncating, "text_evaluator", TextEvaluator.inputs) as target:
        answers = TRANSPORTS[transport](target, [item("short"), item("paraula " * 2000)])
    assert [answer["truncated"] for answer in answers] == [False, True]


def test_a_process_whose_engine_died_ends_and_the_next_one_goes_on(folder: Path, tmp_path: Path) -> None:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path}/jobs.db",
        "RULE_SECONDS": "0.05",
    }
    texts = [f"text {n}" for n in range(200)]
    with running(MODULE, settings) as first, httpx.Client(base_url=first.url, timeout=30) as http:
        job = post(http, texts)
        died = http.post("/v1/models/text_evaluator:predict", json={"instances": [item("!die")]})
        assert died.status_code >= 500
        first.wait()
    with running(MODULE, settings) as second, httpx.Client(base_url=second.url, timeout=30) as http:
        assert events(http, job)[-1]["event"] == "complete"
        rows = http.get(f"/jobs/{job}/results").json()["results"]
    assert {row["index"]: row.get("nota") for row in rows} == {
        index: rule(text).nota for index, text in enumerate(texts)
    }


def test_a_text_that_ends_the_engine_gets_its_error_from_the_second_process(
    folder: Path, tmp_path: Path
) -> None:
    settings = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_STORE": f"sqlite:{tmp_path}/jobs.db",
        "QUINTET_DRAIN_DELAY": "0",
    }
    texts = [f"text {n}" for n in range(60)]
    with running(MODULE, settings) as first, httpx.Client(base_url=first.url, timeout=30) as http:
        job = post(http, [*texts, "!die"])
        first.wait()
    with running(MODULE, settings) as second:
        second.wait()
    with running(MODULE, settings) as third, httpx.Client(base_url=third.url, timeout=30) as http:
        assert events(http, job)[-1]["event"] == "complete"
        rows = http.get(f"/jobs/{job}/results").json()["results"]
    marks = {index: rule(text).nota for index, text in enumerate(texts)}
    assert {row["index"]: row.get("nota", row.get("code")) for row in rows} == {**marks, 60: "engine"}


def test_nothing_of_a_text_is_logged(server: Server, http: httpx.Client) -> None:
    secret = f"secret{uuid.uuid4().hex}"
    job = post(http, [secret, f"!boom {secret}"])
    (failed,) = (error for one in events(http, job) for error in one["data"]["data"].get("errors", []))
    assert failed["code"] == "engine"
    sync = http.post("/v1/models/text_evaluator:predict", json={"instances": [item(f"!boom {secret}")]})
    assert sync.json()["predictions"][0]["code"] == "engine"
    assert secret not in sync.text
    http.post("/evaluate", json={"items": [item(secret, curso=[secret])]})
    assert "RuntimeError" in json.dumps(list(server.lines)), "the type of the error is said"
    assert not [line for line in server.lines if secret in json.dumps(line)]
