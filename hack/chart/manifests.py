"""The chart -> manifests/: one file a model, for ``kubectl apply`` without helm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hack.helm import template

NEEDED = ("ServiceAccount", "InferenceService", "HorizontalPodAutoscaler", "PodDisruptionBudget")
HEAD = """\
# {model} alone, without a gateway: whoever reaches its Service may use it. Made by `make chart`.
# The weights come from a volume claim named models, folder {model}; STORAGE_URI says so.
"""


def manifests(root: Path) -> dict[str, str]:
    """By file name."""
    chart = root / "charts" / "quintet"
    objects = [o for o in yaml.safe_load_all(template(chart, more=_flags(chart))) if o]
    found: dict[str, str] = {}
    for isvc in (o for o in objects if o["kind"] == "InferenceService"):
        name = isvc["metadata"]["name"]
        parts = [_bare(o) for o in objects if o["kind"] in NEEDED and o["metadata"]["name"] == name]
        body = "---\n".join(yaml.safe_dump(part, sort_keys=False, width=110) for part in parts)
        found[f"{name}.yaml"] = HEAD.format(model=name) + body
    return found


def _flags(chart: Path) -> list[str]:
    """The GPU profile, so that each model says which node it wants; weights from a volume claim."""
    values = yaml.safe_load((chart / "values.yaml").read_text())
    flags = ["--set", "profile=gpu"]
    for model, entry in values["models"].items():
        flags += ["--set", f"models.{model}.enabled={str(entry.get('enabled', True)).lower()}"]
        if not (entry.get("weights") or {}).get("included"):
            flags += ["--set", f"models.{model}.weights.uri=pvc://models/{model.replace('_', '-')}"]
    return flags


def _bare(found: dict[str, Any]) -> dict[str, Any]:
    """Without what only means something to helm; the namespace is kubectl's to say."""
    metadata = dict(found["metadata"])
    metadata.pop("namespace", None)
    ours = ("helm.sh/chart", "app.kubernetes.io/managed-by")
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in ours}
    return {**found, "metadata": metadata}
