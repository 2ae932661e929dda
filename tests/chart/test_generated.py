"""What is made from the chart is in step with it, and each situation of ci/ renders what it did."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hack.chart.__main__ import generated
from hack.chart.manifests import manifests
from hack.helm import helm, template
from tests.support.charts import CASES, CHART, ROOT, case_flags

GOLDENS = Path(__file__).with_name("goldens")
RENEW = "run make chart"


@pytest.mark.parametrize("file", generated(), ids=lambda file: file.name)
def test_schema_and_readme_are_in_step_with_the_values(file: Path) -> None:
    assert file.read_text() == generated()[file], RENEW


def test_the_manifests_are_in_step_with_the_chart() -> None:
    present = {file.name: file.read_text() for file in (ROOT / "manifests").glob("*.yaml")}
    assert present == manifests(ROOT), RENEW


@pytest.mark.parametrize("case", CASES)
def test_a_case_renders_as_before(case: str) -> None:
    assert (GOLDENS / f"{case}.yaml").read_text() == golden(case), RENEW


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_has_nothing_to_say(case: str) -> None:
    said = helm("lint", "--strict", str(CHART), *case_flags(case))
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_no_golden_is_left_of_a_case_that_is_gone() -> None:
    assert sorted(file.stem for file in GOLDENS.glob("*.yaml")) == CASES


def golden(case: str) -> str:
    return template(CHART, more=case_flags(case))


def renew() -> None:
    GOLDENS.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDENS / f"{case}.yaml").write_text(golden(case))


if __name__ == "__main__":
    sys.exit(renew())
