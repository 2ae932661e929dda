"""A release of an earlier chart is upgraded: its values are taken, what is fixed stays.

contracts/<version> has what users of that version may have written, and what of their objects cannot change.
``python -m tests.chart.test_upgrade`` keeps those of the chart as it is, when a version is released.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from hack.helm import HelmFailed, template
from tests.support.charts import CHART, Object, render

CONTRACTS = Path(__file__).with_name("contracts")
VERSIONS = sorted(folder.name for folder in CONTRACTS.iterdir())
SITUATIONS = [
    pytest.param(version, file, id=f"{version}-{file.name.removesuffix('-values.yaml')}")
    for version in VERSIONS
    for file in sorted((CONTRACTS / version / "ci").glob("*-values.yaml"))
]
FIXED = {
    "Deployment": ["spec.selector"],
    "Job": ["spec.selector", "spec.template"],
    "RoleBinding": ["roleRef"],
    "Service": ["spec.clusterIP"],
}
"""What the API server lets nobody change in an object that is there."""


def fixed(objects: list[Object]) -> dict[str, Any]:
    """By kind and name; hooks are made anew each time."""
    return {
        f"{o['kind']}/{o['metadata']['name']}": {path: _at(o, path) for path in FIXED.get(o["kind"], [])}
        for o in objects
        if "helm.sh/hook" not in o["metadata"].get("annotations", {})
    }


def _at(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def test_there_is_an_earlier_version() -> None:
    assert VERSIONS
    assert SITUATIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_the_values_of_an_earlier_chart_are_taken_whole(version: str) -> None:
    """As by those who copied values.yaml and changed it."""
    file = CONTRACTS / version / "values.yaml"
    schema = json.loads((CHART / "values.schema.json").read_text())
    problems = jsonschema_rs.validator_for(schema).iter_errors(yaml.safe_load(file.read_text()))
    assert [problem.message for problem in problems] == []
    assert render("--is-upgrade", "--values", str(file))


@pytest.mark.parametrize(("version", "values"), SITUATIONS)
def test_an_upgrade_renders_and_changes_nothing_that_is_fixed(version: str, values: Path) -> None:
    now = fixed(render("--is-upgrade", "--values", str(values)))
    before = json.loads(values.with_name(values.name.replace("-values.yaml", "-fixed.json")).read_text())
    assert before.keys() <= now.keys(), "an object that is gone has taken its address with it"
    assert {name: now[name] for name in before} == before


def reusing(version: str, folder: Path, *flags: str) -> list[Object]:
    """`helm upgrade --reuse-values` gives a new chart the old one's defaults: what is new is not in them."""
    chart = folder / "quintet"
    shutil.copytree(CHART, chart)
    shutil.copy(CONTRACTS / version / "values.yaml", chart)
    return [o for o in yaml.safe_load_all(template(chart, more=["--is-upgrade", *flags])) if o]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgrade_that_reuses_values_renders(version: str, tmp_path: Path) -> None:
    objects = reusing(version, tmp_path)
    before = json.loads((CONTRACTS / version / "ci" / "demo-fixed.json").read_text())
    assert before.keys() <= fixed(objects).keys()


@pytest.mark.parametrize("new", ["gateway.catalogue.kubernetes=true", "training.enabled=true"])
def test_what_is_new_needs_its_defaults(new: str, tmp_path: Path) -> None:
    with pytest.raises(HelmFailed, match="upgrade with --reset-then-reuse-values"):
        reusing("0.1.0", tmp_path, "--set", f"{new},mlflow.url=http://mlflow.mlops.svc:5000")


def test_what_is_fixed_is_compared() -> None:
    service: Object = {"kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "None"}}
    assert fixed([service]) == {"Service/a": {"spec.clusterIP": "None"}}
    hook = {"kind": "Pod", "metadata": {"name": "a", "annotations": {"helm.sh/hook": "test"}}}
    assert fixed([hook]) == {}


def keep() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    folder = CONTRACTS / version
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "ci").mkdir(parents=True)
    shutil.copy(CHART / "values.yaml", folder)
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        shutil.copy(values, folder / "ci")
        name = values.name.replace("-values.yaml", "-fixed.json")
        text = json.dumps(fixed(render("--values", str(values))), indent=2, sort_keys=True)
        (folder / "ci" / name).write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(keep())
