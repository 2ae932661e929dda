"""The folders are the architecture: what holds for every model's folder, including those still to come."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
import yaml

from hack.local_stack import hints

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(
    {file.relative_to(ROOT / "predictors").parts[0] for file in (ROOT / "predictors").glob("*/*.py")}
    - {"runtime"}
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_there_is_a_model() -> None:
    assert MODELS


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_complete(model: str) -> None:
    """What the local stack, the locks and the gateway look for by the model's name alone."""
    assert (ROOT / "predictors" / model / "__init__.py").exists(), "without it no import rule sees the folder"
    assert (ROOT / "predictors" / model / "__main__.py").exists(), "python -m predictors.<model> starts it"
    assert model.replace("_", "-") in PYPROJECT["project"]["optional-dependencies"], "an extra is an image"
    config = yaml.safe_load((ROOT / "gateway" / "local.yaml").read_text())
    assert model in config["models"], "make run starts what gateway/local.yaml names"


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_examples_to_paste(model: str) -> None:
    examples = hints.examples(ROOT / "predictors" / model)
    assert set(examples) == set(hints.KINDS)
    for kind, example in examples.items():
        assert set(example) == {"path", "body"}, kind
        assert example["path"].startswith("/"), kind
        assert json.dumps(example["body"]) != "{}", kind


def test_the_import_rules_name_no_model() -> None:
    """A rule that lists models is a rule that the next model escapes."""
    contracts = json.dumps(PYPROJECT["tool"]["importlinter"])
    assert [model for model in MODELS if f"predictors.{model}" in contracts] == []


def test_ci_runs_what_anybody_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"
