"""The manifests of KServe and the others, out of their Go modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster import addons
from hack.cluster.programs import Program


def test_manifests_of_another_version_are_never_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addons, "HOME", tmp_path / "home")
    for version in ("v1", "v2"):
        module = tmp_path / version
        (module / "config" / "crd").mkdir(parents=True)
        (module / "config" / "crd" / "kustomization.yaml").write_text(f"# {version}\n")
        (module / "config" / "crd" / "kustomization.yaml").chmod(0o444)
        program = Program("kserve-manager", "example.com/kserve", version, "", "kserve")
        monkeypatch.setattr(addons, "PROGRAMS", (program,))
        monkeypatch.setattr(addons, "source", lambda wrapper, module=module: module)
        for _ in range(2):
            file = addons.manifests("kserve", "config") / "crd" / "kustomization.yaml"
            assert file.read_text() == f"# {version}\n"
            file.write_text(file.read_text())  # as kustomize may
