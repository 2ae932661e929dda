from __future__ import annotations

from pathlib import Path

import pytest

from hack.local_stack import plan
from hack.local_stack.errors import StackError


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], ["gpt2", "text_evaluator"]),
        (["text-evaluator"], ["text_evaluator"]),
        (["text_evaluator,gpt2"], ["gpt2", "text_evaluator"]),
        (["text_evaluator gpt2"], ["gpt2", "text_evaluator"]),
    ],
)
def test_models_are_named_as_people_write_them(wanted: list[str], chosen: list[str]) -> None:
    assert plan.choose(wanted, ["gpt2", "text_evaluator"]) == chosen


@pytest.mark.parametrize(
    ("name", "hint"), [("gtp2", "did you mean gpt2?"), ("zzz", "there are gpt2, text_evaluator")]
)
def test_an_unknown_model_is_helped_on(name: str, hint: str) -> None:
    with pytest.raises(StackError) as error:
        plan.choose([name], ["gpt2", "text_evaluator"])
    assert str(error.value) == f"{name} is not a model in gateway/local.yaml; {hint}"


def test_the_longest_name_owns_a_setting() -> None:
    environ = {"GPT2_SEED": "1", "GPT2_LARGE_SEED": "2", "HOME": "/root"}
    known = ["gpt2", "gpt2_large"]
    assert plan.own_settings("gpt2", known, environ) == {"QUINTET_SEED": "1"}
    assert plan.own_settings("gpt2_large", known, environ) == {"QUINTET_SEED": "2"}


@pytest.mark.parametrize("environ", [{"GPT2_HTTP_PORT": "1"}, {"GPT2_HOST": "::"}])
def test_where_a_model_listens_is_not_a_setting_here(environ: dict[str, str]) -> None:
    with pytest.raises(StackError, match=r"gateway/local\.yaml"):
        plan.own_settings("gpt2", ["gpt2"], environ)


def test_a_folder_of_weights_is_one_models() -> None:
    with pytest.raises(StackError, match="QUINTET_MODEL_DIR would be every model's"):
        plan.shared_settings({"QUINTET_MODEL_DIR": str(Path.home())})


def test_what_is_for_make_does_not_reach_a_predictor() -> None:
    assert plan.shared_settings({"QUINTET_CACHE": "/x", "QUINTET_THREADS": "1"}) == {"QUINTET_THREADS": "1"}
    assert plan.without_settings({"QUINTET_CACHE": "/x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_name_that_means_another_thing_to_each_original_reaches_none() -> None:
    """multitask_nlp's base model is no encoding of gpt2's, which would not start."""
    environ = {"MODEL_NAME": "distilbert-base-uncased", "GPT2_TOKENIZER": "r50k_base", "MAX_CTX": "256"}
    assert "MODEL_NAME" not in plan.without_settings(environ)
    assert plan.without_settings(environ)["MAX_CTX"] == "256"
    assert plan.own_settings("gpt2", ["gpt2"], environ) == {"QUINTET_TOKENIZER": "r50k_base"}
