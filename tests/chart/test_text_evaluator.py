"""What the chart gives text_evaluator is what its own documents promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictors.text_evaluator.settings import TextEvaluatorSettings
from tests.support.charts import ROOT, case_flags, kind, render

PROFILES = ROOT / "predictors" / "text_evaluator" / "profiles"
OF_THE_CLUSTER = {"drain_delay", "grace_period", "store_max_bytes"}


def environment(*flags: str, model: str = "text-evaluator") -> dict[str, str]:
    predictor = kind(render(*flags), "InferenceService")[model]["spec"]["predictor"]
    (container,) = predictor["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def settings_of(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with monkeypatch.context() as context:
        for name, value in environ.items():
            context.setenv(name, value)
        return TextEvaluatorSettings.from_environment().model_dump(exclude=OF_THE_CLUSTER)


@pytest.mark.parametrize(
    ("flags", "most"),
    [
        ((), 192 << 20),  # of 256Mi
        (("--set", "modelDefaults.scratch=1Gi,profiles.demo.text_evaluator.scratch=2G"), 1_500_000_000),
        (("--set", "models.text_evaluator.settings.store_max_bytes=1000000"), 1_000_000),
        (("--set", "store.secret=valkey"), None),
    ],
)
def test_jobs_in_a_file_leave_room_in_the_volume_that_it_is_in(
    flags: tuple[str, ...], most: int | None
) -> None:
    given = environment(*case_flags("demo"), *flags).get("QUINTET_STORE_MAX_BYTES")
    assert given == (None if most is None else str(most))


def test_jobs_on_a_claim_outlive_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*case_flags("demo"), "--set", "models.text_evaluator.storeClaim=evaluations")
    predictor = kind(render(*flags), "InferenceService")["text-evaluator"]["spec"]["predictor"]
    assert {"name": "store", "persistentVolumeClaim": {"claimName": "evaluations"}} in predictor["volumes"]
    assert {"name": "store", "mountPath": "/store"} in predictor["containers"][0]["volumeMounts"]
    assert predictor["deploymentStrategy"] == {"type": "Recreate"}, "one process at a time has the file"
    given = environment(*flags)
    assert "QUINTET_STORE_MAX_BYTES" not in given, "the volume is not the scratch"
    with monkeypatch.context() as context:
        context.setenv("QUINTET_STORE", given["QUINTET_STORE"])
        assert TextEvaluatorSettings.from_environment().database == Path("/store/jobs.sqlite")


def test_results_of_the_other_model_that_keeps_some_are_on_its_claim() -> None:
    flags = (*case_flags("demo"), "--set", "models.gpt4_nano.storeClaim=results")
    assert environment(*flags, model="gpt4-nano")["QUINTET_RESULTS_STORE"] == "/store/results.sqlite"


def test_the_profile_for_cards_is_the_one_of_an_l40(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (PROFILES / "l40.env").read_text().splitlines()
    published = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    given = settings_of(environment(*case_flags("gpu")), monkeypatch)
    assert given == settings_of(published, monkeypatch)
    assert given["quantization"] == "fp8"
