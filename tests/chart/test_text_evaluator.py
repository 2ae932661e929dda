"""What the chart gives text_evaluator is what its own documents promise."""

from __future__ import annotations

from typing import Any

import pytest

from predictors.text_evaluator.settings import TextEvaluatorSettings
from tests.support.charts import ROOT, case_flags, kind, render

PROFILES = ROOT / "predictors" / "text_evaluator" / "profiles"
OF_THE_CLUSTER = {"drain_delay", "grace_period", "store_max_bytes"}


def environment(*flags: str) -> dict[str, str]:
    predictor = kind(render(*flags), "InferenceService")["text-evaluator"]["spec"]["predictor"]
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


def test_the_profile_for_cards_is_the_one_of_an_l40(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (PROFILES / "l40.env").read_text().splitlines()
    published = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    given = settings_of(environment(*case_flags("gpu")), monkeypatch)
    assert given == settings_of(published, monkeypatch)
    assert given["quantization"] == "fp8"
