"""More models than memory: one goes for another, and callers cannot make the process load for ever."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from hack.demo_models import demo_checkpoint
from tests.support.servers import running


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    environment = {
        "QUINTET_MODEL_DIR": str(demo_checkpoint("gpt2")),
        "QUINTET_MEMORY_MIB": "140",  # beside the spam model there is room for one of the other two
        "QUINTET_LOADS_PER_MINUTE": "2",
    }
    with running("predictors.gpt2", environment) as server, httpx.Client(base_url=server.url) as client:
        yield client


def ask(http: httpx.Client, task: str) -> httpx.Response:
    body = {"prompt": "The king", "task_name": task, "max_new_tokens": 2, "temperature": 0}
    return http.post("/generate", json=body, timeout=60)


def loaded(http: httpx.Client) -> int:
    text = http.get("/metrics").text
    return int(float(text.split("\nquintet_loaded_models ")[1].split("\n")[0]))


def test_models_take_turns_until_it_is_too_often(http: httpx.Client) -> None:
    assert loaded(http) == 2
    answers = [ask(http, "generate").json() for _ in range(2)]
    assert ask(http, "spam").status_code == 200
    assert ask(http, "got").status_code == 200, "loaded in the place of generate"
    assert loaded(http) == 2
    assert ask(http, "generate").json() == answers[0] == answers[1], "loaded once more"

    refused = ask(http, "got")
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert ask(http, "generate").status_code == 200, "what is loaded answers on"
    assert ask(http, "spam").status_code == 200


def test_models_that_never_fit_together_are_not_asked_for_in_one_call(http: httpx.Client) -> None:
    """429 would send the caller round for ever."""
    items = [{"prompt": "The king", "task_name": task, "max_new_tokens": 1} for task in ("generate", "got")]
    refused = http.post("/v1/models/gpt2:predict", json={"instances": items})
    assert (refused.status_code, refused.json()["details"][0]["field"]) == (422, "task_name")
    assert "generate and got" in refused.json()["error"]
