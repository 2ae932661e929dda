"""The chart as helm renders it, and what tests ask of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hack.helm import template

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "quintet"
CASES = sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*-values.yaml"))
"""Situations that users are in, each a file of values in charts/quintet/ci."""

Object = dict[str, Any]


def case_flags(case: str) -> list[str]:
    return ["--values", str(CHART / "ci" / f"{case}-values.yaml")]


def render(*flags: str, name: str = "quintet", namespace: str = "models") -> list[Object]:
    """The objects; raises HelmFailed with helm's words."""
    return [o for o in yaml.load_all(_rendered(name, namespace, flags), yaml.CSafeLoader) if o]


@cache
def _rendered(name: str, namespace: str, flags: tuple[str, ...]) -> str:
    return template(CHART, name, namespace, flags)


def render_values(values: Mapping[str, Any], folder: Path, **release: str) -> list[Object]:
    file = folder / "values.yaml"  # a folder of the test's own, so no render is taken for another's
    file.write_text(yaml.safe_dump(dict(values)))
    return render("--values", str(file), **release)


def kind(objects: Sequence[Object], wanted: str) -> dict[str, Object]:
    """By name."""
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == wanted}


def pod_specs(objects: Sequence[Object]) -> Iterator[tuple[str, Object, dict[str, str]]]:
    """Name, spec and labels of every pod that comes of these objects."""
    for found in objects:
        name, labels = found["metadata"]["name"], found["metadata"].get("labels", {})
        if found["kind"] == "InferenceService":
            yield f"{name}-predictor", found["spec"]["predictor"], labels
        elif found["kind"] in ("Deployment", "Job"):
            pod = found["spec"]["template"]
            yield name, pod["spec"], pod["metadata"]["labels"]
        elif found["kind"] == "Pod":
            yield name, found["spec"], labels


def containers(spec: Object) -> list[Object]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
