from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from predictors.prompt_classifier.check_weights import GOLDEN, differences, main
from predictors.prompt_classifier.scoring import Classification
from tests.support.checkpoints import write_random_checkpoint

PUBLISHED = Classification(**GOLDEN, truncated=False)  # type: ignore[arg-type]


def test_the_published_values_pass_and_so_does_what_rounds_to_them() -> None:
    assert differences(PUBLISHED) == {}
    assert differences(replace(PUBLISHED, reasoning=0.0618)) == {}


def test_swapped_heads_do_not_pass() -> None:
    swapped = replace(PUBLISHED, reasoning=PUBLISHED.constraint_ct, constraint_ct=PUBLISHED.reasoning)
    assert set(differences(swapped)) == {"reasoning", "constraint_ct"}


def test_another_checkpoint_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_random_checkpoint(tmp_path / "c", layers=1, hidden=64, vocab=500, seed=0)
    assert main([str(folder)]) == 1
    assert "not the published weights" in capsys.readouterr().out


def test_a_folder_without_weights_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 3
    assert "does not load" in capsys.readouterr().out
