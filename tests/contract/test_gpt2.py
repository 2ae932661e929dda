"""gpt2's own route on its demo models: tasks, parameters, the stream and its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest

from hack.demo_models import demo_checkpoint
from predictors.gpt2.predictor import Gpt2
from tests.support.servers import Server, running
from tests.support.transports import Items, Outputs, Refusal, Target, grpc_typed

KEY = "a key"
QUESTION = {"prompt": "Where does Lady Ysolde live?", "task_name": "got", "temperature": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    environment = {"QUINTET_MODEL_DIR": str(demo_checkpoint("gpt2")), "API_KEY": KEY}
    with running("predictors.gpt2", {**environment, "QUINTET_MAX_NEW_TOKENS": "200"}) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"x-api-key": KEY}, timeout=30) as client:
        yield client


def generate(http: httpx.Client, **body: object) -> dict:
    response = http.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_spam_is_told_with_its_probability(http: httpx.Client) -> None:
    spam = generate(http, prompt="You won a free prize! Call 80800 now to claim it.", task_name="spam")
    ham = generate(http, prompt="Hi Anna, are we still meeting tomorrow?", task_name="spam")
    assert (spam["completion"], ham["completion"]) == ("spam", "not spam")
    assert 0.5 <= spam["probability"] <= 1
    assert spam["usage"]["completion_tokens"] == 0


def test_got_answers_in_its_template(http: httpx.Client) -> None:
    answer = generate(http, **QUESTION, echo=True)
    assert answer["completion"].startswith(
        "###### question:Where does Lady Ysolde live?\n\n###### Response: "
    )
    assert "Saltmere" in answer["completion"]
    assert answer["finish_reason"] == "stop"


def test_any_other_task_and_none_is_plain_continuation(http: httpx.Client) -> None:
    plain = generate(http, prompt="The king", temperature=0, max_new_tokens=12)
    assert plain == generate(http, prompt="The king", temperature=0, max_new_tokens=12, task_name="foo")
    assert plain["usage"] == {"prompt_tokens": 2, "completion_tokens": 12, "total_tokens": 14}


def test_what_is_drawn_follows_from_the_seed_and_every_bound_of_the_draw(http: httpx.Client) -> None:
    even = {"prompt": "The king", "max_new_tokens": 24, "temperature": 2.0, "top_p": 1.0, "top_k": 100}
    drawn = [generate(http, **even, seed=seed) for seed in range(3)]
    assert drawn[0] == generate(http, **even, seed=0)
    assert len({answer["completion"] for answer in drawn}) == 3
    greedy = generate(http, prompt="The king", max_new_tokens=24, temperature=0)
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
        answers = [generate(http, **{**even, **narrow, "seed": seed}) for seed in range(3)]
        assert answers == [greedy] * 3, f"{narrow} leaves the likeliest token alone"


def test_stop_ends_before_the_stop_string(http: httpx.Client) -> None:
    whole = generate(http, prompt="The king", temperature=0, max_new_tokens=30)["completion"]
    stop = whole[8:12]
    cut = generate(http, prompt="The king", temperature=0, max_new_tokens=30, stop=[stop])
    assert cut["completion"] == whole[: whole.find(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_stream_tells_the_same_as_it_grows(http: httpx.Client) -> None:
    body = {"prompt": "The queen", "seed": 5, "max_new_tokens": 20}
    response = http.post("/generate", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *tokens, (last, done) = events(response.text)
    assert {name for name, _ in tokens} == {"token"}
    assert last == "done"
    assert done == generate(http, **body)
    assert done["completion"] == "".join(data["text"] for _, data in tokens)


def test_what_is_wrong_before_a_stream_has_a_status(http: httpx.Client) -> None:
    response = http.post("/generate", json={"prompt": "", "stream": True})
    assert response.status_code == 422
    assert response.json()["details"][0]["field"] == "prompt"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "x" * 2001),
        ("max_new_tokens", 0),
        ("max_new_tokens", 201),
        ("temperature", 2.1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", 0),
        ("top_k", 101),
        ("stop", [""]),
        ("stop", ["x"] * 9),
        ("seed", -1),
        ("echo", "yes"),
        ("unknown", 1),
    ],
)
def test_a_value_out_of_range_is_named(http: httpx.Client, field: str, value: object) -> None:
    for path, wrap in (("/generate", dict), ("/v1/models/gpt2:predict", lambda body: {"instances": [body]})):
        response = http.post(path, json=wrap({"prompt": "a", field: value}))
        assert response.status_code == 422, response.text
        assert field in response.json()["details"][0]["field"]


def test_what_is_generated_is_counted(http: httpx.Client) -> None:
    def counts() -> list[float]:
        names = ("generated_tokens_total", "first_token_seconds_count", "tokens_per_second_count")
        text = http.get("/metrics").text
        return [float(text.split(f"\nquintet_{name} ")[1].split("\n")[0]) for name in names]

    before = counts()
    generate(http, prompt="The king", temperature=0, max_new_tokens=7)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [7, 1, 1]


def test_without_the_key_no_route_answers(server: Server) -> None:
    """Every route that asks the model, as the server's own document lists them."""
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    asking = [path.replace("{model}", "gpt2") for path, methods in paths.items() if "post" in methods]
    assert {"/generate", "/v1/models/gpt2:predict", "/v2/models/gpt2/infer"} <= set(asking)
    for path in asking:
        for headers in ({}, {"x-api-key": "another"}, {"x-api-key": ""}, {"authorization": f"Bearer {KEY}"}):
            response = httpx.post(f"{server.url}{path}?x_api_key={KEY}", json=QUESTION, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_without_the_key_grpc_does_not_answer_either(server: Server) -> None:
    items = [{"prompt": "The king", "max_new_tokens": 1}]
    with httpx.Client() as none, grpc.insecure_channel(server.grpc_target) as channel:
        for key in (None, "another", ""):
            metadata = () if key is None else (("x-api-key", key),)
            with pytest.raises(Refusal) as refused:
                grpc_typed(Target("gpt2", Gpt2.inputs, none, channel, metadata), items)
            assert (refused.value.status, refused.value.code) == ("UNAUTHENTICATED", "unauthenticated")
        (answer,) = grpc_typed(Target("gpt2", Gpt2.inputs, none, channel, (("x-api-key", KEY),)), items)
    assert answer["completion_tokens"] == 1


@pytest.fixture(scope="module")
def target(server: Server, http: httpx.Client) -> Iterator[Target]:
    with grpc.insecure_channel(server.grpc_target) as channel:
        yield Target("gpt2", Gpt2.inputs, http, channel, (("x-api-key", KEY),))


ASKED: dict[str, dict[str, Any]] = {
    "spam": {"prompt": "You won a free prize! Call 80800 now to claim it.", "task_name": "spam"},
    "no spam": {"prompt": "Hi Anna, are we still meeting tomorrow?", "task_name": "spam"},
    "got": {**QUESTION, "temperature": 0.0},
    "drawn with a seed": {
        "prompt": "The queen",
        "seed": 5,
        "temperature": 1.5,
        "top_p": 0.95,
        "top_k": 20,
        "max_new_tokens": 24,
    },
    "echoed, to a stop string": {"prompt": "The king", "temperature": 0.0, "stop": " the", "echo": True},
    "a token of that name": {"prompt": "a<|endoftext|>b", "special": True, "temperature": 0.0},
}


@pytest.mark.parametrize("case", ASKED)
def test_every_way_in_gives_the_answer_of_the_domain_route(
    target: Target, call: Callable[[Target, Items], Outputs], case: str
) -> None:
    body = generate(target.http, **ASKED[case])
    usage, probability = body.pop("usage"), body.pop("probability", None)
    del usage["total_tokens"]
    (answer,) = call(target, [ASKED[case]])
    assert {name: answer[name] for name in (*body, *usage)} == {**body, **usage}
    if probability is None:
        assert not answer.get("probability")
    else:
        assert answer["probability"] == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("prompt", {"prompt": "x" * 2001}),
        ("max_new_tokens", {"max_new_tokens": 201}),
        ("temperature", {"temperature": 2.1}),
        ("top_p", {"top_p": 1.1}),
        ("top_k", {"top_k": 101}),
        ("stop", {"stop": "x" * 65}),
        ("seed", {"seed": -1}),
        ("echo", {"echo": True, "task_name": "spam"}),
    ],
)
def test_every_way_in_names_the_field_of_a_value_out_of_range(
    target: Target, call: Callable[[Target, Items], Outputs], field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refused:
        call(target, [{"prompt": "a", **fields}])
    assert refused.value.status in (422, "INVALID_ARGUMENT")
    assert refused.value.code == "invalid_value"
    (named,) = refused.value.fields
    assert field in named
