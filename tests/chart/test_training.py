"""The Job that trains multitask_nlp: its command is the training's, its upgrades apply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from predictors.multitask_nlp.training.__main__ import parser
from tests.support.charts import CHART, Object, case_flags, kind, render, render_values, selects

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
OPTIONS = SCHEMA["properties"]["training"]["properties"]["options"]["properties"]
MLFLOW = {"url": "http://mlflow.mlops.svc:5000"}


def job(objects: list[Object]) -> Object:
    (found,) = kind(objects, "Job").values()
    return found


def container(found: Object) -> Object:
    (only,) = found["spec"]["template"]["spec"]["containers"]
    return only


def training(folder: Path, **values: Any) -> Object:
    own = folder / str(len(list(folder.iterdir())))
    own.mkdir()
    return job(render_values({"training": {"enabled": True, **values}, "mlflow": MLFLOW}, own))


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert kind(render(), "Job") == {}


def test_it_trains_on_what_it_is_told_and_registers_where_serving_looks() -> None:
    objects = render(*case_flags("company"))
    found = job(objects)
    options = parser().parse_args(["train", *container(found)["args"]])
    assert options.encoder == "/data/distilbert"
    assert (options.sentiment_data, options.ner_data, options.qa_data) == (
        "/data/sst2",
        "/data/conll",
        "/data/squad",
    )
    assert (options.epochs, options.learning_rate, options.made, options.register) == (3.0, 2e-5, False, True)
    uri = {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.mlops.svc:5000"}
    serving = kind(objects, "InferenceService")["multitask-nlp"]["spec"]["predictor"]["containers"][0]
    assert uri in container(found)["env"]
    assert uri in serving["env"]


def test_as_it_comes_it_needs_no_data_and_no_network_but_mlflow(tmp_path: Path) -> None:
    found = training(tmp_path)
    options = parser().parse_args(["train", *container(found)["args"]])
    assert options.made is True
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container(found)["env"]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_one_of_the_command(name: str, tmp_path: Path) -> None:
    value = {"boolean": True, "integer": 2_000_000, "number": 0.5, "string": "made"}[OPTIONS[name]["type"]]
    args = container(training(tmp_path, options={name: value}))["args"]
    options = vars(parser().parse_args(["train", *args]))
    assert options["register"] is False if name == "no_register" else options[name] == value


def test_every_option_of_the_command_can_be_given() -> None:
    known = vars(parser().parse_args(["train", "--output", "x"])).keys() - {
        "output",
        "command",
        "recipe",
        "register",
    }
    assert OPTIONS.keys() == known | {"no_register"}


def test_a_pod_that_is_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """The same command over the same folder, whose volume outlives the container, a claim's the pod too."""
    found = training(tmp_path)
    spec = found["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "OnFailure"
    assert found["spec"]["backoffLimit"] > 0
    options = parser().parse_args(["train", *container(found)["args"]])
    mounts = {mount["mountPath"]: mount["name"] for mount in container(found)["volumeMounts"]}
    assert options.output.parent == Path("/output")
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert "emptyDir" in volumes[mounts["/output"]]
    claimed = job(render(*case_flags("company")))["spec"]["template"]["spec"]["volumes"]
    assert {"name": "output", "persistentVolumeClaim": {"claimName": "training"}} in claimed


def test_what_is_changed_makes_another_job(tmp_path: Path) -> None:
    """A Job's pod cannot be changed, so a change under the same name would fail the upgrade."""
    variants: list[dict[str, Any]] = [
        {},
        {"options": {"epochs": 2}},
        {"image": {"tag": "2"}},
        {"env": {"A": "b"}},
    ]
    found = [training(tmp_path, **values) for values in variants]
    assert len({one["metadata"]["name"] for one in found}) == len(variants)
    later = training(tmp_path, ttlSecondsAfterFinished=5)
    assert later["metadata"]["name"] == found[0]["metadata"]["name"]
    assert later["spec"]["template"] == found[0]["spec"]["template"]
    assert later["spec"]["ttlSecondsAfterFinished"] == 5


def test_it_reaches_mlflow_s_port_outside_and_nobody_reaches_it() -> None:
    objects = render(*case_flags("company"))
    labels = job(objects)["spec"]["template"]["metadata"]["labels"]
    (policy,) = (
        p for p in kind(objects, "NetworkPolicy").values() if selects(p["spec"]["podSelector"], labels)
    )
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    dns, mlflow = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert mlflow["ports"] == [{"port": 5000}]
    assert mlflow["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0"}}]


def test_more_memory_goes_on_where_the_last_one_was_and_other_options_begin_anew(tmp_path: Path) -> None:
    def output(**values: Any) -> str:
        return next(a for a in container(training(tmp_path, **values))["args"] if a.startswith("--output="))

    first = output()
    assert output(resources={"limits": {"memory": "9Gi"}}) == first
    assert output(options={"epochs": 2}) != first
