"""The published routes of multitask_nlp on its demo checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import schemathesis
from hypothesis import given, settings

from hack.demo_models import demo_checkpoint
from predictors.multitask_nlp.artifact import read_artifact
from predictors.multitask_nlp.engine import Engine
from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training.evaluation import evaluate
from predictors.multitask_nlp.training.sources import MADE, Sources, load_split
from predictors.multitask_nlp.training.tracking import tracked
from predictors.runtime.cpus import available_cpus
from tests.support.servers import Server, running
from tests.support.transports import Items, Outputs, Refusal, Target

JSON = {"content-type": "application/json"}
V1 = "/v1/models/multitask_nlp:predict"
README_NER = "Apple Inc. is planning to open a new office in London."
README_QA = {
    "context": "MLflow is an open source platform for the machine learning lifecycle.",
    "question": "What is MLflow?",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = {"QUINTET_MODEL_DIR": str(demo_checkpoint("multitask_nlp"))}
    with running("predictors.multitask_nlp", settings) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, task: str, **body: str) -> dict[str, Any]:
    response = client.post(f"/predict/{task}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def predict(client: httpx.Client, *instances: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post(V1, json={"instances": instances})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def test_the_three_published_examples(client: httpx.Client) -> None:
    text = "The implementation was seamless and very robust."
    mood = ask(client, "sentiment", text=text)
    assert (set(mood), mood["text"], mood["sentiment"]) == ({"text", "sentiment", "score"}, text, "positive")
    assert 0.5 < mood["score"] <= 1
    found = ask(client, "ner", text=README_NER)
    assert [(e["text"], e["type"], e["start_char"], e["end_char"]) for e in found["entities"]] == [
        ("Apple Inc.", "ORG", 0, 10),
        ("London", "LOC", 47, 53),
    ]
    assert all(0 < entity["score"] <= 1 for entity in found["entities"])
    answer = ask(client, "qa", **README_QA)
    assert answer["answer"] == "an open source platform for the machine learning lifecycle"
    assert (answer["start_char"], answer["end_char"], answer["no_answer"]) == (10, 68, False)
    assert 0 < answer["score"] <= 1


def test_a_bad_review_is_negative(client: httpx.Client) -> None:
    assert (
        ask(client, "sentiment", text="The soup was cold and the staff were rude.")["sentiment"] == "negative"
    )


def test_several_tasks_of_one_text_say_what_each_says_alone(client: httpx.Client) -> None:
    text = "Anna Lindberg was delighted with the hotel in Lisbon."
    question = "In what city is the hotel?"
    (together,) = predict(client, {"task": ["sentiment", "ner", "qa"], "text": text, "question": question})
    assert together["sentiment"] == ask(client, "sentiment", text=text)["sentiment"]
    found, alone = together["entities"], ask(client, "ner", text=text)["entities"]
    assert (
        [entity["text"] for entity in found]
        == [entity["text"] for entity in alone]
        == ["Anna Lindberg", "Lisbon"]
    )
    answer = ask(client, "qa", context=text, question=question)
    assert (together["answer"], together["start_char"]) == (answer["answer"], answer["start_char"])


def test_mixed_tasks_in_one_call(client: httpx.Client) -> None:
    mood, entities, answer = predict(
        client,
        {"task": "sentiment", "text": "What a wonderful film!"},
        {"task": "ner", "text": README_NER},
        {"task": "qa", **README_QA},
    )
    assert (set(mood), mood["sentiment"]) == ({"sentiment", "sentiment_score"}, "positive")
    assert [entity["text"] for entity in entities["entities"]] == ["Apple Inc.", "London"]
    assert set(entities) == {"entities"}
    assert answer["answer"].startswith("an open source platform")


def test_a_long_context_is_read_to_its_end(client: httpx.Client) -> None:
    """The fact stands far beyond one window, once at the start, once in the middle, once at the end."""
    fact = "Harbor Motors was founded by Elena Fischer in Oslo in 1954."
    other = [f"The old piano number {n} was sold to Peter Novak for {n} euros." for n in range(60)]
    for at in (0, 30, 60):
        context = " ".join([*other[:at], fact, *other[at:]])
        answer = ask(client, "qa", context=context, question="Who founded Harbor Motors?")
        assert answer["answer"] == "Elena Fischer", (at, answer)
        assert context[answer["start_char"] : answer["end_char"]] == answer["answer"]


def test_entities_of_a_long_text_are_found_in_every_window(client: httpx.Client) -> None:
    sentence = "Google is planning to open a new office in Lisbon. "
    places = [len(sentence) * n + sentence.index("Lisbon") for n in range(60)]
    entities = ask(client, "ner", text=sentence * 60)["entities"]
    found = [entity["start_char"] for entity in entities if entity["text"] == "Lisbon"]
    assert set(found) <= set(places)
    assert len(found) > 50


def test_no_answer_is_said(client: httpx.Client) -> None:
    answer = ask(
        client, "qa", context="The brass lamp cost Daniel Kim 80 euros.", question="Who founded Orion Bank?"
    )
    assert (answer["answer"], answer["start_char"], answer["end_char"]) == ("", 0, 0)
    assert answer["no_answer"] is True


@pytest.mark.parametrize(
    "text",
    [
        "👍🏽 Anna Lindberg 👩‍👩‍👧 visited Paris",
        "Anna e\u0301 visited Paris",
        "東京 日本語 Anna Lindberg visited Paris",
        "\u202eAnna Lindberg visited Paris",
    ],
)
def test_offsets_count_code_points(client: httpx.Client, text: str) -> None:
    entities = ask(client, "ner", text=text)["entities"]
    assert "Paris" in [entity["text"] for entity in entities]
    for entity in entities:
        assert text[entity["start_char"] : entity["end_char"]] == entity["text"]


@pytest.mark.parametrize("text", [" ", "\0", "\u200b", "שלום עולם", "a" * 9_000, "?!" * 200])
def test_any_text_has_an_answer(client: httpx.Client, text: str) -> None:
    assert 0.5 <= ask(client, "sentiment", text=text)["score"] <= 1
    assert isinstance(ask(client, "ner", text=text)["entities"], list)
    assert 0 <= ask(client, "qa", context=text, question="What?")["score"] <= 1


@pytest.mark.parametrize(
    ("route", "body", "status", "field"),
    [
        ("/predict/sentiment", b'{"text": ""}', 422, "text"),
        ("/predict/sentiment", b"{}", 422, "text"),
        ("/predict/sentiment", b'{"text": 7}', 422, "text"),
        ("/predict/sentiment", b'{"text": "a", "lang": "en"}', 422, "lang"),
        ("/predict/sentiment", rb'{"text": "\ud800"}', 422, "text"),
        ("/predict/sentiment", b'{"text": "a"', 400, ""),
        ("/predict/ner", json.dumps({"text": "x" * 100_001}).encode(), 422, "text"),
        ("/predict/ner", json.dumps({"text": "a b " * 25_000}).encode(), 422, "text"),
        ("/predict/qa", b'{"context": "a"}', 422, "question"),
        ("/predict/qa", b'{"context": "", "question": "q"}', 422, "context"),
        ("/predict/qa", json.dumps({"context": "a", "question": "why " * 200}).encode(), 422, "question"),
        (V1, b'{"instances": [{"task": "mood", "text": "a"}]}', 422, "instances[0].task"),
        (
            V1,
            b'{"instances": [{"task": "ner", "text": "a"}, {"task": "qa", "question": "q"}]}',
            422,
            "instances[1].context",
        ),
    ],
)
def test_bad_input_is_refused_with_its_field(
    client: httpx.Client, route: str, body: bytes, status: int, field: str
) -> None:
    response = client.post(route, content=body, headers=JSON)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "code", "details"}
    assert field in [detail["field"] for detail in response.json()["details"]] or not field


def test_a_folder_in_the_published_layout_is_served(tmp_path: Path) -> None:
    """No manifest; the tokenizer in a folder of its own."""
    demo = demo_checkpoint("multitask_nlp")
    shutil.copytree(demo / "onnx", tmp_path / "onnx")
    (tmp_path / "tokenizer").mkdir()
    shutil.copy(demo / "tokenizer.json", tmp_path / "tokenizer")
    with (
        running("predictors.multitask_nlp", {"QUINTET_MODEL_DIR": str(tmp_path)}) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        assert ask(client, "sentiment", text="What a wonderful film!")["sentiment"] == "positive"


@pytest.mark.timeout(300)
def test_weights_of_a_model_registry_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    demo = demo_checkpoint("multitask_nlp")
    with tracked({}, None, tmp_path / "unused") as tracker:
        tracker.register(demo)
    environment = {"QUINTET_MODEL_URI": "models:/multitask_nlp@champion", "MLFLOW_ALLOW_FILE_STORE": "true"}
    with (
        running("predictors.multitask_nlp", environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        checksum = client.get("/health/detailed").json()["checksum"]
    assert checksum == read_artifact(demo).checksum


def test_items_of_one_call_are_one_batch_whatever_their_tasks(client: httpx.Client) -> None:
    """What of a batch shares a pass of the encoder is tested where the passes are: unit/test_predictor.py."""

    def batches() -> tuple[float, float]:
        lines = client.get("/metrics").text.splitlines()
        count, items = (
            next(float(line.split()[1]) for line in lines if line.startswith(f"quintet_batch_items_{part} "))
            for part in ("count", "sum")
        )
        return count, items

    count, items = batches()
    instances = [{"task": "sentiment", "text": "Good."}, {"task": "ner", "text": "Good."}]
    predict(client, *instances, {"task": "qa", **README_QA})
    assert batches() == (count + 1, items + 3)


ASKED: dict[str, dict[str, str]] = {
    "sentiment": {"text": "What a wonderful film!"},
    "ner": {"text": "👍🏽 Anna Lindberg works for Apple Inc. in London"},
    "qa": README_QA,
}


@pytest.fixture(scope="module")
def target(client: httpx.Client, server: Server) -> Iterator[Target]:
    with grpc.insecure_channel(server.grpc_target) as channel:
        yield Target("multitask_nlp", MultitaskNlp.inputs, client, channel)


@pytest.mark.parametrize("task", ASKED)
def test_every_way_in_gives_the_answer_of_the_domain_route(
    target: Target, call: Callable[[Target, Items], Outputs], task: str
) -> None:
    expected = ask(target.http, task, **ASKED[task])
    expected.pop("text", None)
    if "score" in expected:
        name = "sentiment_score" if task == "sentiment" else "answer_score"
        expected[name] = pytest.approx(expected.pop("score"), rel=1e-6)
    (answer,) = call(target, [{"task": task, **ASKED[task]}])
    if isinstance(answer.get("entities"), str) and answer["entities"]:
        answer["entities"] = json.loads(answer["entities"])
    assert {name: answer[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("field", "item"),
    [
        ("task", {"task": "mood", "text": "a"}),
        ("text", {"task": "ner", "text": ""}),
        ("question", {"task": "qa", "context": "a", "question": "why " * 200}),
        ("context", {"task": "qa", "context": "a " * 50_000, "question": "why"}),
    ],
)
def test_every_way_in_names_the_field_that_is_wrong(
    target: Target, call: Callable[[Target, Items], Outputs], field: str, item: dict[str, str]
) -> None:
    with pytest.raises(Refusal) as refused:
        call(target, [item])
    assert (refused.value.status in (422, "INVALID_ARGUMENT"), refused.value.code) == (True, "invalid_value")
    (named,) = refused.value.fields
    assert field in named


def test_the_demo_is_good_on_wordings_it_has_not_seen() -> None:
    """As served, on other examples than those it was measured on when it was made."""
    artifact = read_artifact(demo_checkpoint("multitask_nlp"))
    tokenizer = TextTokenizer.from_file(artifact.tokenizer, artifact.max_length)
    unseen = load_split(Sources(MADE, MADE, MADE, max_samples=150, seed=7), "validation")
    metrics = evaluate(Engine(artifact.graph, available_cpus()).logits, tokenizer, unseen)
    assert metrics.sentiment_accuracy >= 0.8
    assert metrics.ner_f1 >= 0.8
    assert metrics.qa_exact_match >= 80


def test_whatever_the_schema_allows_is_answered_as_the_schema_says(client: httpx.Client) -> None:
    """Property-based, from the OpenAPI document itself: no 500, and every answer in its declared shape."""
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    for path in ("/predict/sentiment", "/predict/ner", "/predict/qa"):
        operation = schema[path]["POST"]

        @settings(max_examples=25, deadline=None)
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            response = case.call_and_validate(base_url=str(client.base_url))
            assert response.status_code in (200, 422)

        check()
